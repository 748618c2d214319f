package database

import (
	"database/sql"
	"errors"
	"time"

	"chatting/domain"
)

// Observer is told of each query and transaction. Its method is called by many goroutines and must not block.
type Observer interface {
	// Called tells that a call ended, with its Outcome, and how long it took, with waiting for a connection.
	Called(outcome string, took time.Duration)
}

// The outcomes of a call.
const (
	OutcomeDone        = "done"        // also if the caller's own rules refused what was asked
	OutcomeUnavailable = "unavailable" // the database was away, too slow or too busy, or the caller gave up
	OutcomeFailed      = "failed"      // the database refused the statement
)

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return OutcomeDone
	case domain.CodeOf(err) == domain.CodeUnavailable:
		return OutcomeUnavailable
	case errors.As(err, new(*domain.Error)):
		return OutcomeDone
	default:
		return OutcomeFailed
	}
}

// Pools returns the state of the connections for single queries and of those for transactions. If they are the same, twoPools is
// false, and all are under write.
func (db *DB) Pools() (read, write sql.DBStats, twoPools bool) {
	write = db.Writer.Stats()
	if db.Reader == db.Writer {
		return sql.DBStats{}, write, false
	}
	return db.Reader.Stats(), write, true
}
