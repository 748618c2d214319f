package application

import (
	"context"
	"slices"
	"sync"
	"time"

	"chatting/domain"
)

// StoredCounts tells how much is stored for users who are offline.
type StoredCounts interface {
	// StoredOf counts the chat messages of sender to receiver that stand behind receiver's cursor, and the bytes of their
	// frames, up to limit messages. Those that a block hides from receiver count as well: sender must not learn of the block.
	StoredOf(ctx context.Context, sender, receiver domain.UserID, limit int) (messages int, bytes int64, err error)
	// HasMessage tells whether the history has an event of the conversation of two users, also one that a block hides.
	HasMessage(ctx context.Context, one, other domain.UserID, id domain.EventID) (bool, error)
}

// MailboxBounds bound what one user may have stored for another one. 0 means no bound.
type MailboxBounds struct {
	Messages int
	Bytes    int64 // of frames
}

// Mailboxes keeps one sender from filling the mailbox of a user who is offline. The database counts, and a count is good
// for mailboxFresh: with what this node has stored since. So several nodes, and a history that is behind, may let a sender
// store somewhat more than the bounds say: with each count, what it stored in the moment that the history lags.
//
// A message that its sender named and sends again is the same message. It is let through although the mailbox is full, and
// it does not count again, if it is one of the latest that this node counted, or if the history has it. What remains: while
// the history is behind, an earlier message, or one that was sent through another node, is refused when it is sent again; and
// while there is room, such a message counts again until the database counts, at most mailboxFresh.
//
// It is safe for concurrent use.
type Mailboxes struct {
	counts StoredCounts
	bounds MailboxBounds

	mu    sync.Mutex
	known map[direction]mailboxCount
}

// mailboxCount is what was counted, and stored since.
type mailboxCount struct {
	messages int
	bytes    int64
	counted  time.Time
	// latest are the named messages that were counted last, at most maxLatest, in a ring whose next place is next.
	latest []domain.EventID
	next   int
}

// has tells whether a named message is one of the latest.
func (c *mailboxCount) has(id domain.EventID) bool { return slices.Contains(c.latest, id) }

// remember makes a named message one of the latest.
func (c *mailboxCount) remember(id domain.EventID) {
	switch {
	case id == domain.EventID{}:
	case len(c.latest) < maxLatest:
		c.latest = append(c.latest, id)
	default:
		c.latest[c.next] = id
		c.next = (c.next + 1) % maxLatest
	}
}

const (
	// mailboxFresh is for how long a count is good, and mailboxRetry after how long a full mailbox is counted again: its owner
	// may have come and taken what was in it.
	mailboxFresh = 5 * time.Second
	mailboxRetry = time.Second
	// maxMailboxes bounds the counts that are remembered.
	maxMailboxes = 1 << 14
	// maxLatest bounds the named messages that are remembered with a count, 16 bytes each.
	maxLatest = 16
	// frameBytes is about what a frame has beside its text.
	frameBytes = 160
)

// NewMailboxes returns the mailboxes of users who are offline.
func NewMailboxes(counts StoredCounts, bounds MailboxBounds) *Mailboxes {
	return &Mailboxes{counts: counts, bounds: bounds, known: make(map[direction]mailboxCount)}
}

var errMailboxFull = domain.NewError(domain.CodeMailboxFull, "Too many of your messages wait for this user.")

// take counts a message that is about to be stored. named is its id if its sender named it, else the zero id. The error is
// CodeMailboxFull if there is no room for the message and it is not stored already, CodeUnavailable if the database does not
// tell.
func (m *Mailboxes) take(ctx context.Context, sender, receiver domain.UserID, text domain.Text, named domain.EventID) error {
	if m == nil || m.bounds == (MailboxBounds{}) {
		return nil
	}
	err := m.count(ctx, direction{sender, receiver}, text, named)
	if domain.CodeOf(err) != domain.CodeMailboxFull || named == (domain.EventID{}) {
		return err
	}
	stored, asked := m.counts.HasMessage(ctx, sender, receiver, named)
	switch {
	case asked != nil:
		return domain.WrapError(domain.CodeUnavailable, "Whether the message is stored cannot be told now.", asked)
	case stored:
		return nil
	default:
		return err
	}
}

// count counts a message, if there is room for it.
func (m *Mailboxes) count(ctx context.Context, way direction, text domain.Text, named domain.EventID) error {
	bytes := int64(len(text.String()) + frameBytes)
	if known, full := m.add(way, bytes, named, time.Now()); known {
		return full
	}
	limit := m.bounds.Messages
	if limit == 0 {
		limit = int(m.bounds.Bytes/frameBytes) + 1
	}
	messages, stored, err := m.counts.StoredOf(ctx, way.from, way.to, limit)
	if err != nil {
		return domain.WrapError(domain.CodeUnavailable, "How much waits for the user cannot be told now.", err)
	}
	m.note(way, mailboxCount{messages: messages, bytes: stored, counted: time.Now()})
	_, full := m.add(way, bytes, named, time.Now())
	return full
}

// add counts a message by what is known; known is false where the database has to be asked first.
func (m *Mailboxes) add(way direction, bytes int64, named domain.EventID, now time.Time) (known bool, full error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	count := m.known[way]
	if count.has(named) {
		return true, nil
	}
	age := now.Sub(count.counted)
	if age >= mailboxFresh {
		return false, nil
	}
	// One message always has room, however long it is.
	if m.bounds.Messages > 0 && count.messages >= m.bounds.Messages ||
		m.bounds.Bytes > 0 && count.messages > 0 && count.bytes+bytes > m.bounds.Bytes {
		return age < mailboxRetry, errMailboxFull
	}
	count.messages++
	count.bytes += bytes
	count.remember(named)
	m.known[way] = count
	return true, nil
}

// note remembers a count, beside the latest messages.
func (m *Mailboxes) note(way direction, count mailboxCount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, again := m.known[way]
	count.latest, count.next = before.latest, before.next
	if !again && len(m.known) >= maxMailboxes {
		for other, old := range m.known {
			if count.counted.Sub(old.counted) >= mailboxFresh {
				delete(m.known, other)
			}
		}
		if len(m.known) >= maxMailboxes {
			clear(m.known) // they are counted again
		}
	}
	m.known[way] = count
}
