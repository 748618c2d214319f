package delivery

import (
	"sync"

	"chatting/application/port"
	"chatting/domain"
)

// recipient is what the node keeps for a user with at least one connection here.
type recipient struct {
	delivery *Delivery
	user     domain.UserID

	mu          sync.Mutex
	attachments []*Attachment
	seen        seenEvents
	// latest is the place behind the latest record that was applied for the user: the tail says so of itself a moment later.
	latest domain.Place
	// doubts are the conversations in which a record is in doubt, by the other user.
	doubts map[domain.UserID]*doubt
	// changed are the changes of the user's blocks that were read, by whom they are about.
	changed blockChanges
}

// do calls what under the lock. What is called on connections there only enqueues.
func (r *recipient) do(what func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what()
}

// restart forgets places of a partition that was made anew: connections that come now would say in their tokens, and clients confirm,
// that they have everything before them.
func (r *recipient) restart(partition int) {
	r.do(func() {
		if r.latest.Partition == partition {
			r.latest = domain.Place{}
		}
		r.seen.forget(partition)
		r.changed = nil
		for _, doubt := range r.doubts {
			if doubt.waiting[0].at.Partition == partition {
				r.giveUp(doubt)
			}
		}
		for _, a := range r.attachments {
			if a.stored != nil {
				delete(a.stored.handed, partition)
			}
		}
	})
}

// gather has the frames of the user's connections wait for Flush.
func (r *recipient) gather() {
	for _, a := range r.attachments {
		if a.released && !a.gathers {
			a.gathers = true
			a.conn.Gather()
			r.delivery.gathering = append(r.delivery.gathering, a)
		}
	}
}

// apply shows an event of the conversation with other to the user's connections, or takes over the change of a block. If a
// record before it is in doubt, the event waits behind it.
func (r *recipient) apply(at domain.Place, other domain.UserID, event domain.Event, frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = domain.Place{Partition: at.Partition, Offset: at.Offset + 1}
	change, isChange := event.Body.(domain.BlockChanged)
	begun := r.doubts[other]
	switch {
	case isChange && change.Blocker != r.user:
	case begun != nil:
		begun.add(doubtful{at: at, event: event, frame: frame})
	case !isChange && r.mayRepeat(event):
		r.begin(other, doubtful{at: at, event: event, frame: frame})
	case !isChange:
		r.gather()
		r.show(at, other, event, frame, false)
	case r.delivery.Versions == nil:
		r.take(change, at)
	case r.isNews(change):
		r.begin(other, doubtful{at: at, event: event})
	}
}

// show shows an event of the conversation with other to the user's connections. repeated tells that it stood in the log before this
// node knew the conversation; told, that this was asked.
func (r *recipient) show(at domain.Place, other domain.UserID, event domain.Event, frame []byte, repeated bool) {
	if frame == nil {
		return
	}
	sender := event.Body.Actor()
	h := heldFrame{id: event.ID, at: at, sender: sender, frame: frame, kept: domain.IsKept(event.Body)}
	h.other, h.named, h.repeated = other, r.isNamed(event), repeated
	mark, isMark := event.Body.(domain.ReadMark)
	// Only events that their sender named, system messages and read marks can be in the log twice under one id.
	if event.ClientMessageID != "" || sender == domain.System || isMark {
		h.earlier = r.seen.note(event.ID, at)
	}
	if sender == r.user {
		h.echoOf, h.ownMark, h.unread = event.ClientMessageID, isMark, mark.Unread
	}
	for _, a := range r.attachments {
		if isFor(a.conn, r.user, event.Body) {
			a.show(h)
		}
	}
}

// isFor tells whether an event is for user's client on a connection, whatever is blocked: clients of the original server know
// nothing of how an invite may end, and of read marks.
func isFor(conn Connection, user domain.UserID, body domain.Body) bool {
	switch e := body.(type) {
	case domain.GameInvite:
		return !e.Status.IsNew() || conn.Has(port.FeatureInvites)
	case domain.ReadMark:
		if e.Reader == user {
			return conn.Has(port.FeatureReadMarks)
		}
		return e.ShownTo(user) && conn.Has(port.FeatureReceipts)
	default:
		return true
	}
}
