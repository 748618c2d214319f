package delivery

import (
	"math"
	"slices"

	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
)

// Attachment is a connection's place in delivery. Everything below gathers is guarded by the recipient's lock.
type Attachment struct {
	recipient *recipient
	conn      Connection
	// gathers tells that the attachment is one of delivery.gathering. It is the tail's own, as that is.
	gathers bool

	// blocks is the user's list as of the last record applied: what the log said since Attach and, from Activate on, what
	// the database said. Each connection has its own: two logins load at different times while the tail is behind both, and
	// the newer list must not judge what is still to come for the older login.
	blocks   domain.BlockList
	served   stretch
	released bool
	ended    bool // the connection is closing, and gets nothing more
	detached bool
	held     []heldFrame
	waiting  int // bytes of held, as maxHeldBytes counts them
	// acts is the version of the newest act on the user that the login knew.
	acts int64
	// stored is nil if messages to users who are offline are not stored.
	stored *storedDelivery
	// resume is nil if the client does not take up where it stopped.
	resume *resuming
}

// stretch is the part of the log whose records a connection gets as they are read, not by a replay.
type stretch struct {
	from []int64 // its first offset in each partition; nil before Activate
	// replayEnd is up to where the replay goes in each partition: not past from. nil if nothing is replayed.
	replayEnd []int64
}

// covers tells whether a place is in the stretch.
func (s *stretch) covers(at domain.Place) bool {
	return at.Partition < len(s.from) && at.Offset >= s.from[at.Partition]
}

// has tells whether the frame is one for this connection: its record stands in the stretch, and no earlier record of the same
// event does. Before Activate that is not known: the frame may be.
func (s *stretch) has(h heldFrame) bool {
	return s.from == nil || (s.covers(h.at) && !slices.ContainsFunc(h.earlier, s.covers))
}

// misses tells whether the frame is neither for the replay nor in the stretch. No replay has announcements, so none is missed.
func (s *stretch) misses(h heldFrame) bool {
	return s.from != nil && !h.announced && h.at.Partition < len(s.replayEnd) &&
		h.at.Offset >= s.replayEnd[h.at.Partition] && !s.covers(h.at)
}

// heldFrame is a frame that waits until its connection's login is answered.
type heldFrame struct {
	id domain.EventID
	at domain.Place
	// earlier is where the same event stood before.
	earlier []domain.Place
	sender  domain.UserID
	other   domain.UserID // of the conversation
	// named tells that another user named it, and repeated that it stood in the log before this node knew the conversation.
	named, repeated bool
	// hidden is what was known of sender by this record, and known the version of that: where the database's list, which is
	// loaded meanwhile, is newer, it decides instead.
	hidden bool
	known  int64
	frame  []byte
	echoOf domain.ClientMessageID
	// ownMark tells that it is a read mark of the user's own, and unread how many messages are unread behind it.
	ownMark bool
	unread  int
	// kept tells that the event would have been stored for its recipient.
	kept bool
	// announced tells that it is an announcement to all who are online.
	announced bool
}

const (
	// maxHeld bounds the frames that wait for the end of a login, beside maxHeldBytes. A connection that exceeds it is closed as
	// slow.
	maxHeld = 1024
	// maxHeldBytes bounds the bytes of these frames, each of which counts HeldBytes beside its own length. If they wait for the end
	// of a replay, which lasts as long as its client takes to read it, this is the only bound.
	maxHeldBytes = 4 << 20
	// HeldBytes is what a frame or an entry that is held counts beside its bytes.
	HeldBytes = 256
)

// do calls what under the recipient's lock, unless the attachment has ended.
func (a *Attachment) do(what func()) {
	a.recipient.do(func() {
		if !a.detached {
			what()
		}
	})
}

