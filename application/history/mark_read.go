package history

import (
	"context"

	"chatting/application/port"
	"chatting/domain"
)

// MarkEvents tell of read marks that move: the user's other devices, and the partner unless the user blocks it.
type MarkEvents struct {
	Log    port.ConversationLog
	Blocks MarkBlocks
	Now    port.Clock
}

// MarkBlocks tells who may not learn what a user has read.
type MarkBlocks interface {
	// IsBlocked tells whether blocker blocks target.
	IsBlocked(ctx context.Context, blocker, target domain.UserID) (bool, error)
}

// MarkRead moves owner's mark in its conversation with partner up to message or, with nil, to the newest; never back. It
// returns how many are unread then. Errors: CodeUnknownMessage for one that owner does not see there, CodeUnavailable,
// CodeUnconfirmed.
//
// A mark that moves is an event in the log before it moves in the database. So whoever fails in between, or has no answer, moves it
// again: that is the same event, by its id. On this node the marks of one owner in one conversation move one after another: so what
// many requests ask for at once is appended once, and none goes back.
func (r *ReadHistory) MarkRead(ctx context.Context, owner, partner domain.UserID, message *domain.EventID) (unread int, err error) {
	r.refreshBetween(ctx, owner, partner)
	done, err := r.marking.take(ctx, turn{owner, partner})
	if err != nil {
		return 0, err
	}
	defer done()
	mark, known, err := r.marks.FindMark(ctx, owner, partner, message)
	if err == nil && !known {
		if err = r.catchUp(ctx); err == nil {
			mark, known, err = r.marks.FindMark(ctx, owner, partner, message)
		}
	}
	switch {
	case err != nil:
		return 0, err
	case !known:
		return 0, errUnknownMessage
	}
	if mark.Moves {
		if err := r.Events.append(ctx, owner, partner, mark); err != nil {
			return 0, err
		}
		// If the message is gone meanwhile, because of its age, so is what was unread up to it.
		if _, err := r.marks.MarkRead(ctx, owner, partner, &mark.Message); err != nil {
			return 0, err
		}
	}
	return r.marks.Unread(ctx, owner, partner)
}

var errUnknownMessage = domain.NewError(domain.CodeUnknownMessage, "The conversation has no such message.")

// append tells of a mark that is about to move, and waits until the log has it.
func (e *MarkEvents) append(ctx context.Context, reader, partner domain.UserID, mark FoundMark) error {
	if e == nil {
		return nil
	}
	receipt, err := e.mayLearn(ctx, reader, partner, mark)
	if err != nil {
		return err
	}
	body, err := domain.NewReadMark(reader, partner, mark.Message, int64(mark.Unread), receipt)
	if err != nil {
		return err
	}
	return port.AppendAndWait(ctx, e.Log, domain.Event{
		ID: domain.ReadMarkID(reader, partner, mark.Message), Time: e.Now.Stamp(), Body: body,
	})
}

// mayLearn tells whether partner may learn of a mark: not if the reader blocks it, nor of a message that it does not see itself. What
// partner blocks, delivery keeps from it.
func (e *MarkEvents) mayLearn(ctx context.Context, reader, partner domain.UserID, mark FoundMark) (bool, error) {
	if partner == domain.System || partner == reader || !mark.PartnerSees {
		return false, nil
	}
	blocked, err := e.Blocks.IsBlocked(ctx, reader, partner)
	return !blocked && err == nil, err
}
