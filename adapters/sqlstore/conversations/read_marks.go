package conversations

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/adapters/wire"
	"chatting/application/history"
	"chatting/application/past"
	"chatting/domain"
)

// ReadMarks keeps up to where users have read their conversations. How many messages are unread the database counts itself.
type ReadMarks struct {
	db    *database.DB
	share *database.Share // that of History
}

const (
	moveMark = `
		INSERT INTO conversation_marks (owner, partner, generation, log_offset) VALUES ($1, $2, $3, $4)
		ON CONFLICT (owner, partner) DO UPDATE SET generation = excluded.generation, log_offset = excluded.log_offset
			WHERE (conversation_marks.generation, conversation_marks.log_offset) < (excluded.generation, excluded.log_offset)`
	selectMarked = `
		SELECT EXISTS (SELECT 1 FROM conversation_marks
			WHERE owner = $1 AND partner = $2 AND (generation, log_offset) >= ($3, $4))`
	selectUnread = `SELECT unread FROM conversation_marks WHERE owner = $1 AND partner = $2`
	// unreadBehind counts the messages addressed to $1 by $2 behind a place, up to $5 of them.
	unreadBehind = `
		SELECT COUNT(*) FROM (SELECT 1 FROM messages
			WHERE addressee = $1 AND sender = $2 AND (generation, log_offset) > ($3, $4) LIMIT $5) AS behind`
	// movedMarks are those of the user's conversations, $1, that moved in a stretch of a partition, the first $2 of them.
	movedMarks = `
		SELECT * FROM (
			SELECT reader, partner, generation, log_partition, log_offset, unread, occurred_at, frame FROM read_mark_events
			WHERE reader = $1 AND log_partition = $%[1]d
				AND (generation, log_offset) >= ($%[2]d, $%[3]d) AND (generation, log_offset) < ($%[4]d, $%[5]d)
			UNION ALL
			SELECT reader, partner, generation, log_partition, log_offset, unread, occurred_at, frame FROM read_mark_events
			WHERE partner = $1 AND visible_partner AND reader <> $1 AND log_partition = $%[1]d
				AND (generation, log_offset) >= ($%[2]d, $%[3]d) AND (generation, log_offset) < ($%[4]d, $%[5]d)
			ORDER BY generation, log_offset LIMIT $2
		) AS moved`
	movedMarksSize = `SELECT COUNT(*) AS messages, COALESCE(SUM(octet_length(frame)), 0) AS bytes FROM (` + movedMarks + `) AS sized`
)

// markedRow is an entry up to which a mark is to move.
type markedRow struct {
	place

	EventID        []byte `db:"event_id"`
	VisiblePartner bool   `db:"visible_partner"`
}

// FindMark implements history.ReadMarks.
func (m *ReadMarks) FindMark(
	ctx context.Context, owner, partner domain.UserID, message *domain.EventID,
) (mark history.FoundMark, known bool, err error) {
	mark, err = database.Ask(ctx, m.share, "look for read mark",
		func(ctx context.Context, db sqlx.QueryerContext) (history.FoundMark, error) {
			row, seen, err := findMarked(ctx, db, owner, partner, message)
			if known = seen || message == nil; err != nil || !seen { // nothing to see is read
				return history.FoundMark{}, err
			}
			return row.mark(ctx, db, owner, partner)
		})
	return mark, known && err == nil, err
}

// mark returns what it comes to if owner's mark moves to the entry.
func (r markedRow) mark(ctx context.Context, db sqlx.QueryerContext, owner, partner domain.UserID) (history.FoundMark, error) {
	marked, _, err := database.Find[bool](ctx, db, selectMarked, owner, partner, r.Generation, r.Offset)
	if err != nil || marked {
		return history.FoundMark{}, err
	}
	id, err := eventID(r.EventID)
	if err != nil {
		return history.FoundMark{}, err
	}
	unread, _, err := database.Find[int](ctx, db, unreadBehind, owner, partner, r.Generation, r.Offset, history.MaxUnread)
	return history.FoundMark{Message: id, Moves: true, Unread: unread, PartnerSees: r.VisiblePartner}, err
}

func findMarked(
	ctx context.Context, db sqlx.QueryerContext, owner, partner domain.UserID, id *domain.EventID,
) (row markedRow, seen bool, err error) {
	of := sideFor(owner, partner)
	if id == nil {
		return database.Find[markedRow](ctx, db, of.newestMark, owner, partner)
	}
	return database.Find[markedRow](ctx, db, of.mark, owner, partner, id[:])
}

