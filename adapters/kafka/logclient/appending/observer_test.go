package appending

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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
