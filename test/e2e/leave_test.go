package e2e

import (
	"context"
	"net/http"
	"syscall"
	"testing"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

func TestASecondSignalEndsAServerThatTakesItsTimeToLeave(t *testing.T) {
	// The first one alone would end it, too, but with 0.
	dir := t.TempDir()
	node := harness.StartNode(t, dir, "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0",
		"CHATTING_SHUTDOWN_DEADLINE=60s", "CHATTING_SHUTDOWN_CLOSE_OVER=30s")
	for range 40 { // as many as are closed one after the other
		conn, response, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+node.HTTP+"/ws/chatting/", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		t.Cleanup(func() { _ = conn.Close() })
	}
	node.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
	defer cancel()
	harness.Until(ctx, t, "a server that is leaving", func() bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+node.HTTP+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil && response.StatusCode == http.StatusServiceUnavailable
	})
	if err := node.Stop(); err == nil {
		t.Error("the second signal was not heard: the server went on leaving")
	}
}
