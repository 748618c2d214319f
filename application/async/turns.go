package async

import (
	"context"
	"time"
)

// Turns lets callers go on a few at a time, and at a pace, while what is live would have to wait for them. While nothing is live, nobody
// waits. Many goroutines that can run at once stand in one queue for the processors, and what becomes ready after them waits behind
// all of them.
//
// Its goroutine ends once nobody waits. The owner calls Wait in the end.
type Turns struct {
	rounds *Rounds[struct{}, struct{}]
	live   func() bool
	every  time.Duration
	next   time.Time // when the next turn may begin. It belongs to the rounds' goroutine.
}

// NewTurns returns turns of so many callers, one every so often, while live, which may be called by any goroutine, says so.
func NewTurns(callers int, every time.Duration, live func() bool) *Turns {
	t := &Turns{live: live, every: every}
	t.rounds = NewRounds(callers, t.turn)
	return t
}

// turn returns once the next callers may go on.
func (t *Turns) turn([]struct{}) (struct{}, error) {
	if t.live() {
		time.Sleep(time.Until(t.next))
	}
	t.next = time.Now().Add(t.every)
	return struct{}{}, nil
}

// Await returns when it is the caller's turn: first come, first served. It returns the error of ctx if that ends first. Without turns,
// nil, nobody waits.
func (t *Turns) Await(ctx context.Context) error {
	if t == nil {
		return nil
	}
	_, _, err := t.rounds.Ask(ctx, struct{}{})
	return err
}

// Wait waits for the turn under way, if any.
func (t *Turns) Wait() {
	if t != nil {
		t.rounds.Wait()
	}
}
