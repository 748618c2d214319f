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
	if len(r.EventID) != len(domain.EventID{}) {
		return application.HistoryEntry{}, fmt.Errorf("history: event id %x is no UUID", r.EventID)
	}
	return application.HistoryEntry{
		ID:       domain.EventID(r.EventID),
		Position: application.LogPosition{Generation: r.Generation, Partition: r.Partition, Offset: r.Offset},
		Sender:   r.Sender, At: time.UnixMilli(r.OccurredAt).UTC(), Frame: r.Frame,
	}, nil
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
	ctx context.Context, owner, partner domain.UserID, before *domain.EventID, limit int,
) (list []application.HistoryEntry, err error) {
	newest, earlier := newestOfHigh, earlierOfHigh
	if owner <= partner {
		newest, earlier = newestOfLow, earlierOfLow
	}
	err = s.read(ctx, "read messages", func(ctx context.Context, db *sqlx.DB) (err error) {
		var rows []messageRow
		if before == nil {
			err = db.SelectContext(ctx, &rows, newest, int64(owner), int64(partner), limit)
		} else {
			err = db.SelectContext(ctx, &rows, earlier, int64(owner), int64(partner), before[:], limit)
		}
		if err == nil {
			list, err = entries(rows)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Sees implements application.HistoryReader.
func (s *Store) Sees(ctx context.Context, owner, partner domain.UserID, id domain.EventID) (sees bool, err error) {
	err = s.read(ctx, "look for message", func(ctx context.Context, db *sqlx.DB) (err error) {
		_, sees, err = placeOf(ctx, db, owner, partner, id)
		return err
	})
	return sees && err == nil, err
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

// selectConversations walks from one partner to the next by the indexes of what is seen, takes the last entry of each, and
// counts what is unread on the page alone.
const selectConversations = `
	WITH RECURSIVE
	above (partner) AS (
		SELECT MIN(high) FROM messages WHERE low = $1 AND visible_low = TRUE
		UNION ALL
		SELECT (SELECT MIN(high) FROM messages WHERE low = $1 AND visible_low = TRUE AND high > above.partner)
		FROM above WHERE above.partner IS NOT NULL),
	below (partner) AS (
		SELECT MIN(low) FROM messages WHERE high = $1 AND visible_high = TRUE AND low < $1
		UNION ALL
		SELECT (SELECT MIN(low) FROM messages WHERE high = $1 AND visible_high = TRUE AND low < $1 AND low > below.partner)
		FROM below WHERE below.partner IS NOT NULL),
	conversations (low, high, partner, last_id) AS (
		SELECT $1, partner, partner, (
			SELECT event_id FROM messages WHERE low = $1 AND visible_low = TRUE AND high = above.partner
			ORDER BY generation DESC, log_offset DESC LIMIT 1)
		FROM above WHERE partner IS NOT NULL
		UNION ALL
		SELECT partner, $1, partner, (
			SELECT event_id FROM messages WHERE high = $1 AND visible_high = TRUE AND low = below.partner
			ORDER BY generation DESC, log_offset DESC LIMIT 1)
		FROM below WHERE partner IS NOT NULL),
	page AS (
		SELECT conversations.partner, messages.* FROM conversations
		JOIN messages ON messages.low = conversations.low AND messages.high = conversations.high
			AND messages.event_id = conversations.last_id
		WHERE (occurred_at, conversations.partner) < ($2, $3)
		ORDER BY occurred_at DESC, conversations.partner DESC LIMIT $4)
	SELECT page.partner, page.event_id, page.generation, page.log_partition, page.log_offset, page.sender, page.occurred_at,
		page.frame, (
		SELECT COUNT(*) FROM (
			SELECT 1 FROM messages AS unread
			WHERE unread.addressee = $1 AND unread.sender = page.partner
				AND (unread.generation, unread.log_offset) > (COALESCE(mark.generation, 0), COALESCE(mark.log_offset, 0))
			LIMIT $5) AS counted) AS unread
	FROM page LEFT JOIN conversation_marks AS mark ON mark.owner = $1 AND mark.partner = page.partner
	ORDER BY page.occurred_at DESC, page.partner DESC`

// Conversations implements application.HistoryReader.
func (s *Store) Conversations(
	ctx context.Context, owner domain.UserID, before *application.ConversationCursor, limit int,
) (list []application.ConversationSummary, err error) {
	at, partner := int64(1<<63-1), int64(1<<63-1)
	if before != nil {
		at, partner = before.At.UnixMilli(), int64(before.Partner)
	}
	err = s.read(ctx, "read conversations", func(ctx context.Context, db *sqlx.DB) error {
		var rows []struct {
			messageRow

			Partner domain.UserID `db:"partner"`
			Unread  int           `db:"unread"`
		}
		if err := db.SelectContext(ctx, &rows, selectConversations,
			int64(owner), at, partner, limit, application.MaxUnread); err != nil {
			return err
		}
		for _, row := range rows {
			last, err := row.entry()
			if err != nil {
				return err
			}
			list = append(list, application.ConversationSummary{Partner: row.Partner, Last: last, Unread: row.Unread})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
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
	selectUnread = `
		SELECT COUNT(*) FROM (
			SELECT 1 FROM messages
			WHERE addressee = $1 AND sender = $2
				AND (generation, log_offset) > (
					COALESCE((SELECT generation FROM conversation_marks WHERE owner = $1 AND partner = $2), 0),
					COALESCE((SELECT log_offset FROM conversation_marks WHERE owner = $1 AND partner = $2), 0))
			LIMIT $3) AS counted`
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
	err = s.write(ctx, "mark read", func(ctx context.Context, tx *sqlx.Tx) error {
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
	err = s.read(ctx, "count unread", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &unread, selectUnread, int64(owner), int64(partner), application.MaxUnread)
	})
	if err != nil {
		return 0, err
	}
	return unread, nil
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