// movedRow is the event of a read mark as it is kept.
type movedRow struct {
	place

	Reader     domain.UserID `db:"reader"`
	Partner    domain.UserID `db:"partner"`
	Unread     int           `db:"unread"`
	OccurredAt int64         `db:"occurred_at"`
	Frame      []byte        `db:"frame"`
}

func (r movedRow) mark() (history.MovedMark, error) {
	return history.MovedMark{
		Reader: r.Reader, Partner: r.Partner, Place: r.position(), At: time.UnixMilli(r.OccurredAt).UTC(), Unread: r.Unread, Frame: r.Frame,
	}, nil
}

// missed returns the event of the mark.
func (r movedRow) missed() (past.Entry, error) {
	event, err := wire.DecodeEvent(r.Frame)
	mark, ok := event.Body.(domain.ReadMark)
	if err != nil || !ok {
		return past.Entry{}, fmt.Errorf("history: the frame of a read mark at %v: %w", r.position(), err)
	}
	mark.Unread, mark.Receipt = r.Unread, true // or it would not be among those that the user may see
	event.Body = mark
	return past.Entry{Place: r.position(), Event: event, Frame: r.Frame}, nil
}

// selectMoved runs movedMarks, or movedMarksSize, for each partition of which something is wanted. The rows are in no order.
func selectMoved[R any](
	ctx context.Context, db sqlx.QueryerContext, statement string, user domain.UserID, from, to []domain.Place, limit int,
) ([]R, error) {
	var wanted []int
	for partition := range from {
		if from[partition].Before(to[partition]) {
			wanted = append(wanted, partition)
		}
	}
	return database.SelectEach[R](ctx, db, statement, []any{user, limit}, wanted, func(partition int) []any {
		from, to := from[partition], to[partition]
		return []any{partition, from.Generation, from.Offset, to.Generation, to.Offset}
	})
}

// Moved returns the read marks that user may see and whose latest event stands in a stretch of the log, which begins at from and ends
// before to: its own, and those of others in conversations with it. Those of a partition are in the log's order, and at most limit. A
// partition of which nothing is wanted costs nothing.
func (m *ReadMarks) Moved(
	ctx context.Context, user domain.UserID, from, to []domain.Place, limit int,
) ([]history.MovedMark, error) {
	rows, err := database.Ask(ctx, m.db, "load moved marks", func(ctx context.Context, db sqlx.QueryerContext) ([]movedRow, error) {
		return selectMoved[movedRow](ctx, db, movedMarks, user, from, to, limit)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b movedRow) int { // the database may have them in any order
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Offset, b.Offset))
	})
	return database.Convert(rows, movedRow.mark)
}

// MarkRead implements history.ReadMarks. A mark that does not move is only looked at: nothing is locked, and nothing is
// written.
func (m *ReadMarks) MarkRead(
	ctx context.Context, owner, partner domain.UserID, message *domain.EventID,
) (known bool, err error) {
	marked, err := database.Ask(ctx, m.db, "look for read mark", func(ctx context.Context, db sqlx.QueryerContext) (marked bool, err error) {
		var at place
		if at, known, err = seenPlace(ctx, db, owner, partner, message); err != nil || !known {
			return false, err
		}
		marked, _, err = database.Find[bool](ctx, db, selectMarked, owner, partner, at.Generation, at.Offset)
		return marked, err
	})
	if err != nil {
		return false, err
	}
	if !known || marked {
		return known || message == nil, nil // nothing to see is read
	}
	err = m.share.Write(ctx, "mark read", func(ctx context.Context, tx *sqlx.Tx) error {
		at, seen, err := seenPlace(ctx, tx, owner, partner, message)
		if known = seen || message == nil; err != nil || !seen {
			return err
		}
		_, err = tx.ExecContext(ctx, moveMark, owner, partner, at.Generation, at.Offset)
		return err
	})
	return known && err == nil, err
}

// Unread implements history.ReadMarks. Where nothing was ever said to the owner, there is no row.
func (m *ReadMarks) Unread(ctx context.Context, owner, partner domain.UserID) (int, error) {
	unread, err := database.Get[int](ctx, m.share, "load unread", selectUnread, owner, partner)
	return min(unread, history.MaxUnread), err
}
