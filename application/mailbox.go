package application

import (
	"context"
	"sync"
	"time"

	"chatting/domain"
)

// StoredCounts tells how much is stored for users who are offline.
type StoredCounts interface {
	// StoredOf counts the chat messages of sender to receiver that stand behind receiver's cursor, and the bytes of their
	// frames, up to limit messages. Those that a block hides from receiver count as well: sender must not learn of the block.
	StoredOf(ctx context.Context, sender, receiver domain.UserID, limit int) (messages int, bytes int64, err error)
}

// MailboxBounds bound what one user may have stored for another one. 0 means no bound.
type MailboxBounds struct {
	Messages int
	Bytes    int64 // of frames
}

// Mailboxes keeps one sender from filling the mailbox of a user who is offline. The database counts, and a count is good
// for mailboxFresh: with what this node has stored since. So several nodes, and a history that is behind, may let a sender
// store somewhat more than the bounds say. It is safe for concurrent use.
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
}

const (
	// mailboxFresh is for how long a count is good, and mailboxRetry after how long a full mailbox is counted again: its owner
	// may have come and taken what was in it.
	mailboxFresh = 5 * time.Second
	mailboxRetry = time.Second
	// maxMailboxes bounds the counts that are remembered.
	maxMailboxes = 1 << 14
	// frameBytes is about what a frame has beside its text.
	frameBytes = 160
)

// NewMailboxes returns the mailboxes of users who are offline.
func NewMailboxes(counts StoredCounts, bounds MailboxBounds) *Mailboxes {
	return &Mailboxes{counts: counts, bounds: bounds, known: make(map[direction]mailboxCount)}
}

var errMailboxFull = domain.NewError(domain.CodeMailboxFull, "Too many of your messages wait for this user.")

// take counts a message that is about to be stored: CodeMailboxFull where there is no room for it, CodeUnavailable where
// the database does not tell.
func (m *Mailboxes) take(ctx context.Context, sender, receiver domain.UserID, text domain.Text) error {
	if m == nil || m.bounds == (MailboxBounds{}) {
		return nil
	}
	way, bytes := direction{sender, receiver}, int64(len(text.String())+frameBytes)
	if known, full := m.add(way, bytes, time.Now()); known {
		return full
	}
	limit := m.bounds.Messages
	if limit == 0 {
		limit = int(m.bounds.Bytes/frameBytes) + 1
	}
	messages, stored, err := m.counts.StoredOf(ctx, sender, receiver, limit)
	if err != nil {
		return domain.WrapError(domain.CodeUnavailable, "How much waits for the user cannot be told now.", err)
	}
	m.note(way, mailboxCount{messages: messages, bytes: stored, counted: time.Now()})
	_, full := m.add(way, bytes, time.Now())
	return full
}

// add counts a message by what is known; known is false where the database has to be asked first.
func (m *Mailboxes) add(way direction, bytes int64, now time.Time) (known bool, full error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	count, ok := m.known[way]
	age := now.Sub(count.counted)
	if !ok || age >= mailboxFresh {
		return false, nil
	}
	// One message always has room, however long it is.
	if m.bounds.Messages > 0 && count.messages >= m.bounds.Messages ||
		m.bounds.Bytes > 0 && count.messages > 0 && count.bytes+bytes > m.bounds.Bytes {
		return age < mailboxRetry, errMailboxFull
	}
	count.messages++
	count.bytes += bytes
	m.known[way] = count
	return true, nil
}

// note remembers a count.
func (m *Mailboxes) note(way direction, count mailboxCount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, again := m.known[way]; !again && len(m.known) >= maxMailboxes {
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
