package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/domain"
)

var _ application.DeliveryCursors = (*Store)(nil)

// lockCursor makes the row where there is none, and locks it: two nodes that save a user's cursor at once do not lose what
// the other one delivered.
const (
	selectCursor = `SELECT positions FROM delivered_cursors WHERE user_id = $1`
	lockCursor   = `
		INSERT INTO delivered_cursors (user_id, positions) VALUES ($1, '')
		ON CONFLICT (user_id) DO UPDATE SET positions = delivered_cursors.positions
		RETURNING positions`
	setCursor         = `UPDATE delivered_cursors SET positions = $2 WHERE user_id = $1`
	forgetCursors     = `DELETE FROM delivered_cursors`
	selectUndelivered = `
		SELECT ` + messageColumns + ` FROM messages
		WHERE addressee = $1 AND log_partition = $2
			AND (generation, log_offset) >= ($3, $4) AND (generation, log_offset) < ($5, $6)
		ORDER BY generation, log_offset LIMIT $7`
)

// SaveCursors implements application.DeliveryCursors. Users are locked in the order of their ids.
func (s *Store) SaveCursors(ctx context.Context, cursors map[domain.UserID][]application.LogPosition) error {
	users := slices.Sorted(maps.Keys(cursors))
	return s.write(ctx, "save cursors", func(ctx context.Context, tx *sqlx.Tx) error {
		began, err := readCursor(ctx, tx, domain.System)
		if err != nil {
			return err
		}
		for _, user := range users {
			if err := saveCursor(ctx, tx, user, cursors[user], began); err != nil {
				return err
			}
		}
		return nil
	})
}

func saveCursor(ctx context.Context, tx *sqlx.Tx, user domain.UserID, places, began []application.LogPosition) error {
	var text string
	if err := tx.GetContext(ctx, &text, lockCursor, int64(user)); err != nil {
		return err
	}
	saved, err := parseCursor(text)
	if err != nil {
		return err
	}
	switch {
	case len(saved) > 0:
	case user == domain.System:
		saved = make([]application.LogPosition, len(places))
	default:
		saved = slices.Clone(began)
	}
	for _, at := range places {
		if at.Partition < len(saved) && saved[at.Partition].Before(at) {
			saved[at.Partition] = at
		}
	}
	_, err = tx.ExecContext(ctx, setCursor, int64(user), formatCursor(saved))
	return err
}

// readCursor returns a cursor, nil where there is none.
func readCursor(ctx context.Context, q sqlx.QueryerContext, user domain.UserID) ([]application.LogPosition, error) {
	var text string
	err := sqlx.GetContext(ctx, q, &text, selectCursor, int64(user))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseCursor(text)
}

// Cursor implements application.DeliveryCursors.
func (s *Store) Cursor(ctx context.Context, user domain.UserID) (cursor []application.LogPosition, err error) {
	err = s.read(ctx, "load cursor", func(ctx context.Context, db *sqlx.DB) error {
		cursor, err = readCursor(ctx, db, user)
		return err
	})
	if err != nil {
		return nil, err
	}
	return cursor, nil
}

// ForgetCursors implements application.DeliveryCursors.
func (s *Store) ForgetCursors(ctx context.Context) error {
	return s.write(ctx, "forget cursors", func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, forgetCursors)
		return err
	})
}

// Undelivered implements application.DeliveryCursors. Partitions of which nothing is wanted cost nothing.
func (s *Store) Undelivered(
	ctx context.Context, user domain.UserID, from, to []application.LogPosition, limit int,
) (lists [][]application.HistoryEntry, err error) {
	err = s.read(ctx, "load undelivered", func(ctx context.Context, db *sqlx.DB) error {
		statement, err := db.PreparexContext(ctx, selectUndelivered)
		if err != nil {
			return err
		}
		defer statement.Close()
		for partition := range from {
			var rows []messageRow
			if !from[partition].Before(to[partition]) {
				lists = append(lists, nil)
				continue
			}
			if err := statement.SelectContext(ctx, &rows, int64(user), partition, from[partition].Generation,
				from[partition].Offset, to[partition].Generation, to[partition].Offset, limit); err != nil {
				return err
			}
			list, err := entries(rows)
			if err != nil {
				return err
			}
			lists = append(lists, list)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lists, nil
}

// formatCursor writes a cursor as it is kept: "1:42 1:7" for partitions 0 and 1.
func formatCursor(cursor []application.LogPosition) string {
	var out []byte
	for i, at := range cursor {
		if i > 0 {
			out = append(out, ' ')
		}
		out = strconv.AppendInt(out, at.Generation, 10)
		out = append(out, ':')
		out = strconv.AppendInt(out, at.Offset, 10)
	}
	return string(out)
}

func parseCursor(text string) ([]application.LogPosition, error) {
	var cursor []application.LogPosition
	for field := range strings.FieldsSeq(text) {
		generation, offset, _ := strings.Cut(field, ":")
		at := application.LogPosition{Partition: len(cursor)}
		var err error
		if at.Generation, err = strconv.ParseInt(generation, 10, 64); err == nil {
			at.Offset, err = strconv.ParseInt(offset, 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("history: %q is no cursor: %w", text, err)
		}
		cursor = append(cursor, at)
	}
	return cursor, nil
}
