package history

import (
	"context"
	"log/slog"
	"time"

	"chatting/domain"
)

// Retention deletes what is older than the history is to reach back.
type Retention interface {
	// Expire deletes at most limit entries, and events of read marks, whose own time is before the one given, and tells how
	// many. A read mark goes with the last entry of its conversation.
	Expire(ctx context.Context, before time.Time, limit int) (int, error)
}

// RetentionClock is the time by which data is deleted for its age: see domain.TrustedClock.
type RetentionClock interface {
	// AdvanceClock has the clock go on to the earlier of the database's time and the log's, and returns it. The database
	// keeps it, for all nodes.
	AdvanceClock(ctx context.Context, log time.Time) (domain.TrustedClock, error)
}

// ExpireHistory keeps the history from reaching back further than Retention. Every node may run one. It does not go by the
// node's own clock, which may be wrong: a node that is ahead would delete what all nodes still show.
type ExpireHistory struct {
	Store Retention
	Clock RetentionClock
	// LogTime returns the time that the log has come to; zero while that is not known.
	LogTime   func() time.Time
	Retention time.Duration
	Every     time.Duration
	Logger    *slog.Logger

	refused int // rounds since the clock was last trusted. It belongs to Run.
}

const (
	// expireAtOnce bounds the entries that one transaction deletes.
	expireAtOnce = 1000
	// refusedRepeat is after how many rounds the log says again that nothing is deleted.
	refusedRepeat = 60
)

// Run deletes what is too old until ctx ends. Failures are logged and tried again in the next round.
func (e *ExpireHistory) Run(ctx context.Context) {
	ticker := time.NewTicker(e.Every)
	defer ticker.Stop()
	for {
		if err := e.round(ctx); err != nil && ctx.Err() == nil {
			e.Logger.Warn("history: what is too old will be deleted later", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (e *ExpireHistory) round(ctx context.Context) error {
	log := e.LogTime()
	if log.IsZero() {
		return nil
	}
	clock, err := e.Clock.AdvanceClock(ctx, log)
	if err != nil {
		return err
	}
	if !clock.Refused.IsZero() {
		if e.refused%refusedRepeat == 0 {
			e.Logger.Error("the clock leapt: nothing is deleted for its age until it is right again, or has gone on for a day",
				"from", clock.At.UTC(), "to", clock.Refused.UTC(), "gone_on_for", clock.Held.String())
		}
		e.refused++
		return nil
	}
	if e.refused > 0 {
		e.Logger.Info("the clock is trusted again: what is too old is deleted", "clock", clock.At.UTC())
		e.refused = 0
	}
	before := clock.At.UTC().Truncate(time.Millisecond).Add(-e.Retention)
	for {
		expired, err := e.Store.Expire(ctx, before, expireAtOnce)
		if err != nil || expired < expireAtOnce {
			return err
		}
	}
}
