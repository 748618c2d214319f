package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"testing"

	"go.uber.org/fx"
	"go.uber.org/goleak"

	"chatting/test/harness"
	"chatting/test/sqltest"
)

// TestANodeWaitsForADatabaseThatDropsItsConnectionsWhileItStarts: between its first word with the database and the next one.
func TestANodeWaitsForADatabaseThatDropsItsConnectionsWhileItStarts(t *testing.T) {
	sqltest.RequirePostgres(t)
	verifyNoLeak(t, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"), // ends some seconds later
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1")) // never ends
	own, err := url.Parse(sqltest.NewPostgres(t))
	if err != nil {
		t.Fatal(err)
	}
	postgres, door := own.Host, harness.OpenDoor(t)
	own.Host = door.Addr
	door.Lead(postgres)
	cfg := configured(t, "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR="+t.TempDir(),
		"CHATTING_DATABASE_URL="+own.String())
	var log lockedLog
	var listener net.Listener
	server := newServer(newIdentity(cfg), cfg, slog.New(slog.NewTextHandler(&log, nil)), fx.Populate(&listener))
	if err := server.Err(); err != nil {
		t.Fatal(err)
	}
	door.Lead()
	door.Cut()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = server.Stop(context.Background())
		}
	}()
	harness.Until(t.Context(), t, "the node waits, or ends", func() bool {
		return log.has("waiting for the database") || log.has("the node cannot go on")
	})
	status := func(path string) int {
		response, err := http.Get("http://" + listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	if live, ready := status("/healthz"), status("/readyz"); live != http.StatusOK || ready != http.StatusServiceUnavailable {
		t.Errorf("meanwhile /healthz is %d, and /readyz %d", live, ready)
	}
	door.Lead(postgres)
	harness.Until(t.Context(), t, "the node is ready once the database is back", func() bool { return status("/readyz") == http.StatusOK })
	stopped = true
	if err := server.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if log.has("the node cannot go on") {
		t.Error(log.String())
	}
}
