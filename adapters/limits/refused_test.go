package limits

import "testing"

func TestRefusalsAreCounted(t *testing.T) {
	c := newClock()
	r := New[int](1, 2, c.now)
	r.Take(7, 2)
	r.Wait(8, 1)
	if got := r.Refused(); got != 0 {
		t.Errorf("%d before there was one", got)
	}
	r.Take(7, 1)
	r.Wait(7, 1)
	if got := r.Refused(); got != 2 {
		t.Errorf("%d are counted, want 2", got)
	}
	l := newLogins(1, c.now)
	for range 4 { // two at once, and the one that each address has
		l.Take(7, "a")
	}
	if got := l.Refused(); got != 1 {
		t.Errorf("%d logins are counted, want 1", got)
	}
	if got := PerSecond[int](0).Refused() + NewLogins(0).Refused(); got != 0 {
		t.Errorf("where nothing is bounded, %d are counted", got)
	}
}
