package delivery

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"chatting/domain"
)

func TestTheLatestEventsAreRememberedInEachPartition(t *testing.T) {
	var seen seenEvents
	id := func(n int) domain.EventID { return domain.DerivedID("test", fmt.Sprint(n)) }
	for n := range 2*maxSeen + 5 {
		if earlier := seen.note(id(n), domain.Place{Partition: 1, Offset: int64(n)}); earlier != nil {
			t.Fatalf("event %d was seen at %v", n, earlier)
		}
		if !seen.has(id(n)) || n >= maxSeen && (seen.has(id(n-maxSeen)) || !seen.has(id(n-maxSeen+1))) {
			t.Fatalf("after event %d the wrong ones are remembered", n)
		}
	}
	if len(seen.latest) != maxSeen || len(seen.order) != maxSeen {
		t.Errorf("%d events and %d ids are remembered", len(seen.latest), len(seen.order))
	}
	last := 2*maxSeen + 4
	for _, step := range []struct {
		at   domain.Place
		want string
	}{
		{domain.Place{Partition: 2, Offset: 5}, fmt.Sprintf("[{0 1 %d}]", last)},
		{domain.Place{Partition: 1, Offset: 9000}, fmt.Sprintf("[{0 1 %d} {0 2 5}]", last)},
		{domain.Place{Partition: 2, Offset: 6}, "[{0 1 9000} {0 2 5}]"},
		{domain.Place{Partition: 0, Offset: 1}, "[{0 1 9000} {0 2 6}]"},
		{domain.Place{Partition: 0, Offset: 2}, "[{0 1 9000} {0 2 6} {0 0 1}]"},
	} {
		earlier := seen.note(id(last), step.at)
		if got := fmt.Sprint(earlier); got != step.want {
			t.Errorf("noted at %v, it was seen at %s, want %s", step.at, got, step.want)
		}
		for i := range earlier {
			earlier[i] = domain.Place{} // the caller's
		}
	}
	if len(seen.order) != maxSeen {
		t.Errorf("%d ids are remembered", len(seen.order))
	}
}

func TestRecentEventsAreForgottenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := func(n int) domain.EventID { return domain.DerivedID("test", fmt.Sprint(n)) }
		recent := newRecentEvents([]domain.EventID{id(3), id(1), id(2), id(1)})
		time.Sleep(RepeatedWithin)
		for n := range 5 {
			if has := recent.has(id(n)); has != (n >= 1 && n <= 3) {
				t.Errorf("event %d is remembered: %v", n, has)
			}
		}
		time.Sleep(1)
		if recent.has(id(1)) || recent.ids != nil {
			t.Error("they are remembered for ever")
		}
	})
}
