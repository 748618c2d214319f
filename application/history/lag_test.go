package history

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatting/domain"
)

// lagWorld is a log, a history that follows it, and a clock.
type lagWorld struct {
	ends      []int64
	projected []domain.Place
	broken    error
	at        time.Time
	log       bytes.Buffer
	lag       *Lag
}

func (w *lagWorld) EndOffsets(context.Context) ([]int64, error) { return w.ends, w.broken }

func (w *lagWorld) Projected(context.Context, int) ([]domain.Place, error) {
	return w.projected, w.broken
}

func newLagWorld() *lagWorld {
	w := &lagWorld{ends: []int64{0, 0}, projected: []domain.Place{{Generation: 1}, {Generation: 1, Partition: 1}}, at: time.Unix(1e9, 0)}
	w.lag = NewLag(w, w, 2, func() time.Time { return w.at }, slog.New(slog.NewTextHandler(&w.log, nil)))
	return w
}

// after looks again when so much time has passed.
func (w *lagWorld) after(t *testing.T, d time.Duration) LagState {
	t.Helper()
	w.at = w.at.Add(d)
	w.lag.look(t.Context())
	return w.lag.State()
}

func (w *lagWorld) warnings() int { return strings.Count(w.log.String(), "stands still") }

func TestHowFarTheHistoryIsBehindIsKnown(t *testing.T) {
	w := newLagWorld()
	if got := w.lag.State(); got != (LagState{}) {
		t.Errorf("before the first look, it is %+v", got)
	}
	if got := w.after(t, 0); got != (LagState{Known: true}) {
		t.Errorf("of an empty log, it is %+v", got)
	}
	w.ends = []int64{10, 5}
	w.projected[0].Offset = 4
	start := w.at.Add(time.Second)
	if got := w.after(t, time.Second); got.Records != 11 || !got.StandsStillSince.IsZero() { // it may wait for what follows it
		t.Errorf("with 6 and 5 records to go, it is %+v", got)
	}
	// The first partition goes on, the second does not.
	w.projected[0].Offset = 9
	if got := w.after(t, 20*time.Second); got.Records != 6 || got.StandsStillSince.After(start) || w.warnings() != 1 {
		t.Errorf("with one that stands still, it is %+v, with %d warnings", got, w.warnings())
	}
	w.projected[0].Offset = 10
	if got := w.after(t, 2*time.Second); got.Records != 5 || w.warnings() != 1 {
		t.Errorf("two seconds later, it is %+v, with %d warnings", got, w.warnings())
	}
	if w.after(t, time.Minute); w.warnings() != 2 {
		t.Errorf("a minute later, there are %d warnings", w.warnings())
	}
	w.projected[1].Offset = 5
	if got := w.after(t, time.Second); got != (LagState{Known: true}) || !strings.Contains(w.log.String(), "goes on") {
		t.Errorf("once it has caught up, it is %+v: %s", got, w.log.String())
	}
}

func TestAHistoryOfAnotherLogStandsStill(t *testing.T) {
	w := newLagWorld()
	w.ends, w.projected[0].Offset = []int64{3, 0}, 100
	w.after(t, 0)
	if got := w.after(t, time.Minute); got.Records != 3 || !got.StandsStillSince.Equal(w.at.Add(-time.Minute)) || w.warnings() != 1 {
		t.Errorf("it is %+v, with %d warnings", got, w.warnings())
	}
	w.projected[0] = domain.Place{Generation: 2, Offset: 3}
	if got := w.after(t, time.Second); got != (LagState{Known: true}) {
		t.Errorf("once it follows this one, it is %+v", got)
	}
}

func TestWhileNobodyAnswersTheLagStaysAsItWas(t *testing.T) {
	w := newLagWorld()
	w.ends = []int64{3, 0}
	before := w.after(t, 0)
	w.broken = errors.New("away")
	if got := w.after(t, time.Minute); got != before || w.warnings() != 0 {
		t.Errorf("it is %+v, not %+v", got, before)
	}
}

func TestTheLagIsWatchedFromTheStartOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLagWorld()
		ends := &movingEnds{}
		w.lag.ends = ends
		ends.first.Store(7)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.lag.Run(ctx)
		}()
		synctest.Wait()
		if got := w.lag.State(); !got.Known || got.Records != 7 {
			t.Errorf("at once it is %+v", got)
		}
		ends.first.Store(9)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := w.lag.State(); got.Records != 9 {
			t.Errorf("seconds later it is %+v", got)
		}
		cancel()
		<-done
	})
}

