package async

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// turn and size are of the turns in these tests.
const (
	turn = 20 * time.Millisecond
	size = 16
)

func newTurns(live bool) *Turns { return NewTurns(size, turn, func() bool { return live }) }

// letIn has n callers wait for their turns, and returns when each of them was let in, in the order in which they came.
func letIn(t *testing.T, turns *Turns, n int) []time.Duration {
	begin := time.Now()
	after := make([]time.Duration, n)
	for i := range n {
		go func() {
			if err := turns.Await(t.Context()); err != nil {
				t.Error(err)
			}
			after[i] = time.Since(begin)
		}()
		synctest.Wait()
	}
	turns.Wait()
	synctest.Wait()
	return after
}

func TestCallersComeInTurnsWhileSomethingIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := letIn(t, newTurns(true), 2+size+1)
		// The first one waits for nobody. The second one begins the next turn, so whoever comes later has the one after it.
		want := []time.Duration{0, turn}
		want = append(want, slices.Repeat([]time.Duration{2 * turn}, size)...)
		want = append(want, 3*turn)
		if !slices.Equal(after, want) {
			t.Errorf("let in after %v, want %v", after, want)
		}
	})
}

func TestCallersDoNotWaitWhileNothingIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i, after := range letIn(t, newTurns(false), 100) {
			if after != 0 {
				t.Errorf("caller %d was let in after %s", i, after)
			}
		}
	})
}

func TestACallerThatComesLateBeginsATurnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(true)
		letIn(t, turns, 1)
		time.Sleep(turn)
		if after := letIn(t, turns, 1); after[0] != 0 {
			t.Errorf("let in after %s", after[0])
		}
	})
}

func TestACallerWhoseContextEndsWaitsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(true)
		letIn(t, turns, 1)
		ctx, cancel := context.WithTimeout(t.Context(), turn/2)
		defer cancel()
		if err := turns.Await(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		turns.Wait()
	})
}

func TestWithoutTurnsNobodyWaits(t *testing.T) {
	var none *Turns
	if err := none.Await(t.Context()); err != nil {
		t.Error(err)
	}
	none.Wait()
}
