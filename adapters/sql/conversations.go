package sqlstore

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/domain"
)

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

// conversationRow is a conversation as it is read.
type conversationRow struct {
	messageRow

	Partner domain.UserID `db:"partner"`
	Unread  int           `db:"unread"`
}

// Conversations implements application.HistoryReader.
func (s *Store) Conversations(
	ctx context.Context, owner domain.UserID, before *application.ConversationCursor, bounds application.PageBounds,
) (list []application.ConversationSummary, more bool, err error) {
	at, partner := int64(1<<63-1), int64(1<<63-1)
	if before != nil {
		at, partner = before.At.UnixMilli(), int64(before.Partner)
	}
	err = s.readHistory(ctx, "read conversations", func(ctx context.Context, db *sqlx.DB) error {
		var rows []conversationRow
		var err error
		rows, more, err = readPage[conversationRow](ctx, db, s.pages.conversations, bounds, int64(owner), at, partner)
		if err != nil {
			return err
		}
		for _, row := range rows {
			last, err := row.entry()
			if err != nil {
				return err
			}
			list = append(list, application.ConversationSummary{
				Partner: row.Partner, Last: last, Unread: min(row.Unread, application.MaxUnread),
			})
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return list, more, nil
}
