package conversations

import (
	"cmp"
	"context"
	"slices"

	"github.com/jmoiron/sqlx"

	"chatting/application/history"
)

// The statements of a projection that keep the events of read marks, in the forms of the two databases. An event that comes again
// stays where it was first; otherwise the later place counts.
const (
	markColumns = `reader, partner, event_id, generation, log_partition, log_offset, visible_partner, unread, occurred_at, frame`
	laterStays  = `
		ON CONFLICT (reader, partner) DO UPDATE SET
			event_id = excluded.event_id, generation = excluded.generation, log_partition = excluded.log_partition,
			log_offset = excluded.log_offset, visible_partner = excluded.visible_partner, unread = excluded.unread,
			occurred_at = excluded.occurred_at, frame = excluded.frame
		WHERE (read_mark_events.generation, read_mark_events.log_offset) < (excluded.generation, excluded.log_offset)
			AND read_mark_events.event_id <> excluded.event_id`
	insertMark  = `INSERT INTO read_mark_events (` + markColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)` + laterStays
	insertMarks = `
		INSERT INTO read_mark_events (` + markColumns + `)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[],
			$8::bigint[], $9::bigint[], $10::text[])` + laterStays
)

func sqliteKeepMarks(ctx context.Context, tx *sqlx.Tx, marks []history.JudgedEntry) error {
	statement, err := tx.PreparexContext(ctx, insertMark)
	if err != nil {
		return err
	}
	defer statement.Close()
	for i := range marks {
		m := &marks[i]
		if _, err := statement.ExecContext(ctx, int64(m.Sender), int64(m.Recipient), m.ID[:], m.Place.Generation,
			m.Place.Partition, m.Place.Offset, !m.Hidden, m.Unread, m.At.UnixMilli(), string(m.Frame)); err != nil {
			return err
		}
	}
	return nil
}

func postgresKeepMarks(ctx context.Context, tx *sqlx.Tx, marks []history.JudgedEntry) error {
	type mark = history.JudgedEntry
	// In one order, so that two projectors do not wait for each other.
	marks = slices.SortedFunc(slices.Values(marks), func(a, b mark) int {
		return cmp.Or(cmp.Compare(a.Sender, b.Sender), cmp.Compare(a.Recipient, b.Recipient))
	})
	ints := func(value func(*mark) int64) []int64 { return column(marks, value) }
	_, err := tx.ExecContext(ctx, insertMarks,
		ints(func(m *mark) int64 { return int64(m.Sender) }),
		ints(func(m *mark) int64 { return int64(m.Recipient) }),
		column(marks, func(m *mark) []byte { return m.ID[:] }),
		ints(func(m *mark) int64 { return m.Place.Generation }),
		ints(func(m *mark) int64 { return int64(m.Place.Partition) }),
		ints(func(m *mark) int64 { return m.Place.Offset }),
		column(marks, func(m *mark) bool { return !m.Hidden }),
		ints(func(m *mark) int64 { return int64(m.Unread) }),
		ints(func(m *mark) int64 { return m.At.UnixMilli() }),
		column(marks, func(m *mark) string { return string(m.Frame) }))
	return err
}
