package invites

import (
	"context"
	"time"

	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
)

// Invite opens game invites, answers them and takes them back. If two users end an invite at once, the first record in the log
// wins.
type Invite struct {
	Log     port.ConversationLog
	Online  port.OnlineUsers
	Invites *Register
	Now     port.Clock
	NewID   port.IDs
	// Life is how long an invite may wait for its answer; 0 means domain.DefaultInviteLife.
	Life time.Duration
	// Hide tells who hides from whom; nil if nobody does.
	Hide *blocks.HidePresence
	// Traces has the spans of invites.
	Traces port.Traces
}

// Command asks to do Status to an invite from Sender to Target; if it is an answer, from Target to Sender. Room names the
// invite: answers need it, and a cancellation without it is of the newest pending one.
type Command struct {
	Sender, Target  domain.UserID
	Status          domain.InviteStatus
	Room            domain.RoomID
	ClientMessageID domain.ClientMessageID
	// Trace is the span that the command is part of; "" if that is not recorded.
	Trace domain.TraceParent
}

// Execute appends the event. done and order are those of messaging.SendMessage.Execute. Further errors: CodeInviteEnded (also if somebody
// else was first in the log), CodeNotInvited, CodeRateLimited for too many pending invites, and CodeBadFrame for an answer
// without a room, a room that cannot be one, and a cancellation by the invited.
//
// An opened invite gets a new room. A cancellation that names a room ends that invite or is refused. One that names no room ends
// the newest pending invite to the target. If there is none, or if the log says that it had ended by then, the cancellation is
// appended without a room, under an id of its own, and is shown.
//
// An id stands for one body, because readers of the log take the first record of an id. So the id of an ending is made of its
// sender's name for it and of its room. An ending that is sent again under its name is what the log says it was the first
// time.
func (i *Invite) Execute(command Command, done func(error)) {
	span := i.Traces.Child(port.SpanInvite, command.Trace)
	command.Trace = span.Parent()
	i.execute(command, done)
	span.End(nil)
}

func (i *Invite) execute(command Command, done func(error)) {
	if err := i.mustReach(command); err != nil {
		done(err)
		return
	}
	if command.Status == domain.InviteOpened {
		i.open(command, done)
		return
	}
	if first, known := i.Invites.firstOf(command); known {
		i.Log.Append(i.ending(command, first.room, first.id), done)
		return
	}
	var room domain.RoomID
	var err error
	if command.Status == domain.InviteCancelled {
		room, err = i.cancelled(command)
	} else {
		room, err = i.answered(command)
	}
	if err != nil {
		done(err)
		return
	}
	if command.Room == "" {
		done = i.cancelledAnyway(command, done)
	}
	i.Log.Append(i.ending(command, room, i.endingID(command, room)), done)
}

// mustReach returns why the target cannot be reached, as messaging.SendMessage.Execute does.
func (i *Invite) mustReach(command Command) error {
	if i.Online.Online(command.Target) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), port.AskTimeout)
	defer cancel()
	return i.Hide.Offline(ctx, command.Sender, command.Target)
}

// open appends a new invite.
func (i *Invite) open(command Command, done func(error)) {
	event := domain.Event{ID: i.NewID(), Time: i.Now.Stamp(), ClientMessageID: command.ClientMessageID, Trace: command.Trace}
	room := i.NewID()
	if command.ClientMessageID != "" {
		event.ID = domain.InviteID(command.Sender, command.Target, command.ClientMessageID)
		// An invite that is sent again names the same room: its two copies may reach different connections, which have to
		// meet.
		room = domain.DerivedID("room", event.ID.String())
	}
	expires, done, err := i.opened(direction{command.Sender, command.Target}, room, event.Time, done)
	if err != nil {
		done(err)
		return
	}
	event.Body = domain.GameInvite{
		From: command.Sender, To: command.Target, Status: domain.InviteOpened, Room: domain.RoomID(room.String()), Expires: expires,
	}
	i.Log.Append(event, done)
}

