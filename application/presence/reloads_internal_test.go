package presence

import (
	"testing"

	"chatting/domain"
)

func TestListsAreLoadedChangedOnesFirstAndEachOnceAtATime(t *testing.T) {
	q := newReloads()
	q.add(1, reloadFailed)
	q.add(2, reloadAged)
	q.add(3, reloadChanged)
	q.add(4, reloadFailed)
	q.add(4, reloadAged) // moves forward, behind 2
	q.add(4, reloadFailed)
	q.add(2, reloadAged)
	for _, want := range []domain.UserID{3, 2, 4} {
		if got, ok := q.take(); got != want || !ok {
			t.Fatalf("%d, %v comes, want %d", got, ok, want)
		}
	}
	for user, want := range map[domain.UserID]bool{1: true, 2: true, 5: false} { // queued, being loaded, neither
		if got := q.hasLocked(user); got != want {
			t.Errorf("has %d: %v", user, got)
		}
	}
	q.add(2, reloadAged)
	q.add(2, reloadChanged) // the earlier turn of the two counts
	q.add(3, reloadFailed)
	if got, ok := q.take(); got != 1 || !ok {
		t.Errorf("%d, %v comes, though 2 and 3 are being loaded", got, ok)
	}
	q.done(3)
	q.done(4)
	q.done(2)
	for _, want := range []domain.UserID{2, 3} {
		if got, ok := q.take(); got != want || !ok {
			t.Errorf("%d, %v comes again, want %d", got, ok, want)
		}
		q.done(want)
	}
	if got, ok := q.take(); ok {
		t.Errorf("%d comes, and nobody is left", got)
	}
	q.done(1)
	if q.hasLocked(1) || q.hasLocked(2) {
		t.Error("what is done is still there")
	}
}
