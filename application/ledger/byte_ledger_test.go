package ledger_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"chatting/application/ledger"
	"chatting/domain"
	"chatting/test/porttest"
)

// ledgerClock is a clock that tests move.
type ledgerClock struct{ at time.Time }

func (c *ledgerClock) now() time.Time { return c.at }

// holder is a holding with a name, which notes that it was cut off.
type holder struct {
	*ledger.Holding
	cut bool
}

func open(l *ledger.ByteLedger, user domain.UserID) *holder {
	h := &holder{}
	h.Holding = l.OpenFor(user, func() { h.cut = true })
	return h
}

func wantHeld(t *testing.T, l *ledger.ByteLedger, want int) {
	t.Helper()
	if got := l.Held(); got != want {
		t.Errorf("%d bytes are held, want %d", got, want)
	}
}

// Of a limit of 800, 700 are for holders and 100 for those that are cut off.
func TestTheHolderThatWaitedLongestMakesRoom(t *testing.T) {
	clock := &ledgerClock{at: porttest.SomeTime}
	l := ledger.NewByteLedger(800, 0, clock.now)
	a, b, c, d := open(l, 1), open(l, 2), open(l, 3), open(l, 4)
	for _, h := range []*holder{a, b, c} {
		if !h.Hold(200) {
			t.Fatal("there is room")
		}
	}
	a.Progress() // now b has waited longest
	if !d.Hold(100) || !d.Hold(1) {
		t.Fatal("somebody makes room")
	}
	if a.cut || !b.cut || c.cut || d.cut {
		t.Errorf("cut off: %t %t %t %t", a.cut, b.cut, c.cut, d.cut)
	}
	wantHeld(t, l, 501)
	if b.Hold(1) || b.TryHold(0) || !b.IsCutOff() {
		t.Error("who was cut off holds no more")
	}
	b.Release(200)
	wantHeld(t, l, 501)
	// Room for much is made by several; the asker itself goes last, and nobody can hold more than there is.
	if d.Hold(701) || !a.cut || !c.cut || !d.cut {
		t.Errorf("cut off: %t %t %t", a.cut, c.cut, d.cut)
	}
	wantHeld(t, l, 0)
	if e := open(l, 5); e.Hold(701) || e.cut || !e.Hold(700) {
		t.Error("700 bytes are what one can hold")
	}
}

func TestMoreToWriteIsNoProgress(t *testing.T) {
	clock := &ledgerClock{at: porttest.SomeTime}
	l := ledger.NewByteLedger(800, 0, clock.now)
	a, b := open(l, 1), open(l, 2)
	a.Hold(300)
	b.Hold(300)
	a.Hold(100)
	if !b.Hold(1) || !a.cut {
		t.Error("a has waited longer, though it got more to write")
	}
}

func TestAUsersBytesAreBoundedAndOnlyTheUserMakesRoom(t *testing.T) {
	clock := &ledgerClock{at: porttest.SomeTime}
	l := ledger.NewByteLedger(0, 100, clock.now)
	first, second, other := open(l, 1), open(l, 1), open(l, 2)
	other.Hold(100)
	first.Hold(60)
	if !second.Hold(60) || !first.cut || other.cut {
		t.Errorf("cut off: %t %t", first.cut, other.cut)
	}
	// Bytes from before the login count once it is known whose they are.
	stranger := &holder{}
	stranger.Holding = l.Open(func() { stranger.cut = true })
	stranger.Hold(90)
	stranger.Of(1)
	stranger.Of(2)
	if !open(l, 1).Hold(20) || !second.cut || !stranger.cut || other.cut {
		t.Errorf("cut off: %t %t %t", second.cut, stranger.cut, other.cut)
	}
	if open(l, 3).Hold(101) {
		t.Error("nobody can hold more than a user may")
	}
	wantHeld(t, l, 120)
}