// movingEnds are the ends of two partitions, of which the first one moves.
type movingEnds struct{ first atomic.Int64 }

func (e *movingEnds) EndOffsets(context.Context) ([]int64, error) {
	return []int64{e.first.Load(), 0}, nil
}

func TestTheHistoryStandsStillSinceItsOldestPartitionDoes(t *testing.T) {
	w := newLagWorld()
	first := w.at
	w.ends = []int64{0, 3}
	w.after(t, 0) // partition 1 was never further
	w.ends = []int64{5, 3}
	w.after(t, 4*time.Second)
	w.projected[0].Offset = 1
	w.after(t, 2*time.Second)
	if got := w.after(t, time.Second); !got.StandsStillSince.Equal(first) {
		t.Errorf("it stands still since %v, want %v", got.StandsStillSince, first)
	}
	// The same whichever of the two it is.
	w = newLagWorld()
	first = w.at
	w.ends = []int64{3, 0}
	w.after(t, 0)
	w.ends = []int64{3, 5}
	w.projected[1].Offset = 1
	w.after(t, 4*time.Second)
	if got := w.after(t, time.Second); !got.StandsStillSince.Equal(first) {
		t.Errorf("it stands still since %v, want %v", got.StandsStillSince, first)
	}
}

func TestAStandstillIsLoggedAfterAWhileOnceAMinuteAndOnceAtItsEnd(t *testing.T) {
	w := newLagWorld()
	lines := func(what string, warnings, ends int) {
		t.Helper()
		if got, over := w.warnings(), strings.Count(w.log.String(), "goes on"); got != warnings || over != ends {
			t.Errorf("%s: %d warnings and %d times its end, want %d and %d", what, got, over, warnings, ends)
		}
	}
	w.after(t, 0)
	w.after(t, time.Hour)
	lines("while all is well", 0, 0)
	w.ends = []int64{3, 0}
	w.after(t, 0)
	lines("with records that have just come", 0, 0)
	w.projected[0].Offset = 1
	w.after(t, time.Second)
	lines("as long as it goes on", 0, 0)
	w.after(t, 14*time.Second)
	lines("before it counts", 0, 0)
	w.after(t, time.Second)
	lines("when it counts", 1, 0)
	for range 29 {
		w.after(t, 2*time.Second)
	}
	lines("58 s later", 1, 0)
	w.after(t, 2*time.Second)
	lines("60 s later", 2, 0)
	w.projected[0].Offset = 3
	w.after(t, time.Second)
	w.after(t, time.Second)
	lines("at its end", 2, 1)
	w.ends = []int64{9, 0}
	w.after(t, time.Second)
	w.after(t, 15*time.Second)
	lines("when it stands still again, soon after", 3, 1)
}

func TestEndsOfAnotherNumberOfPartitionsSayNothing(t *testing.T) {
	for _, ends := range [][]int64{nil, {9}, {9, 9, 9}} {
		w := newLagWorld()
		w.ends = []int64{3, 0}
		before := w.after(t, 0)
		w.ends = ends
		if got := w.after(t, time.Second); got != before {
			t.Errorf("with the ends %v it is %+v", ends, got)
		}
	}
}

func TestAnErrorOfOneSideSaysNothing(t *testing.T) {
	for _, log := range []bool{true, false} {
		w := newLagWorld()
		w.ends = []int64{3, 0}
		before := w.after(t, 0)
		w.ends = []int64{7, 0}
		broken := &halfWorld{lagWorld: w}
		if log {
			broken.ofEnds = errors.New("away")
		} else {
			broken.ofHistory = errors.New("away")
		}
		w.lag.ends, w.lag.projected = broken, broken
		if got := w.after(t, time.Second); got != before {
			t.Errorf("log away %v: it is %+v", log, got)
		}
	}
}

// halfWorld is a lagWorld of which one side answers with an error, though not without a value.
type halfWorld struct {
	*lagWorld
	ofEnds, ofHistory error
}

func (w *halfWorld) EndOffsets(context.Context) ([]int64, error) { return w.ends, w.ofEnds }

func (w *halfWorld) Projected(context.Context, int) ([]domain.Place, error) {
	return w.projected, w.ofHistory
}
