package conversations

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

// Cursors keeps up to where in the log everything was delivered to a user.
type Cursors struct{ db *database.DB }

// lockCursors takes the ids of the users. setCursors takes one row of values for each user.
const (
	selectCursor  = `SELECT positions FROM delivered_cursors WHERE user_id = $1`
	forgetCursors = `DELETE FROM delivered_cursors`
	// lockCursors makes the rows that are missing, and locks all: two nodes that save a user's cursor at once do not lose
	// what the other one delivered. A user who was erased before is left out.
	lockCursors = `
		INSERT INTO delivered_cursors (user_id, positions)
		SELECT id, '' FROM (
			SELECT id FROM users WHERE id IN (%[1]s) UNION ALL SELECT 0 AS id WHERE 0 IN (%[1]s)
		) AS wanted WHERE TRUE ORDER BY id
		ON CONFLICT (user_id) DO UPDATE SET positions = delivered_cursors.positions
		RETURNING user_id, positions`
	setCursors = `
		INSERT INTO delivered_cursors (user_id, positions) VALUES %s
		ON CONFLICT (user_id) DO UPDATE SET positions = excluded.positions`
)

// SaveCursors implements replay.Cursors. Users are locked in the order of their ids.
func (c *Cursors) SaveCursors(ctx context.Context, cursors map[domain.UserID][]domain.Place) error {
	users := slices.Sorted(maps.Keys(cursors))
	return c.db.Write(ctx, "save cursors", func(ctx context.Context, tx *sqlx.Tx) error {
		began, err := readCursor(ctx, tx, domain.System)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(users, database.PerStatement) {
			if err := saveCursors(ctx, tx, some, cursors, began); err != nil {
				return err
			}
		}
		return nil
	})
}

func saveCursors(
	ctx context.Context, tx *sqlx.Tx, users []domain.UserID,
	cursors map[domain.UserID][]domain.Place, began []domain.Place,
) error {
	var values []string
	var arguments []any
	for i, user := range users {
		values, arguments = append(values, fmt.Sprintf("$%d", i+1)), append(arguments, user)
	}
	var rows []struct {
		User      domain.UserID `db:"user_id"`
		Positions string
	}
	if err := tx.SelectContext(ctx, &rows, fmt.Sprintf(lockCursors, strings.Join(values, ", ")), arguments...); err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	values, arguments = nil, nil
	for i, row := range rows {
		saved, err := parseCursor(row.Positions)
		if err != nil {
			return err
		}
		places := cursors[row.User]
		switch {
		case len(saved) > 0:
		case row.User == domain.System:
			saved = make([]domain.Place, len(places))
		default:
			saved = slices.Clone(began)
		}
		for _, at := range places {
			if at.Partition < len(saved) && saved[at.Partition].Before(at) {
				saved[at.Partition] = at
			}
		}
		values = append(values, fmt.Sprintf("($%d, $%d)", 2*i+1, 2*i+2))
		arguments = append(arguments, row.User, formatCursor(saved))
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf(setCursors, strings.Join(values, ", ")), arguments...)
	return err
}

// readCursor returns a cursor, nil if there is none.
func readCursor(ctx context.Context, db sqlx.QueryerContext, user domain.UserID) ([]domain.Place, error) {
	text, _, err := database.Find[string](ctx, db, selectCursor, user)
	if err != nil {
		return nil, err
	}
	return parseCursor(text)
}

// Cursor implements replay.Cursors.
func (c *Cursors) Cursor(ctx context.Context, user domain.UserID) ([]domain.Place, error) {
	return database.Ask(ctx, c.db, "load cursor", func(ctx context.Context, db sqlx.QueryerContext) ([]domain.Place, error) {
		return readCursor(ctx, db, user)
	})
}

// ForgetCursors implements replay.Cursors.
func (c *Cursors) ForgetCursors(ctx context.Context) error {
	_, err := c.db.Exec(ctx, "forget cursors", forgetCursors)
	return err
}

// formatCursor writes a cursor as it is kept: "1:42 1:7" for partitions 0 and 1.
func formatCursor(cursor []domain.Place) string {
	fields := make([]string, len(cursor))
	for i, at := range cursor {
		fields[i] = fmt.Sprintf("%d:%d", at.Generation, at.Offset)
	}
	return strings.Join(fields, " ")
}

func parseCursor(text string) ([]domain.Place, error) {
	var cursor []domain.Place
	for field := range strings.FieldsSeq(text) {
		generation, offset, _ := strings.Cut(field, ":")
		at := domain.Place{Partition: len(cursor)}
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
