package application

import (
	"time"

	"chatting/domain"
)

// ConversationLog is the durable, ordered log of conversations.
type ConversationLog interface {
	// Append queues event behind everything appended before it to the same conversation and returns at once. done is
	// called exactly once, possibly before Append returns: with nil when the in-sync replicas have the event; with
	// CodeUnavailable when it is not in the log and will never be; with CodeUnconfirmed when neither is known. done runs
	// on the log's goroutine and must not block.
	Append(event domain.Event, done func(error))
}

// OnlineUsers answers from the node's memory who is online.
type OnlineUsers interface {
	Online(user domain.UserID) bool
}

// Clock tells the time.
type Clock func() time.Time

// stamp returns the time as events carry it.
func (c Clock) stamp() time.Time { return c().UTC().Truncate(time.Millisecond) }

// IDs makes random UUIDs (version 4 or 7).
type IDs func() domain.EventID

// SendMessage appends a chat message to the conversation of its two users. Delivery and echo both come from the log.
type SendMessage struct {
	Log    ConversationLog
	Online OnlineUsers
	Now    Clock
	NewID  IDs
	// EscapeHTML writes the entities of the contract into the text before the append.
	EscapeHTML bool
}

// ChatCommand asks to send Text from Sender to Target. ClientMessageID is "" where the client gave none.
type ChatCommand struct {
	Sender, Target  domain.UserID
	Text            domain.Text
	ClientMessageID domain.ClientMessageID
}

// Execute sends a message. Calls for one sender and target keep their order. done is called exactly once: nil when the
// message is durable, CodeNoUserOrOffline when the target has no connection, else as ConversationLog.Append says. Whether
// the target blocks the sender is not looked at: the sender must not learn it.
func (s *SendMessage) Execute(command ChatCommand, done func(error)) {
	if !s.Online.Online(command.Target) {
		done(errNoUserOrOffline)
		return
	}
	text := command.Text
	if s.EscapeHTML {
		text = text.EscapeHTML()
	}
	id := s.NewID
	if command.ClientMessageID != "" {
		id = func() domain.EventID {
			return domain.MessageID(command.Sender, command.Target, command.ClientMessageID)
		}
	}
	s.Log.Append(domain.Event{
		ID:              id(),
		Time:            s.Now.stamp(),
		Body:            domain.ChatMessage{From: command.Sender, To: command.Target, Text: text},
		ClientMessageID: command.ClientMessageID,
	}, done)
}

// errNoUserOrOffline is the contract's sentence for a target that cannot be reached.
var errNoUserOrOffline = domain.NewError(domain.CodeNoUserOrOffline, "No User or Offline")
