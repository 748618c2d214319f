package application

import (
	"context"
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

// SendMessage appends a chat message to the conversation of its two users. Delivery and echo both come from the log: see
// Echoes.
type SendMessage struct {
	Log    ConversationLog
	Online OnlineUsers
	Now    Clock
	NewID  IDs
	// Stored is nil where messages to users who are offline are refused; else those to the known ones are appended as well.
	Stored KnownUsers
	// Mailboxes bound what is stored; nil means no bound.
	Mailboxes *Mailboxes
	// Hide tells who hides from whom; nil where nobody does.
	Hide *HidePresence
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
// message is durable, CodeNoUserOrOffline when the target cannot be reached, CodeMailboxFull when too much of the sender's
// waits for it already and the message is not stored already, else as ConversationLog.Append says. Whether the target blocks
// the sender makes no difference to a target who is online: the sender must not learn it. If presence is hidden from those
// who are blocked, a target who is offline and blocks the sender is taken for one who is online. For a target who is offline
// it may have to ask the database whether it blocks the sender, whether it is known, how much waits for it and whether the
// message is stored: CodeUnavailable where that does not tell soon.
func (s *SendMessage) Execute(command ChatCommand, done func(error)) {
	text := command.Text
	if s.EscapeHTML {
		text = text.EscapeHTML()
	}
	var named domain.EventID
	if command.ClientMessageID != "" {
		named = domain.MessageID(command.Sender, command.Target, command.ClientMessageID)
	}
	if !s.Online.Online(command.Target) {
		if err := s.store(command.Sender, command.Target, text, named); err != nil {
			done(err)
			return
		}
	}
	id := named
	if id == (domain.EventID{}) {
		id = s.NewID()
	}
	s.Log.Append(domain.Event{
		ID:              id,
		Time:            s.Now.stamp(),
		Body:            domain.ChatMessage{From: command.Sender, To: command.Target, Text: text},
		ClientMessageID: command.ClientMessageID,
	}, done)
}

// store tells whether a message to a target who is offline is appended: nil if it is.
func (s *SendMessage) store(sender, target domain.UserID, text domain.Text, named domain.EventID) error {
	ctx, cancel := context.WithTimeout(context.Background(), askKnown)
	defer cancel()
	err := s.Hide.offline(ctx, sender, target)
	if domain.CodeOf(err) != domain.CodeNoUserOrOffline {
		return err
	}
	if err := mayStore(ctx, s.Stored, target); err != nil {
		return err
	}
	return s.Mailboxes.take(ctx, sender, target, text, named)
}

// askKnown bounds the questions about a target who is offline: the sender's other messages wait meanwhile, in their order.
const askKnown = 2 * time.Second

// mayStore is nil where a message to a user who is offline is stored.
func mayStore(ctx context.Context, stored KnownUsers, target domain.UserID) error {
	if stored == nil {
		return errNoUserOrOffline
	}
	known, err := stored.Known(ctx, target)
	if err != nil {
		return domain.WrapError(domain.CodeUnavailable, "Whether the user is known cannot be told now.", err)
	}
	if !known {
		return errNoUserOrOffline
	}
	return nil
}

// errNoUserOrOffline is the contract's sentence for a target that cannot be reached.
var errNoUserOrOffline = domain.NewError(domain.CodeNoUserOrOffline, "No User or Offline")
