package limits

import (
	"testing"
	"time"
)

func TestWhoTriesOftenKeepsNoOtherAddressOut(t *testing.T) {
	c := newClock()
	l := newLogins(5, c.now)
	in := 0
	for range 100 { // ten seconds of an attacker with a stolen token
		for range 50 {
			if l.Take(7, "10.0.0.1") == 0 {
				in++
			}
		}
		c.pass(100 * time.Millisecond)
	}
	if most := 2*5 + 10*5 + 1; in > most {
		t.Errorf("the attacker logged in %d times, want at most %d", in, most)
	}
	l.Take(7, "10.0.0.1")
	if wait := l.Take(7, "10.0.0.2"); wait > 0 {
		t.Errorf("the owner has to wait %s", wait)
	}
	if wait := l.Take(7, "10.0.0.2"); wait <= 0 || wait > 200*time.Millisecond {
		t.Errorf("the owner, who comes again at once, has to wait %s, want what the user's rate says", wait)
	}
	if wait := l.Take(8, "10.0.0.1"); wait > 0 {
		t.Errorf("another user has to wait %s", wait)
	}
}

func TestNoRateOfLoginsBoundsNothing(t *testing.T) {
	l := NewLogins(0)
	for range 1000 {
		if wait := l.Take(7, ""); wait != 0 {
			t.Fatalf("refused for %s", wait)
		}
	}
}

// An address logs a user in whose rate is used up, but no more often than the reserve says, and each pair for itself.
func TestTheReserveIsOfAUserAtAnAddress(t *testing.T) {
	c := newClock()
	l := newLogins(1, c.now) // two at once
	use := func() { l.users.Take(7, 2) }
	use()
	for _, address := range []string{"a", "b"} {
		if wait := l.Take(7, address); wait != 0 {
			t.Errorf("%s has to wait %s", address, wait)
		}
	}
	c.pass(ReserveEvery - time.Second/2)
	use()
	if wait := l.Take(7, "a"); wait != time.Second/2 {
		t.Errorf("half a second before its reserve is full, it has to wait %s", wait)
	}
	c.pass(time.Second / 2)
	l.users.Take(7, 1)
	if wait := l.Take(7, "a"); wait != 0 {
		t.Errorf("with its reserve full, it has to wait %s", wait)
	}
}

func TestARateOfLoginsBoundsThem(t *testing.T) {
	l, refused := NewLogins(1), 0
	for range 100 {
		if l.Take(7, "") > 0 {
			refused++
		}
	}
	if refused == 0 {
		t.Error("a hundred logins at once are let in")
	}
}
