package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/domain"
)

var (
	_ application.DeliveryCursors = (*Store)(nil)
	_ application.Undelivered     = (*Store)(nil)
)

// lockCursors takes the ids of the users. setCursors takes one row of values for each user. waiting and recent are for one
// partition, undelivered is for one sender. A question about many goes in one statement, because each statement takes a
// trip to the database.
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
	// waiting numbers the entries that wait in a partition, over all and for each sender. It returns the first entry of
	// each sender. If it did not look at all entries, it also returns the last one that it looked at.
	waiting = `
		SELECT sender, generation, log_partition, log_offset, occurred_at, of_sender, of_partition FROM (
			SELECT sender, generation, log_partition, log_offset, occurred_at,
				ROW_NUMBER() OVER (PARTITION BY sender ORDER BY generation, log_offset) AS of_sender,
				ROW_NUMBER() OVER (ORDER BY generation, log_offset) AS of_partition
			FROM (
				SELECT sender, generation, log_partition, log_offset, occurred_at FROM messages
				WHERE addressee = $1 AND log_partition = $%d
					AND (generation, log_offset) >= ($%d, $%d) AND (generation, log_offset) < ($%d, $%d)
				ORDER BY generation, log_offset LIMIT $2
			) AS looked_at
		) AS numbered WHERE of_sender = 1 OR of_partition = $2`
	undelivered = `
		SELECT * FROM (
			SELECT ` + messageColumns + ` FROM messages
			WHERE addressee = $1 AND sender = $%d AND log_partition = $%d
				AND (generation, log_offset) >= ($%d, $%d) AND (generation, log_offset) < ($%d, $%d)
			ORDER BY generation, log_offset LIMIT $2
		) AS of_sender`
	recent = `
		SELECT event_id FROM (
			SELECT event_id, occurred_at FROM messages
			WHERE addressee = $1 AND log_partition = $%d AND (generation, log_offset) < ($%d, $%d)
			ORDER BY generation DESC, log_offset DESC LIMIT $2
		) AS latest WHERE occurred_at >= $3`
	// perStatement bounds the users or partitions of a statement.
	perStatement = 256
)

// SaveCursors implements application.DeliveryCursors. Users are locked in the order of their ids.
func (s *Store) SaveCursors(ctx context.Context, cursors map[domain.UserID][]application.LogPosition) error {
	users := slices.Sorted(maps.Keys(cursors))
	return s.write(ctx, "save cursors", func(ctx context.Context, tx *sqlx.Tx) error {
		began, err := readCursor(ctx, tx, domain.System)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(users, perStatement) {
			if err := saveCursors(ctx, tx, some, cursors, began); err != nil {
				return err
			}
		}
		return nil
	})
}

