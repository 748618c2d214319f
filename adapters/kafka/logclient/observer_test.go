package logclient

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/test/brokertest"
)

// seenAppends notes what an AppendObserver is told.
type seenAppends struct {
	mu   sync.Mutex
	told []string
}

func (s *seenAppends) Appended(records int, waited time.Duration) {
	s.note(fmt.Sprintf("%d appended after %s", records, waited))
}

func (s *seenAppends) Failed(records int, unconfirmed bool) {
	s.note(fmt.Sprintf("%d failed, unconfirmed %t", records, unconfirmed))
}

func (s *seenAppends) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, what)
}

// Each record is counted once, with what its owner was told.
func TestAnObserverLearnsWhatBecomesOfEachRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock moves only while all sleep
		seen := &seenAppends{}
		l := idleLane(t, AppenderOptions{Deadline: time.Minute, QueueBytes: 1000, Observer: seen})
		add := func(size int) { l.append(Owner{}, sized(size), func(error) {}) }
		want := func(told ...string) {
			t.Helper()
			if !slices.Equal(seen.told, told) {
				t.Errorf("the observer was told %q, want %q", seen.told, told)
			}
			seen.told = nil
		}
		add(100)
		time.Sleep(time.Second)
		add(100)
		b := l.take()
		add(100)
		if l.waiting() != 100 {
			t.Errorf("%d bytes wait, want 100", l.waiting())
		}
		time.Sleep(time.Second)
		l.finish(b, nil)
		want("2 appended after 2s")

		add(1000)
		want("1 failed, unconfirmed false") // the queue has no room

		b = l.take()
		l.sends(b)
		add(100)
		time.Sleep(time.Minute)
		l.expire(time.Now())
		want("1 failed, unconfirmed true", "1 failed, unconfirmed false")
		l.finish(b, nil)
		want() // who waited was told before

		add(100)
		l.finish(l.take(), &AppendError{Reason: "refused"})
		want("1 failed, unconfirmed false")
		l.close()
		add(100)
		want("1 failed, unconfirmed false")
	})
}

func TestATailTellsHowFarItIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		tail := NewTail(nil, TailOptions{From: map[int]int64{0: 5, 1: 5}, Handler: &tailEvents{}, Logger: brokertest.Logger(t)})
		want := func(records int64, since time.Duration) {
			t.Helper()
			if got := tail.Lag(); got.Records != records || got.ReadToEnd.Sub(begin) != since {
				t.Errorf("%d records behind, read to the end at %s; want %d, %s", got.Records, got.ReadToEnd.Sub(begin), records, since)
			}
		}
		want(0, 0)
		time.Sleep(time.Second)
		tail.positions.read(0, 7, 7)
		tail.positions.read(1, 8, 20)
		want(12, 0)
		time.Sleep(time.Second)
		tail.positions.read(1, 20, 20)
		want(0, time.Second)
		tail.positions.move(0, 9) // over a hole
		want(0, time.Second)
		tail.positions.read(0, 10, 11)
		want(1, time.Second)
	})
}

func TestRequestsThatFailAreCountedByTheirKind(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for name, row := range map[string]struct {
		ctx  context.Context //nolint:containedctx // of one row
		err  error
		want Failures
	}{
		"nobody listens":    {t.Context(), &net.OpError{Op: "dial", Err: context.DeadlineExceeded}, Failures{Unreachable: 1}},
		"no leader":         {t.Context(), kafkago.BrokerNotAvailable, Failures{Unreachable: 1}},
		"no answer":         {t.Context(), fmt.Errorf("asking: %w", context.DeadlineExceeded), Failures{Timeout: 1}},
		"an error":          {t.Context(), kafkago.NotCoordinatorForGroup, Failures{Refused: 1}},
		"a lost connection": {t.Context(), net.ErrClosed, Failures{Broken: 1}},
		"given up":          {ended, context.Canceled, Failures{}},
	} {
		c := &Cluster{}
		c.failures.count(row.ctx, row.err)
		if got := c.Failures(); got != row.want {
			t.Errorf("%s: %+v, want %+v", name, got, row.want)
		}
	}
}
