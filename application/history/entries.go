package history

import (
	"context"
	"time"

	"chatting/domain"
)

// Entry is one message, invite or system message as the history has it. Frame is the frame that clients got, byte
// for byte, and must not be changed.
type Entry struct {
	ID     domain.EventID
	Place  domain.Place
	Sender domain.UserID
	At     time.Time // the event's own time
	Frame  []byte
}

// PageBounds bound a page: its entries, and the bytes of their frames. A page has one entry if there is any, however long.
type PageBounds struct {
	Entries int
	Bytes   int
}

// Reader reads what one user may see of its conversations: everything but what it had blocked by then.
type Reader interface {
	// Messages returns, newest first, a page of owner's conversation with partner, which may be System: the entries before the
	// given id, or from the newest if before is nil. An id that owner does not see there gives none. more tells that there are
	// entries behind the page; at most one of them is loaded.
	Messages(
		ctx context.Context, owner, partner domain.UserID, before *domain.EventID, bounds PageBounds,
	) (page []Entry, more bool, err error)
	// MessagesAfter is Messages in the other direction: the entries behind the given id, oldest first.
	MessagesAfter(
		ctx context.Context, owner, partner domain.UserID, after domain.EventID, bounds PageBounds,
	) (page []Entry, more bool, err error)
	// Conversations returns a page of the conversations in which owner sees anything, the one with the newest last entry first:
	// those behind the given cursor, or from the first if before is nil. more tells that there are others behind the page.
	Conversations(
		ctx context.Context, owner domain.UserID, before *ConversationCursor, bounds PageBounds,
	) (page []ConversationSummary, more bool, err error)
	// Sees tells whether owner sees the entry with this id in its conversation with partner.
	Sees(ctx context.Context, owner, partner domain.UserID, id domain.EventID) (bool, error)
}

// ConversationCursor is the place of a conversation in its owner's list. At is the time of its last entry then. If a conversation
// moves up meanwhile, it may be listed again; none is left out.
type ConversationCursor struct {
	At      time.Time // of millisecond precision
	Partner domain.UserID
}

// MaxUnread is the largest number of unread messages that is shown: so many, or more.
const MaxUnread = 1000

// ConversationSummary is a conversation in its owner's list. Unread counts the chat messages and system messages of
// Partner that stand behind the owner's mark and that the owner sees, at most MaxUnread.
type ConversationSummary struct {
	Partner domain.UserID // System for what the platform said
	Last    Entry         // the newest that the owner sees
	Unread  int
}

// Cursor returns the summary's place in the list.
func (s ConversationSummary) Cursor() ConversationCursor {
	return ConversationCursor{At: s.Last.At, Partner: s.Partner}
}

// ReadMarks remember up to where users have read their conversations.
type ReadMarks interface {
	// FindMark tells what it comes to if owner's mark moves to the given message, or to the newest that owner sees if message is
	// nil. If owner does not see the message, or the history does not have it yet, known is false.
	FindMark(ctx context.Context, owner, partner domain.UserID, message *domain.EventID) (mark FoundMark, known bool, err error)
	// MarkRead moves owner's mark to the given message, or to the newest that owner sees if message is nil; never back. If owner
	// does not see the message, or the history does not have it yet, known is false and nothing is done.
	MarkRead(ctx context.Context, owner, partner domain.UserID, message *domain.EventID) (known bool, err error)
	// Unread returns the number that ConversationSummary.Unread has.
	Unread(ctx context.Context, owner, partner domain.UserID) (int, error)
}

// FoundMark is what it comes to if a user's mark moves to a message.
type FoundMark struct {
	Message domain.EventID
	// Moves is false if the mark stands there or further already, or there is nothing to read. Then the rest says nothing.
	Moves bool
	// Unread is the number that ConversationSummary.Unread has then.
	Unread int
	// PartnerSees tells whether the partner sees the message, too.
	PartnerSees bool
}

// MovedMark is a read mark at the place of its event in the log, as the history has it: the latest of its reader in a conversation.
type MovedMark struct {
	Reader, Partner domain.UserID
	Place           domain.Place
	At              time.Time // the event's own time
	Unread          int       // for Reader alone
	// Frame is the frame that clients got, without unread.
	Frame []byte
}
