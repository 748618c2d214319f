package e2e

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatting/test/harness"
)

// manager hears what a process tells the service manager that started it, as systemd does (sd_notify(3)).
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func startManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") //nolint:usetesting // the path of a socket has a limit, and t.TempDir has the test's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &manager{t: t, conn: conn, path: path}
}

// next returns what comes next.
func (m *manager) next() string {
	m.t.Helper()
	_ = m.conn.SetReadDeadline(time.Now().Add(2 * harness.FrameWait))
	message := make([]byte, 4096)
	n, err := m.conn.Read(message)
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(string(message[:n]))
}

func TestTheServiceManagerHearsWhenTheNodeIsReadyLivesAndLeaves(t *testing.T) {
	m := startManager(t)
	node := harness.Launch(t, t.TempDir(), embedded("NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=200000")...)
	if told := m.next(); told != "READY=1" {
		t.Fatalf("the first word is %s", told)
	}
	if err := node.AwaitReady(2 * harness.FrameWait); err != nil { // it knows the address then
		t.Fatal(err)
	}
	answer, err := http.Get("http://" + node.HTTP + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("ready, and /readyz answers %s", answer.Status)
	}
	for range 3 {
		if told := m.next(); told != "WATCHDOG=1" {
			t.Fatalf("a node that serves says %s", told)
		}
	}
	node.Signal(syscall.SIGTERM)
	told := m.next()
	for told == "WATCHDOG=1" {
		told = m.next()
	}
	if told != "STOPPING=1" {
		t.Errorf("a node that leaves says %s", told)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.FrameWait)
	defer cancel()
	if code, err := node.AwaitEnd(ctx); code != 0 || err != nil {
		t.Errorf("it ends with %d, %v", code, err)
	}
}
