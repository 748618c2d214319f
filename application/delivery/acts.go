package delivery

import (
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// Acts decides, by the acts of the platform and their places in the log, what is shown of what users say. *moderation.Register is
// one.
type Acts interface {
	// Judge returns nil for an event that takes effect at its place, or why it does not. written is the time of the record. All acts
	// that stand before the place have been read.
	Judge(event domain.Event, at domain.Place, written time.Time) error
	// VersionOf returns the version of the newest act on a user that was read, 0 if there is none.
	VersionOf(user domain.UserID) int64
}

// KnowsActs notes which acts on its user the login of the connection knows, and returns the version of the newest. Acts that come
// later and end connections end this one, too. It is called once, after Attach.
func (a *Attachment) KnowsActs() (version int64) {
	acts := a.recipient.delivery.Acts
	if acts == nil {
		return 0
	}
	a.do(func() {
		version = acts.VersionOf(a.recipient.user)
		a.acts = version
	})
	return version
}

// End ends the connections of a user that logged in before an act: those whose logins do not know it.
func (d *Delivery) End(user domain.UserID, version int64, reason port.CloseReason, why error) {
	d.mu.RLock()
	r := d.users[user]
	d.mu.RUnlock()
	if r == nil {
		return
	}
	r.do(func() {
		for _, a := range r.attachments {
			if a.acts < version {
				a.ended = true
				if why != nil {
					a.conn.Refuse(why)
				}
				a.conn.Close(reason)
			}
		}
	})
}