// ending returns the event that ends the invite to a room, or none if room is "".
func (i *Invite) ending(command Command, room domain.RoomID, id domain.EventID) domain.Event {
	return domain.Event{
		ID: id, Time: i.Now.Stamp(), ClientMessageID: command.ClientMessageID, Trace: command.Trace,
		Body: domain.GameInvite{From: command.Sender, To: command.Target, Status: command.Status, Room: room},
	}
}

func (i *Invite) endingID(command Command, room domain.RoomID) domain.EventID {
	if command.ClientMessageID == "" {
		return i.NewID()
	}
	return domain.InviteEndID(command.endName(), room)
}

func (c Command) endName() domain.EventID {
	return domain.InviteEndName(c.Sender, c.Target, c.Status, c.ClientMessageID)
}

var (
	// ErrInviteEnded is the outcome of an event about an invite that has ended.
	ErrInviteEnded    = domain.NewError(domain.CodeInviteEnded, "The invite has ended.")
	errNotInvited     = domain.NewError(domain.CodeNotInvited, "The invite is to somebody else.")
	errNotInviter     = domain.NewError(domain.CodeBadFrame, "Only who made an invite can cancel it.")
	errTooManyInvites = domain.NewError(domain.CodeRateLimited, "Too many invites are pending.")
	errNoRoom         = domain.NewError(domain.CodeBadFrame, "room_id must name the invite.")
)

// opened notes that an invite is opened, and returns when it expires and what to do with the outcome.
func (i *Invite) opened(way direction, room domain.EventID, at time.Time, done func(error)) (time.Time, func(error), error) {
	expires, isNew, ok := i.Invites.opening(way, ownInvite{room: room, expires: at.Add(i.life())}, i.Now())
	switch {
	case !ok:
		return expires, done, errTooManyInvites
	case !isNew:
		return expires, done, nil
	}
	return expires, func(err error) {
		if domain.CodeOf(err) == domain.CodeUnavailable {
			i.Invites.gaveUp(way, room)
		}
		done(err)
	}, nil
}

// cancelledAnyway handles the outcome of a cancel whose sender named no room: if the invite had ended by then, a cancel without
// a room is appended. It is another event, with an id of its own.
func (i *Invite) cancelledAnyway(command Command, done func(error)) func(error) {
	return func(err error) {
		if domain.CodeOf(err) != domain.CodeInviteEnded {
			done(err)
			return
		}
		i.Log.Append(i.ending(command, "", i.endingID(command, "")), done)
	}
}

// cancelled returns the room of the invite to cancel: the one that the sender named, else that of its newest pending one, ""
// where there is none.
func (i *Invite) cancelled(command Command) (domain.RoomID, error) {
	if command.Room == "" {
		room, ok := i.Invites.newest(command.Sender, command.Target, i.Now())
		if !ok {
			return "", nil
		}
		return domain.RoomID(room.String()), nil
	}
	room, invite, known, err := i.named(command)
	switch {
	case err != nil:
		return "", err
	case known && invite.From != command.Sender:
		return "", errNotInviter
	case known && invite.Ended != "" && command.ClientMessageID == "":
		return "", ErrInviteEnded
	}
	return room, nil
}

// answered returns the room of the invite to answer.
func (i *Invite) answered(command Command) (domain.RoomID, error) {
	room, invite, known, err := i.named(command)
	switch {
	case err != nil:
		return "", err
	case known && invite.From != command.Target:
		return "", errNotInvited
	case known && (invite.Ended != "" || invite.Unseen) && command.ClientMessageID == "":
		return "", ErrInviteEnded
	}
	return room, nil
}

// named returns the room that a command names, and its invite. The log decides on one that this node has not read yet.
func (i *Invite) named(command Command) (room domain.RoomID, invite domain.Invite, known bool, err error) {
	id, ok := domain.ParseEventID(string(command.Room))
	if !ok {
		return "", domain.Invite{}, false, errNoRoom
	}
	invite, known = i.Invites.find(domain.Between(command.Sender, command.Target), id)
	return domain.RoomID(id.String()), invite, known, nil
}

func (i *Invite) life() time.Duration {
	if i.Life == 0 {
		return domain.DefaultInviteLife
	}
	return i.Life
}
