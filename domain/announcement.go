package domain

import (
	"slices"
	"strings"
	"time"
)

// Bounds of an announcement.
const (
	// MaxAnnouncementBytes bounds its text. Every connection of every node may get it at once.
	MaxAnnouncementBytes = 4 << 10
	// MaxAnnouncedUsers bounds the users that it names.
	MaxAnnouncedUsers = 1000
)

// Announcement is what the platform says to many users at once.
type Announcement struct {
	ID   EventID
	Text Text
	// Users are whom it is for, in ascending order; none for all who are online.
	Users []UserID
	// Reason and Actor are why and by whom it is made, as the platform says: for the audit alone.
	Reason, Actor string
	// Time is when it was asked for, with millisecond precision.
	Time time.Time
}

// The errors of NewAnnouncement that are about fields which acts do not have.
var (
	ErrAnnouncementText  = NewError(CodeBadAct, "An announcement has 1 to 4096 bytes of UTF-8.")
	ErrAnnouncementUsers = NewError(CodeBadAct, "An announcement is for all who are online, or for 1 to 1000 users.")
)

// NewAnnouncement checks what a request says: CodeBadAct. online tells that it is for all who are online, and not for users.
func NewAnnouncement(id EventID, text string, online bool, users []UserID, reason, actor string, now time.Time) (Announcement, error) {
	said, err := NewText(text)
	a := Announcement{
		ID: id, Text: said, Users: slices.Compact(slices.Sorted(slices.Values(users))), Reason: strings.TrimSpace(reason),
		Actor: strings.TrimSpace(actor), Time: now.UTC().Truncate(time.Millisecond),
	}
	switch {
	case err != nil || strings.TrimSpace(text) == "" || len(text) > MaxAnnouncementBytes || strings.ContainsRune(text, 0):
		return Announcement{}, ErrAnnouncementText
	case online != (len(users) == 0) || len(a.Users) > MaxAnnouncedUsers || len(users) > 0 && a.Users[0] <= System:
		return Announcement{}, ErrAnnouncementUsers
	case !isLine(a.Reason, MaxReasonBytes):
		return Announcement{}, ErrActReason
	case a.Actor == "" || !isLine(a.Actor, MaxActorBytes):
		return Announcement{}, ErrActActor
	}
	return a, nil
}

// IDFor returns the id of what a user gets of an announcement that names it: an event of the user's own. It is the same one however
// often the announcement is made.
func (a Announcement) IDFor(user UserID) EventID {
	return DerivedID("announcement", a.ID.String()+":"+user.String())
}

// Shown returns what a user who is online gets of an announcement to all of them. It is no event of a conversation: it stands once in the
// log, and all get it under its id.
func (a Announcement) Shown(user UserID) Event {
	return Event{ID: a.ID, Time: a.Time, Body: SystemMessage{To: user, Text: a.Text}}
}
