package embedded

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatting/adapters/embedded/logdir"
	"chatting/test/kafkawire"
)

// retained starts a broker on a directory, and its retention on a clock of the test's own.
func retained(t *testing.T, dir string, now func() time.Time) (*Broker, *retention) {
	t.Helper()
	clock, err := logdir.ReadClock(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, dir)
	b.stopRetention() // its own would write the same file
	b.retention.Wait()
	return b, &retention{
		cluster: b.cluster, guard: b.guard, logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		dir: dir, now: now, clock: clock,
	}
}

func TestRetentionDoesNotFollowAClockThatLeaps(t *testing.T) {
	const leap = 100 * 24 * time.Hour
	dir, at := t.TempDir(), time.Now()
	now := func() time.Time { return at }
	b, r := retained(t, dir, now)
	kafkawire.CreateTopic(t, b.Addr(), "week", 1)
	produce := func(n int) {
		for range n {
			kafkawire.MustProduce(t, b.Addr(), "week", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
		}
	}
	produce(3)
	round := func(left int) {
		t.Helper()
		if err := r.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(kafkawire.ReadAll(t, b.Addr(), "week")); got != left {
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
	if clock, err := logdir.ReadClock(dir); err != nil || !clock.At.IsZero() {
		t.Errorf("of an empty log: %+v, %v", clock, err)
	}
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "week", 1)
	kafkawire.MustProduce(t, b.Addr(), "week", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
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
		clock, err := logdir.ReadClock(dir)
		if off := time.Since(clock.At); err != nil || off < 0 || off > time.Hour {
			t.Errorf("with %q: %+v, %v", content, clock, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, clockFile), []byte(`{"at":"2020-01-01T00:00:00Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if clock, err := logdir.ReadClock(dir); err != nil || clock.At.Year() != 2020 {
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

// TestRetentionThatCannotKeepItsClockSaysSoAndDeletes: a full disk needs it more than ever.
func TestRetentionThatCannotKeepItsClockSaysSoAndDeletes(t *testing.T) {
	dir := t.TempDir()
	b, r := retained(t, dir, time.Now)
	kafkawire.CreateTopic(t, b.Addr(), "old", 1, "retention.ms", "3600000")
	for _, age := range []time.Duration{50 * time.Hour, 40 * time.Hour, 0} {
		kafkawire.MustProduce(t, b.Addr(), "old", kafkawire.BatchOf(kafkawire.NoStamp, time.Now().Add(-age), "x"))
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
	if begin := kafkawire.ListOffset(t, b.Addr(), "old", -2); begin != 2 {
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
	kafkawire.CreateTopic(t, b.Addr(), "old", 1, "retention.ms", "3600000")
	for _, age := range []time.Duration{50 * time.Hour, 0} {
		kafkawire.MustProduce(t, b.Addr(), "old", kafkawire.BatchOf(kafkawire.NoStamp, time.Now().Add(-age), "x"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.apply(ctx, time.Now()); err != nil {
		t.Error(err)
	}
	if begin := kafkawire.ListOffset(t, b.Addr(), "old", -2); begin != 0 {
		t.Errorf("the log begins at %d", begin)
	}
}

func TestABrokerWhosePartEndsFails(t *testing.T) {
	b := start(t, t.TempDir())
	b.keepUp(t.Context(), &b.retention, "a part", func(context.Context) {})
	<-b.Failed()
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "a part ended although nobody stopped it") {
		t.Errorf("%v", err)
	}
}