func TestWhoCanComeAgainHasOnlyThoseCutOffThatStalled(t *testing.T) {
	clock := &ledgerClock{at: porttest.SomeTime}
	l := ledger.NewByteLedger(800, 0, clock.now)
	a, b := open(l, 1), open(l, 2)
	a.Hold(600)
	clock.at = clock.at.Add(999 * time.Millisecond)
	if b.TryHold(200) || a.cut || b.IsCutOff() {
		t.Fatal("a has not stalled yet")
	}
	clock.at = clock.at.Add(time.Millisecond)
	if !b.TryHold(200) || !a.cut {
		t.Error("a has stalled")
	}
}

func TestWhoWasCutOffKeepsALittleForItsEnd(t *testing.T) {
	clock := &ledgerClock{at: porttest.SomeTime}
	l := ledger.NewByteLedger(800, 0, clock.now)
	a, b, c := open(l, 1), open(l, 2), open(l, 3)
	a.Hold(350)
	b.Hold(350)
	if !a.Keep(50) || l.Held() != 400 {
		t.Error("who was not cut off may keep what it has")
	}
	c.Hold(700)
	if !a.Keep(60) || b.Keep(41) || !b.Keep(40) {
		t.Error("those that were cut off may keep 100 together")
	}
	wantHeld(t, l, 800)
	a.Keep(0)
	b.Close()
	wantHeld(t, l, 700)
	c.Close()
	wantHeld(t, l, 0)
}

func TestWithoutLimitsNobodyIsCutOff(t *testing.T) {
	l := ledger.NewByteLedger(0, 0, time.Now)
	a := open(l, 1)
	if !a.Hold(1<<40) || !open(l, 1).TryHold(1<<40) || a.cut {
		t.Error("there is no limit")
	}
}

// Holders do random things at once: never is more held than the limit, and in the end nothing.
func TestTheLedgerIsRightWhateverHappensAtOnce(t *testing.T) {
	const limit, userLimit = 10_000, 4_000
	l := ledger.NewByteLedger(limit, userLimit, time.Now)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			var open []*ledger.Holding
			for range 3000 {
				if len(open) < 4 {
					h := l.Open(func() {})
					if random.IntN(2) == 0 {
						h.Of(domain.UserID(1 + random.IntN(3)))
					}
					open = append(open, h)
				}
				i := random.IntN(len(open))
				switch h := open[i]; random.IntN(8) {
				case 0, 1:
					h.Hold(random.IntN(2000))
				case 2:
					h.TryHold(random.IntN(2000))
				case 3:
					h.Release(random.IntN(1000))
				case 4:
					h.Progress()
				case 5:
					h.Keep(random.IntN(300))
				case 6:
					h.Of(domain.UserID(1 + random.IntN(3)))
				default:
					h.Close()
					open = slices.Delete(open, i, i+1)
				}
				if held := l.Held(); held > limit || held < 0 {
					t.Errorf("%d bytes are held", held)
					return
				}
			}
			for _, h := range open {
				h.Close()
			}
		})
	}
	all.Wait()
	wantHeld(t, l, 0)
}

func TestAHolderWithoutBytesIsNotInTheWay(t *testing.T) {
	clock := &ledgerClock{at: porttest.SomeTime}
	l := ledger.NewByteLedger(800, 100, clock.now)
	empty := &holder{}
	empty.Holding = l.Open(func() { empty.cut = true })
	empty.Of(1)
	done := open(l, 1)
	done.Hold(50)
	done.Release(50)
	full, asks := open(l, 1), open(l, 1)
	full.Hold(100)
	if !asks.Hold(1) || empty.cut || done.cut || !full.cut {
		t.Errorf("cut off: %t %t %t", empty.cut, done.cut, full.cut)
	}
}

