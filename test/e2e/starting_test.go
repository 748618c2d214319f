package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

func TestANodeThatStartsRefusesUpgradesForNow(t *testing.T) {
	// A broker that says nothing: the node starts for as long as the test lasts.
	broker, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	addr := harness.FreeAddress(t) // a node that is not ready does not say where it listens
	harness.Launch(t, t.TempDir(), "CHATTING_HTTP_ADDR="+addr, "CHATTING_KAFKA_BROKERS="+broker.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	harness.Until(ctx, t, "a node that lives", func() bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil && response.StatusCode == http.StatusOK
	})
	if status, body := ask(t, addr, "/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d %s", status, body)
	}
	conn, response, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+addr+"/ws/chatting/", nil)
	if err == nil {
		_ = conn.Close()
		t.Fatal("the upgrade was made")
	}
	if response == nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" ||
		!strings.Contains(string(body), `"code":"unavailable"`) {
		t.Errorf("the answer is %d %v %s, %v", response.StatusCode, response.Header, body, err)
	}
}
