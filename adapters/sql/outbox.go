package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/domain"
)

// A change is too young if its time is within the 70 s after the one given. A later time is of a clock that was ahead, and
// says nothing of the change's age. selectPending leaves out a change whose pair has an earlier one that is not old enough
// (clocks of nodes differ): the
// versions of a pair come out in order and without a gap, whatever their times and wherever the limit cuts.
const (
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

// deleteAtOnce bounds the parameters of one statement, far below what either database takes.
const deleteAtOnce = 500

// outboxRow is a change as it waits.
type outboxRow struct {
	EventID    string        `db:"event_id"`
	Blocker    domain.UserID `db:"blocker"`
	Target     domain.UserID `db:"target"`
	Blocked    bool          `db:"blocked"`
	Version    int64         `db:"version"`
	OccurredAt int64         `db:"occurred_at"`
}

func (r outboxRow) event() (domain.Event, error) {
	id, ok := domain.ParseEventID(r.EventID)
	if !ok {
		return domain.Event{}, fmt.Errorf("outbox: event id %q is no UUID", r.EventID)
	}
	return domain.Event{
		ID:   id,
		Time: time.UnixMilli(r.OccurredAt).UTC(),
		Body: domain.BlockChanged{Blocker: r.Blocker, Target: r.Target, Blocked: r.Blocked, Version: r.Version},
	}, nil
}

// PendingOf implements application.Outbox.
func (s *Store) PendingOf(ctx context.Context, blocker, target domain.UserID) ([]domain.Event, error) {
	return s.pending(ctx, selectPendingOf, int64(blocker), int64(target))
}

// Pending implements application.Outbox. Pairs come in ascending order.
func (s *Store) Pending(ctx context.Context, before time.Time, limit int) ([]domain.Event, error) {
	return s.pending(ctx, selectPending, before.UnixMilli(), int64(limit))
}

func (s *Store) pending(ctx context.Context, query string, arguments ...any) (events []domain.Event, err error) {
	err = s.read(ctx, "load outbox", func(ctx context.Context, db *sqlx.DB) error {
		var rows []outboxRow
		if err := db.SelectContext(ctx, &rows, query, arguments...); err != nil {
			return err
		}
		for _, row := range rows {
			event, err := row.event()
			if err != nil {
				return err
			}
			events = append(events, event)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// MarkPublished implements application.Outbox.
func (s *Store) MarkPublished(ctx context.Context, ids []domain.EventID) error {
	return s.write(ctx, "mark published", func(ctx context.Context, tx *sqlx.Tx) error {
		for chunk := range slices.Chunk(ids, deleteAtOnce) {
			texts := make([]string, 0, len(chunk))
			for _, id := range chunk {
				texts = append(texts, id.String())
			}
			query, arguments, err := sqlx.In(deleteOutbox, texts)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, sqlx.Rebind(sqlx.DOLLAR, query), arguments...); err != nil {
				return err
			}
		}
		return nil
	})
}
