package conversations

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
)

// The statements of a projection that take many rows. PostgreSQL gets them as arrays, one of each column. SQLite, which is in the
// process, takes few rows at a time.

const (
	lockPlaces = `SELECT log_partition FROM projections WHERE log_partition = ANY($1) ORDER BY log_partition FOR UPDATE`
	movePlaces = `
		UPDATE projections SET generation = moved.to_generation, next_offset = moved.to_offset,
			last_offset = moved.last_offset, last_record = moved.last_record
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[]) AS moved (
			log_partition, to_generation, to_offset, last_offset, last_record, generation, next_offset)
		WHERE projections.log_partition = moved.log_partition AND projections.generation = moved.generation
			AND projections.next_offset = moved.next_offset`

	sqliteStatesBefore = `
		SELECT state.blocker, state.target, state.blocked, state.version
		FROM json_each($1) AS pair JOIN block_changes AS state ON state.rowid = (
			SELECT rowid FROM block_changes
			WHERE blocker = pair.value ->> 0 AND target = pair.value ->> 1
				AND (generation, log_offset) < (pair.value ->> 2, pair.value ->> 3)
			ORDER BY generation DESC, log_offset DESC LIMIT 1)`
	statesBefore = `
		SELECT state.blocker, state.target, state.blocked, state.version
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS pair (blocker, target, generation, log_offset)
		CROSS JOIN LATERAL (
			SELECT * FROM block_changes
			WHERE block_changes.blocker = pair.blocker AND block_changes.target = pair.target
				AND (block_changes.generation, block_changes.log_offset) < (pair.generation, pair.log_offset)
			ORDER BY generation DESC, log_offset DESC LIMIT 1) AS state`

	entryColumns = `low, high, event_id, generation, log_partition, log_offset, sender, addressee, kind,
		visible_low, visible_high, occurred_at, frame`
	entryFields  = 13
	earlierStays = `
		ON CONFLICT (low, high, event_id) DO UPDATE SET
			generation = excluded.generation, log_partition = excluded.log_partition, log_offset = excluded.log_offset,
			sender = excluded.sender, addressee = excluded.addressee, kind = excluded.kind,
			visible_low = excluded.visible_low, visible_high = excluded.visible_high,
			occurred_at = excluded.occurred_at, frame = excluded.frame
		WHERE (messages.generation, messages.log_offset) > (excluded.generation, excluded.log_offset)`
	insertMessages = `
		INSERT INTO messages (` + entryColumns + `)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
			$8::bigint[], $9::smallint[], $10::boolean[], $11::boolean[], $12::bigint[], $13::text[])` + earlierStays
)

// movePlacesInTurn moves the projections of the partitions of batches.
func movePlacesInTurn(ctx context.Context, tx *sqlx.Tx, batches []history.ProjectionBatch) error {
	for _, b := range batches {
		if err := movePlace(ctx, tx, b.From, b.To); err != nil {
			return err
		}
	}
	return nil
}

func postgresMovePlaces(ctx context.Context, tx *sqlx.Tx, batches []history.ProjectionBatch) error {
	starts := slices.ContainsFunc(batches, func(b history.ProjectionBatch) bool { return b.From.Next.Generation == 0 })
	if starts || len(batches) < 2 {
		return movePlacesInTurn(ctx, tx, batches)
	}
	ints := func(value func(*history.ProjectionBatch) int64) []int64 { return column(batches, value) }
	partitions := ints(func(b *history.ProjectionBatch) int64 { return int64(b.To.Next.Partition) })
	if _, err := tx.ExecContext(ctx, lockPlaces, partitions); err != nil {
		return err
	}
	rows, err := database.Affected(tx.ExecContext(ctx, movePlaces, partitions,
		ints(func(b *history.ProjectionBatch) int64 { return b.To.Next.Generation }),
		ints(func(b *history.ProjectionBatch) int64 { return b.To.Next.Offset }),
		ints(func(b *history.ProjectionBatch) int64 { return b.To.Last }),
		column(batches, func(b *history.ProjectionBatch) []byte { return b.To.Fingerprint[:] }),
		ints(func(b *history.ProjectionBatch) int64 { return b.From.Next.Generation }),
		ints(func(b *history.ProjectionBatch) int64 { return b.From.Next.Offset })))
	if err == nil && rows < int64(len(batches)) {
		return history.ErrProjectionMoved
	}
	return err
}

// pairAt is a pair before a place in the log.
type pairAt struct {
	blocks.Pair

	at domain.Place
}

func sqliteBlocksBefore(ctx context.Context, tx *sqlx.Tx, pairs []pairAt) (map[blocks.Pair]blocks.State, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	return selectStates(ctx, tx, sqliteStatesBefore, database.JSONList(column(pairs, func(p *pairAt) [4]int64 {
		return [4]int64{int64(p.Blocker), int64(p.Target), p.at.Generation, p.at.Offset}
	})))
}

