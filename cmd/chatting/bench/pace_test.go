package bench

import (
	"context"
	"slices"
	"testing"
	"time"
)

func TestAScheduleKeepsItsRate(t *testing.T) {
	for _, row := range []struct {
		schedule schedule
		k        int64
		want     time.Duration
	}{
		{schedule{rate: 1000}, 0, 0},
		{schedule{rate: 1000}, 1, time.Millisecond},
		{schedule{rate: 1000}, 3_600_000, time.Hour},
		// Of a ramp of 2 s to 100 a second, the first half has a quarter of its 100 messages.
		{schedule{rate: 100, ramp: 2 * time.Second}, 0, 0},
		{schedule{rate: 100, ramp: 2 * time.Second}, 25, time.Second},
		{schedule{rate: 100, ramp: 2 * time.Second}, 100, 2 * time.Second},
		{schedule{rate: 100, ramp: 2 * time.Second}, 150, 2500 * time.Millisecond},
	} {
		if got := row.schedule.at(row.k); got != row.want {
			t.Errorf("%+v: message %d at %s, want %s", row.schedule, row.k, got, row.want)
		}
	}
}

// TestAStallCountsForAllMessagesThatWereDueInIt: at 100 messages a second a send hangs for a second. A client that measured
// from when it sent, or that left out what it could not send, would see one long latency. 100 messages had to wait, for
// 1 s, 0.99 s and so on.
func TestAStallCountsForAllMessagesThatWereDueInIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var now time.Duration
	w := newWindow()
	w.from.Store(0)
	found, lag := newLatencies(w), newLatencies(w)
	var dues []time.Duration
	stalled := false
	p := pacer{
		schedule: schedule{rate: 100}, now: func() time.Duration { return now }, rest: func(d time.Duration) { now += d },
		send: func(k int64, due time.Duration) {
			dues = append(dues, due)
			found.record(0, due, now-due) // a server that answers at once
			if k == 300 {
				cancel()
			}
		},
		flush: func() {
			if len(dues) == 101 && !stalled {
				stalled = true
				now += time.Second
			}
		},
		late: func(due, by time.Duration) { lag.record(1, due, by) },
	}
	p.run(ctx)
	for k, due := range dues {
		if want := time.Duration(k) * 10 * time.Millisecond; due != want {
			t.Fatalf("message %d was due at %s, want %s", k, due, want)
		}
	}
	got := found.figures()
	// 201 messages were in time. The other 100 waited for 10 ms up to 990 ms, and one for nothing: it was due at the end.
	if got.Count != 301 || got.P50 != 0 || got.P90 < 650 || got.P90 > 710 || got.P99 < 960 || got.P99 > 980 || got.Max < 989 || got.Max > 991 {
		t.Errorf("%+v", got)
	}
	if sent := lag.figures(); sent != got {
		t.Errorf("the client's own lag is %+v, want %+v", sent, got)
	}
}

func TestAPacerRestsNoLongerThanItMayEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var now time.Duration
	var rests []time.Duration
	p := pacer{
		schedule: schedule{rate: 0.001}, now: func() time.Duration { return now },
		rest: func(d time.Duration) {
			rests = append(rests, d)
			now += d
			if len(rests) == 3 {
				cancel()
			}
		},
		send: func(int64, time.Duration) {}, flush: func() {}, late: func(_, _ time.Duration) {},
	}
	p.run(ctx)
	if !slices.Equal(rests, []time.Duration{longestRest, longestRest, longestRest}) {
		t.Errorf("%v", rests)
	}
}

func TestLatenciesAreOfTheMeasuredMessagesOnly(t *testing.T) {
	w := newWindow()
	l := newLatencies(w)
	l.record(0, time.Second, time.Millisecond) // before it is known when the window begins
	w.from.Store(int64(2 * time.Second))
	l.record(0, 2*time.Second-1, time.Millisecond)
	for i := range 1000 {
		l.record(i, 2*time.Second, time.Duration(i+1)*time.Millisecond)
	}
	w.to.Store(int64(3 * time.Second))
	l.record(0, 3*time.Second, time.Hour)
	l.record(1, 3*time.Second-1, time.Hour) // beyond the range: counted, as the longest
	got := l.figures()
	near := func(x, want float64) bool { return x > want*0.998 && x < want*1.002 }
	if got.Count != 1001 || !near(got.P50, 501) || !near(got.P90, 901) || !near(got.P99, 991) || !near(got.Max, 300_000) {
		t.Errorf("%+v", got)
	}
}
