package async_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"chatting/application/async"
	"chatting/domain"
)

// gated are rounds that answer when the test says so: with the questions, or an error.
type gated struct {
	*async.Rounds[int, []int]

	asked   [][]int
	answers chan error
}

func newGated(limit int) *gated {
	g := &gated{answers: make(chan error)}
	g.Rounds = async.NewRounds(limit, func(questions []int) ([]int, error) {
		g.asked = append(g.asked, questions)
		return questions, <-g.answers
	})
	return g
}

// reply is what became of a call.
type reply struct {
	question int // the one at the place that the caller was told
	err      error
}

// ask calls with each question, one after the other.
func (g *gated) ask(ctx context.Context, questions ...int) []<-chan reply {
	var replies []<-chan reply
	for _, question := range questions {
		done := make(chan reply, 1)
		replies = append(replies, done)
		go func() {
			answer, place, err := g.Ask(ctx, question)
			r := reply{err: err}
			if err == nil {
				r.question = answer[place]
			}
			done <- r
		}()
		synctest.Wait()
	}
	return replies
}

func TestARoundAnswersWhoCameBeforeItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated(0)
		replies := g.ask(t.Context(), 1, 2, 3)
		if !slices.EqualFunc(g.asked, [][]int{{1}}, slices.Equal) {
			t.Fatalf("asked %v: a lone caller waits, or one shares an answer that may be older", g.asked)
		}
		g.answers <- nil
		if got := <-replies[0]; got.question != 1 || got.err != nil {
			t.Errorf("the first caller got %v", got)
		}
		synctest.Wait()
		replies = append(replies, g.ask(t.Context(), 4)...)
		g.answers <- nil
		g.answers <- nil
		for i, done := range replies[1:] {
			if got := <-done; got.question != i+2 || got.err != nil {
				t.Errorf("who asked %d got %v", i+2, got)
			}
		}
		if want := [][]int{{1}, {2, 3}, {4}}; !slices.EqualFunc(g.asked, want, slices.Equal) {
			t.Errorf("asked %v, want %v", g.asked, want)
		}
	})
}

func TestARoundHasNoMoreQuestionsThanItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated(2)
		replies := g.ask(t.Context(), 1, 2, 3, 4, 5, 6)
		for range 4 {
			g.answers <- nil
		}
		for i, done := range replies {
			if got := <-done; got.question != i+1 || got.err != nil {
				t.Errorf("who asked %d got %v", i+1, got)
			}
		}
		if want := [][]int{{1}, {2, 3}, {4, 5}, {6}}; !slices.EqualFunc(g.asked, want, slices.Equal) {
			t.Errorf("asked %v, want %v", g.asked, want)
		}
	})
}

func TestWhoGivesUpHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated(1)
		first := g.ask(t.Context(), 1)
		ctx, cancel := context.WithCancel(t.Context())
		impatient := g.ask(ctx, 2)
		last := g.ask(t.Context(), 3)
		cancel()
		if got := <-impatient[0]; !errors.Is(got.err, context.Canceled) {
			t.Errorf("who gave up got %v", got)
		}
		g.answers <- nil
		g.answers <- nil
		if got := <-first[0]; got.err != nil {
			t.Errorf("got %v", got)
		}
		if got := <-last[0]; got.question != 3 || got.err != nil {
			t.Errorf("who waited got %v", got)
		}
		if len(g.asked) != 2 {
			t.Errorf("asked %v, with a question that was withdrawn", g.asked)
		}
		// In a round that has begun, too.
		ctx, cancel = context.WithCancel(t.Context())
		impatient = g.ask(ctx, 4)
		cancel()
		if got := <-impatient[0]; !errors.Is(got.err, context.Canceled) {
			t.Errorf("who gave up got %v", got)
		}
		g.answers <- nil
	})
}

func TestAFailureIsThatOfItsRoundOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated(2)
		replies := g.ask(t.Context(), 1, 2, 3, 4)
		away := errors.New("away")
		for _, answer := range []error{nil, away, nil} {
			g.answers <- answer
		}
		for i, want := range []error{nil, away, away, nil} {
			if got := <-replies[i]; !errors.Is(got.err, want) {
				t.Errorf("who asked %d got %v, want %v", i+1, got.err, want)
			}
		}
	})
}

func TestAPanicIsAnErrorOfItsRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, calls := make(chan struct{}), 0
		rounds := async.NewRounds(0, func([]int) (int, error) {
			if calls++; calls == 2 {
				panic("a secret")
			}
			<-begun
			return 7, nil
		})
		var errs [3]error
		for i := range errs {
			go func() { _, _, errs[i] = rounds.Ask(t.Context(), 0) }()
			synctest.Wait()
		}
		begun <- struct{}{}
		synctest.Wait()
		if errs[0] != nil {
			t.Error(errs[0])
		}
		for _, err := range errs[1:] {
			if err == nil {
				t.Error("a panic comes as an answer")
			} else if text := err.Error(); domain.CodeOf(err) != domain.CodeInternal || strings.Contains(text, "a secret") || !strings.Contains(text, "rounds_test.go") {
				t.Errorf("a panic comes as %v", err)
			}
		}
		close(begun)
		if answer, _, err := rounds.Ask(t.Context(), 0); answer != 7 || err != nil {
			t.Errorf("after a panic: %d, %v", answer, err)
		}
	})
}

func TestWaitIsForTheRoundsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated(0)
		ctx, cancel := context.WithCancel(t.Context())
		g.ask(ctx, 1)
		cancel()
		waited := make(chan struct{})
		go func() { g.Wait(); close(waited) }()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("a round is left behind")
		default:
		}
		g.answers <- nil
		<-waited
		g.Wait()
	})
}
