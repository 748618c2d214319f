package conversations

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/adapters/wire"
	"chatting/application/history"
	"chatting/application/past"
	"chatting/domain"
)

// missedSide has the statements about what a user missed in the conversations in which it is the lower or the higher one: see side.
// The user is $1.
type missedSide struct {
	// partners finds the conversations whose last entry that the user sees stands at or behind the place of its partition. It has
	// a %s for the list of these places, and $2 bounds the conversations.
	partners string
	// size and entries are for one conversation, see database.SelectEach: of at most $2 entries in a stretch of it.
	size, entries string
}

var missedOfLow, missedOfHigh = missedSideOf("low", "high", ""), missedSideOf("high", "low", " AND low < $1")

func missedSideOf(owner, partner, others string) missedSide {
	named := strings.NewReplacer("OWNER", owner, "PARTNER", partner, "OTHERS", others).Replace
	const stretch = `FROM messages WHERE OWNER = $1 AND visible_OWNER = TRUE AND PARTNER = $%d
			AND (generation, log_offset) >= ($%d, $%d) AND (generation, log_offset) < ($%d, $%d)
			ORDER BY generation, log_offset LIMIT $2`
	return missedSide{
		partners: named(`
			WITH RECURSIVE since (log_partition, generation, log_offset) AS (VALUES %s),
			partners (partner) AS (
				SELECT MIN(PARTNER) FROM messages WHERE OWNER = $1 AND visible_OWNER = TRUEOTHERS
				UNION ALL
				SELECT (SELECT MIN(PARTNER) FROM messages
					WHERE OWNER = $1 AND visible_OWNER = TRUEOTHERS AND PARTNER > partners.partner)
				FROM partners WHERE partners.partner IS NOT NULL)
			SELECT partners.partner, last.log_partition FROM partners
			JOIN messages AS last ON last.OWNER = $1 AND last.PARTNER = partners.partner AND last.event_id = (
				SELECT event_id FROM messages WHERE OWNER = $1 AND visible_OWNER = TRUE AND PARTNER = partners.partner
				ORDER BY generation DESC, log_offset DESC LIMIT 1)
			JOIN since ON since.log_partition = last.log_partition
			WHERE (last.generation, last.log_offset) >= (since.generation, since.log_offset) LIMIT $2`),
		size: named(`SELECT COUNT(*) AS messages, COALESCE(SUM(octet_length(frame)), 0) AS bytes FROM (
			SELECT frame ` + stretch + `) AS stretch`),
		entries: named(`SELECT * FROM (SELECT ` + messageColumns + ` ` + stretch + `) AS stretch`),
	}
}

// missedConversations bounds the conversations in which is looked for what was missed. Some may have nothing: what stands behind the
// stretch finds them, too.
const missedConversations = 4096

// missedConversation is one with something that the user may have missed.
type missedConversation struct {
	Partner   domain.UserID `db:"partner"`
	Partition int           `db:"log_partition"`
}

// Missed implements replay.MissedHistory.
func (u *Undelivered) Missed(
	ctx context.Context, user domain.UserID, from, to []domain.Place, bounds history.PageBounds, hold func(entries, bytes int) bool,
) (entries []past.Entry, whole bool, err error) {
	entries, err = database.Ask(ctx, u.db, "load missed", func(ctx context.Context, db sqlx.QueryerContext) ([]past.Entry, error) {
		looking := missing{db: db, user: user, from: from, to: to, room: bounds, hold: hold}
		rows, err := looking.rows(ctx)
		if err != nil {
			return nil, err
		}
		marks, err := looking.marks(ctx)
		if err != nil {
			return nil, err
		}
		if whole = !looking.tooMuch; !whole {
			return nil, nil
		}
		messages, err := database.Convert(rows, messageRow.missed)
		return append(messages, marks...), err
	})
	if err != nil || !whole {
		return nil, false, err
	}
	slices.SortFunc(entries, func(a, b past.Entry) int {
		return cmp.Or(cmp.Compare(a.Place.Partition, b.Place.Partition), cmp.Compare(a.Place.Generation, b.Place.Generation),
			cmp.Compare(a.Place.Offset, b.Place.Offset))
	})
	return entries, true, nil
}

