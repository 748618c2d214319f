package conversations

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application/history"
	"chatting/application/replay"
	"chatting/domain"
)

// Undelivered reads what waits in the history for users who are offline.
type Undelivered struct{ db *database.DB }

// waiting and recent are for one partition, undelivered is for one sender: see database.SelectEach.
const (
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
	partitionOfPair = `SELECT log_partition FROM messages WHERE low = $1 AND high = $2 LIMIT 1`
	sentFrame       = `SELECT frame FROM messages WHERE low = $1 AND high = $2 AND event_id = $3`
	hasMessage      = `SELECT EXISTS (SELECT 1 FROM messages WHERE low = $1 AND high = $2 AND event_id = $3)`
)

// waitingRow is the first entry of a sender, or the last one that was looked at.
type waitingRow struct {
	place

	Sender      domain.UserID `db:"sender"`
	OccurredAt  int64         `db:"occurred_at"`
	OfSender    int           `db:"of_sender"`
	OfPartition int           `db:"of_partition"`
}

// Waiting implements replay.Backlogs. Partitions of which nothing is wanted cost nothing.
func (u *Undelivered) Waiting(
	ctx context.Context, user domain.UserID, from, to []domain.Place, limit int,
) (senders []replay.WaitingSender, ends []domain.Place, err error) {
	var wanted []int
	for partition := range from {
		if from[partition].Before(to[partition]) {
			wanted = append(wanted, partition)
		}
	}
	rows, err := database.Ask(ctx, u.db, "look for undelivered", func(ctx context.Context, db sqlx.QueryerContext) ([]waitingRow, error) {
		return database.SelectEach[waitingRow](ctx, db, waiting, []any{user, limit}, wanted, func(partition int) []any {
			from, to := from[partition], to[partition]
			return []any{partition, from.Generation, from.Offset, to.Generation, to.Offset}
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
		at := row.position()
		if row.OfSender == 1 {
			senders = append(senders, replay.WaitingSender{Sender: row.Sender, Place: at})
		}
		if row.OfPartition == limit {
			at.Offset++
			ends[row.Partition] = at
		}
	}
	return senders, ends, nil
}

// Stretches implements replay.Backlogs.
func (u *Undelivered) Stretches(
	ctx context.Context, user domain.UserID, stretches []replay.ConversationStretch, limit int,
) ([][]history.Entry, error) {
	rows, err := database.Ask(ctx, u.db, "load undelivered", func(ctx context.Context, db sqlx.QueryerContext) ([]messageRow, error) {
		return database.SelectEach[messageRow](ctx, db, undelivered, []any{user, limit}, stretches, func(s replay.ConversationStretch) []any {
			return []any{s.Sender, s.From.Partition, s.From.Generation, s.From.Offset, s.To.Generation, s.To.Offset}
		})
	})
	if err != nil {
		return nil, err
	}
	list, err := database.Convert(rows, messageRow.entry)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b history.Entry) int {
		return cmp.Or(cmp.Compare(a.Place.Generation, b.Place.Generation), cmp.Compare(a.Place.Offset, b.Place.Offset))
	})
	lists := make([][]history.Entry, len(stretches))
	for i, stretch := range stretches {
		for _, entry := range list {
			if entry.Sender == stretch.Sender && entry.Place.Partition == stretch.From.Partition {
				lists[i] = append(lists[i], entry)
			}
		}
	}
	return lists, nil
}

// Recent implements replay.Backlogs.
func (u *Undelivered) Recent(
	ctx context.Context, user domain.UserID, before []domain.Place, since time.Time, limit int,
) ([]domain.EventID, error) {
	return database.Ask(ctx, u.db, "load recent ids", func(ctx context.Context, db sqlx.QueryerContext) ([]domain.EventID, error) {
		common := []any{user, limit, since.UnixMilli()}
		rows, err := database.SelectEach[[]byte](ctx, db, recent, common, before, func(at domain.Place) []any {
			return []any{at.Partition, at.Generation, at.Offset}
		})
		if err != nil {
			return nil, err
		}
		return database.Convert(rows, eventID)
	})
}

// storedCount is what a sender's messages come to.
type storedCount struct {
	Bytes    int64
	Messages int
}

// StoredOf implements messaging.MailboxCounts.
func (u *Undelivered) StoredOf(
	ctx context.Context, sender, receiver domain.UserID, limit int,
) (messages int, bytes int64, err error) {
	stored, err := database.Ask(ctx, u.db, "count stored", func(ctx context.Context, db sqlx.QueryerContext) (count storedCount, err error) {
		between := domain.Between(sender, receiver)
		partition, said, err := database.Find[int](ctx, db, partitionOfPair, between.Low(), between.High())
		if err != nil || !said {
			return count, err
		}
		cursor, err := readCursor(ctx, db, receiver)
		if err == nil && len(cursor) == 0 {
			cursor, err = readCursor(ctx, db, domain.System)
		}
		if err != nil || partition >= len(cursor) {
			return count, err
		}
		count, _, err = database.Find[storedCount](ctx, db, sideFor(receiver, sender).stored, receiver, sender, sender,
			cursor[partition].Generation, cursor[partition].Offset, limit)
		return count, err
	})
	return min(stored.Messages, limit), stored.Bytes, err
}

// HasMessage implements messaging.MailboxCounts.
func (u *Undelivered) HasMessage(ctx context.Context, one, other domain.UserID, id domain.EventID) (bool, error) {
	between := domain.Between(one, other)
	return database.Get[bool](ctx, u.db, "look for stored", hasMessage, between.Low(), between.High(), id[:])
}

// SentFrame returns the frame of an event of the conversation of two users, also of one that a block hides; nil if the history does
// not have it.
func (u *Undelivered) SentFrame(ctx context.Context, one, other domain.UserID, id domain.EventID) ([]byte, error) {
	between := domain.Between(one, other)
	return database.Get[[]byte](ctx, u.db, "look for stored", sentFrame, between.Low(), between.High(), id[:])
}