func postgresBlocksBefore(ctx context.Context, tx *sqlx.Tx, pairs []pairAt) (map[blocks.Pair]blocks.State, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	ints := func(value func(*pairAt) int64) []int64 { return column(pairs, value) }
	return selectStates(ctx, tx, statesBefore,
		ints(func(p *pairAt) int64 { return int64(p.Blocker) }), ints(func(p *pairAt) int64 { return int64(p.Target) }),
		ints(func(p *pairAt) int64 { return p.at.Generation }), ints(func(p *pairAt) int64 { return p.at.Offset }))
}

func selectStates(
	ctx context.Context, tx *sqlx.Tx, statement string, arguments ...any,
) (map[blocks.Pair]blocks.State, error) {
	var rows []blocks.State
	if err := tx.SelectContext(ctx, &rows, statement, arguments...); err != nil {
		return nil, err
	}
	states := make(map[blocks.Pair]blocks.State, len(rows))
	for _, state := range rows {
		states[state.Pair] = state
	}
	return states, nil
}

// sqliteRows is how many rows a statement of SQLite adds: with more of them one costs no less.
const sqliteRows = 32

func sqliteInsertMessages(ctx context.Context, tx *sqlx.Tx, entries []history.JudgedEntry) error {
	whole := len(entries) - len(entries)%sqliteRows
	if whole > 0 {
		statement, err := tx.PreparexContext(ctx, insertRows(sqliteRows))
		if err != nil {
			return err
		}
		defer statement.Close()
		for i := 0; i < whole; i += sqliteRows {
			if _, err := statement.ExecContext(ctx, rowsOf(entries[i:i+sqliteRows])...); err != nil {
				return err
			}
		}
	}
	if whole == len(entries) {
		return nil
	}
	_, err := tx.ExecContext(ctx, insertRows(len(entries)-whole), rowsOf(entries[whole:])...)
	return err
}

// rowsOf returns the fields of the rows of entries, one after the other.
func rowsOf(entries []history.JudgedEntry) []any {
	fields := make([]any, 0, entryFields*len(entries))
	for i := range entries {
		e := &entries[i]
		low, high := e.Conversation.Low(), e.Conversation.High()
		fields = append(fields, int64(low), int64(high), e.ID[:],
			e.Place.Generation, e.Place.Partition, e.Place.Offset, int64(e.Sender), addressee(e), int64(e.Kind),
			e.SeenBy(low), e.SeenBy(high), e.At.UnixMilli(), string(e.Frame))
	}
	return fields
}

// insertRows adds n rows, whose fields are given one after the other.
func insertRows(n int) string {
	row := "(" + strings.Repeat("?, ", entryFields-1) + "?)"
	return `INSERT INTO messages (` + entryColumns + `) VALUES ` + strings.Repeat(row+", ", n-1) + row + earlierStays
}

func postgresInsertMessages(ctx context.Context, tx *sqlx.Tx, entries []history.JudgedEntry) error {
	type entry = history.JudgedEntry
	ints := func(value func(*entry) int64) []int64 { return column(entries, value) }
	_, err := tx.ExecContext(ctx, insertMessages,
		ints(func(e *entry) int64 { return int64(e.Conversation.Low()) }),
		ints(func(e *entry) int64 { return int64(e.Conversation.High()) }),
		column(entries, func(e *entry) []byte { return e.ID[:] }),
		ints(func(e *entry) int64 { return e.Place.Generation }),
		ints(func(e *entry) int64 { return int64(e.Place.Partition) }),
		ints(func(e *entry) int64 { return e.Place.Offset }),
		ints(func(e *entry) int64 { return int64(e.Sender) }),
		column(entries, addressee),
		ints(func(e *entry) int64 { return int64(e.Kind) }),
		column(entries, func(e *entry) bool { return e.SeenBy(e.Conversation.Low()) }),
		column(entries, func(e *entry) bool { return e.SeenBy(e.Conversation.High()) }),
		ints(func(e *entry) int64 { return e.At.UnixMilli() }),
		column(entries, func(e *entry) string { return string(e.Frame) }))
	return err
}

// column returns a value of each row.
func column[R, T any](rows []R, value func(*R) T) []T {
	list := make([]T, len(rows))
	for i := range rows {
		list[i] = value(&rows[i])
	}
	return list
}

// addressee is System's id turned into null.
func addressee(e *history.JudgedEntry) sql.NullInt64 {
	return sql.NullInt64{Int64: int64(e.Addressee()), Valid: e.Addressee() != 0}
}
