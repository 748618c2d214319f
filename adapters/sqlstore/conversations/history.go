package conversations

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application/history"
	"chatting/domain"
)

// History reads pages of the history, and deletes what is too old for it (expire.go).
type History struct {
	db *database.DB
	// share holds the connections that questions of users may take: so the others are there for logins, blocks and the
	// projection, however many users scroll back.
	share   *database.Share
	dialect dialect
}

// place is where an entry stands in the log.
type place struct {
	Generation int64 `db:"generation"`
	Partition  int   `db:"log_partition"`
	Offset     int64 `db:"log_offset"`
}

func (p place) position() domain.Place {
	return domain.Place{Generation: p.Generation, Partition: p.Partition, Offset: p.Offset}
}

// messageRow is an entry as it is read.
type messageRow struct {
	place

	EventID    []byte        `db:"event_id"`
	Sender     domain.UserID `db:"sender"`
	OccurredAt int64         `db:"occurred_at"`
	Frame      []byte        `db:"frame"`
}

func (r messageRow) entry() (history.Entry, error) {
	id, err := eventID(r.EventID)
	return history.Entry{
		ID: id, Place: r.position(), Sender: r.Sender, At: time.UnixMilli(r.OccurredAt).UTC(), Frame: r.Frame,
	}, err
}

// size returns the bytes of the row that count for a page.
func (r messageRow) size() int { return len(r.Frame) }

func eventID(column []byte) (domain.EventID, error) {
	if len(column) != len(domain.EventID{}) {
		return domain.EventID{}, fmt.Errorf("history: event id %x is no UUID", column)
	}
	return domain.EventID(column), nil
}

// Messages implements history.Reader.
func (h *History) Messages(
	ctx context.Context, owner, partner domain.UserID, before *domain.EventID, bounds history.PageBounds,
) (list []history.Entry, more bool, err error) {
	of := sideFor(owner, partner)
	if before == nil {
		return readPage(ctx, h, "read messages", messageRow.entry, of.newest, bounds, owner, partner)
	}
	return readPage(ctx, h, "read messages", messageRow.entry, of.earlier, bounds, owner, partner, before[:])
}

// MessagesAfter implements history.Reader.
func (h *History) MessagesAfter(
	ctx context.Context, owner, partner domain.UserID, after domain.EventID, bounds history.PageBounds,
) (list []history.Entry, more bool, err error) {
	return readPage(ctx, h, "read messages", messageRow.entry, sideFor(owner, partner).later, bounds, owner, partner, after[:])
}

