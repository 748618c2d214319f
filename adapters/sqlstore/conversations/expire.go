package conversations

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

const (
	expireMessages = `
		DELETE FROM messages WHERE (low, high, event_id) IN (
			SELECT low, high, event_id FROM messages WHERE occurred_at < $1 ORDER BY occurred_at LIMIT $2)
		RETURNING low, high`
	expireMarkEvents = `
		DELETE FROM read_mark_events WHERE (reader, partner) IN (
			SELECT reader, partner FROM read_mark_events WHERE occurred_at < $1 ORDER BY occurred_at LIMIT $2)`
	// forgetMarks deletes the marks of the listed conversations that have no message left. It does not see a message that
	// another transaction adds meanwhile, but it waits for that one's change of unread.
	forgetMarks = `
		DELETE FROM conversation_marks WHERE (owner, partner) IN (VALUES %s) AND unread = 0 AND NOT EXISTS (
			SELECT 1 FROM messages
			WHERE low = CASE WHEN owner < partner THEN owner ELSE partner END
				AND high = CASE WHEN owner < partner THEN partner ELSE owner END)`
)

// between is a conversation as rows name it.
type between struct{ Low, High domain.UserID }

// Expire implements history.Retention. Events of read marks count as entries. A mark goes with the last message of its
// conversation.
func (h *History) Expire(ctx context.Context, before time.Time, limit int) (expired int, err error) {
	err = h.db.Write(ctx, "expire messages", func(ctx context.Context, tx *sqlx.Tx) error {
		var messages []between
		if err := tx.SelectContext(ctx, &messages, expireMessages, before.UnixMilli(), limit); err != nil {
			return err
		}
		if err := forgetMarksOf(ctx, tx, messages); err != nil {
			return err
		}
		events, err := database.Affected(tx.ExecContext(ctx, expireMarkEvents, before.UnixMilli(), limit-len(messages)))
		expired = len(messages) + int(events)
		return err
	})
	if err != nil {
		return 0, err
	}
	return expired, nil
}

// forgetMarksOf deletes the marks of conversations that have no message left. Each may be listed several times.
func forgetMarksOf(ctx context.Context, tx *sqlx.Tx, conversations []between) error {
	// In one order, so that two nodes do not wait for each other.
	slices.SortFunc(conversations, func(a, b between) int {
		return cmp.Or(cmp.Compare(a.Low, b.Low), cmp.Compare(a.High, b.High))
	})
	for some := range slices.Chunk(slices.Compact(conversations), database.PerStatement) {
		var pairs []string
		var users []any
		for _, of := range some {
			n := len(users)
			pairs = append(pairs, fmt.Sprintf("(CAST($%[1]d AS BIGINT), CAST($%[2]d AS BIGINT)), ($%[2]d, $%[1]d)", n+1, n+2))
			users = append(users, of.Low, of.High)
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(forgetMarks, strings.Join(pairs, ", ")), users...); err != nil {
			return err
		}
	}
	return nil
}
