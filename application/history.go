package application

import (
	"context"
	"time"

	"chatting/domain"
)

// LogPosition is a place in the conversation log that stays comparable when the topic is made anew: generation counts how
// often it was, from 1 on. Within a partition places are ordered by generation, then offset; between partitions they are
// not ordered.
type LogPosition struct {
	Generation int64
	Partition  int
	Offset     int64
}

// Before tells whether p stands before other, of the same partition.
func (p LogPosition) Before(other LogPosition) bool {
	return p.Generation < other.Generation || p.Generation == other.Generation && p.Offset < other.Offset
}

// HistoryEntry is one message, invite or system message as the history has it. Frame is the frame that clients got, byte
// for byte, and must not be changed.
type HistoryEntry struct {
	ID       domain.EventID
	Position LogPosition
	Sender   domain.UserID
	At       time.Time // the event's own time
	Frame    []byte
}

// PageBounds bound a page. It has at most so many entries, and ends earlier where the frames of its entries would come to
// more than so many bytes; but it has one entry where there is any.
type PageBounds struct {
	Entries int
	Bytes   int
}

// HistoryReader reads what one user may see of its conversations: everything but what it had blocked by then.
type HistoryReader interface {
	// Messages returns, newest first, a page of owner's conversation with partner, which may be System: the entries before
	// the one with the id given, from the newest where that is nil. An id that owner does not see there (never heard of,
	// expired, erased, hidden, of another conversation) gives none. more tells that there are entries behind the page. What
	// does not fit into the page is not loaded, but for one entry.
	Messages(
		ctx context.Context, owner, partner domain.UserID, before *domain.EventID, bounds PageBounds,
	) (page []HistoryEntry, more bool, err error)
	// Conversations returns a page of the conversations in which owner sees anything, the one with the newest last entry
	// first: those behind the cursor given, from the first where that is nil. more tells that there are others behind it.
	Conversations(
		ctx context.Context, owner domain.UserID, before *ConversationCursor, bounds PageBounds,
	) (page []ConversationSummary, more bool, err error)
	// Sees tells whether owner sees the entry with this id in its conversation with partner.
	Sees(ctx context.Context, owner, partner domain.UserID, id domain.EventID) (bool, error)
}

// ConversationCursor is the place of a conversation in its owner's list: At is the time of its last entry then. A
// conversation that moves up meanwhile may be listed again, none is left out.
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
	Last    HistoryEntry  // the newest that the owner sees
	Unread  int
}

// Cursor returns the summary's place in the list.
func (s ConversationSummary) Cursor() ConversationCursor {
	return ConversationCursor{At: s.Last.At, Partner: s.Partner}
}

// ReadMarks remember up to where users have read their conversations.
type ReadMarks interface {
	// MarkRead moves owner's mark up to the message given or, where that is nil, to the newest that owner sees; never back.
	// known is false, and nothing is done, where owner does not see that message (or the history has not got it yet).
	MarkRead(ctx context.Context, owner, partner domain.UserID, message *domain.EventID) (known bool, err error)
	// Unread returns the number that ConversationSummary.Unread has.
	Unread(ctx context.Context, owner, partner domain.UserID) (int, error)
}

// UserEraser deletes what is kept about a user.
type UserEraser interface {
	// EraseUser forgets the user: its history (for its partners, too) before Ends, and what the log still holds of that does
	// not come back; its read marks and delivery cursor, its friends and its place in the lists of others; last, that it was
	// seen. So after an error it can be repeated. Whom the user blocked it unblocks, with a change in the outbox of each, and
	// returns them; the rows stay, because versions of a pair must not repeat. Blocks of others against it stay. known is
	// false, and nothing is done, where the user was never seen. CodeUnavailable also where the log was made anew meanwhile.
	EraseUser(ctx context.Context, erasure Erasure) (unblocked []domain.UserID, known bool, err error)
}

// Erasure is a wish to forget a user.
type Erasure struct {
	User domain.UserID
	At   time.Time // of the changes of blocks
	// Ends are the ends of the conversation log (LogEnds.EndOffsets), and Projected, of as many partitions, how far the history
	// had followed it before they were asked for: an end before that is one of a topic made anew. A later place of the history
	// says nothing of it.
	Ends      []int64
	Projected []LogPosition
}

// HistoryRetention deletes what is older than the history is to reach back.
type HistoryRetention interface {
	// Expire deletes at most limit entries whose own time is before the one given, and tells how many.
	Expire(ctx context.Context, before time.Time, limit int) (int, error)
}

// RetentionClock is the time by which data is deleted for its age: see domain.TrustedClock.
type RetentionClock interface {
	// AdvanceClock has the clock go on to the earlier of the database's time and the log's, and returns it. The database
	// keeps it, for all nodes.
	AdvanceClock(ctx context.Context, log time.Time) (domain.TrustedClock, error)
}

// ProjectedOffsets tells how far the history follows the log.
type ProjectedOffsets interface {
	// Projected returns, of each of the first so many partitions, the place that is projected next. One that was never
	// projected is at the start of generation 1.
	Projected(ctx context.Context, partitions int) ([]LogPosition, error)
}

// DeliveryCursors remember up to where everything addressed to a user was delivered.
type DeliveryCursors interface {
	// SaveCursors moves the cursor of each user forward to the places given, of some or all partitions; never back. Those
	// of other partitions stay; where the user has no cursor yet they are the System's, and where that has none, nothing is
	// saved.
	SaveCursors(ctx context.Context, cursors map[domain.UserID][]LogPosition) error
	// Cursor returns the user's cursor, a place for each partition; nil where it has none. That of System is the place
	// where storing for offline users began.
	Cursor(ctx context.Context, user domain.UserID) ([]LogPosition, error)
	// ForgetCursors deletes all cursors.
	ForgetCursors(ctx context.Context) error
}

// Undelivered reads what is addressed to a user: the chat messages and system messages of others that it sees.
type Undelivered interface {
	// Waiting looks at the entries that are addressed to user, from the first place (included) to the second (excluded) of each
	// partition, at most limit of them in a partition, in the log's order. It returns of each sender where the first one
	// stands, the earliest by its time first, and of each partition the place before which it has looked at everything.
	// The arguments have one place for each partition, in the order of their numbers.
	Waiting(ctx context.Context, user domain.UserID, from, to []LogPosition, limit int) ([]WaitingSender, []LogPosition, error)
	// Stretches returns, for each stretch, at most limit entries of its sender that are addressed to user, in the log's order.
	Stretches(ctx context.Context, user domain.UserID, stretches []Stretch, limit int) ([][]HistoryEntry, error)
	// Recent returns the ids of the latest entries that are addressed to user, at most limit of each partition, as far as they
	// are not older than since and stand before the places given, one for each partition.
	Recent(ctx context.Context, user domain.UserID, before []LogPosition, since time.Time, limit int) ([]domain.EventID, error)
}

// WaitingSender is somebody whose messages wait, and the place of the first one.
type WaitingSender struct {
	Sender domain.UserID
	Place  LogPosition
}

// Stretch is the part of a conversation that stands from a place (included) to another one (excluded) of its partition.
type Stretch struct {
	Sender   domain.UserID
	From, To LogPosition
}
