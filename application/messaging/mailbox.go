package messaging

import (
	"context"
	"slices"
	"sync"
	"time"

	"chatting/domain"
)

// MailboxCounts tells how much is stored for users who are offline.
type MailboxCounts interface {
	// StoredOf counts the chat messages of sender to recipient that stand behind recipient's cursor, and the bytes of their
	// frames, up to limit messages. Messages that a block hides count as well: sender must not learn of the block.
	StoredOf(ctx context.Context, sender, recipient domain.UserID, limit int) (messages int, bytes int64, err error)
	SentMessages
}

// MailboxBounds bound what one user may have stored for another one. 0 means no bound.
type MailboxBounds struct {
	Messages int
	Bytes    int64 // of frames
}

// Mailboxes keeps one sender from filling the mailbox of a user who is offline. The database counts. A count, with what this
// node has stored since, is good for mailboxFresh. So a sender who uses several nodes, or while the history is behind, may
// store somewhat more than the bounds say.
//
// A message that its sender named and sends again is the same message. It passes a full mailbox and does not count again if
// it is one of the latest that this node counted, or if the history has it. Until the history has it, an older message, or one
// that was sent through another node, is refused by a full mailbox, and counts again in one with room.
//
// It is safe for concurrent use.
type Mailboxes struct {
	counts MailboxCounts
	bounds MailboxBounds

	mu    sync.Mutex
	known map[route]mailboxCount
}

// route is who sends to whom.
type route struct{ from, to domain.UserID }

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
func NewMailboxes(counts MailboxCounts, bounds MailboxBounds) *Mailboxes {
	return &Mailboxes{counts: counts, bounds: bounds, known: make(map[route]mailboxCount)}
}

var errMailboxFull = domain.NewError(domain.CodeMailboxFull, "Too many of your messages wait for this user.")

// take counts a message that is about to be stored. named is its id if its sender named it, else the zero id. The error is
// CodeMailboxFull if there is no room for the message and it is not stored already, CodeUnavailable if the database does not
// tell.
func (m *Mailboxes) take(ctx context.Context, sender, recipient domain.UserID, text domain.Text, named domain.EventID) error {
	if m == nil || m.bounds == (MailboxBounds{}) {
		return nil
	}
	err := m.count(ctx, route{sender, recipient}, text, named)
	if domain.CodeOf(err) == domain.CodeMailboxFull {
		return unlessSent(ctx, m.counts, sender, recipient, named, err)
	}
	return err
}

// count counts a message, if there is room for it.
func (m *Mailboxes) count(ctx context.Context, way route, text domain.Text, named domain.EventID) error {
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

// add counts a message by what is known; known is false if the database has to be asked first.
func (m *Mailboxes) add(way route, bytes int64, named domain.EventID, now time.Time) (known bool, full error) {
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
func (m *Mailboxes) note(way route, count mailboxCount) {
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
