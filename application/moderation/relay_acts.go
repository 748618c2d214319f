package moderation

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/application/port"
)

// RelayActs publishes the acts that a crash, or an append without an outcome, left unpublished: at least once, under the same id.
// Every node runs one, as it also has the register forget. After a round that failed it waits twice as long, a minute at most.
type RelayActs struct {
	Outbox   Outbox
	Log      Log
	Register *Register
	Now      port.Clock
	Every    time.Duration
	Logger   *slog.Logger
}

const (
	// relayBatch bounds the users whose acts are published between two looks at the store.
	relayBatch = 100
	// relayAge is how old an act must be before the relay takes it: younger ones are just being published, most likely.
	relayAge = 10 * time.Second
	// relayTimeout bounds the publishing for one user.
	relayTimeout = 30 * time.Second
	// relayMaxWait bounds the time between two rounds that fail: each of them may write to the audit.
	relayMaxWait = time.Minute
)

// Run relays until ctx ends. Failures are logged and tried again in the next round.
func (r *RelayActs) Run(ctx context.Context) {
	wait := r.Every
	for {
		r.Register.Forget()
		if err := r.round(ctx); err == nil {
			wait = r.Every
		} else if ctx.Err() == nil {
			r.Logger.Warn("acts are not published yet: will try again", "error", err)
			wait = max(r.Every, min(2*wait, relayMaxWait))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// round publishes what is old enough, a batch at most. A user whose acts cannot be published holds up no other.
func (r *RelayActs) round(ctx context.Context) error {
	users, err := r.Outbox.Pending(ctx, r.Now.Stamp().Add(-relayAge), relayBatch)
	if err != nil {
		return err
	}
	var failed error
	for _, user := range users {
		publishing, cancel := context.WithTimeout(ctx, relayTimeout)
		failed = errors.Join(failed, Publish(publishing, r.Outbox, r.Log, r.Register, user))
		cancel()
	}
	return failed
}
