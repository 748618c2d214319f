package application

import "chatting/domain"

// Invite opens or cancels a game invite.
type Invite struct {
	Log    ConversationLog
	Online OnlineUsers
	Now    Clock
	NewID  IDs
}

// InviteCommand asks to do Status to an invite from Sender to Target.
type InviteCommand struct {
	Sender, Target  domain.UserID
	Status          domain.InviteStatus
	ClientMessageID domain.ClientMessageID
}

// Execute appends the invite; done and order are those of SendMessage.Execute. An opened invite gets a new room; a
// cancelled one needs no earlier invite and names no room.
func (i *Invite) Execute(command InviteCommand, done func(error)) {
	if !i.Online.Online(command.Target) {
		done(errNoUserOrOffline)
		return
	}
	id := i.NewID()
	if command.ClientMessageID != "" {
		id = domain.InviteID(command.Sender, command.Target, command.ClientMessageID)
	}
	invite := domain.GameInvite{From: command.Sender, To: command.Target, Status: command.Status}
	if command.Status == domain.InviteOpened {
		invite.Room = domain.RoomID(i.room(command, id).String())
	}
	i.Log.Append(domain.Event{ID: id, Time: i.Now.stamp(), Body: invite, ClientMessageID: command.ClientMessageID}, done)
}

// room returns a new room. An invite that is sent again names the same one: its two copies may reach different
// connections, which have to meet.
func (i *Invite) room(command InviteCommand, id domain.EventID) domain.EventID {
	if command.ClientMessageID == "" {
		return i.NewID()
	}
	return domain.DerivedID("room", id.String())
}
