package blocks

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"chatting/application/async"
	"chatting/application/port"
	"chatting/domain"
)

// RelayBlocks publishes the block changes that a crash, or an unconfirmed append, left in the outbox: at least once,
// under the same id. Every node may run one.
type RelayBlocks struct {
	Outbox Outbox
	Log    port.ConversationLog
	Now    port.Clock
	Every  time.Duration
	Logger *slog.Logger

	found atomic.Int64
}

const (
	// relayBatch bounds how many changes are published between two looks at the outbox.
	relayBatch = 100
	// relayAge is how old a change must be before the relay takes it: younger ones are most likely just being published
	// by the request that made them.
	relayAge = 10 * time.Second
)

// Found returns how many changes old enough for the relay were in the outbox when it last looked, before it published them; at
// most relayBatch are counted. While the database does not answer, it stays as it was.
func (r *RelayBlocks) Found() int64 { return r.found.Load() }

// Run relays until ctx ends. Failures are logged and tried again in the next round.
func (r *RelayBlocks) Run(ctx context.Context) {
	ticker := time.NewTicker(r.Every)
	defer ticker.Stop()
	for {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.Logger.Warn("outbox relay: will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// round publishes until the outbox holds nothing old enough. A pair whose log is stuck holds up no other of its batch.
func (r *RelayBlocks) round(ctx context.Context) error {
	for {
		events, err := r.Outbox.Pending(ctx, r.Now.Stamp().Add(-relayAge), relayBatch)
		if err == nil {
			r.found.Store(int64(len(events)))
		}
		if err != nil || len(events) == 0 {
			return err
		}
		var mu sync.Mutex
		var failed error
		_ = async.AtOnce(async.Background, byPair(events), func(ofPair []domain.Event) error {
			err := Publish(ctx, r.Outbox, r.Log, ofPair)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			return nil // the others are published all the same
		})
		if failed != nil {
			return failed
		}
	}
}

// byPair groups block changes by who blocks whom; each group keeps its order.
func byPair(events []domain.Event) [][]domain.Event {
	type pair struct{ blocker, target domain.UserID }
	index := make(map[pair]int)
	var groups [][]domain.Event
	for _, event := range events {
		change, _ := event.Body.(domain.BlockChanged)
		p := pair{change.Blocker, change.Target}
		at, known := index[p]
		if !known {
			at = len(groups)
			index[p] = at
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], event)
	}
	return groups
}
