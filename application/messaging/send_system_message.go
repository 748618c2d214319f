package messaging

import (
	"context"

	"chatting/application/port"
	"chatting/domain"
)

// SendSystemMessage says something to one user on behalf of the platform.
type SendSystemMessage struct {
	Log    port.ConversationLog
	Online port.OnlineUsers
	Now    port.Clock
	NewID  port.IDs
	// Stored is as that of SendMessage.
	Stored port.KnownUsers
}

// SystemMessageCommand asks to deliver Message. ID makes a repetition harmless; the zero ID lets a new one be made.
type SystemMessageCommand struct {
	ID      domain.EventID
	Message domain.SystemMessage
}

// Say is Execute for an event that is made already: its body is a domain.SystemMessage.
func (s *SendSystemMessage) Say(ctx context.Context, event domain.Event) error {
	message, ok := event.Body.(domain.SystemMessage)
	if !ok {
		return domain.NewError(domain.CodeInternal, "This is no system message.")
	}
	return s.append(ctx, event, message.To)
}

// append appends an event for a user who can be reached, or for whom it is stored.
func (s *SendSystemMessage) append(ctx context.Context, event domain.Event, to domain.UserID) error {
	if !s.Online.Online(to) {
		if err := mayStore(ctx, s.Stored, to); err != nil {
			return err
		}
	}
	return port.AppendAndWait(ctx, s.Log, event)
}

// Execute returns the event once it is durable. Errors: CodeNoUserOrOffline, CodeUnavailable, CodeUnconfirmed (also when
// ctx ends first). Blocks do not stop system messages.
func (s *SendSystemMessage) Execute(ctx context.Context, command SystemMessageCommand) (domain.Event, error) {
	event := domain.Event{ID: command.ID, Time: s.Now.Stamp(), Body: command.Message}
	if event.ID == (domain.EventID{}) {
		event.ID = s.NewID()
	}
	if err := s.append(ctx, event, command.Message.To); err != nil {
		return domain.Event{}, err
	}
	return event, nil
}
