package history

import (
	"context"
	"time"

	"chatting/domain"
)

// ReadHistory shows users their own conversations, and notes up to where they have read.
//
// The history is a moment behind what clients see. So a first page, a list and a count of unread messages wait until the history
// has what this node has read of the log. If that does not happen soon, they are given as they are.
//
// A client may also name a message that the history does not have. It is looked for again once the history has all that the log
// has now.
type ReadHistory struct {
	history  Reader
	marks    ReadMarks
	seen     SeenLog
	progress *Progress
	marking  turns // of the marks that are about to move
	// Events are where moves of read marks are told. If it is nil, nobody is told. It is set before the first use.
	Events *MarkEvents
}

// SeenLog is the log as far as this node has read it.
type SeenLog interface {
	// Seen returns, for each partition, the offset up to which this node has read: what its connections were shown stands before.
	Seen() []int64
	// PartitionOf returns where a conversation stands.
	PartitionOf(conversation domain.Conversation) int
}

// NewReadHistory returns the history of a log, of which this node has seen some.
func NewReadHistory(history Reader, marks ReadMarks, log FollowedLog, seen SeenLog) *ReadHistory {
	return &ReadHistory{history: history, marks: marks, seen: seen, progress: NewProgress(log)}
}

const (
	// progressWait is for how long the history is waited for if a message is to be found in it, freshWait if it is to be fresh.
	progressWait = 2 * time.Second
	freshWait    = 500 * time.Millisecond
)

// refresh waits until the history has what this node has seen of some partitions, or freshWait has passed. behind tells that it has not.
func (r *ReadHistory) refresh(ctx context.Context, concerns func(partition int) bool) (behind bool) {
	seen := r.seen.Seen()
	ctx, cancel := context.WithTimeout(ctx, freshWait)
	defer cancel()
	now, err := r.progress.Now(ctx)
	if err != nil {
		return true
	}
	_, err = r.progress.awaitAll(ctx, now, func(now []domain.Place) (missing []int) { // the page says what there is
		for p := range now {
			if concerns(p) && now[p].Offset < seen[p] {
				missing = append(missing, p)
			}
		}
		return missing
	})
	return err != nil
}

// refreshBetween refreshes what two users have said to each other.
func (r *ReadHistory) refreshBetween(ctx context.Context, one, other domain.UserID) (behind bool) {
	partition := r.seen.PartitionOf(domain.Between(one, other))
	return r.refresh(ctx, func(p int) bool { return p == partition })
}

// catchUp waits until the history has all that the log had when it was called. CodeUnavailable if it does not within
// progressWait.
func (r *ReadHistory) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, progressWait)
	defer cancel()
	end, err := r.progress.NoteEnd(ctx)
	if err != nil {
		return err
	}
	_, err = r.progress.Await(ctx, end)
	return err
}

// Page is a stretch of a conversation, in the direction in which it is read. Next names its last entry, behind which the next page begins;
// nil if there is none.
type Page struct {
	Entries []Entry
	Next    *domain.EventID
	// Behind tells that the history was behind what this node has seen: what came last may be missing, and be there soon.
	Behind bool
}

// Messages returns a page, as Reader.Messages says. Errors: CodeUnavailable, also if it cannot be told whether
// there is a message to come that before names.
func (r *ReadHistory) Messages(
	ctx context.Context, owner, partner domain.UserID, before *domain.EventID, bounds PageBounds,
) (Page, error) {
	read := func() ([]Entry, bool, error) { return r.history.Messages(ctx, owner, partner, before, bounds) }
	if before == nil {
		behind := r.refreshBetween(ctx, owner, partner)
		page, err := pageOf(read())
		page.Behind = behind
		return page, err
	}
	return r.pageBeside(ctx, owner, partner, *before, read)
}

// MessagesAfter returns a page, as Reader.MessagesAfter says. Its errors are those of Messages.
func (r *ReadHistory) MessagesAfter(
	ctx context.Context, owner, partner domain.UserID, after domain.EventID, bounds PageBounds,
) (Page, error) {
	behind := r.refreshBetween(ctx, owner, partner) // the page may be the last one
	page, err := r.pageBeside(ctx, owner, partner, after, func() ([]Entry, bool, error) {
		return r.history.MessagesAfter(ctx, owner, partner, after, bounds)
	})
	page.Behind = behind && page.Next == nil
	return page, err
}

// pageBeside returns what read reads beside a message that the client names, once the history has that.
func (r *ReadHistory) pageBeside(
	ctx context.Context, owner, partner domain.UserID, named domain.EventID, read func() ([]Entry, bool, error),
) (Page, error) {
	entries, more, err := read()
	if err != nil || len(entries) > 0 {
		return pageOf(entries, more, err)
	}
	// At the end of the conversation, or beside a message that is not projected yet?
	known, err := r.history.Sees(ctx, owner, partner, named)
	if err == nil && !known {
		err = r.catchUp(ctx)
	}
	if err != nil {
		return Page{}, err
	}
	// Also where it is known: it may have come since it was first asked for.
	return pageOf(read())
}

func pageOf(entries []Entry, more bool, err error) (Page, error) {
	if err != nil {
		return Page{}, err
	}
	page := Page{Entries: entries}
	if more {
		page.Next = &entries[len(entries)-1].ID
	}
	return page, nil
}

// ConversationPage is a stretch of a user's list of conversations. Next is the place of its last one, behind which the
// next page begins; nil if there is none.
type ConversationPage struct {
	Conversations []ConversationSummary
	Next          *ConversationCursor
	Behind        bool // as in Page
}

// Conversations returns a page, as Reader.Conversations says. Errors: CodeUnavailable.
func (r *ReadHistory) Conversations(
	ctx context.Context, owner domain.UserID, before *ConversationCursor, bounds PageBounds,
) (ConversationPage, error) {
	behind := before == nil && r.refresh(ctx, func(int) bool { return true })
	list, more, err := r.history.Conversations(ctx, owner, before, bounds)
	if err != nil {
		return ConversationPage{}, err
	}
	page := ConversationPage{Conversations: list, Behind: behind}
	if more {
		next := list[len(list)-1].Cursor()
		page.Next = &next
	}
	return page, nil
}