// Activate sets the list of blocks that the database held and the first offset of each partition to serve, which was noted after.
func (a *Attachment) Activate(list []blocks.Entry, from []int64) {
	a.do(func() {
		a.served.from = from
		stored := make(map[domain.UserID]blocks.Entry, len(list))
		for _, entry := range list {
			stored[entry.Target] = entry
			a.blocks.Apply(entry.Target, entry.Blocked, entry.Version)
		}
		a.held = slices.DeleteFunc(a.held, func(h heldFrame) bool {
			hidden, version := h.hidden, h.known
			if entry := stored[h.sender]; entry.Version > version {
				hidden, version = entry.Blocked, entry.Version
			}
			if a.served.misses(h) {
				a.conn.Close(port.CloseHole)
			}
			if hidden || !a.served.has(h) || h.isRepeat(version) {
				a.unhold(h)
				return true
			}
			return false
		})
		a.doubtHeld(stored)
	})
}

// Release hands over what was held; from now on frames go straight to the connection. Call it after LoggedIn.
func (a *Attachment) Release() {
	a.do(func() {
		a.handHeld(len(a.held))
		a.held = nil
		a.released = true
	})
}

// Handover returns the replay's side of the attachment.
func (a *Attachment) Handover() *Handover {
	return &Handover{User: a.recipient.user, Conn: a.conn, attachment: a}
}

// Detach ends the connection's delivery. It may be called at any time after Attach, and again.
func (a *Attachment) Detach() { a.recipient.delivery.detach(a) }

// show passes the frame on, if it is for this connection.
func (a *Attachment) show(h heldFrame) {
	h.known = math.MaxInt64 // nobody hides from itself
	if h.sender != a.recipient.user {
		h.hidden, h.known = a.blocks.Hides(h.sender), a.blocks.Version(h.sender)
	}
	switch {
	case a.ended:
	case a.served.misses(h):
		a.conn.Close(port.CloseHole)
	case a.served.from != nil && (h.hidden || h.isRepeat(h.known)), !a.served.has(h):
	default:
		a.pass(h)
	}
}

// pass hands a frame over, or holds it while the login is not answered.
func (a *Attachment) pass(h heldFrame) {
	switch {
	case a.released:
		a.hand(h, -1)
	case !a.holds(h):
		a.conn.Close(port.CloseSlow)
	default:
		a.held = append(a.held, h)
		if a.stamps() {
			a.resume.keepBefore(h.at)
		}
	}
}

// hand gives a frame to the connection. earliest is the least offset of its partition that is still held; -1 for none.
func (a *Attachment) hand(h heldFrame, earliest int64) {
	confirmed := a.stored != nil && h.kept && h.sender != a.recipient.user
	if confirmed && a.stored.hadBefore(h.id) || a.resume != nil && a.resume.had.has(h.id) {
		return
	}
	if a.stamps() {
		a.conn.Stamp(a.token())
	}
	switch {
	case h.ownMark:
		a.conn.DeliverOwnMark(h.frame, h.unread)
	case confirmed:
		a.conn.DeliverAt(h.frame, a.confirms(h.at, earliest))
	default:
		a.conn.Deliver(h.frame, h.echoOf)
	}
}

// confirms returns up to where everything is handed over with a frame from a place. What waits for the database was not, nor what is
// held from earliest on, though they may stand before it. With the frame that they held back, the later place counts.
func (a *Attachment) confirms(at domain.Place, earliest int64) domain.Place {
	a.stored.handed.note(at)
	at.Offset = a.stored.handed[at.Partition]
	if earliest >= 0 {
		at.Offset = min(at.Offset, earliest-1)
	}
	for _, doubt := range a.recipient.doubts {
		for _, w := range doubt.waiting {
			if w.at.Partition == at.Partition {
				at.Offset = min(at.Offset, w.at.Offset-1)
				break
			}
		}
	}
	return at
}

// holds tells whether there is room to hold one more.
func (a *Attachment) holds(h heldFrame) bool {
	a.waiting += len(h.frame) + HeldBytes
	replays := a.stored != nil || a.resume != nil && a.resume.replays
	return a.waiting <= maxHeldBytes && (replays || len(a.held) < maxHeld)
}

// unhold counts a frame that was held as handed over.
func (a *Attachment) unhold(h heldFrame) {
	a.waiting -= len(h.frame) + HeldBytes
}
