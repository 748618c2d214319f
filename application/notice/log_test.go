package notice_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/notice"
	"chatting/test/porttest"
)

func TestNoticesWriteOneLineASecondOfEachMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, out := porttest.NewNotices()
		for range 4800 {
			n.Warn("login refused", slog.Int("user", 7), slog.String("address", "10.0.0.1"))
			n.Error("request failed", slog.Int("status", 503))
		}
		logged := out.Take()
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
		if got := out.Take(); !strings.Contains(got, "user=8 count=4800 total=4801") {
			t.Errorf("after a second: %s", got)
		}
	})
}

func TestNoticesWriteWhatTheyHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, out := porttest.NewNotices()
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
		out.Take()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := out.Take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "user=7 count=2 total=3") {
			t.Errorf("seconds after the last refusal: %s", got)
		}
		n.Warn("login refused", slog.Int("user", 7))
		n.Warn("login refused", slog.Int("user", 9))
		out.Take()
		cancel()
		<-done
		if got := out.Take(); !strings.Contains(got, "user=9 count=1 total=5") {
			t.Errorf("at the end: %s", got)
		}
	})
}

func TestNoticesCountTheOccurrencesOfAllGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, out := porttest.NewNotices()
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
		if got := out.Take(); !strings.Contains(got, "count=1 total=1") || !strings.Contains(got, "count=800 total=801") {
			t.Errorf("logged: %s", got)
		}
	})
}

func TestNoticesHaveTheirLevels(t *testing.T) {
	for level, write := range map[string]func(*notice.Log){
		"INFO":  func(n *notice.Log) { n.Info("it happened") },
		"WARN":  func(n *notice.Log) { n.Warn("it happened") },
		"ERROR": func(n *notice.Log) { n.Error("it happened") },
	} {
		n, out := porttest.NewNotices()
		write(n)
		if got := out.Take(); !strings.Contains(got, "level="+level) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %q", level, got)
		}
	}
}
