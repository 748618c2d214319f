package history

import (
	"context"
	"sync"

	"chatting/domain"
)

// turn is what is done by one at a time: moving the mark of an owner in its conversation with a partner.
type turn struct{ owner, partner domain.UserID }

// turns lets one caller at a time do the same thing. Others wait for it, as long as they like: there are no more of them than requests
// under way. The zero value is ready.
type turns struct {
	mu    sync.Mutex
	taken map[turn]chan struct{} // closed when the turn is over
}

// take waits for a turn. The caller ends it with done, once. CodeUnavailable when ctx ends first.
func (t *turns) take(ctx context.Context, wanted turn) (done func(), err error) {
	for {
		mine, busy := t.try(wanted)
		if busy == nil {
			return func() { t.end(wanted, mine) }, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, domain.WrapError(domain.CodeUnavailable, "Another mark of this conversation is under way.", ctx.Err())
		}
	}
}

// try takes a turn, or returns what is closed when the one who has it is done.
func (t *turns) try(wanted turn) (mine, busy chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if busy := t.taken[wanted]; busy != nil {
		return nil, busy
	}
	if t.taken == nil {
		t.taken = map[turn]chan struct{}{}
	}
	mine = make(chan struct{})
	t.taken[wanted] = mine
	return mine, nil
}

func (t *turns) end(taken turn, mine chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.taken, taken)
	close(mine)
}
