package messaging

import (
	"context"

	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
)

// SendMessage appends a chat message to the conversation of its two users. Delivery and echo both come from the log: see
// Echoes.
type SendMessage struct {
	Log    port.ConversationLog
	Online port.OnlineUsers
	Now    port.Clock
	NewID  port.IDs
	// Stored is nil if messages to users who are offline are refused. Else those to known users are appended.
	Stored port.KnownUsers
	// Mailboxes bound what is stored; nil means no bound.
	Mailboxes *Mailboxes
	// Sent tells what was sent before; nil if no history is kept.
	Sent SentMessages
	// Hide tells who hides from whom; nil if nobody does.
	Hide *blocks.HidePresence
	// Acts tells who may send; nil if all may.
	Acts Acts
	// EscapeHTML writes the entities of the contract into the text before the append.
	EscapeHTML bool
	// Traces has the spans of messages.
	Traces port.Traces
}

// SentMessages tells which messages were sent before.
type SentMessages interface {
	// HasMessage tells whether the history has an event of the conversation of two users, also one that a block hides. The history may
	// be a moment behind the log.
	HasMessage(ctx context.Context, one, other domain.UserID, id domain.EventID) (bool, error)
}

// ChatCommand asks to send Text from Sender to Target. ClientMessageID is "" if the client gave none.
type ChatCommand struct {
	Sender, Target  domain.UserID
	Text            domain.Text
	ClientMessageID domain.ClientMessageID
	// Acts is the version of the newest act on the sender that was known when it logged in, 0 for none.
	Acts int64
	// Trace is the span that the command is part of; "" if that is not recorded.
	Trace domain.TraceParent
	// Logged tells that Text is that of the log, to which the same message was appended before: see CheckText.
	Logged bool
}

// ID returns the id of a message that its sender named; else the zero id.
func (c ChatCommand) ID() domain.EventID {
	if c.ClientMessageID == "" {
		return domain.EventID{}
	}
	return domain.MessageID(c.Sender, c.Target, c.ClientMessageID)
}

// Acts tells what the platform did to users. *moderation.Register is one.
type Acts interface {
	// MaySend returns nil if the user may send now, through a connection whose login knew the acts up to a version. Otherwise it
	// returns CodeMuted, CodeBanned, or CodeUnavailable for a connection that is about to be ended.
	MaySend(user domain.UserID, login int64) error
}

// Execute sends a message. Calls for one sender and target keep their order. done is called exactly once: with nil when the
// message is durable; CodeNoUserOrOffline if the target cannot be reached; CodeMuted or CodeBanned if an act of the platform keeps
// the sender from it, also one that stands before the record in the log; CodeMailboxFull if too much of the sender's waits for the
// target, and not yet this message; else as port.ConversationLog.Append says.
//
// A message that its sender named, and that the history has, was sent before, when the target could be reached. It is appended again,
// as the same event, also if the target is offline by now: its sender may have lost the echo.
//
// The sender must not learn of a block. So a block makes no difference for a target who is online, and if presence is hidden,
// a target who is offline and blocks the sender counts as online. For other targets who are offline the database is asked
// whether they are known and how much waits for them: CodeUnavailable if it does not answer soon.
func (s *SendMessage) Execute(command ChatCommand, done func(error)) {
	span := s.Traces.Child(port.SpanSendMessage, command.Trace)
	event, err := s.decide(command)
	if err != nil {
		span.End(err)
		done(err)
		return
	}
	event.Trace = span.Parent()
	s.Log.Append(event, done)
	span.End(nil)
}

// decide returns the event to append, or why there is none.
func (s *SendMessage) decide(command ChatCommand) (domain.Event, error) {
	if s.Acts != nil {
		if err := s.Acts.MaySend(command.Sender, command.Acts); err != nil {
			return domain.Event{}, err
		}
	}
	text := command.Text
	if s.EscapeHTML && !command.Logged {
		text = text.EscapeHTML()
	}
	named := command.ID()
	if !s.Online.Online(command.Target) {
		if err := s.store(command.Sender, command.Target, text, named); err != nil {
			return domain.Event{}, err
		}
	}
	id := named
	if id == (domain.EventID{}) {
		id = s.NewID()
	}
	return domain.Event{
		ID:              id,
		Time:            s.Now.Stamp(),
		Body:            domain.ChatMessage{From: command.Sender, To: command.Target, Text: text},
		ClientMessageID: command.ClientMessageID,
		Acts:            command.Acts,
	}, nil
}

// store tells whether a message to a target who is offline is appended: nil if it is.
func (s *SendMessage) store(sender, target domain.UserID, text domain.Text, named domain.EventID) error {
	ctx, cancel := context.WithTimeout(context.Background(), port.AskTimeout)
	defer cancel()
	err := s.Hide.Offline(ctx, sender, target)
	if domain.CodeOf(err) != domain.CodeNoUserOrOffline {
		return err
	}
	switch err := mayStore(ctx, s.Stored, target); {
	case err == nil:
		return s.Mailboxes.take(ctx, sender, target, text, named)
	case domain.CodeOf(err) == domain.CodeNoUserOrOffline:
		return unlessSent(ctx, s.Sent, sender, target, named, err)
	default:
		return err
	}
}

// unlessSent returns refusal; nil if the message was sent before; CodeUnavailable if the history does not tell. named is the id of a
// message that its sender named, else the zero id.
func unlessSent(ctx context.Context, sent SentMessages, sender, target domain.UserID, named domain.EventID, refusal error) error {
	if sent == nil || named == (domain.EventID{}) {
		return refusal
	}
	switch has, err := sent.HasMessage(ctx, sender, target, named); {
	case err != nil:
		return errUntold(err)
	case has:
		return nil
	default:
		return refusal
	}
}

// errUntold is the error for a history that does not tell what was sent before.
func errUntold(cause error) error {
	return domain.WrapError(domain.CodeUnavailable, "Whether the message is stored cannot be told now.", cause)
}

// mayStore returns nil if a message to a user who is offline is stored.
func mayStore(ctx context.Context, stored port.KnownUsers, target domain.UserID) error {
	if stored == nil {
		return port.ErrNoUserOrOffline
	}
	known, err := stored.Known(ctx, target)
	if err != nil {
		return domain.WrapError(domain.CodeUnavailable, "Whether the user is known cannot be told now.", err)
	}
	if !known {
		return port.ErrNoUserOrOffline
	}
	return nil
}
