package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"chatting/application"
)

// The statements of a projection that take many rows. PostgreSQL gets them as arrays. SQLite, which is in the process, takes
// few rows at a time.

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
func movePlacesInTurn(ctx context.Context, tx *sqlx.Tx, batches []application.ProjectionBatch) error {
	for _, b := range batches {
		if err := movePlace(ctx, tx, b.From, b.To); err != nil {
			return err
		}
	}
	return nil
}

func postgresMovePlaces(ctx context.Context, tx *sqlx.Tx, batches []application.ProjectionBatch) error {
	starts := slices.ContainsFunc(batches, func(b application.ProjectionBatch) bool { return b.From.Next.Generation == 0 })
	if starts || len(batches) < 2 {
		return movePlacesInTurn(ctx, tx, batches)
	}
	var (
		partitions                       []int64
		generations, offsets, last       []int64
		records                          [][]byte
		beforeGenerations, beforeOffsets []int64
	)
	for _, b := range batches {
		from, to := b.From.Next, b.To.Next
		partitions, last = append(partitions, int64(to.Partition)), append(last, b.To.Last)
		generations, offsets = append(generations, to.Generation), append(offsets, to.Offset)
		records = append(records, b.To.Fingerprint[:])
		beforeGenerations, beforeOffsets = append(beforeGenerations, from.Generation), append(beforeOffsets, from.Offset)
	}
	if _, err := tx.ExecContext(ctx, lockPlaces, pq.Int64Array(partitions)); err != nil {
		return err
	}
	rows, err := rowsAffected(tx.ExecContext(ctx, movePlaces, pq.Int64Array(partitions), pq.Int64Array(generations),
		pq.Int64Array(offsets), pq.Int64Array(last), pq.ByteaArray(records),
		pq.Int64Array(beforeGenerations), pq.Int64Array(beforeOffsets)))
	if err == nil && rows < int64(len(batches)) {
		return application.ErrProjectionMoved
	}
	return err
}

// pairAt is a pair before a place in the log.
type pairAt struct {
	application.BlockPair

	at application.LogPosition
}

func sqliteBlocksBefore(ctx context.Context, tx *sqlx.Tx, pairs []pairAt) (map[application.BlockPair]application.BlockState, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	list := []byte{'['}
	for _, pair := range pairs {
		list = fmt.Appendf(list, "[%d,%d,%d,%d],", pair.Blocker, pair.Target, pair.at.Generation, pair.at.Offset)
	}
	list[len(list)-1] = ']'
	return selectStates(ctx, tx, sqliteStatesBefore, string(list))
}

func postgresBlocksBefore(ctx context.Context, tx *sqlx.Tx, pairs []pairAt) (map[application.BlockPair]application.BlockState, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	n := len(pairs)
	blockers, targets := make([]int64, 0, n), make([]int64, 0, n)
	generations, offsets := make([]int64, 0, n), make([]int64, 0, n)
	for _, pair := range pairs {
		blockers, targets = append(blockers, int64(pair.Blocker)), append(targets, int64(pair.Target))
		generations, offsets = append(generations, pair.at.Generation), append(offsets, pair.at.Offset)
	}
	return selectStates(ctx, tx, statesBefore,
		pq.Int64Array(blockers), pq.Int64Array(targets), pq.Int64Array(generations), pq.Int64Array(offsets))
}

func selectStates(
	ctx context.Context, tx *sqlx.Tx, statement string, arguments ...any,
) (map[application.BlockPair]application.BlockState, error) {
	var rows []blockRow
	if err := tx.SelectContext(ctx, &rows, statement, arguments...); err != nil {
		return nil, err
	}
	states := make(map[application.BlockPair]application.BlockState, len(rows))
	for _, row := range rows {
		state := row.state()
		states[state.BlockPair] = state
	}
	return states, nil
}

// sqliteRows is how many rows a statement of SQLite adds: with more of them one costs no less.
const sqliteRows = 32

func sqliteInsertMessages(ctx context.Context, tx *sqlx.Tx, entries []application.JudgedEntry) error {
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
func rowsOf(entries []application.JudgedEntry) []any {
	fields := make([]any, 0, entryFields*len(entries))
	for _, e := range entries {
		low, high := e.Conversation.Low(), e.Conversation.High()
		fields = append(fields, int64(low), int64(high), e.ID[:],
			e.Position.Generation, e.Position.Partition, e.Position.Offset, int64(e.Sender), addressee(e), int64(e.Kind),
			e.SeenBy(low), e.SeenBy(high), e.At.UnixMilli(), string(e.Frame))
	}
	return fields
}

// insertRows adds n rows, whose fields are given one after the other.
func insertRows(n int) string {
	row := "(" + strings.Repeat("?, ", entryFields-1) + "?)"
	return `INSERT INTO messages (` + entryColumns + `) VALUES ` + strings.Repeat(row+", ", n-1) + row + earlierStays
}

func postgresInsertMessages(ctx context.Context, tx *sqlx.Tx, entries []application.JudgedEntry) error {
	n := len(entries)
	var (
		low, high          = make([]int64, 0, n), make([]int64, 0, n)
		ids                = make([][]byte, 0, n)
		generation, offset = make([]int64, 0, n), make([]int64, 0, n)
		partition, sender  = make([]int64, 0, n), make([]int64, 0, n)
		addressees         = make([]sql.NullInt64, 0, n)
		kind, at           = make([]int64, 0, n), make([]int64, 0, n)
		seenLow, seenHigh  = make([]bool, 0, n), make([]bool, 0, n)
		frames             = make([]string, 0, n)
	)
	for i := range entries {
		e := &entries[i]
		low, high = append(low, int64(e.Conversation.Low())), append(high, int64(e.Conversation.High()))
		ids = append(ids, e.ID[:])
		generation, offset = append(generation, e.Position.Generation), append(offset, e.Position.Offset)
		partition, sender = append(partition, int64(e.Position.Partition)), append(sender, int64(e.Sender))
		addressees = append(addressees, addressee(*e))
		kind, at = append(kind, int64(e.Kind)), append(at, e.At.UnixMilli())
		seenLow = append(seenLow, e.SeenBy(e.Conversation.Low()))
		seenHigh = append(seenHigh, e.SeenBy(e.Conversation.High()))
		frames = append(frames, string(e.Frame))
	}
	_, err := tx.ExecContext(ctx, insertMessages,
		pq.Int64Array(low), pq.Int64Array(high), pq.ByteaArray(ids), pq.Int64Array(generation), pq.Int64Array(partition),
		pq.Int64Array(offset), pq.Int64Array(sender), pq.Array(addressees), pq.Int64Array(kind),
		pq.BoolArray(seenLow), pq.BoolArray(seenHigh), pq.Int64Array(at), pq.StringArray(frames))
	return err
}

// addressee is System's id turned into null.
func addressee(e application.JudgedEntry) sql.NullInt64 {
	return sql.NullInt64{Int64: int64(e.Addressee()), Valid: e.Addressee() != 0}
}
