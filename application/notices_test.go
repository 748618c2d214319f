package application_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
)

// output is what was logged since it was last taken.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *output) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.buffer.Reset()
	return o.buffer.String()
}

// newNotices returns Notices and what they wrote.
func newNotices() (*application.Notices, *output) {
	out := &output{}
	return application.NewNotices(slog.New(slog.NewTextHandler(out, nil)), time.Now), out
}

func TestNoticesWriteOneLineASecondOfEachMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, out := newNotices()
		for range 4800 {
			n.Warn("login refused", slog.Int("user", 7), slog.String("address", "10.0.0.1"))
			n.Error("request failed", slog.Int("status", 503))
		}
		logged := out.take()
		lines := strings.Split(strings.TrimSpace(logged), "\n")
		if len(lines) != 2 {
			t.Fatalf("%d lines in one second, want one of each message:\n%s", len(lines), logged)
		}
		for _, want := range []string{"level=WARN", "user=7", "address=10.0.0.1", "count=1 total=1"} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("the line %s lacks %s", lines[0], want)
			}
		}
		time.Sleep(time.Second)
		n.Warn("login refused", slog.Int("user", 8))
		if got := out.take(); !strings.Contains(got, "user=8 count=4800 total=4801") {
			t.Errorf("after a second: %s", got)
		}
	})
}

func TestNoticesWriteWhatTheyHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, out := newNotices()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.Run(ctx)
		}()
		time.Sleep(100 * time.Millisecond)
		for range 3 {
			n.Warn("login refused", slog.Int("user", 7))
		}
		out.take()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := out.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "user=7 count=2 total=3") {
			t.Errorf("seconds after the last refusal: %s", got)
		}
		n.Warn("login refused", slog.Int("user", 7))
		n.Warn("login refused", slog.Int("user", 9))
		out.take()
		cancel()
		<-done
		if got := out.take(); !strings.Contains(got, "user=9 count=1 total=5") {
			t.Errorf("at the end: %s", got)
		}
	})
}

func TestNoticesCountTheOccurrencesOfAllGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, out := newNotices()
		var running sync.WaitGroup
		for range 8 {
			running.Go(func() {
				for range 100 {
					n.Warn("refused")
				}
			})
		}
		running.Wait()
		time.Sleep(time.Second)
		n.Warn("refused")
		if got := out.take(); !strings.Contains(got, "count=1 total=1") || !strings.Contains(got, "count=800 total=801") {
			t.Errorf("logged: %s", got)
		}
	})
}

func TestNoticesHaveTheirLevels(t *testing.T) {
	for level, write := range map[string]func(*application.Notices){
		"INFO":  func(n *application.Notices) { n.Info("it happened") },
		"WARN":  func(n *application.Notices) { n.Warn("it happened") },
		"ERROR": func(n *application.Notices) { n.Error("it happened") },
	} {
		n, out := newNotices()
		write(n)
		if got := out.take(); !strings.Contains(got, "level="+level) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %q", level, got)
		}
	}
}
