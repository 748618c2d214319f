package application

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatting/domain"
)

// letIn has n logins wait for their turns, and returns when each of them was let in, in the order in which they came.
func letIn(t *testing.T, turns *LoginTurns, n int) []time.Duration {
	begin := time.Now()
	after := make([]time.Duration, n)
	for i := range n {
		go func() {
			if err := turns.await(t.Context()); err != nil {
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

func TestLoginsComeInTurnsWhileChatIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := loginsATurn * runtime.GOMAXPROCS(0)
		after := letIn(t, NewLoginTurns(func() bool { return true }), 2+turn+1)
		// The first one waits for nobody. The second one begins the next turn, so whoever comes later has the one after it.
		want := []time.Duration{0, loginTurn}
		want = append(want, slices.Repeat([]time.Duration{2 * loginTurn}, turn)...)
		want = append(want, 3*loginTurn)
		if !slices.Equal(after, want) {
			t.Errorf("let in after %v, want %v", after, want)
		}
	})
}

func TestLoginsDoNotWaitWhileNobodyChats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i, after := range letIn(t, NewLoginTurns(func() bool { return false }), 100) {
			if after != 0 {
				t.Errorf("login %d was let in after %s", i, after)
			}
		}
	})
}

func TestALoginThatComesLateBeginsATurnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := NewLoginTurns(func() bool { return true })
		letIn(t, turns, 1)
		time.Sleep(loginTurn)
		if after := letIn(t, turns, 1); after[0] != 0 {
			t.Errorf("let in after %s", after[0])
		}
	})
}

func TestALoginThatGivesUpSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := NewLoginTurns(func() bool { return true })
		letIn(t, turns, 1)
		ctx, cancel := context.WithTimeout(t.Context(), loginTurn/2)
		defer cancel()
		if err := turns.await(ctx); domain.CodeOf(err) != domain.CodeUnavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		turns.Wait()
	})
}
