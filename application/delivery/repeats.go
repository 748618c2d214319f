package delivery

import (
	"slices"

	"chatting/application/blocks"
	"chatting/application/past"
	"chatting/domain"
)

// A sender that has lost an echo sends its message again, under the same name. The first record counts: if a block hid it, it stays
// hidden, though the second one stands behind an unblock (invariant 3). A node to which the user came after the first record has not
// seen that one. So it asks about each event that its sender named, if the user has blocked that sender before. Nobody else's wait.

// blockChanges remembers where the latest changes of a user's blocks were seen. The zero value is empty.
type blockChanges map[domain.UserID]blockChange

type blockChange struct{ version, behind int64 }

// note notes a change that took effect at a place.
func (c *blockChanges) note(change domain.BlockChanged, at domain.Place) {
	if *c == nil {
		*c = make(blockChanges)
	}
	if change.Version > (*c)[change.Target].version {
		(*c)[change.Target] = blockChange{change.Version, at.Offset + 1}
	}
}

// mayRepeat tells whether an event may stand in the log before, where a block hid it from the user, and this node does not know.
func (r *recipient) mayRepeat(event domain.Event) bool {
	return r.delivery.Repeats != nil && r.isNamed(event) && r.hasUnblocked(event.Body.Actor()) && !r.seen.knows(event.ID)
}

// isNamed tells whether another user named the event.
func (r *recipient) isNamed(event domain.Event) bool {
	return event.ClientMessageID != "" && event.Body.Actor() != r.user
}

// hasUnblocked tells whether, by what some connection knows, the user has blocked sender and does not any more.
func (r *recipient) hasUnblocked(sender domain.UserID) bool {
	for _, a := range r.attachments {
		if a.blocks.Unblocked(sender) {
			return true
		}
	}
	return false
}

// inDoubt tells whether an event that waits has to be asked about.
func (r *recipient) inDoubt(w doubtful) bool {
	if w.only != nil {
		return w.only.frame.named
	}
	return r.mayRepeat(w.event)
}

// named returns what is asked of an event: whether it stood in the log before the latest change of the block. What stands behind that no
// block has hidden.
func (r *recipient) named(w doubtful) past.Named {
	sender, p := w.sender(), w.at.Partition
	read := r.changed[sender]
	latest := read
	for _, a := range r.attachments {
		version := a.blocks.Version(sender)
		if version <= read.version || p >= len(a.served.from) {
			continue
		}
		// Its login loaded the change, and noted after that from where on it is served.
		if from := a.served.from[p]; version > latest.version || from < latest.behind {
			latest = blockChange{max(version, latest.version), from}
		}
	}
	if latest.version == 0 || latest.behind > w.at.Offset {
		latest = blockChange{0, w.at.Offset} // it stands before the change, or nobody knows
	}
	return past.Named{ID: w.id(), Sender: sender, At: inPartition(w.at), Version: latest.version, Before: latest.behind}
}

// inPartition returns a place without its generation.
func inPartition(at domain.Place) domain.Place {
	return domain.Place{Partition: at.Partition, Offset: at.Offset}
}

// isRepeat tells whether the frame's event stood in the log before, and the user had blocked its sender before that version of the block.
// If no block hid it there, the connection has it from there, or gets it by its replay.
func (h heldFrame) isRepeat(version int64) bool {
	return h.named && version > 0 && (h.repeated || len(h.earlier) > 0)
}

// doubtHeld has frames wait that were held while the login loaded the blocks, if by these they may be repeated, and with them what
// follows them in their conversations.
func (a *Attachment) doubtHeld(loaded map[domain.UserID]blocks.Entry) {
	r := a.recipient
	if r.delivery.Repeats == nil {
		return
	}
	waiting := make(map[domain.UserID][]doubtful)
	a.held = slices.DeleteFunc(a.held, func(h heldFrame) bool {
		h.named = h.named && max(h.known, loaded[h.sender].Version) > 0
		if len(waiting[h.other]) == 0 && !h.named {
			return false
		}
		a.unhold(h)
		waiting[h.other] = append(waiting[h.other], doubtful{at: h.at, frame: h.frame, only: &heldBy{a, h}})
		return true
	})
	for other, list := range waiting {
		if begun := r.doubts[other]; begun != nil {
			begun.addHeld(list...)
		} else {
			r.begin(other, list...)
		}
	}
}

// showHeld shows a frame that waited for this connection alone.
func (a *Attachment) showHeld(h heldFrame, repeated bool) {
	if !a.ended && !a.detached && !repeated {
		a.pass(h)
	}
}
