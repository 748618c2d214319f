package async

import (
	"container/list"
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// Rounds answers the questions of many callers together. Who asks while a round is under way shares the next one, so many
// callers cost few rounds, and a lone caller waits for nobody. A round begins after the calls that it answers: what was true
// when a caller asked is in its answer.
//
// Its goroutine ends once nobody waits. The owner calls Wait in the end.
type Rounds[Q, A any] struct {
	limit int
	ask   func(questions []Q) (A, error)

	mu       sync.Mutex
	running  bool
	waiting  list.List // of *asker[Q, A], in the order in which they came
	underWay sync.WaitGroup
}

// asker is a caller that waits. answer, place and err are set before answered is closed.
type asker[Q, A any] struct {
	question Q
	answered chan struct{}
	answer   A
	place    int
	err      error
}

// NewRounds returns rounds of at most limit questions; 0 means any number. ask answers the questions of one round and must
// end by itself. It is called by one goroutine at a time.
func NewRounds[Q, A any](limit int, ask func(questions []Q) (A, error)) *Rounds[Q, A] {
	return &Rounds[Q, A]{limit: limit, ask: ask}
}

// Ask returns the answer to the round that the question was in, and its place among the questions of that round. All callers
// of a round share the answer, and must not change it. If ask fails or panics, all callers of its round get that as an error. If
// ctx ends first, Ask returns its error; a question that no round has taken yet is withdrawn.
func (r *Rounds[Q, A]) Ask(ctx context.Context, question Q) (answer A, place int, err error) {
	a := &asker[Q, A]{question: question, answered: make(chan struct{})}
	r.mu.Lock()
	element := r.waiting.PushBack(a)
	if !r.running {
		r.running = true
		r.underWay.Go(r.run)
	}
	r.mu.Unlock()
	select {
	case <-a.answered:
		return a.answer, a.place, a.err
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waiting.Remove(element) // does nothing if a round has taken it
		return answer, 0, ctx.Err()
	}
}

// Wait waits for the rounds under way, if any.
func (r *Rounds[Q, A]) Wait() { r.underWay.Wait() }

// run serves rounds until nobody waits.
func (r *Rounds[Q, A]) run() {
	for {
		askers := r.take()
		if askers == nil {
			return
		}
		questions := make([]Q, len(askers))
		for i, a := range askers {
			questions[i] = a.question
		}
		answer, err := r.serve(questions)
		for i, a := range askers {
			a.answer, a.place, a.err = answer, i, err
			close(a.answered)
		}
	}
}

// take returns the callers of the next round; nil, and run ends, if there are none.
func (r *Rounds[Q, A]) take() []*asker[Q, A] {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.waiting.Len()
	if n == 0 {
		r.running = false
		return nil
	}
	if r.limit > 0 {
		n = min(n, r.limit)
	}
	askers := make([]*asker[Q, A], n)
	for i := range askers {
		askers[i] = r.waiting.Remove(r.waiting.Front()).(*asker[Q, A])
	}
	return askers
}

// serve calls ask. It makes a panic an error: this is not the goroutine of a caller.
func (r *Rounds[Q, A]) serve(questions []Q) (answer A, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %s\n%s", DescribePanic(value), debug.Stack())
		}
	}()
	return r.ask(questions)
}
