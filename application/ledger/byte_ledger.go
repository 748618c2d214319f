package ledger

import (
	"container/list"
	"sync"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// ByteLedger bounds the bytes that a node holds for its clients: frames and answers that clients have not taken yet, and
// messages that are being received. It bounds them for each user and in sum. Adapters bound each connection.
//
// If there is no room, the ledger cuts off the slowest holder: the one that has waited longest without progress. So
// clients that do not read harm only themselves. Its methods do not block and call only cut, so they may be called under any
// lock.
type ByteLedger struct {
	limit, userLimit int
	now              port.Clock

	mu      sync.Mutex
	held    int
	leaving int // what holders that were cut off keep; see Holding.Keep
	waiting list.List
	users   map[domain.UserID]*userBytes
	cuts    uint64
	// refusals counts, of each limit, how often it had a holder cut off or refused.
	refusals Refusals
}

// Refusals counts, of each limit of a ledger, how often it had a holder cut off or refused.
type Refusals struct{ User, Sum uint64 }

// userBytes is what one user holds, with at least one holder.
type userBytes struct {
	held    int
	waiting list.List
}

const (
	// leavingShare is the part of the limit that holders may keep after they were cut off: one in so many.
	leavingShare = 8
	// stalledAfter is how long a holder must have made no progress for TryHold to have it cut off.
	stalledAfter = time.Second
)

// NewByteLedger returns an empty ledger. The limits are in bytes, 0 for none.
func NewByteLedger(limit, userLimit int, now port.Clock) *ByteLedger {
	return &ByteLedger{limit: limit, userLimit: userLimit, now: now, users: make(map[domain.UserID]*userBytes)}
}

// Held returns the bytes that are held, those of holders that were cut off included.
func (l *ByteLedger) Held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held + l.leaving
}

// Cuts returns how many holders were cut off.
func (l *ByteLedger) Cuts() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts
}

// Refusals returns how often each limit had a holder cut off or refused.
func (l *ByteLedger) Refusals() Refusals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusals
}

// Holding is what one holder has in a ledger. Its methods may be called by several goroutines.
type Holding struct {
	ledger *ByteLedger
	cut    func()

	// Guarded by ledger.mu. A holding is in the lists while it has bytes.
	bytes   int
	kept    int
	user    domain.UserID
	known   bool
	cutOff  bool
	since   time.Time // of the last progress
	inSum   *list.Element
	forUser *list.Element
}

// Open returns a holding without bytes, of no user. The ledger calls cut at most once, when the holder has to go: it must
// make the holder end soon and must not block, nor take a lock under which the ledger is called.
func (l *ByteLedger) Open(cut func()) *Holding { return &Holding{ledger: l, cut: cut} }

// OpenFor is Open for a user.
func (l *ByteLedger) OpenFor(user domain.UserID, cut func()) *Holding {
	return &Holding{ledger: l, cut: cut, user: user, known: true}
}

// Of says whose bytes the holding has, those so far included.
func (h *Holding) Of(user domain.UserID) {
	l := h.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.known {
		return
	}
	bytes := h.bytes
	l.take(h, bytes)
	h.user, h.known = user, true
	if bytes > 0 {
		l.put(h, bytes, l.now())
	}
}

// Hold counts n more bytes. To make room it cuts off the slowest holders. It returns false if the holder itself was cut off, or
// if there can be no room for so much.
func (h *Holding) Hold(n int) bool { return h.hold(n, 0) }

// TryHold is Hold for a holder that can come again: it cuts off only holders that have stalled for a second.
func (h *Holding) TryHold(n int) bool { return h.hold(n, stalledAfter) }

func (h *Holding) hold(n int, stalled time.Duration) bool {
	l := h.ledger
	l.mu.Lock()
	victims, ok := l.makeRoom(h, n, stalled)
	if ok {
		since := h.since // more to write is no progress
		if h.bytes == 0 {
			since = l.now()
		}
		l.put(h, n, since)
	}
	l.mu.Unlock()
	for _, victim := range victims {
		victim.cut()
	}
	return ok
}

