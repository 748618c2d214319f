package embedded

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAStartThatFailsLeavesNothingBehind: neither its address nor a goroutine.
func TestAStartThatFailsLeavesNothingBehind(t *testing.T) {
	dir := filledDir(t)
	addr := start(t, t.TempDir())
	if err := addr.Close(); err != nil {
		t.Fatal(err)
	}
	options := Options{Addr: addr.Addr(), Dir: dir, Logger: slog.New(slog.DiscardHandler)}
	for name, c := range map[string]struct{ damage, mend func() error }{
		"its own files": { // looked at before kfake
			func() error { return os.WriteFile(filepath.Join(dir, topicsFile), []byte(`{"version":9}`), 0o600) },
			func() error {
				_, topics, _ := readKept(dir)
				k, _, err := readKept(dir)
				if topics == nil {
					return errors.Join(err, errors.New("nothing is kept"))
				}
				return os.WriteFile(filepath.Join(dir, topicsFile), k.Topics, 0o600)
			},
		},
		"kfake's files": {
			func() error { return os.WriteFile(filepath.Join(dir, "broker_configs.json"), nil, 0o600) },
			func() error { return os.Remove(filepath.Join(dir, "broker_configs.json")) },
		},
		"what is kept": { // written once kfake runs
			func() error {
				return errors.Join(os.Rename(filepath.Join(dir, keptFile), filepath.Join(dir, "aside")), os.Mkdir(filepath.Join(dir, keptFile+".tmp"), 0o700))
			},
			func() error {
				return errors.Join(os.Rename(filepath.Join(dir, "aside"), filepath.Join(dir, keptFile)), os.Remove(filepath.Join(dir, keptFile+".tmp")))
			},
		},
	} {
		if err := c.damage(); err != nil {
			t.Fatal(err)
		}
		b, err := Start(t.Context(), options)
		if err == nil {
			_ = b.Close()
			t.Fatalf("%s: it serves", name)
		}
		if !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.mend(); err != nil {
			t.Fatal(err)
		}
		if b, err = Start(t.Context(), options); err != nil {
			t.Fatalf("%s: after that: %v", name, err)
		}
		if records := readAll(t, b.Addr(), "filled"); len(records) != 2 {
			t.Errorf("%s: %d records", name, len(records))
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestWhatTheBrokerWritesIsForItsOwner: its directory, its lock and the files that it makes itself.
func TestWhatTheBrokerWritesIsForItsOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	lock, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	b := start(t, dir)
	createTopic(t, b.Addr(), "own", 1)
	mustProduce(t, b.Addr(), "own", batchOf(noStamp, time.Now(), "x"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{".": 0o700, lockFile: 0o600, keptFile: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestAfterCloseNobodyIsServed: clients and the server itself are hung up on, and nobody gets in.
func TestAfterCloseNobodyIsServed(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "shut", 1)
	own, err := b.Dial(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	theirs := dialRaw(t, b.Addr())
	for _, conn := range []net.Conn{own, theirs} {
		if err := exchange(conn, frameOf(versioned(kmsg.NewPtrMetadataRequest()))); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{own, theirs} {
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err == nil {
			if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a connection stays open")
			}
		}
	}
	if _, err := b.Dial(t.Context(), "tcp", b.Addr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the server gets in: %v", err)
	}
	late, peer := net.Pipe()
	defer func() { _, _ = late.Close(), peer.Close() }()
	if err := b.guard.admit(late); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a client gets in: %v", err)
	}
	if len(b.guard.clients) != 0 || len(b.guard.own) != 0 || b.files.open != nil {
		t.Errorf("%d clients and %d of the server itself are served", len(b.guard.clients), len(b.guard.own))
	}
}

// TestAWriteThatFailsHangsUpOnAll: what is acknowledged afterwards could be lost.
func TestAWriteThatFailsHangsUpOnAll(t *testing.T) {
	var logged bytes.Buffer
	b, err := Start(t.Context(), Options{Addr: "127.0.0.1:0", Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	own, err := b.Dial(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	theirs := dialRaw(t, b.Addr())
	if err := asked(t, theirs, versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first one counts
		b.log.fail(errors.New("no space left"))
	}
	<-b.Failed()
	if _, err := own.Read(make([]byte, 1)); err == nil {
		t.Error("the server itself is served")
	}
	isClosed(t, theirs)
	if _, err := net.Dial("tcp", b.Addr()); err == nil {
		t.Error("it listens")
	}
	if n := strings.Count(logged.String(), "stops serving"); n != 1 || !strings.Contains(logged.String(), "no space left") {
		t.Errorf("logged: %s", &logged)
	}
	for range 2 {
		if err := b.Close(); err == nil || err.Error() != "no space left" {
			t.Errorf("Close: %v", err)
		}
	}
}

// TestRefusalsAreCountedAndLoggedNowAndThen, with what was refused, from where and why.
func TestRefusalsAreCountedAndLoggedNowAndThen(t *testing.T) {
	var logged bytes.Buffer
	g := newGuard(nopListener{}, Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	defer g.cancel()
	for range 5 {
		g.refused("request", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5}, io.ErrUnexpectedEOF)
	}
	if n := g.refusals.Load(); n != 5 || strings.Count(logged.String(), "\n") != 1 {
		t.Errorf("%d refusals, logged: %s", n, &logged)
	}
	for _, want := range []string{"what=request", "address=192.0.2.1:5", `reason="unexpected EOF"`, "refusals=1"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("no %s in %s", want, &logged)
		}
	}
}

type nopListener struct{ net.Listener }

func (nopListener) Addr() net.Addr { return &net.TCPAddr{} }

// failingListener fails once, as where no more files can be opened, and is closed then.
type failingListener struct {
	nopListener
	failed bool
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failed {
		return nil, net.ErrClosed
	}
	l.failed = true
	return nil, errors.New("too many open files")
}

// TestAFailedAcceptIsToldAndTriedAgain.
func TestAFailedAcceptIsToldAndTriedAgain(t *testing.T) {
	var logged bytes.Buffer
	g := newGuard(new(failingListener), Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	defer g.cancel()
	if err := g.accept(); !errors.Is(err, net.ErrClosed) || g.refusals.Load() != 1 || !strings.Contains(logged.String(), "too many open files") {
		t.Errorf("%v, logged: %s", err, &logged)
	}
}

// TestTheIdlestIsWhoHasAskedForNothingLongest, and nobody that is being answered or was a moment ago.
func TestTheIdlestIsWhoHasAskedForNothingLongest(t *testing.T) {
	g := &guard{spareIdle: time.Minute, clients: make(map[*client]struct{}), ctx: t.Context()}
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	now := time.Duration(newClient(g, theirs, false).idleSince.Load())
	add := func(idleSince int64) *client {
		c := new(client)
		c.idleSince.Store(idleSince)
		g.clients[c] = struct{}{}
		return c
	}
	if c := g.idlest(); c != nil {
		t.Error("somebody of nobody")
	}
	add(0)                           // busy
	add(int64(now))                  // a moment ago
	add(int64(now - 30*time.Second)) // within the time that is spared
	if c := g.idlest(); c != nil {
		t.Errorf("idle since %d", c.idleSince.Load())
	}
	add(int64(now - 2*time.Minute))
	want := add(int64(now - 3*time.Minute))
	add(int64(now - 2*time.Minute))
	for range 20 { // whatever the order of the map
		if c := g.idlest(); c != want {
			t.Errorf("idle since %d, not %d", c.idleSince.Load(), want.idleSince.Load())
		}
	}
}

// TestCloseTellsThatItCouldNotKeep what a later start needs.
func TestCloseTellsThatItCouldNotKeep(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	createTopic(t, b.Addr(), "kept", 1)
	mustProduce(t, b.Addr(), "kept", batchOf(noStamp, time.Now(), "x"))
	if err := os.Mkdir(filepath.Join(dir, keptFile+".tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), keptFile) {
		t.Errorf("Close: %v", err)
	}
}

// TestTheWatchTellsWhatItCannotKeep, and nothing where all is well. The broker serves on.
func TestTheWatchTellsWhatItCannotKeep(t *testing.T) {
	for _, well := range []bool{true, false} {
		dir := t.TempDir()
		var logged bytes.Buffer
		b, err := Start(t.Context(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		createTopic(t, b.Addr(), "kept", 1)
		if !well {
			if err := errors.Join(os.Remove(filepath.Join(dir, keptFile)), os.Mkdir(filepath.Join(dir, keptFile+".tmp"), 0o700)); err != nil {
				t.Fatal(err)
			}
		}
		b.checkFiles()
		isAlive(t, b.Addr())
		_ = b.Close() // it tells, too; TestCloseTellsThatItCouldNotKeep
		if told := strings.Contains(logged.String(), "keeping the list of topics"); told == well || well && logged.Len() > 0 {
			t.Errorf("all is well: %v, logged: %s", well, &logged)
		}
	}
}
