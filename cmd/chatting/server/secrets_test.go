package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/fx"

	"chatting/configs"
)

const (
	// marker is in every secret of these tests.
	marker       = "Zq9Marker7xV"
	markedSecret = marker + "0123456789abcdefghijklmnop"
)

func hidesMarker(t *testing.T, what, shown string) {
	t.Helper()
	if strings.Contains(strings.ToLower(shown), strings.ToLower(marker)) {
		t.Errorf("%s shows the secret:\n%s", what, shown)
	}
}

// away is an address at which nobody answers.
const away = "127.0.0.1:1"

// TestNoServerShowsASecret runs servers that cannot start, or that start and wait for parts that are away.
func TestNoServerShowsASecret(t *testing.T) {
	get := func(c *http.Client, host, target string) string {
		t.Helper()
		at := &url.URL{Scheme: "http", Host: host, Opaque: target} // as it is, also where it is none
		response, err := c.Do((&http.Request{Method: http.MethodGet, URL: at}).WithContext(t.Context()))
		if err != nil {
			t.Errorf("nothing was answered that could show it: %v", err)
			return ""
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		return string(body)
	}
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer refusing.Close()
	host := strings.TrimPrefix(refusing.URL, "http://")
	for _, environ := range [][]string{
		{"CHATTING_JWKS_URL=http://" + marker + ":" + marker + "@" + host + "/" + marker + "?sig=" + marker},
		{"CHATTING_JWKS_URL=http://u:" + marker + "@" + away + "/" + marker + "?sig=" + marker},
		{"CHATTING_USER_MANAGEMENT_URL=http://" + host + "/" + marker + "/"},
		{"CHATTING_JWT_SECRET=" + markedSecret, "CHATTING_S2S_TOKEN=" + markedSecret},
		{"CHATTING_KAFKA_BROKERS=" + away, "CHATTING_KAFKA_SASL_MECHANISM=PLAIN", "CHATTING_KAFKA_SASL_USERNAME=u", "CHATTING_KAFKA_SASL_PASSWORD=" + marker},
	} {
		cfg, err := configs.Load(configs.Sources{Environ: append([]string{
			"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + t.TempDir(), "CHATTING_LOG_LEVEL=debug",
		}, environ...)})
		if err != nil {
			t.Fatal(err)
		}
		var log lockedLog
		var listener net.Listener
		server := fx.New(graphOf(cfg, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))), fx.NopLogger,
			fx.StopTimeout(20*time.Second), fx.Populate(&listener))
		if err := server.Start(t.Context()); err != nil {
			hidesMarker(t, "the start", err.Error())
		} else {
			client := &http.Client{Timeout: 5 * time.Second}
			var answers strings.Builder
			for _, path := range []string{"/readyz", "/healthz", "/ws/chatting/?token=" + marker, "/api/chatting/friends/?token=" + marker, "/" + marker, "/%zz" + marker, "/s2sapi/users/?user_id=" + marker} {
				answers.WriteString(get(client, listener.Addr().String(), path))
			}
			hidesMarker(t, "the answers", answers.String())
			stop, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
			if err := server.Stop(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				hidesMarker(t, "the end", err.Error())
			}
			cancel()
		}
		hidesMarker(t, strings.Join(environ, " "), log.String())
		if log.String() == "" {
			t.Errorf("%s: nothing was logged that could show it", strings.Join(environ, " "))
		}
	}
}