// missed returns the entry with its event, which the frame holds.
func (r messageRow) missed() (past.Entry, error) {
	event, err := wire.DecodeEvent(r.Frame)
	if err != nil {
		return past.Entry{}, fmt.Errorf("history: the frame at %v: %w", r.position(), err)
	}
	return past.Entry{Place: r.position(), Event: event, Frame: r.Frame}, nil
}

// missing is one look for what a user missed.
type missing struct {
	db       sqlx.QueryerContext
	user     domain.UserID
	from, to []domain.Place
	room     history.PageBounds // what may still come
	hold     func(entries, bytes int) bool
	tooMuch  bool
}

// take notes that entries of these sizes are to come. It may be too much.
func (m *missing) take(sizes []storedCount) {
	entries, bytes := 0, 0
	for _, size := range sizes {
		entries += size.Messages
		bytes += int(size.Bytes)
	}
	m.room.Entries -= entries
	m.room.Bytes -= bytes
	m.tooMuch = m.tooMuch || m.room.Entries < 0 || m.room.Bytes < 0 || entries > 0 && !m.hold(entries, bytes)
}

// rows returns what was missed, in no order; tooMuch then tells that it is more than the bounds, and there are none.
func (m *missing) rows(ctx context.Context) (rows []messageRow, err error) {
	for _, of := range []missedSide{missedOfLow, missedOfHigh} {
		found, err := m.rowsOf(ctx, of)
		if err != nil || m.tooMuch {
			return nil, err
		}
		rows = append(rows, found...)
	}
	return rows, nil
}

func (m *missing) rowsOf(ctx context.Context, of missedSide) ([]messageRow, error) {
	conversations, err := m.conversations(ctx, of)
	if err != nil || m.tooMuch || len(conversations) == 0 {
		return nil, err
	}
	common := []any{m.user, m.room.Entries + 1}
	stretch := func(c missedConversation) []any {
		from, to := m.from[c.Partition], m.to[c.Partition]
		return []any{c.Partner, from.Generation, from.Offset, to.Generation, to.Offset}
	}
	// First the size is asked for: what is too much is not loaded.
	sizes, err := database.SelectEach[storedCount](ctx, m.db, of.size, common, conversations, stretch)
	if err != nil {
		return nil, err
	}
	if m.take(sizes); m.tooMuch {
		return nil, nil
	}
	return database.SelectEach[messageRow](ctx, m.db, of.entries, common, conversations, stretch)
}

// marks returns the read marks that were missed: the latest of each reader in a conversation.
func (m *missing) marks(ctx context.Context) ([]past.Entry, error) {
	if m.tooMuch {
		return nil, nil
	}
	limit := m.room.Entries + 1
	sizes, err := selectMoved[storedCount](ctx, m.db, movedMarksSize, m.user, m.from, m.to, limit)
	if err != nil {
		return nil, err
	}
	if m.take(sizes); m.tooMuch {
		return nil, nil
	}
	moved, err := selectMoved[movedRow](ctx, m.db, movedMarks, m.user, m.from, m.to, limit)
	if err != nil {
		return nil, err
	}
	return database.Convert(moved, movedRow.missed)
}

// conversations finds where something was missed.
func (m *missing) conversations(ctx context.Context, of missedSide) ([]missedConversation, error) {
	arguments := []any{m.user, missedConversations + 1}
	var since []string
	for partition, from := range m.from {
		if !from.Before(m.to[partition]) {
			continue
		}
		n := len(arguments)
		since = append(since, fmt.Sprintf("(CAST($%d AS BIGINT), CAST($%d AS BIGINT), CAST($%d AS BIGINT))", n+1, n+2, n+3))
		arguments = append(arguments, partition, from.Generation, from.Offset)
	}
	if len(since) == 0 {
		return nil, nil
	}
	var found []missedConversation
	err := sqlx.SelectContext(ctx, m.db, &found, fmt.Sprintf(of.partners, strings.Join(since, ", ")), arguments...)
	m.tooMuch = len(found) > missedConversations
	return found, err
}
