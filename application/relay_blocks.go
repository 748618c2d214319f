package application

import (
	"context"
	"log/slog"
	"time"
)

// RelayBlocks publishes the block changes that a crash, or an unconfirmed append, left in the outbox: at least once,
// under the same id. Every node may run one.
type RelayBlocks struct {
	Outbox Outbox
	Log    ConversationLog
	Now    Clock
	Every  time.Duration
	Logger *slog.Logger
}

const (
	// relayBatch bounds how many changes are published between two looks at the outbox.
	relayBatch = 100
	// relayAge is how old a change must be before the relay takes it: younger ones are most likely just being published
	// by the request that made them.
	relayAge = 10 * time.Second
)

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

// round publishes until the outbox holds nothing old enough.
func (r *RelayBlocks) round(ctx context.Context) error {
	for {
		events, err := r.Outbox.Pending(ctx, r.Now.stamp().Add(-relayAge), relayBatch)
		if err != nil || len(events) == 0 {
			return err
		}
		if err := publish(ctx, r.Outbox, r.Log, events); err != nil {
			return err
		}
	}
}
