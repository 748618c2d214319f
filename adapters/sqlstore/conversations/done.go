package conversations

import (
	"context"
	"math"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application/history"
	"chatting/application/moderation"
	"chatting/domain"
)

var _ moderation.DoneStore = (*History)(nil)

const (
	// countDone counts no further than the latest $3.
	countDone = `
		SELECT kind, COUNT(*) AS entries FROM (
			SELECT kind FROM messages WHERE sender = $1 AND occurred_at >= $2 ORDER BY occurred_at DESC LIMIT $3) AS latest
		GROUP BY kind`
	selectDone = `
		SELECT event_id, occurred_at, frame FROM messages
		WHERE sender = $1 AND (occurred_at, event_id) < ($2, $3)
		ORDER BY occurred_at DESC, event_id DESC LIMIT $4`
)

// CountDone implements moderation.DoneStore.
func (h *History) CountDone(ctx context.Context, user domain.UserID, since time.Time, most int) (done moderation.Counts, err error) {
	rows, err := database.Select[struct {
		Kind    int `db:"kind"`
		Entries int `db:"entries"`
	}](ctx, h.share, "count what a user did", countDone, user, since.UnixMilli(), most)
	for _, row := range rows {
		switch row.Kind {
		case int(history.EntryChat):
			done.Messages = row.Entries
		case int(history.EntryInvite):
			done.Invites = row.Entries
		}
	}
	return done, err
}

// Done implements moderation.DoneStore.
func (h *History) Done(
	ctx context.Context, user domain.UserID, before *moderation.Mark, entries, bytes int,
) (list []moderation.Done, more bool, err error) {
	at, id := int64(math.MaxInt64), []byte{}
	if before != nil {
		at, id = before.Time.UnixMilli(), before.ID[:]
	}
	read := func(ctx context.Context, db sqlx.QueryerContext) ([]moderation.Done, error) {
		rows, err := db.QueryxContext(ctx, selectDone, user, at, id, entries+1)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		var page []messageRow
		for size := 0; !more && rows.Next(); {
			var row messageRow
			if err := rows.StructScan(&row); err != nil {
				return nil, err
			}
			size += row.size()
			if more = len(page) == entries || len(page) > 0 && size > bytes; !more {
				page = append(page, row)
			}
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return database.Convert(page, func(row messageRow) (moderation.Done, error) {
			id, err := eventID(row.EventID)
			return moderation.Done{Mark: moderation.Mark{Time: time.UnixMilli(row.OccurredAt).UTC(), ID: id}, Frame: row.Frame}, err
		})
	}
	list, err = database.Ask(ctx, h.share, "read what a user did", read)
	return list, more && err == nil, err
}
