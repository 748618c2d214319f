package application

import (
	"context"
	"log/slog"
	"time"
)

// ExpireHistory keeps the history from reaching back further than Retention. Every node may run one.
type ExpireHistory struct {
	Store     HistoryRetention
	Retention time.Duration
	Now       Clock
	Every     time.Duration
	Logger    *slog.Logger
}

// expireAtOnce bounds the entries that one transaction deletes.
const expireAtOnce = 1000

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
	before := e.Now.stamp().Add(-e.Retention)
	for {
		expired, err := e.Store.Expire(ctx, before, expireAtOnce)
		if err != nil || expired < expireAtOnce {
			return err
		}
	}
}
