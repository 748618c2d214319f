package application

import (
	"context"
	"time"

	"chatting/domain"
)

// ReadHistory shows users what was said in their own conversations, and notes up to where they have read.
type ReadHistory struct {
	History HistoryReader
	Marks   ReadMarks
}

// HistoryPage is a stretch of a conversation, newest first. Next names its last entry, behind which the next page begins;
// nil where there is none.
type HistoryPage struct {
	Entries []HistoryEntry
	Next    *domain.EventID
}

// Messages returns a page of at most limit entries, as HistoryReader.Messages says. Errors: CodeUnavailable.
func (r *ReadHistory) Messages(
	ctx context.Context, owner, partner domain.UserID, before *domain.EventID, limit int,
) (HistoryPage, error) {
	entries, err := r.History.Messages(ctx, owner, partner, before, limit+1)
	if err != nil {
		return HistoryPage{}, err
	}
	if len(entries) <= limit {
		return HistoryPage{Entries: entries}, nil
	}
	entries = entries[:limit]
	return HistoryPage{Entries: entries, Next: &entries[limit-1].ID}, nil
}

// ConversationPage is a stretch of a user's list of conversations. Next is the place of its last one, behind which the
// next page begins; nil where there is none.
type ConversationPage struct {
	Conversations []ConversationSummary
	Next          *ConversationCursor
}

// Conversations returns a page of at most limit conversations, as HistoryReader.Conversations says. Errors:
// CodeUnavailable.
func (r *ReadHistory) Conversations(
	ctx context.Context, owner domain.UserID, before *ConversationCursor, limit int,
) (ConversationPage, error) {
	list, err := r.History.Conversations(ctx, owner, before, limit+1)
	if err != nil {
		return ConversationPage{}, err
	}
	if len(list) <= limit {
		return ConversationPage{Conversations: list}, nil
	}
	list = list[:limit]
	next := list[limit-1].Cursor()
	return ConversationPage{Conversations: list, Next: &next}, nil
}

const (
	// projectionWait is for how long a message that a client names is waited for: who marks a message as read has it from
	// its socket, and the history gets it a moment later.
	projectionWait = 2 * time.Second
	projectionPoll = 50 * time.Millisecond
)

// MarkRead moves owner's mark in its conversation with partner up to message or, with nil, to the newest; never back. It
// returns how many are unread then. Errors: CodeUnknownMessage for one that owner does not see there, CodeUnavailable.
func (r *ReadHistory) MarkRead(ctx context.Context, owner, partner domain.UserID, message *domain.EventID) (unread int, err error) {
	waiting, cancel := context.WithTimeout(ctx, projectionWait)
	defer cancel()
	for {
		known, err := r.Marks.MarkRead(ctx, owner, partner, message)
		switch {
		case err != nil:
			return 0, err
		case known || message == nil:
			return r.Marks.Unread(ctx, owner, partner)
		}
		select {
		case <-time.After(projectionPoll):
		case <-waiting.Done():
			return 0, errUnknownMessage
		}
	}
}

var errUnknownMessage = domain.NewError(domain.CodeUnknownMessage, "The conversation has no such message.")
