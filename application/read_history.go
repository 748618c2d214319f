package application

import (
	"context"
	"time"

	"chatting/domain"
)

// ReadHistory shows users what was said in their own conversations, and notes up to where they have read.
//
// A client names messages that it has from its socket, and the history gets them a moment later. So a message that the
// history does not know is looked for again once the history has all that the log has now.
type ReadHistory struct {
	history  HistoryReader
	marks    ReadMarks
	progress *historyProgress
}

// NewReadHistory returns the history of a log with so many partitions.
func NewReadHistory(
	history HistoryReader, marks ReadMarks, projected ProjectedOffsets, ends LogEnds, partitions int,
) *ReadHistory {
	return &ReadHistory{history: history, marks: marks, progress: newHistoryProgress(projected, ends, partitions)}
}

// progressWait is for how long the history is waited for.
const progressWait = 2 * time.Second

// catchUp waits until the history has all that the log had when it was called. CodeUnavailable where it does not within
// progressWait.
func (r *ReadHistory) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, progressWait)
	defer cancel()
	end, err := r.progress.noteEnd(ctx)
	if err != nil {
		return err
	}
	_, err = r.progress.await(ctx, end)
	return err
}

// HistoryPage is a stretch of a conversation, newest first. Next names its last entry, behind which the next page begins;
// nil where there is none.
type HistoryPage struct {
	Entries []HistoryEntry
	Next    *domain.EventID
}

// Messages returns a page, as HistoryReader.Messages says. Errors: CodeUnavailable, also where it cannot be told whether
// there is a message to come that before names.
func (r *ReadHistory) Messages(
	ctx context.Context, owner, partner domain.UserID, before *domain.EventID, bounds PageBounds,
) (HistoryPage, error) {
	entries, more, err := r.history.Messages(ctx, owner, partner, before, bounds)
	if err == nil && before != nil && len(entries) == 0 {
		// At the beginning of the conversation, or behind a message that is not projected yet?
		entries, more, err = r.messagesOnceKnown(ctx, owner, partner, *before, bounds)
	}
	if err != nil {
		return HistoryPage{}, err
	}
	page := HistoryPage{Entries: entries}
	if more {
		page.Next = &entries[len(entries)-1].ID
	}
	return page, nil
}

func (r *ReadHistory) messagesOnceKnown(
	ctx context.Context, owner, partner domain.UserID, before domain.EventID, bounds PageBounds,
) (page []HistoryEntry, more bool, err error) {
	known, err := r.history.Sees(ctx, owner, partner, before)
	if err == nil && !known {
		err = r.catchUp(ctx)
	}
	if err != nil {
		return nil, false, err
	}
	// Also where it is known: it may have come since it was first asked for.
	return r.history.Messages(ctx, owner, partner, &before, bounds)
}

// ConversationPage is a stretch of a user's list of conversations. Next is the place of its last one, behind which the
// next page begins; nil where there is none.
type ConversationPage struct {
	Conversations []ConversationSummary
	Next          *ConversationCursor
}

// Conversations returns a page, as HistoryReader.Conversations says. Errors: CodeUnavailable.
func (r *ReadHistory) Conversations(
	ctx context.Context, owner domain.UserID, before *ConversationCursor, bounds PageBounds,
) (ConversationPage, error) {
	list, more, err := r.history.Conversations(ctx, owner, before, bounds)
	if err != nil {
		return ConversationPage{}, err
	}
	page := ConversationPage{Conversations: list}
	if more {
		next := list[len(list)-1].Cursor()
		page.Next = &next
	}
	return page, nil
}

// MarkRead moves owner's mark in its conversation with partner up to message or, with nil, to the newest; never back. It
// returns how many are unread then. Errors: CodeUnknownMessage for one that owner does not see there, CodeUnavailable.
func (r *ReadHistory) MarkRead(ctx context.Context, owner, partner domain.UserID, message *domain.EventID) (unread int, err error) {
	known, err := r.marks.MarkRead(ctx, owner, partner, message)
	if err == nil && !known {
		if err = r.catchUp(ctx); err == nil {
			known, err = r.marks.MarkRead(ctx, owner, partner, message)
		}
	}
	switch {
	case err != nil:
		return 0, err
	case !known:
		return 0, errUnknownMessage
	}
	return r.marks.Unread(ctx, owner, partner)
}

var errUnknownMessage = domain.NewError(domain.CodeUnknownMessage, "The conversation has no such message.")
