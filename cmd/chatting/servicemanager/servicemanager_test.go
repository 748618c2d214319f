package servicemanager

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"chatting/test/harness"
)

// checksBeforeASign runs a watchdog until it has given its first sign of life, and returns how often it had checked the node until then.
func checksBeforeASign(t *testing.T, m *Manager, check func(asked int) error) (asked int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
	defer cancel()
	m.logger, m.patience = slog.New(slog.DiscardHandler), 3*time.Millisecond
	m.check = func(context.Context) error { asked++; return check(asked) }
	given := false
	m.notify = func(state string) {
		if given = state == "WATCHDOG=1"; given {
			cancel()
		}
	}
	m.Watch(ctx)
	if !given {
		t.Fatal("no sign of life")
	}
	return asked
}

func TestANodeThatFailsItsCheckGivesNoSignOfLife(t *testing.T) {
	asked := checksBeforeASign(t, &Manager{}, func(asked int) error {
		if asked < 4 {
			return errors.New("no answer")
		}
		return nil
	})
	if asked != 4 {
		t.Errorf("the sign came after %d checks, of which the fourth passed", asked)
	}
}

func TestANodeThatLeavesIsAliveAlthoughItsPortIsClosed(t *testing.T) {
	m := &Manager{notify: func(string) {}}
	m.Stopping()
	if asked := checksBeforeASign(t, m, func(int) error { return errors.New("closed") }); asked != 0 {
		t.Errorf("it was checked %d times", asked)
	}
}

func TestTheHealthCheckFailsUnlessTheProcessAnswersWith200(t *testing.T) {
	status := http.StatusOK
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
	}))
	listening := node.Listener.Addr().(*net.TCPAddr)
	for _, address := range []net.Addr{listening, &net.TCPAddr{IP: net.IPv6unspecified, Port: listening.Port}} {
		status = http.StatusOK
		if err := healthCheck(address)(t.Context()); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		status = http.StatusServiceUnavailable
		if err := healthCheck(address)(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("%s: %v", address, err)
		}
	}
	node.Close()
	if err := healthCheck(listening)(t.Context()); err == nil {
		t.Error("nobody listens")
	}
}
