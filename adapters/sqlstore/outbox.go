package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

// A change is too young if its time is within the 70 s after the one given. A later time is of a clock that was ahead, and
// says nothing of the change's age. selectPending leaves out a change whose pair has an earlier one that is not old enough
// (clocks of nodes differ): the versions of a pair come out in order and without a gap, whatever their times and wherever the
// limit cuts.
const (
	insertOutbox = `
		INSERT INTO outbox (event_id, blocker, target, blocked, version, occurred_at) VALUES ($1, $2, $3, $4, $5, $6)`
	selectPendingOf = `
		SELECT event_id, blocker, target, blocked, version, occurred_at FROM outbox
		WHERE blocker = $1 AND target = $2 ORDER BY version`
	selectPending = `
		SELECT event_id, blocker, target, blocked, version, occurred_at FROM outbox AS o
		WHERE occurred_at NOT BETWEEN $1 AND $1 + 70000 AND NOT EXISTS (
			SELECT 1 FROM outbox AS earlier
			WHERE earlier.blocker = o.blocker AND earlier.target = o.target
				AND earlier.version < o.version AND earlier.occurred_at BETWEEN $1 AND $1 + 70000)
		ORDER BY blocker, target, version LIMIT $2`
	deleteOutbox = `DELETE FROM outbox WHERE event_id IN (?)`
)

// publish puts a change into the outbox, under the id by which the database knows it again.
func publish(ctx context.Context, tx *sqlx.Tx, key []byte, change domain.BlockChanged, at int64) error {
	id := domain.BlockEventID(key, change.Blocker, change.Target, change.Version)
	_, err := tx.ExecContext(ctx, insertOutbox, id.String(), change.Blocker, change.Target, change.Blocked, change.Version, at)
	return err
}

// outboxRow is a change as it waits.
type outboxRow struct {
	EventID    string `db:"event_id"`
	OccurredAt int64  `db:"occurred_at"`
	domain.BlockChanged
}

func (r outboxRow) event() (domain.Event, error) {
	id, ok := domain.ParseEventID(r.EventID)
	if !ok {
		return domain.Event{}, fmt.Errorf("outbox: event id %q is no UUID", r.EventID)
	}
	return domain.Event{ID: id, Time: time.UnixMilli(r.OccurredAt).UTC(), Body: r.BlockChanged}, nil
}

// PendingOf implements blocks.Outbox.
func (b *Blocks) PendingOf(ctx context.Context, blocker, target domain.UserID) ([]domain.Event, error) {
	return b.pending(ctx, selectPendingOf, blocker, target)
}

// Pending implements blocks.Outbox. Pairs come in ascending order.
func (b *Blocks) Pending(ctx context.Context, before time.Time, limit int) ([]domain.Event, error) {
	return b.pending(ctx, selectPending, before.UnixMilli(), limit)
}

func (b *Blocks) pending(ctx context.Context, query string, arguments ...any) ([]domain.Event, error) {
	rows, err := database.Select[outboxRow](ctx, b.db, "load outbox", query, arguments...)
	if err != nil {
		return nil, err
	}
	return database.Convert(rows, outboxRow.event)
}

// MarkPublished implements blocks.Outbox.
func (b *Blocks) MarkPublished(ctx context.Context, ids []domain.EventID) error {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return b.db.Write(ctx, "mark published", func(ctx context.Context, tx *sqlx.Tx) error {
		return database.InChunks(texts, deleteOutbox, nil, func(query string, arguments []any) error {
			_, err := tx.ExecContext(ctx, query, arguments...)
			return err
		})
	})
}
