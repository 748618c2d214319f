package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/domain"
)

var (
	_ application.HistoryReader    = (*Store)(nil)
	_ application.ReadMarks        = (*Store)(nil)
	_ application.HistoryRetention = (*Store)(nil)
)

// A user reads its conversations from the side that it is of: as the lower id or as the higher one. The statements of the
// two sides differ in nothing but the names of columns, so that each has an index that fits. The + 0 makes the place that
// is looked up a value without a column's type: SQLite takes both halves of it into the index only then.
const (
	messageColumns = `event_id, generation, log_partition, log_offset, sender, occurred_at, frame`

	// The last parameter of each is how many rows it looks at: see readPage.
	newestOfLow = `
		SELECT ` + messageColumns + ` FROM messages
		WHERE low = $1 AND visible_low = TRUE AND high = $2
		ORDER BY generation DESC, log_offset DESC LIMIT $3`
	newestOfHigh = `
		SELECT ` + messageColumns + ` FROM messages
		WHERE high = $1 AND visible_high = TRUE AND low = $2
		ORDER BY generation DESC, log_offset DESC LIMIT $3`
	earlierOfLow = `
		SELECT ` + messageColumns + ` FROM messages
		WHERE low = $1 AND visible_low = TRUE AND high = $2 AND (generation, log_offset) < (
				(SELECT generation + 0 ` + seenByLow + `), (SELECT log_offset + 0 ` + seenByLow + `))
		ORDER BY generation DESC, log_offset DESC LIMIT $4`
	earlierOfHigh = `
		SELECT ` + messageColumns + ` FROM messages
		WHERE high = $1 AND visible_high = TRUE AND low = $2 AND (generation, log_offset) < (
				(SELECT generation + 0 ` + seenByHigh + `), (SELECT log_offset + 0 ` + seenByHigh + `))
		ORDER BY generation DESC, log_offset DESC LIMIT $4`
	seenByLow   = `FROM messages WHERE low = $1 AND high = $2 AND event_id = $3 AND visible_low = TRUE`
	seenByHigh  = `FROM messages WHERE low = $2 AND high = $1 AND event_id = $3 AND visible_high = TRUE`
	placeOfLow  = `SELECT generation, log_offset ` + seenByLow
	placeOfHigh = `SELECT generation, log_offset ` + seenByHigh
)

// place is where an entry stands within its conversation.
type place struct {
	Generation int64 `db:"generation"`
	Offset     int64 `db:"log_offset"`
}

// messageRow is an entry as it is read.
type messageRow struct {
	place

	EventID    []byte        `db:"event_id"`
	Partition  int           `db:"log_partition"`
	Sender     domain.UserID `db:"sender"`
	OccurredAt int64         `db:"occurred_at"`
	Frame      []byte        `db:"frame"`
}

func (r messageRow) entry() (application.HistoryEntry, error) {
	id, err := eventID(r.EventID)
	if err != nil {
		return application.HistoryEntry{}, err
	}
	return application.HistoryEntry{
		ID:       id,
		Position: application.LogPosition{Generation: r.Generation, Partition: r.Partition, Offset: r.Offset},
		Sender:   r.Sender, At: time.UnixMilli(r.OccurredAt).UTC(), Frame: r.Frame,
	}, nil
}

func eventID(column []byte) (domain.EventID, error) {
	if len(column) != len(domain.EventID{}) {
		return domain.EventID{}, fmt.Errorf("history: event id %x is no UUID", column)
	}
	return domain.EventID(column), nil
}

func entries(rows []messageRow) ([]application.HistoryEntry, error) {
	list := make([]application.HistoryEntry, 0, len(rows))
	for _, row := range rows {
		entry, err := row.entry()
		if err != nil {
			return nil, err
		}
		list = append(list, entry)
	}
	return list, nil
}

