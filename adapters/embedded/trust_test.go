package embedded

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// retained starts a broker on a directory, and its retention on a clock of the test's own.
func retained(t *testing.T, dir string, now func() time.Time) (*Broker, *retention) {
	t.Helper()
	clock, err := readClock(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, dir)
	b.stopRetention() // its own would write the same file
	b.retention.Wait()
	return b, &retention{
		cluster: b.cluster, engine: b.guard.engine, logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		dir: dir, now: now, clock: clock,
	}
}

func TestRetentionDoesNotFollowAClockThatLeaps(t *testing.T) {
	const leap = 100 * 24 * time.Hour
	dir, at := t.TempDir(), time.Now()
	now := func() time.Time { return at }
	b, r := retained(t, dir, now)
	createTopic(t, b.Addr(), "week", 1)
	produce := func(n int) {
		for range n {
			mustProduce(t, b.Addr(), "week", batchOf(noStamp, time.Now(), "x"))
		}
	}
	produce(3)
	round := func(left int) {
		t.Helper()
		if err := r.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(readAll(t, b.Addr(), "week")); got != left {
			t.Fatalf("with a clock that tells %s %d records are left, want %d", at, got, left)
		}
	}
	round(3)
	at = at.Add(leap)
	round(3)
	at = time.Unix(60, 0)
	round(3)
	at = time.Now()
	round(3)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	at = time.Now().Add(leap)
	b, r = retained(t, dir, now) // it is ahead when it starts
	round(3)
	for range 24 * 60 / 5 {
		at = at.Add(5 * time.Minute)
		if _, err := r.advance(at); err != nil {
			t.Fatal(err)
		}
	}
	round(1) // after a day it is believed
}

// A directory from before there was such a file, or one whose file is lost or damaged.
func TestTheClockBeginsAtTheLastWriteToTheLog(t *testing.T) {
	dir := t.TempDir()
	if clock, err := readClock(dir); err != nil || !clock.At.IsZero() {
		t.Errorf("of an empty log: %+v, %v", clock, err)
	}
	b := start(t, dir)
	createTopic(t, b.Addr(), "week", 1)
	mustProduce(t, b.Addr(), "week", batchOf(noStamp, time.Now(), "x"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "{", `{"at":"0001-01-01T00:00:00Z"}`, `{"at":"2020-01-01T00:00:00Z","held":"x"}`} {
		file := filepath.Join(dir, clockFile)
		_ = os.Remove(file)
		if content != "" {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		clock, err := readClock(dir)
		if off := time.Since(clock.At); err != nil || off < 0 || off > time.Hour {
			t.Errorf("with %q: %+v, %v", content, clock, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, clockFile), []byte(`{"at":"2020-01-01T00:00:00Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if clock, err := readClock(dir); err != nil || clock.At.Year() != 2020 {
		t.Errorf("what was kept: %+v, %v", clock, err)
	}
}

// TestALeapIsToldOnce, and its end as well.
func TestALeapIsToldOnce(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var logged bytes.Buffer
	r := &retention{dir: t.TempDir(), logger: slog.New(slog.NewTextHandler(&logged, nil))}
	for _, c := range []struct {
		after         time.Duration
		leaps, trusts int // lines by then
	}{
		{0, 0, 0}, {5 * time.Minute, 0, 0}, {2400 * time.Hour, 1, 0}, {2401 * time.Hour, 1, 0}, {10 * time.Minute, 1, 1}, {15 * time.Minute, 1, 1},
	} {
		if _, err := r.advance(at.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		if strings.Count(logged.String(), "leapt") != c.leaps || strings.Count(logged.String(), "trusted again") != c.trusts {
			t.Errorf("after %s: %s", c.after, &logged)
		}
	}
}

func TestTheLastWriteIsThatOfALogFile(t *testing.T) {
	dir := t.TempDir()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		content string
		minute  int
	}{
		"a-0/0.dat": {"x", 2}, "a-0/5.dat": {"x", 3}, "b-0/0.dat": {"x", 1}, "b-0/5.dat": {"", 4}, "b-0/0.idx": {"x", 5}, "c.dat/x": {"x", 6},
	} {
		file := filepath.Join(dir, partsDir, name)
		at := begin.Add(time.Duration(c.minute) * time.Minute)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(c.content), 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if last, err := lastWritten(dir); err != nil || !last.Equal(begin.Add(3*time.Minute)) {
		t.Errorf("%v, %v", last, err)
	}
	if last, err := lastWritten(filepath.Join(dir, partsDir, "a-0/0.dat")); err == nil {
		t.Errorf("below a file: %v", last)
	}
}

// TestRetentionThatCannotKeepItsClockSaysSoAndDeletes: a full disk needs it more than ever.
func TestRetentionThatCannotKeepItsClockSaysSoAndDeletes(t *testing.T) {
	dir := t.TempDir()
	b, r := retained(t, dir, time.Now)
	createTopic(t, b.Addr(), "old", 1, "retention.ms", "3600000")
	for _, age := range []time.Duration{50 * time.Hour, 40 * time.Hour, 0} {
		mustProduce(t, b.Addr(), "old", batchOf(noStamp, time.Now().Add(-age), "x"))
	}
	_ = os.Remove(filepath.Join(dir, clockFile))
	if err := os.Mkdir(filepath.Join(dir, clockFile+".tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var logged bytes.Buffer
	r.logger = slog.New(slog.NewTextHandler(writerFunc(func(line []byte) (int, error) {
		cancel() // so that run ends after it
		return logged.Write(line)
	}), nil))
	r.run(ctx)
	if !strings.Contains(logged.String(), clockFile+": ") {
		t.Errorf("logged: %s", &logged)
	}
	if begin := listOffset(t, b.Addr(), "old", -2); begin != 2 {
		t.Errorf("the log begins at %d", begin)
	}
	logged.Reset()
	r.run(ctx) // what fails because it is to end is no news
	if logged.Len() > 0 {
		t.Errorf("at the end: %s", &logged)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestRetentionEndsBetweenTopics, so that Close need not wait for all of them.
func TestRetentionEndsBetweenTopics(t *testing.T) {
	b, r := retained(t, t.TempDir(), time.Now)
	createTopic(t, b.Addr(), "old", 1, "retention.ms", "3600000")
	for _, age := range []time.Duration{50 * time.Hour, 0} {
		mustProduce(t, b.Addr(), "old", batchOf(noStamp, time.Now().Add(-age), "x"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.apply(ctx, time.Now()); err != nil {
		t.Error(err)
	}
	if begin := listOffset(t, b.Addr(), "old", -2); begin != 0 {
		t.Errorf("the log begins at %d", begin)
	}
}

func TestABrokerWhosePartEndsFails(t *testing.T) {
	b := start(t, t.TempDir())
	b.keepUp(t.Context(), "a part", func(context.Context) {})
	<-b.Failed()
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "a part ended although nobody stopped it") {
		t.Errorf("%v", err)
	}
}

func TestABrokerWhoseListenerEndsFails(t *testing.T) {
	b := start(t, t.TempDir())
	_ = b.guard.listener.Close()
	<-b.Failed()
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "no more clients") {
		t.Errorf("it tells %v", err)
	}
}
