package application

import (
	"time"

	"chatting/domain"
)

// Invite opens game invites, answers them and takes them back. What becomes of an invite is for the log to say: of two who
// end it at once, the first in the log does.
type Invite struct {
	Log     ConversationLog
	Online  OnlineUsers
	Invites *Invites
	Now     Clock
	NewID   IDs
	// Life is how long an invite may wait for its answer; 0 means domain.DefaultInviteLife.
	Life time.Duration
}

// InviteCommand asks to do Status to an invite from Sender to Target, or, where it is an answer, from Target to Sender. Room
// tells which: it is needed for answers, and heeded of cancellations where it names a pending invite.
type InviteCommand struct {
	Sender, Target  domain.UserID
	Status          domain.InviteStatus
	Room            domain.RoomID
	ClientMessageID domain.ClientMessageID
}

// Execute appends the event; done and order are those of SendMessage.Execute, and further errors are CodeInviteEnded (also
// where the log has it that somebody else was first), CodeNotInvited, CodeRateLimited for too many pending invites, and
// CodeBadFrame for an answer without a room.
//
// An opened invite gets a new room. A cancelled one names its room: the one named by the sender, else that of its newest
// pending invite to the target; without one it needs no earlier invite and names no room.
func (i *Invite) Execute(command InviteCommand, done func(error)) {
	if !i.Online.Online(command.Target) {
		done(errNoUserOrOffline)
		return
	}
	id := i.NewID()
	if command.ClientMessageID != "" {
		id = domain.InviteID(command.Sender, command.Target, command.ClientMessageID)
	}
	event := domain.Event{ID: id, Time: i.Now.stamp(), ClientMessageID: command.ClientMessageID}
	body := domain.GameInvite{From: command.Sender, To: command.Target, Status: command.Status}
	var err error
	switch command.Status {
	case domain.InviteOpened:
		room := i.room(command, id)
		body.Room, body.Expires = domain.RoomID(room.String()), event.Time.Add(i.life())
		own := ownInvite{from: command.Sender, to: command.Target, room: room, expires: body.Expires}
		if i.Invites.opening(own) {
			inner := done
			done = func(err error) {
				if domain.CodeOf(err) == domain.CodeUnavailable {
					i.Invites.gaveUp(room)
				}
				inner(err)
			}
		} else {
			err = errTooManyInvites
		}
	case domain.InviteCancelled:
		body.Room, err = i.cancelled(command)
	default:
		body.Room, err = i.answered(command)
	}
	if err != nil {
		done(err)
		return
	}
	event.Body = body
	i.Log.Append(event, done)
}

var (
	errInviteEnded    = domain.NewError(domain.CodeInviteEnded, "The invite has ended.")
	errNotInvited     = domain.NewError(domain.CodeNotInvited, "The invite is to somebody else.")
	errTooManyInvites = domain.NewError(domain.CodeRateLimited, "Too many invites are pending.")
	errNoRoom         = domain.NewError(domain.CodeBadFrame, "room_id must name the invite.")
)

// cancelled returns the room of the invite to cancel, "" where there is none.
func (i *Invite) cancelled(command InviteCommand) (domain.RoomID, error) {
	if room, ok := domain.ParseEventID(string(command.Room)); ok {
		invite, known := i.Invites.find(domain.Between(command.Sender, command.Target), room)
		switch {
		case known && invite.From == command.Sender && invite.Ended != "":
			return "", errInviteEnded
		case known && invite.From == command.Sender:
			return domain.RoomID(room.String()), nil
		}
	}
	if room, ok := i.Invites.newest(command.Sender, command.Target); ok {
		return domain.RoomID(room.String()), nil
	}
	return "", nil
}

// answered returns the room of the invite to answer. One that this node has not read yet is left to the log.
func (i *Invite) answered(command InviteCommand) (domain.RoomID, error) {
	room, ok := domain.ParseEventID(string(command.Room))
	if !ok {
		return "", errNoRoom
	}
	invite, known := i.Invites.find(domain.Between(command.Sender, command.Target), room)
	switch {
	case known && (invite.From != command.Target || invite.To != command.Sender):
		return "", errNotInvited
	case known && (invite.Ended != "" || invite.Unseen) && command.ClientMessageID == "":
		return "", errInviteEnded
	}
	return domain.RoomID(room.String()), nil
}

func (i *Invite) life() time.Duration {
	if i.Life == 0 {
		return domain.DefaultInviteLife
	}
	return i.Life
}

// room returns a new room. An invite that is sent again names the same one: its two copies may reach different
// connections, which have to meet.
func (i *Invite) room(command InviteCommand, id domain.EventID) domain.EventID {
	if command.ClientMessageID == "" {
		return i.NewID()
	}
	return domain.DerivedID("room", id.String())
}