func TestMoreToWriteDoesNotHideThatAHolderStalls(t *testing.T) {
	clock := &ledgerClock{at: porttest.SomeTime}
	l := ledger.NewByteLedger(800, 0, clock.now)
	a, b := open(l, 1), open(l, 2)
	a.Hold(500)
	clock.at = clock.at.Add(time.Second)
	a.Hold(100)
	if !b.TryHold(200) || !a.cut {
		t.Error("a has stalled for a second, though it got more to write")
	}
	if got := l.Cuts(); got != 1 {
		t.Errorf("%d holders were cut off, want 1", got)
	}
	// Who begins anew has not stalled.
	b.Release(200)
	clock.at = clock.at.Add(time.Second)
	b.Hold(600)
	if open(l, 3).TryHold(200) || b.cut {
		t.Error("b has only just begun")
	}
	if got := l.Cuts(); got != 1 {
		t.Errorf("%d holders were cut off, want 1", got)
	}
}

func TestProgressAndReleaseKeepAHolder(t *testing.T) {
	for what, progress := range map[string]func(*holder){
		"progress": func(h *holder) { h.Progress() },
		"release":  func(h *holder) { h.Release(1) },
	} {
		clock := &ledgerClock{at: porttest.SomeTime}
		l := ledger.NewByteLedger(1200, 1000, clock.now)
		a, b := open(l, 1), open(l, 1)
		a.Hold(500)
		b.Hold(400)
		clock.at = clock.at.Add(time.Second)
		progress(a)
		if open(l, 2).TryHold(600) || a.cut || !b.cut {
			t.Errorf("%s: a has just moved, b has stalled; cut off: %t %t", what, a.cut, b.cut)
		}
		// Of the user's holders, too, the one that has waited longest goes.
		c, d := open(l, 1), open(l, 1)
		c.Hold(300)
		progress(a)
		if !d.Hold(400) || a.cut || !c.cut {
			t.Errorf("%s: cut off for another one of the user: %t %t", what, a.cut, c.cut)
		}
	}
}

func TestWhatIsReleasedMakesRoom(t *testing.T) {
	clock := &ledgerClock{at: porttest.SomeTime}
	l := ledger.NewByteLedger(800, 100, clock.now)
	a, b := open(l, 1), open(l, 1)
	a.Hold(80)
	a.Release(60)
	wantHeld(t, l, 20)
	if !b.Hold(80) || a.cut || b.cut {
		t.Errorf("100 bytes are what the user may have; cut off: %t %t", a.cut, b.cut)
	}
	a.Release(1000) // more than it has
	wantHeld(t, l, 80)
	// It begins again, and is found again.
	a.Hold(20)
	b.Progress()
	if !open(l, 1).Hold(20) || !a.cut || b.cut {
		t.Errorf("cut off: %t %t", a.cut, b.cut)
	}
	a.Release(20) // no longer its own
	wantHeld(t, l, 100)
}

func TestTheBoundOfAUserIsNotForThoseWhoAreNotKnownYet(t *testing.T) {
	l := ledger.NewByteLedger(800, 100, time.Now)
	stranger := l.Open(func() {})
	if !stranger.Hold(200) {
		t.Error("there is room, and it is nobody's yet")
	}
}

func TestWithoutALimitInAllWhoWasCutOffKeepsWhatItNeeds(t *testing.T) {
	l := ledger.NewByteLedger(0, 100, time.Now)
	a, b := open(l, 1), open(l, 1)
	a.Hold(100)
	b.Hold(100)
	if !a.cut || !a.Keep(50) {
		t.Error("it may keep 50 bytes")
	}
	wantHeld(t, l, 150)
	a.Close()
	a.Close()
	wantHeld(t, l, 100)
	if c := open(l, 2); c.IsCutOff() {
		t.Error("it is cut off from the beginning")
	} else if c.Close(); !c.IsCutOff() || c.Hold(1) {
		t.Error("a holding that was closed holds no more")
	}
}

func TestWhoBeginsAgainCanMakeRoomForOthers(t *testing.T) {
	clock := &ledgerClock{at: porttest.SomeTime}
	l := ledger.NewByteLedger(800, 0, clock.now)
	a, b := open(l, 1), open(l, 2)
	a.Hold(300)
	a.Release(300)
	a.Hold(300)
	b.Hold(400)
	if !open(l, 3).Hold(300) || !a.cut || b.cut {
		t.Errorf("cut off: %t %t", a.cut, b.cut)
	}
}
