package limits

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// clock is a time that the test moves.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

func TestEachKeyHasItsOwnRate(t *testing.T) {
	c := newClock()
	r := New[int](10, 20, c.now)
	taken := 0
	for range 1000 {
		if r.Take(7, 1) == 0 {
			taken++
		}
	}
	if taken != 20 {
		t.Errorf("7 took %d at once, want 20", taken)
	}
	if wait := r.Take(8, 20); wait != 0 {
		t.Errorf("8 has to wait %s for what 7 took", wait)
	}
	for range 50 {
		c.pass(100 * time.Millisecond)
		if r.Take(7, 1) == 0 {
			taken++
		}
		r.Take(7, 1)
	}
	if taken != 70 {
		t.Errorf("7 took %d in five seconds, want 20 and 10 a second", taken)
	}
}

func TestWhoIsRefusedLearnsWhenToComeAgain(t *testing.T) {
	c := newClock()
	r := New[int](4, 8, c.now)
	if wait := r.Take(7, 8); wait != 0 {
		t.Fatalf("a full bucket makes wait %s", wait)
	}
	for n, want := range map[int]time.Duration{1: 250 * time.Millisecond, 4: time.Second, 8: 2 * time.Second, 9: 2 * time.Second} {
		if got := r.Take(7, n); got != want {
			t.Errorf("%d more: told to wait %s, want %s", n, got, want)
		}
		if got := r.Wait(7, n); got != want {
			t.Errorf("asked for %d more: %s, want %s", n, got, want)
		}
	}
	c.pass(250 * time.Millisecond)
	if wait := r.Wait(7, 1); wait != 0 {
		t.Errorf("after the wait: %s more", wait)
	}
	if wait := r.Take(7, 1); wait != 0 {
		t.Errorf("after the wait: refused for %s more", wait)
	}
}

func TestKeysThatAreNotUsedAreDropped(t *testing.T) {
	c := newClock()
	r := New[int](1, 2, c.now)
	for key := range 1000 {
		r.Take(key, 1)
	}
	if got := r.buckets.Len(); got != 1000 {
		t.Fatalf("%d keys are kept, want 1000", got)
	}
	c.pass(2 * time.Second)
	r.Take(1000, 1)
	if got := r.buckets.Len(); got != 1 {
		t.Errorf("%d keys are kept once all others are idle, want 1", got)
	}
}

// A client that makes others' keys come and go does not get a new bucket for its own.
func TestABucketIsNotResetByOtherKeys(t *testing.T) {
	c := newClock()
	r := New[int](1, 2, c.now)
	r.Take(-1, 2)
	for key := range maxKeys - 1 {
		r.Take(key, 1)
	}
	if r.Take(-1, 1) == 0 {
		t.Error("a full map has forgotten what was taken")
	}
	for key := range 2 * maxKeys {
		r.Take(key, 1)
	}
	if got := r.buckets.Len(); got != maxKeys {
		t.Errorf("%d keys are kept, want %d", got, maxKeys)
	}
}

func TestAFullRateTakesLittleMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := newClock()
	r := New[int](1, 2, c.now)
	for key := range 4 * maxKeys {
		r.Take(key, 1)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used, most := int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(32<<20); used > most {
		t.Errorf("%d keys take %d bytes, want at most %d", r.buckets.Len(), used, most)
	}
	runtime.KeepAlive(r)
}

func TestNoRateBoundsNothing(t *testing.T) {
	r := PerSecond[string](0)
	for range 1000 {
		if wait := r.Take("x", 1<<20) + r.Wait("x", 1<<20); wait != 0 {
			t.Fatalf("refused for %s", wait)
		}
	}
	if r != nil {
		t.Error("keys are kept")
	}
}

func TestManyTakeAtOnce(t *testing.T) {
	c := newClock()
	r := New[int](10, 100, c.now)
	var mu sync.Mutex
	taken := 0
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 100 {
				if r.Take(7, 1) == 0 {
					mu.Lock()
					taken++
					mu.Unlock()
				}
			}
		})
	}
	running.Wait()
	if taken != 100 {
		t.Errorf("taken %d, want 100", taken)
	}
}

func TestARateForAnOptionTakesTwiceAsMuchAtOnce(t *testing.T) {
	r := PerSecond[int](1000)
	if wait := r.Take(7, 2000); wait != 0 {
		t.Errorf("two seconds' worth at once has to wait %s", wait)
	}
	if wait := r.Take(7, 2000); wait <= 0 || wait > 2*time.Second {
		t.Errorf("and as much again %s", wait)
	}
}
