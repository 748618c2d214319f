package embedded

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/logdir"
	"chatting/test/kafkawire"
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
			func() error { return os.WriteFile(filepath.Join(dir, topicsFile), readKept(t, dir).Topics, 0o600) },
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
		if records := kafkawire.ReadAll(t, b.Addr(), "filled"); len(records) != 2 {
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
	kafkawire.CreateTopic(t, b.Addr(), "own", 1)
	kafkawire.MustProduce(t, b.Addr(), "own", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
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
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "shut", 1)
	kafkawire.MustProduce(t, b.Addr(), "shut", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
	kafkawire.Answered(t, b.Addr(), kafkawire.CommitRequest("readers", "shut", "", 0))
	b.checkFiles()
	if len(openBelow(t, dir)) == 0 {
		t.Fatal("no file is open while it runs")
	}
	own, err := b.Dial(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	theirs := kafkawire.Dial(t, b.Addr())
	for _, conn := range []net.Conn{own, theirs} {
		if err := kafkawire.Exchange(conn, kafkawire.FrameOf(kafkawire.Versioned(kmsg.NewPtrMetadataRequest()))); err != nil {
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
	if open := openBelow(t, dir); len(open) != 0 {
		t.Errorf("files stay open: %v", open)
	}
}

// openBelow names the files of a directory that this process has open, where the system tells.
func openBelow(t *testing.T, dir string) (open []string) {
	t.Helper()
	handles, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not tell which files are open")
	}
	for _, handle := range handles {
		if file, err := os.Readlink(filepath.Join("/proc/self/fd", handle.Name())); err == nil && strings.HasPrefix(file, dir) {
			open = append(open, file)
		}
	}
	return open
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
	theirs := kafkawire.Dial(t, b.Addr())
	if err := kafkawire.Asked(t, theirs, kafkawire.Versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first one counts
		b.log.fail(errors.New("no space left"))
	}
	<-b.Failed()
	if _, err := own.Read(make([]byte, 1)); err == nil {
		t.Error("the server itself is served")
	}
	kafkawire.IsClosed(t, theirs)
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

// TestCloseTellsThatItCouldNotKeep what a later start needs.
func TestCloseTellsThatItCouldNotKeep(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "kept", 1)
	kafkawire.MustProduce(t, b.Addr(), "kept", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
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
		kafkawire.CreateTopic(t, b.Addr(), "kept", 1)
		if !well {
			if err := errors.Join(os.Remove(filepath.Join(dir, keptFile)), os.Mkdir(filepath.Join(dir, keptFile+".tmp"), 0o700)); err != nil {
				t.Fatal(err)
			}
		}
		b.checkFiles()
		kafkawire.IsAlive(t, b.Addr())
		_ = b.Close() // it tells, too; TestCloseTellsThatItCouldNotKeep
		if told := strings.Contains(logged.String(), "keeping the list of topics"); told == well || well && logged.Len() > 0 {
			t.Errorf("all is well: %v, logged: %s", well, &logged)
		}
	}
}

// unopened returns a broker that is not opened yet, its listener and its topics. It is abandoned in the end.
func unopened(t *testing.T, dir string) (*Broker, net.Listener, []logdir.Topic) {
	t.Helper()
	options := Options{Addr: "127.0.0.1:0", Dir: dir, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
	listener, err := listen(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	topics, err := logdir.Recover(t.Context(), dir, clusterID, options.Logger)
	if err != nil {
		t.Fatal(err)
	}
	synced, err := logdir.Sync(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := newBroker(listener, synced, options)
	t.Cleanup(b.abandon)
	return b, listener, topics
}

// What bounds a start bounds what is read and checked before kfake. kfake reads a long log for longer, and that must not be for
// nothing: the next start would take as long.
func TestAStartGoesOnIfItsTimeEndsWhileKfakeReads(t *testing.T) {
	b, _, topics := unopened(t, filledDir(t))
	if len(topics) == 0 {
		t.Fatal("there are no topics")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	own := map[string]map[string]string{topics[0].Name: {"retention.ms": "1000000"}} // which is to be set
	if err := b.open(ended, topics, own); err != nil {
		t.Error(err)
	}
}

func TestABrokerWhoseListenerEndsFails(t *testing.T) {
	b, listener, topics := unopened(t, t.TempDir())
	if err := b.open(t.Context(), topics, nil); err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	<-b.Failed()
	if err := b.log.err(); err == nil || !strings.Contains(err.Error(), "no more clients") {
		t.Errorf("it tells %v", err)
	}
}