// Messages implements application.HistoryReader.
func (s *Store) Messages(
	ctx context.Context, owner, partner domain.UserID, before *domain.EventID, bounds application.PageBounds,
) (list []application.HistoryEntry, more bool, err error) {
	newest, earlier := s.pages.newestOfHigh, s.pages.earlierOfHigh
	if owner <= partner {
		newest, earlier = s.pages.newestOfLow, s.pages.earlierOfLow
	}
	err = s.readHistory(ctx, "read messages", func(ctx context.Context, db *sqlx.DB) (err error) {
		var rows []messageRow
		if before == nil {
			rows, more, err = readPage[messageRow](ctx, db, newest, bounds, int64(owner), int64(partner))
		} else {
			rows, more, err = readPage[messageRow](ctx, db, earlier, bounds, int64(owner), int64(partner), before[:])
		}
		if err == nil {
			list, err = entries(rows)
		}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return list, more, nil
}

// Sees implements application.HistoryReader.
func (s *Store) Sees(ctx context.Context, owner, partner domain.UserID, id domain.EventID) (sees bool, err error) {
	err = s.readHistory(ctx, "look for message", func(ctx context.Context, db *sqlx.DB) (err error) {
		_, sees, err = placeOf(ctx, db, owner, partner, id)
		return err
	})
	return sees, err
}

// placeOf finds an entry that owner sees in its conversation with partner.
func placeOf(
	ctx context.Context, db sqlx.QueryerContext, owner, partner domain.UserID, id domain.EventID,
) (at place, known bool, err error) {
	query := placeOfHigh
	if owner <= partner {
		query = placeOfLow
	}
	err = sqlx.GetContext(ctx, db, &at, query, int64(owner), int64(partner), id[:])
	if errors.Is(err, sql.ErrNoRows) {
		return place{}, false, nil
	}
	return at, err == nil, err
}

const (
	newestPlaceOfLow = `
		SELECT generation, log_offset FROM messages WHERE low = $1 AND visible_low = TRUE AND high = $2
		ORDER BY generation DESC, log_offset DESC LIMIT 1`
	newestPlaceOfHigh = `
		SELECT generation, log_offset FROM messages WHERE high = $1 AND visible_high = TRUE AND low = $2
		ORDER BY generation DESC, log_offset DESC LIMIT 1`
	moveMark = `
		INSERT INTO conversation_marks (owner, partner, generation, log_offset) VALUES ($1, $2, $3, $4)
		ON CONFLICT (owner, partner) DO UPDATE SET generation = excluded.generation, log_offset = excluded.log_offset
			WHERE (conversation_marks.generation, conversation_marks.log_offset) < (excluded.generation, excluded.log_offset)`
	selectMarked = `
		SELECT EXISTS (SELECT 1 FROM conversation_marks
			WHERE owner = $1 AND partner = $2 AND (generation, log_offset) >= ($3, $4))`
	selectUnread = `SELECT unread FROM conversation_marks WHERE owner = $1 AND partner = $2`
)

// MarkRead implements application.ReadMarks. A mark that does not move is only looked at: nothing is locked, and nothing is
// written.
func (s *Store) MarkRead(
	ctx context.Context, owner, partner domain.UserID, message *domain.EventID,
) (known bool, err error) {
	marked := false
	err = s.read(ctx, "look for read mark", func(ctx context.Context, db *sqlx.DB) error {
		var at place
		if at, known, err = placeToMark(ctx, db, owner, partner, message); err != nil || !known {
			return err
		}
		return db.GetContext(ctx, &marked, selectMarked, int64(owner), int64(partner), at.Generation, at.Offset)
	})
	if err != nil {
		return false, err
	}
	if !known || marked {
		return known || message == nil, nil // nothing to see is read
	}
	err = s.writeHistory(ctx, "mark read", func(ctx context.Context, tx *sqlx.Tx) error {
		var at place
		var err error
		if at, known, err = placeToMark(ctx, tx, owner, partner, message); err != nil || !known {
			known = message == nil
			return err
		}
		_, err = tx.ExecContext(ctx, moveMark, int64(owner), int64(partner), at.Generation, at.Offset)
		return err
	})
	return known && err == nil, err
}

// placeToMark returns the place of a message, or of the newest one if message is nil; false if there is none.
func placeToMark(
	ctx context.Context, db sqlx.QueryerContext, owner, partner domain.UserID, message *domain.EventID,
) (at place, known bool, err error) {
	if message != nil {
		return placeOf(ctx, db, owner, partner, *message)
	}
	return newestPlace(ctx, db, owner, partner)
}

func newestPlace(ctx context.Context, db sqlx.QueryerContext, owner, partner domain.UserID) (at place, known bool, err error) {
	query := newestPlaceOfHigh
	if owner <= partner {
		query = newestPlaceOfLow
	}
	err = sqlx.GetContext(ctx, db, &at, query, int64(owner), int64(partner))
	if errors.Is(err, sql.ErrNoRows) {
		return place{}, false, nil
	}
	return at, err == nil, err
}

// Unread implements application.ReadMarks.
func (s *Store) Unread(ctx context.Context, owner, partner domain.UserID) (unread int, err error) {
	err = s.readHistory(ctx, "load unread", func(ctx context.Context, db *sqlx.DB) error {
		err := db.GetContext(ctx, &unread, selectUnread, int64(owner), int64(partner))
		if errors.Is(err, sql.ErrNoRows) {
			return nil // nothing was ever said to the owner there
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return min(unread, application.MaxUnread), nil
}

const expireMessages = `
	DELETE FROM messages WHERE (low, high, event_id) IN (
		SELECT low, high, event_id FROM messages WHERE occurred_at < $1 ORDER BY occurred_at LIMIT $2)`

// Expire implements application.HistoryRetention.
func (s *Store) Expire(ctx context.Context, before time.Time, limit int) (expired int, err error) {
	err = s.write(ctx, "expire messages", func(ctx context.Context, tx *sqlx.Tx) error {
		rows, err := rowsAffected(tx.ExecContext(ctx, expireMessages, before.UnixMilli(), limit))
		expired = int(rows)
		return err
	})
	if err != nil {
		return 0, err
	}
	return expired, nil
}
