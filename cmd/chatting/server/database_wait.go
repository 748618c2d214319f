package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/adapters/sqlstore"
	"chatting/domain"
)

// databaseWait repeats what a start asks of the database, until that answers. A database that is away before the start has its first
// word with it ends the process: see openStore. One that drops connections later would not be back any sooner if this process
// ended, and its health paths would be away, too.
type databaseWait struct {
	logger *slog.Logger
	every  time.Duration
}

const (
	databaseWaitEvery  = time.Second
	databaseWaitRepeat = time.Minute // the line is written again
)

// patient is work that is done before the next step begins, and is repeated while the database does not answer.
func (w databaseWait) patient(do func(context.Context) error) step {
	return first(func(ctx context.Context) error { return w.run(ctx, do) })
}

func (w databaseWait) run(ctx context.Context, do func(context.Context) error) error {
	var saidAt time.Time
	for {
		err := do(ctx)
		if err == nil || ctx.Err() != nil || !isAway(err) {
			return err
		}
		if saidAt.IsZero() || time.Since(saidAt) > databaseWaitRepeat {
			saidAt = time.Now()
			w.logger.Warn("waiting for the database", "error", err)
		}
		select {
		case <-time.After(w.every):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isAway tells whether trying again may help: a database that was moved to another log stays there.
func isAway(err error) bool {
	return domain.CodeOf(err) == domain.CodeUnavailable && !errors.As(err, new(*sqlstore.OtherLogError))
}
