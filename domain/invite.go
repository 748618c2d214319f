package domain

import (
	"fmt"
	"time"
)

// InviteStatus is what becomes of an invite.
type InviteStatus string

// The statuses. Clients of the original server know the first two; the others go to connections that named the feature.
const (
	InviteOpened    InviteStatus = "invite"
	InviteCancelled InviteStatus = "cancel"  // by the inviter
	InviteAccepted  InviteStatus = "accept"  // by the invited
	InviteDeclined  InviteStatus = "decline" // by the invited
	InviteExpired   InviteStatus = "expired" // nobody did anything in time
)

// NewInviteStatus refuses what is no status.
func NewInviteStatus(s string) (InviteStatus, error) {
	switch status := InviteStatus(s); status {
	case InviteOpened, InviteCancelled, InviteAccepted, InviteDeclined, InviteExpired:
		return status, nil
	default:
		return "", NewError(CodeBadFrame, "The status of an invite is invite, cancel, accept or decline.")
	}
}

// NewAskedStatus refuses what a client cannot ask for: that an invite has expired is for the server to say, and answers
// (accept and decline) are only for those that know of them.
func NewAskedStatus(s string, answers bool) (InviteStatus, error) {
	status, err := NewInviteStatus(s)
	switch {
	case err != nil:
		return "", err
	case status == InviteExpired:
		return "", errExpiredAsked
	case !answers && status.IsNew():
		return "", NewError(CodeBadFrame, fmt.Sprintf(
			`The status %s needs the feature invites: log in with {"token":"…","features":["invites"]}.`, status))
	}
	return status, nil
}

var errExpiredAsked = NewError(CodeBadFrame, "Only the server says that an invite has expired.")

// IsNew tells whether clients of the original server do not know the status.
func (s InviteStatus) IsNew() bool {
	return s == InviteAccepted || s == InviteDeclined || s == InviteExpired
}

// RoomID names the game room of an invite: a UUID for invites of this server, any text for system messages of others; ""
// for none.
type RoomID string

// The life of an invite, from the event's time to its end without an answer.
const (
	// DefaultInviteLife is that of an invite that does not name its end, as earlier versions wrote them.
	DefaultInviteLife = time.Minute
	// MaxInviteLife is as much as is granted, whatever an invite says.
	MaxInviteLife = 10 * time.Minute
	// InviteGrace is for how long after its end what opened or ended an invite may be said again: by then nobody does so.
	InviteGrace = 30 * time.Second
)

// GameInvite asks a user into a game (InviteOpened), or ends the invite that Room names. From is who says so; for InviteExpired
// it is the inviter. A cancellation without a Room ends no invite.
type GameInvite struct {
	From, To UserID
	Status   InviteStatus
	Room     RoomID
	// Expires is when an opened invite ends by itself; zero on others.
	Expires time.Time
}

// Conversation implements Body.
func (i GameInvite) Conversation() Conversation { return Between(i.From, i.To) }

// Actor implements Body.
func (i GameInvite) Actor() UserID { return i.From }

// end returns when an invite opened at ends by itself, as it says.
func (i GameInvite) end(at time.Time) time.Time {
	if i.Expires.IsZero() {
		return at.Add(DefaultInviteLife)
	}
	return i.Expires
}

// life returns how long an invite opened at lives.
func (i GameInvite) life(at time.Time) time.Duration {
	return min(max(i.end(at).Sub(at), 0), MaxInviteLife)
}

// ExpiredInviteID is the id of the event that says that the invite to a room has expired, whichever node says so.
func ExpiredInviteID(c Conversation, room EventID) EventID {
	return DerivedID("invite expired", c.Key()+"/"+room.String())
}
