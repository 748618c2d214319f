package installation

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/adapters/sqlstore"
	"chatting/domain"
)

const (
	databaseWaitEvery  = time.Second
	databaseWaitRepeat = time.Minute // the line is written again
)

// Patiently repeats a step of a server's start while the database does not answer, until ctx ends. A database that is away before the
// start has its first word with it ends the process. One that drops connections later would not be back any sooner if the process
// ended, and its health paths would be away, too.
func Patiently(ctx context.Context, logger *slog.Logger, do func(context.Context) error) error {
	var saidAt time.Time
	for {
		err := do(ctx)
		if err == nil || ctx.Err() != nil || !isAway(err) {
			return err
		}
		if saidAt.IsZero() || time.Since(saidAt) > databaseWaitRepeat {
			saidAt = time.Now()
			logger.Warn("waiting for the database", "error", err)
		}
		select {
		case <-time.After(databaseWaitEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isAway tells whether trying again may help: a database that was moved to another log stays there.
func isAway(err error) bool {
	return domain.CodeOf(err) == domain.CodeUnavailable && !errors.As(err, new(*sqlstore.OtherLogError))
}
