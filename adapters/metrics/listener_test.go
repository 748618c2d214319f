package metrics

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves metrics until the test ends.
func serve(t *testing.T, m *Metrics, options ServerOptions) (url string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	options.Logger = slog.New(slog.DiscardHandler)
	server := m.Serve(listener, options)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Errorf("closing it again: %v", err)
		}
	})
	return "http://" + server.Addr().String()
}

func get(t *testing.T, url string, accept string) (status int, mediaType, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("Content-Type"), string(content)
}

func TestTheListenerServesMetricsAndNothingElse(t *testing.T) {
	url := serve(t, New("v7"), ServerOptions{})
	if status, _, body := get(t, url+Path, ""); status != http.StatusOK || !strings.Contains(body, `chatting_build_info{version="v7"} 1`) {
		t.Errorf("%d %s", status, body)
	}
	for _, path := range []string{"/", "/healthz", "/debug/pprof/", "/debug/pprof/heap"} {
		if status, _, _ := get(t, url+path, ""); status != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", path, status)
		}
	}
}

func TestPrometheusGetsNativeHistograms(t *testing.T) {
	url := serve(t, full(t), ServerOptions{})
	const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	if _, got, _ := get(t, url+Path, protobuf); !strings.HasPrefix(got, "application/vnd.google.protobuf") {
		t.Errorf("the answer is %s", got)
	}
}

func TestProfilesAreServedIfTheyAreSwitchedOn(t *testing.T) {
	url := serve(t, New("v1"), ServerOptions{Pprof: true})
	if status, _, body := get(t, url+"/debug/pprof/goroutine?debug=1", ""); status != http.StatusOK || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %s", status, body)
	}
}

// One profile costs enough. A trace is held open by the test, as long as it wants.
func TestProfilesAreTakenOneAtATime(t *testing.T) {
	url := serve(t, New("v1"), ServerOptions{Pprof: true})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/debug/pprof/trace?seconds=60", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request) // the head comes when the trace has begun
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if status, _, _ := get(t, url+"/debug/pprof/heap", ""); status != http.StatusServiceUnavailable {
		t.Errorf("a second profile: status %d, want 503", status)
	}
}

func TestALongHeadIsRefused(t *testing.T) {
	url := serve(t, New("v1"), ServerOptions{})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+Path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", strings.Repeat("x", 64<<10))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return // the server closed the connection before it had read the head, and the answer was lost
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", response.StatusCode)
	}
}