func saveCursors(
	ctx context.Context, tx *sqlx.Tx, users []domain.UserID,
	cursors map[domain.UserID][]application.LogPosition, began []application.LogPosition,
) error {
	var values []string
	var arguments []any
	for i, user := range users {
		values, arguments = append(values, fmt.Sprintf("$%d", i+1)), append(arguments, int64(user))
	}
	var rows []struct {
		User      int64  `db:"user_id"`
		Positions string `db:"positions"`
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
		user := domain.UserID(row.User)
		switch places := cursors[user]; {
		case len(saved) > 0:
		case user == domain.System:
			saved = make([]application.LogPosition, len(places))
		default:
			saved = slices.Clone(began)
		}
		for _, at := range cursors[user] {
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

// ofMany runs a statement for many things, some at a time, and adds what it returns to rows. common are the arguments that are
// the same for all, arguments returns those of one: the statement has a %d for the number of each.
func ofMany[T, R any](
	ctx context.Context, db sqlx.QueryerContext, rows *[]R, statement string, common []any, things []T, arguments func(T) []any,
) error {
	for some := range slices.Chunk(things, perStatement) {
		var parts []string
		all := slices.Clone(common)
		for _, thing := range some {
			own := arguments(thing)
			numbers := make([]any, len(own))
			for i := range own {
				numbers[i] = len(all) + i + 1
			}
			parts = append(parts, fmt.Sprintf(statement, numbers...))
			all = append(all, own...)
		}
		if err := sqlx.SelectContext(ctx, db, rows, strings.Join(parts, " UNION ALL "), all...); err != nil {
			return err
		}
	}
	return nil
}

// waitingRow is the first entry of a sender, or the last one that was looked at.
type waitingRow struct {
	place

	Sender      domain.UserID `db:"sender"`
	Partition   int           `db:"log_partition"`
	OccurredAt  int64         `db:"occurred_at"`
	OfSender    int           `db:"of_sender"`
	OfPartition int           `db:"of_partition"`
}

// Waiting implements application.Undelivered. Partitions of which nothing is wanted cost nothing.
func (s *Store) Waiting(
	ctx context.Context, user domain.UserID, from, to []application.LogPosition, limit int,
) (senders []application.WaitingSender, ends []application.LogPosition, err error) {
	var wanted []int
	for partition := range from {
		if from[partition].Before(to[partition]) {
			wanted = append(wanted, partition)
		}
	}
	var rows []waitingRow
	err = s.read(ctx, "look for undelivered", func(ctx context.Context, db *sqlx.DB) error {
		return ofMany(ctx, db, &rows, waiting, []any{int64(user), limit}, wanted, func(partition int) []any {
			return []any{
				partition, from[partition].Generation, from[partition].Offset, to[partition].Generation, to[partition].Offset,
			}
		})
	})
	if err != nil {
		return nil, nil, err
	}
	// The database may have them in any order.
	slices.SortFunc(rows, func(a, b waitingRow) int {
		return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(a.Partition, b.Partition),
			cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Offset, b.Offset))
	})
	ends = slices.Clone(to)
	for _, row := range rows {
		at := application.LogPosition{Generation: row.Generation, Partition: row.Partition, Offset: row.Offset}
		if row.OfSender == 1 {
			senders = append(senders, application.WaitingSender{Sender: row.Sender, Place: at})
		}
		if row.OfPartition == limit {
			at.Offset++
			ends[row.Partition] = at
		}
	}
	return senders, ends, nil
}

// Stretches implements application.Undelivered.
func (s *Store) Stretches(
	ctx context.Context, user domain.UserID, stretches []application.Stretch, limit int,
) ([][]application.HistoryEntry, error) {
	var rows []messageRow
	err := s.read(ctx, "load undelivered", func(ctx context.Context, db *sqlx.DB) error {
		return ofMany(ctx, db, &rows, undelivered, []any{int64(user), limit}, stretches, func(s application.Stretch) []any {
			return []any{
				int64(s.Sender), s.From.Partition, s.From.Generation, s.From.Offset, s.To.Generation, s.To.Offset,
			}
		})
	})
	if err != nil {
		return nil, err
	}
	list, err := entries(rows)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b application.HistoryEntry) int {
		return cmp.Or(cmp.Compare(a.Position.Generation, b.Position.Generation), cmp.Compare(a.Position.Offset, b.Position.Offset))
	})
	lists := make([][]application.HistoryEntry, len(stretches))
	for i, stretch := range stretches {
		for _, entry := range list {
			if entry.Sender == stretch.Sender && entry.Position.Partition == stretch.From.Partition {
				lists[i] = append(lists[i], entry)
			}
		}
	}
	return lists, nil
}

// Recent implements application.Undelivered.
func (s *Store) Recent(
	ctx context.Context, user domain.UserID, before []application.LogPosition, since time.Time, limit int,
) ([]domain.EventID, error) {
	var rows [][]byte
	err := s.read(ctx, "load recent ids", func(ctx context.Context, db *sqlx.DB) error {
		common := []any{int64(user), limit, since.UnixMilli()}
		return ofMany(ctx, db, &rows, recent, common, before, func(at application.LogPosition) []any {
			return []any{at.Partition, at.Generation, at.Offset}
		})
	})
	if err != nil {
		return nil, err
	}
	ids := make([]domain.EventID, 0, len(rows))
	for _, row := range rows {
		id, err := eventID(row)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
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