// makeRoom cuts off holders until there is room for n more bytes of h. It spares those that made progress within stalled.
func (l *ByteLedger) makeRoom(h *Holding, n int, stalled time.Duration) (victims []*Holding, ok bool) {
	for {
		var full *list.List
		limit := &l.refusals.Sum
		switch {
		case h.cutOff:
			return victims, false
		case h.known && l.userLimit > 0 && l.ofUser(h)+n > l.userLimit:
			full, limit = new(list.List), &l.refusals.User
			if user := l.users[h.user]; user != nil {
				full = &user.waiting
			}
		case l.limit > 0 && l.held+n > l.limit-l.limit/leavingShare:
			full = &l.waiting
		default:
			return victims, true
		}
		*limit++
		slowest := full.Front()
		if slowest == nil {
			return victims, false
		}
		victim, _ := slowest.Value.(*Holding)
		if victim.since.After(l.now().Add(-stalled)) {
			return victims, false
		}
		l.take(victim, victim.bytes)
		victim.cutOff = true
		l.cuts++
		victims = append(victims, victim)
	}
}

func (l *ByteLedger) ofUser(h *Holding) int {
	if user := l.users[h.user]; user != nil {
		return user.held
	}
	return 0
}

// put adds n bytes to h, at the end of the lists if it was not in them.
func (l *ByteLedger) put(h *Holding, n int, since time.Time) {
	h.since = since
	h.bytes += n
	l.held += n
	if h.inSum == nil {
		h.inSum = l.waiting.PushBack(h)
	}
	if !h.known {
		return
	}
	user := l.users[h.user]
	if user == nil {
		user = &userBytes{}
		l.users[h.user] = user
	}
	user.held += n
	if h.forUser == nil {
		h.forUser = user.waiting.PushBack(h)
	}
}

// take takes n bytes from h, and h from the lists if that was all.
func (l *ByteLedger) take(h *Holding, n int) {
	h.bytes -= n
	l.held -= n
	user := l.users[h.user]
	if user != nil {
		user.held -= n
	}
	if h.bytes > 0 || h.inSum == nil {
		return
	}
	l.waiting.Remove(h.inSum)
	h.inSum = nil
	if h.forUser != nil {
		user.waiting.Remove(h.forUser)
		h.forUser = nil
		if user.waiting.Len() == 0 {
			delete(l.users, h.user)
		}
	}
}

// Progress says that the client took, or sent, some of what is held.
func (h *Holding) Progress() {
	l := h.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress(h)
}

func (l *ByteLedger) progress(h *Holding) {
	if h.inSum == nil {
		return
	}
	h.since = l.now()
	l.waiting.MoveToBack(h.inSum)
	if h.forUser != nil {
		l.users[h.user].waiting.MoveToBack(h.forUser)
	}
}

// Release gives back n of the bytes, which is progress.
func (h *Holding) Release(n int) {
	l := h.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.cutOff {
		return
	}
	l.take(h, min(n, h.bytes))
	l.progress(h)
}

// Keep gives back all but n bytes, which the holder needs for its end: the rest of a frame, say. It returns false if the holder
// was cut off and may not have even these, because others have too many.
func (h *Holding) Keep(n int) bool {
	l := h.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if !h.cutOff {
		l.take(h, max(0, h.bytes-n))
		return true
	}
	if l.limit > 0 && l.leaving-h.kept+n > l.limit/leavingShare {
		return false
	}
	l.leaving += n - h.kept
	h.kept = n
	return true
}

// Close gives everything back. The holding must not be used after that.
func (h *Holding) Close() {
	l := h.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.take(h, h.bytes)
	l.leaving -= h.kept
	h.kept = 0
	h.cutOff = true
}

// IsCutOff tells whether the holder was told to go, or the holding was closed.
func (h *Holding) IsCutOff() bool {
	h.ledger.mu.Lock()
	defer h.ledger.mu.Unlock()
	return h.cutOff
}
