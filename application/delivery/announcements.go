package delivery

import (
	"log/slog"
	"runtime"
	"slices"
	"time"

	"chatting/domain"
)

const (
	// maxAnnounced bounds the announcements that a node knows again: as many as a cluster makes in hours.
	maxAnnounced = 4096
	// announcedAgain is after how long an id is that of a new announcement: an idempotency key is new again after as long.
	announcedAgain = 24 * time.Hour
	// announcedAtOnce is to how many users an announcement is shown before those who write get their turn.
	announcedAtOnce = 256
)

// announcements are those that were read lately, the oldest first: a repetition of a request may have made one stand twice in the log.
type announcements struct {
	ids []domain.EventID
	// read has when the latest record of each was written.
	read map[domain.EventID]time.Time
}

// begin notes a record of an announcement; false if the one before is not old enough for this to be another announcement.
func (a *announcements) begin(id domain.EventID, written time.Time) bool {
	if latest, known := a.read[id]; known {
		a.read[id] = written
		if written.Sub(latest) < announcedAgain {
			return false
		}
		a.ids = slices.DeleteFunc(a.ids, func(other domain.EventID) bool { return other == id })
	}
	if a.read == nil {
		a.read = make(map[domain.EventID]time.Time)
	}
	if len(a.ids) == maxAnnounced {
		delete(a.read, a.ids[0])
		a.ids = a.ids[1:]
	}
	a.ids = append(a.ids, id)
	a.read[id] = written
	return true
}

// RecallAnnouncement takes over an announcement from before this node served anybody: a repetition of it is shown to nobody.
func (d *Delivery) RecallAnnouncement(id domain.EventID, written time.Time) {
	d.announced.begin(id, written)
}

// Announce shows an announcement from a place in the log to all connections that are served there, each once. written is when its
// record was. frame makes what a user gets. It is called by the tail, as Apply is.
//
// Its frames do not wait for Flush: together they may be more than a node may hold.
func (d *Delivery) Announce(
	id domain.EventID, at domain.Place, written time.Time, frame func(domain.UserID) ([]byte, error),
) {
	if !d.announced.begin(id, written) {
		return
	}
	d.Flush()
	for i, r := range d.recipients() {
		shown, err := frame(r.user)
		if err != nil {
			d.notices.Warn("an announcement could not be shown", slog.Any("error", err))
			return
		}
		r.do(func() {
			for _, a := range r.attachments {
				a.show(heldFrame{id: id, at: at, sender: domain.System, frame: shown, announced: true})
			}
		})
		if d.noteDelivered(); i%announcedAtOnce == announcedAtOnce-1 {
			runtime.Gosched()
		}
	}
}

// recipients returns the users with a connection here. Nobody who logs in waits while something is shown to all of them.
func (d *Delivery) recipients() []*recipient {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]*recipient, 0, len(d.users))
	for _, r := range d.users {
		all = append(all, r)
	}
	return all
}
