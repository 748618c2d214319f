package delivery

import (
	"log/slog"

	"chatting/domain"
)

// maxAnnounced bounds the announcements that a node knows again: as many as a cluster makes in hours.
const maxAnnounced = 4096

// announcements are those that were shown lately, the oldest first: a repetition of a request may have made one stand twice in the log.
type announcements struct {
	ids   []domain.EventID
	shown map[domain.EventID]struct{}
}

// begin notes an announcement; false if it was shown.
func (a *announcements) begin(id domain.EventID) bool {
	if _, again := a.shown[id]; again {
		return false
	}
	if a.shown == nil {
		a.shown = make(map[domain.EventID]struct{})
	}
	if len(a.ids) == maxAnnounced {
		delete(a.shown, a.ids[0])
		a.ids = a.ids[1:]
	}
	a.ids = append(a.ids, id)
	a.shown[id] = struct{}{}
	return true
}

// Announce shows an announcement from a place in the log to all connections that are served there, each once. Frames may wait for Flush.
// frame makes what a user gets. It is called by the tail, as Apply is.
func (d *Delivery) Announce(id domain.EventID, at domain.Place, frame func(domain.UserID) ([]byte, error)) {
	if !d.announced.begin(id) {
		return
	}
	for _, r := range d.recipients() {
		shown, err := frame(r.user)
		if err != nil {
			d.notices.Warn("an announcement could not be shown", slog.Any("error", err))
			return
		}
		r.do(func() {
			r.gather()
			for _, a := range r.attachments {
				a.show(heldFrame{id: id, at: at, sender: domain.System, frame: shown})
			}
		})
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