// readPage reads a page and converts its rows; more tells that others follow. The arguments are those of the statement's first
// parameters.
func readPage[R interface{ size() int }, T any](
	ctx context.Context, h *History, op string, convert func(R) (T, error), statement pageStatement, bounds history.PageBounds,
	arguments ...any,
) (list []T, more bool, err error) {
	query, arguments := statement.plain, append(arguments, bounds.Entries+1)
	if h.dialect.sendsAll {
		query, arguments = statement.bounded, append(arguments, bounds.Bytes)
	}
	list, err = database.Ask(ctx, h.share, op, func(ctx context.Context, db sqlx.QueryerContext) ([]T, error) {
		rows, err := db.QueryxContext(ctx, query, arguments...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		var page []R
		for bytes := 0; !more && rows.Next(); {
			var row R
			if err := rows.StructScan(&row); err != nil {
				return nil, err
			}
			bytes += row.size()
			if more = len(page) == bounds.Entries || len(page) > 0 && bytes > bounds.Bytes; !more {
				page = append(page, row)
			}
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return database.Convert(page, convert)
	})
	return list, more && err == nil, err
}

// selectConversations walks from one partner to the next by the indexes of what is seen, and takes the last entry of
// each. How many are unread is kept.
const selectConversations = `
	WITH RECURSIVE
	above (partner) AS (
		SELECT MIN(high) FROM messages WHERE low = $1 AND visible_low = TRUE
		UNION ALL
		SELECT (SELECT MIN(high) FROM messages WHERE low = $1 AND visible_low = TRUE AND high > above.partner)
		FROM above WHERE above.partner IS NOT NULL),
	below (partner) AS (
		SELECT MIN(low) FROM messages WHERE high = $1 AND visible_high = TRUE AND low < $1
		UNION ALL
		SELECT (SELECT MIN(low) FROM messages WHERE high = $1 AND visible_high = TRUE AND low < $1 AND low > below.partner)
		FROM below WHERE below.partner IS NOT NULL),
	conversations (low, high, partner, last_id) AS (
		SELECT $1, partner, partner, (
			SELECT event_id FROM messages WHERE low = $1 AND visible_low = TRUE AND high = above.partner
			ORDER BY generation DESC, log_offset DESC LIMIT 1)
		FROM above WHERE partner IS NOT NULL
		UNION ALL
		SELECT partner, $1, partner, (
			SELECT event_id FROM messages WHERE high = $1 AND visible_high = TRUE AND low = below.partner
			ORDER BY generation DESC, log_offset DESC LIMIT 1)
		FROM below WHERE partner IS NOT NULL),
	page AS (
		SELECT conversations.partner, messages.* FROM conversations
		JOIN messages ON messages.low = conversations.low AND messages.high = conversations.high
			AND messages.event_id = conversations.last_id
		WHERE (occurred_at, conversations.partner) < ($2, $3)
		ORDER BY occurred_at DESC, conversations.partner DESC LIMIT $4)
	SELECT page.partner, page.event_id, page.generation, page.log_partition, page.log_offset, page.sender, page.occurred_at,
		page.frame, COALESCE(mark.unread, 0) AS unread
	FROM page LEFT JOIN conversation_marks AS mark ON mark.owner = $1 AND mark.partner = page.partner
	ORDER BY page.occurred_at DESC, page.partner DESC`

var conversationsPage = newPage(selectConversations, "partner, unread, "+messageColumns, "occurred_at DESC, partner DESC", 4)

// conversationRow is a conversation as it is read.
type conversationRow struct {
	messageRow

	Partner domain.UserID `db:"partner"`
	Unread  int           `db:"unread"`
}

func (r conversationRow) summary() (history.ConversationSummary, error) {
	last, err := r.entry()
	return history.ConversationSummary{Partner: r.Partner, Last: last, Unread: min(r.Unread, history.MaxUnread)}, err
}

// Conversations implements history.Reader.
func (h *History) Conversations(
	ctx context.Context, owner domain.UserID, before *history.ConversationCursor, bounds history.PageBounds,
) (list []history.ConversationSummary, more bool, err error) {
	at, partner := int64(math.MaxInt64), domain.UserID(math.MaxInt64)
	if before != nil {
		at, partner = before.At.UnixMilli(), before.Partner
	}
	return readPage(ctx, h, "read conversations", conversationRow.summary, conversationsPage, bounds, owner, at, partner)
}

// Sees implements history.Reader.
func (h *History) Sees(ctx context.Context, owner, partner domain.UserID, id domain.EventID) (bool, error) {
	return database.Ask(ctx, h.share, "look for message", func(ctx context.Context, db sqlx.QueryerContext) (bool, error) {
		_, sees, err := seenPlace(ctx, db, owner, partner, &id)
		return sees, err
	})
}

// seenPlace returns the place of a message that owner sees in its conversation with partner, or of the newest one if id is nil;
// false if there is none.
func seenPlace(
	ctx context.Context, db sqlx.QueryerContext, owner, partner domain.UserID, id *domain.EventID,
) (at place, seen bool, err error) {
	of := sideFor(owner, partner)
	if id == nil {
		return database.Find[place](ctx, db, of.newestPlace, owner, partner)
	}
	return database.Find[place](ctx, db, of.place, owner, partner, id[:])
}
