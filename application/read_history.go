package application

import (
	"context"
	"time"

	"chatting/domain"
)

// ReadHistory shows users what was said in their own conversations, and notes up to where they have read.
//
// The history gets what was said a moment later than clients. So a first page, a list and a number of unread messages are
// given once the history has what this node had read of the log by then, and so all that its clients were shown. That is an
// effort, not a promise: where the history does not come so far soon, they are given as it is.
//
// A client may also name a message that the history does not know. It is looked for again once the history has all that the
// log has now.
type ReadHistory struct {
	history  HistoryReader
	marks    ReadMarks
	seen     SeenLog
	progress *historyProgress
}

// SeenLog is the log as far as this node has read it.
type SeenLog interface {
	// Seen returns, for each partition, the offset up to which this node has read: what its connections were shown stands before.
	Seen() []int64
	// PartitionOf returns where a conversation stands.
	PartitionOf(conversation domain.Conversation) int
}

// NewReadHistory returns the history of a log, of which this node has seen some.
func NewReadHistory(history HistoryReader, marks ReadMarks, log FollowedLog, seen SeenLog) *ReadHistory {
	return &ReadHistory{history: history, marks: marks, seen: seen, progress: newHistoryProgress(log)}
}

const (
	// progressWait is for how long the history is waited for if a message is to be found in it, freshWait if it is to be fresh.
	progressWait = 2 * time.Second
	freshWait    = 500 * time.Millisecond
)

// refresh waits until the history has what this node has seen of the conversation of two users, or freshWait has passed.
func (r *ReadHistory) refresh(ctx context.Context, one, other domain.UserID) {
	conversation := domain.Between(one, other)
	seen := r.seen.Seen()
	p := r.seen.PartitionOf(conversation)
	r.awaitSeen(ctx, func(now []LogPosition) []int {
		if now[p].Offset < seen[p] {
			return []int{p}
		}
		return nil
	})
}

// refreshAll does so for all conversations.
func (r *ReadHistory) refreshAll(ctx context.Context) {
	seen := r.seen.Seen()
	r.awaitSeen(ctx, func(now []LogPosition) (missing []int) {
		for p := range now {
			if now[p].Offset < seen[p] {
				missing = append(missing, p)
			}
		}
		return missing
	})
}

func (r *ReadHistory) awaitSeen(ctx context.Context, missing func(now []LogPosition) []int) {
	ctx, cancel := context.WithTimeout(ctx, freshWait)
	defer cancel()
	if now, err := r.progress.projected.get(ctx); err == nil {
		_, _ = r.progress.awaitAll(ctx, now, missing) // the page says what there is
	}
}

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
	if before == nil {
		r.refresh(ctx, owner, partner)
	}
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
	if before == nil {
		r.refreshAll(ctx)
	}
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
	r.refresh(ctx, owner, partner)
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
