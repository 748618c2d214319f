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
	selectGenerations = `SELECT log_partition, generation FROM projections`
	selectUndelivered = `
		SELECT ` + messageColumns + ` FROM messages
		WHERE addressee = $1 AND log_partition = $2
			AND (generation, log_offset) >= ($3, $4) AND (generation, log_offset) < ($5, $6)
		ORDER BY generation, log_offset LIMIT $7`
)

// SaveCursors implements application.DeliveryCursors. Users are locked in the order of their ids.
func (s *Store) SaveCursors(ctx context.Context, cursors map[domain.UserID][]int64) error {
	users := slices.Sorted(maps.Keys(cursors))
	return s.write(ctx, "save cursors", func(ctx context.Context, tx *sqlx.Tx) error {
		generations, err := generations(ctx, tx)
		if err != nil {
			return err
		}
		for _, user := range users {
			if err := saveCursor(ctx, tx, user, cursors[user], generations); err != nil {
				return err
			}
		}
		return nil
	})
}

func saveCursor(
	ctx context.Context, tx *sqlx.Tx, user domain.UserID, offsets []int64, generations map[int]int64,
) error {
	var text string
	if err := tx.GetContext(ctx, &text, lockCursor, int64(user)); err != nil {
		return err
	}
	saved, err := parseCursor(text)
	if err != nil {
		return err
	}
	for partition, offset := range offsets {
		at := application.LogPosition{Generation: 1, Partition: partition, Offset: offset}
		if generation, started := generations[partition]; started {
			at.Generation = generation
		}
		switch {
		case partition >= len(saved):
			saved = append(saved, at)
		case saved[partition].Before(at):
			saved[partition] = at
		}
	}
	_, err = tx.ExecContext(ctx, setCursor, int64(user), formatCursor(saved))
	return err
}

func generations(ctx context.Context, tx *sqlx.Tx) (map[int]int64, error) {
	var rows []struct {
		Partition  int   `db:"log_partition"`
		Generation int64 `db:"generation"`
	}
	if err := tx.SelectContext(ctx, &rows, selectGenerations); err != nil {
		return nil, err
	}
	generations := make(map[int]int64, len(rows))
	for _, row := range rows {
		generations[row.Partition] = row.Generation
	}
	return generations, nil
}

// Cursor implements application.DeliveryCursors.
func (s *Store) Cursor(ctx context.Context, user domain.UserID) (cursor []application.LogPosition, err error) {
	err = s.read(ctx, "load cursor", func(ctx context.Context, db *sqlx.DB) error {
		var text string
		err := db.GetContext(ctx, &text, selectCursor, int64(user))
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			cursor, err = parseCursor(text)
		}
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

// Undelivered implements application.DeliveryCursors.
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
