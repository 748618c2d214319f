package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"chatting/application"
)

// The statements of a projection that take many rows: PostgreSQL gets them at once, as arrays; SQLite, which is in the
// process, one after the other.

const (
	stateBefore = `
		SELECT blocker, target, blocked, version FROM block_changes
		WHERE blocker = $1 AND target = $2 AND (generation, log_offset) < ($3, $4)
		ORDER BY generation DESC, log_offset DESC LIMIT 1`
	statesBefore = `
		SELECT state.blocker, state.target, state.blocked, state.version
		FROM unnest($1::bigint[], $2::bigint[]) AS pair (blocker, target)
		CROSS JOIN LATERAL (
			SELECT * FROM block_changes
			WHERE block_changes.blocker = pair.blocker AND block_changes.target = pair.target
				AND (generation, log_offset) < ($3, $4)
			ORDER BY generation DESC, log_offset DESC LIMIT 1) AS state`

	entryColumns = `low, high, event_id, generation, log_partition, log_offset, sender, addressee, kind,
		visible_low, visible_high, occurred_at, frame`
	earlierStays = `
		ON CONFLICT (low, high, event_id) DO UPDATE SET
			generation = excluded.generation, log_partition = excluded.log_partition, log_offset = excluded.log_offset,
			sender = excluded.sender, addressee = excluded.addressee, kind = excluded.kind,
			visible_low = excluded.visible_low, visible_high = excluded.visible_high,
			occurred_at = excluded.occurred_at, frame = excluded.frame
		WHERE (messages.generation, messages.log_offset) > (excluded.generation, excluded.log_offset)`
	insertMessage = `
		INSERT INTO messages (` + entryColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)` + earlierStays
	insertMessages = `
		INSERT INTO messages (` + entryColumns + `)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
			$8::bigint[], $9::smallint[], $10::boolean[], $11::boolean[], $12::bigint[], $13::text[])` + earlierStays
)

func sqliteBlocksBefore(
	ctx context.Context, tx *sqlx.Tx, at application.LogPosition, pairs []application.BlockPair,
) (map[application.BlockPair]application.BlockState, error) {
	states := make(map[application.BlockPair]application.BlockState)
	if len(pairs) == 0 {
		return states, nil
	}
	statement, err := tx.PreparexContext(ctx, stateBefore)
	if err != nil {
		return nil, err
	}
	defer statement.Close()
	for _, pair := range pairs {
		var row blockRow
		err := statement.GetContext(ctx, &row, int64(pair.Blocker), int64(pair.Target), at.Generation, at.Offset)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return nil, err
		default:
			states[pair] = row.state()
		}
	}
	return states, nil
}

func postgresBlocksBefore(
	ctx context.Context, tx *sqlx.Tx, at application.LogPosition, pairs []application.BlockPair,
) (map[application.BlockPair]application.BlockState, error) {
	states := make(map[application.BlockPair]application.BlockState)
	if len(pairs) == 0 {
		return states, nil
	}
	blockers, targets := make([]int64, 0, len(pairs)), make([]int64, 0, len(pairs))
	for _, pair := range pairs {
		blockers, targets = append(blockers, int64(pair.Blocker)), append(targets, int64(pair.Target))
	}
	var rows []blockRow
	err := tx.SelectContext(ctx, &rows, statesBefore, pq.Int64Array(blockers), pq.Int64Array(targets), at.Generation, at.Offset)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		state := row.state()
		states[state.BlockPair] = state
	}
	return states, nil
}

func sqliteInsertMessages(ctx context.Context, tx *sqlx.Tx, entries []application.JudgedEntry) error {
	statement, err := tx.PreparexContext(ctx, insertMessage)
	if err != nil {
		return err
	}
	defer statement.Close()
	for _, e := range entries {
		low, high := e.Conversation.Low(), e.Conversation.High()
		if _, err := statement.ExecContext(ctx, int64(low), int64(high), e.ID[:],
			e.Position.Generation, e.Position.Partition, e.Position.Offset, int64(e.Sender), addressee(e), int64(e.Kind),
			e.SeenBy(low), e.SeenBy(high), e.At.UnixMilli(), string(e.Frame)); err != nil {
			return err
		}
	}
	return nil
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
