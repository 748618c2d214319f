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
	// Traces has the spans of system messages.
	Traces port.Traces
}

// SystemMessageCommand asks to deliver Message. ID makes a repetition harmless; the zero ID lets a new one be made.
type SystemMessageCommand struct {
	ID      domain.EventID
	Message domain.SystemMessage
}

// Execute returns the event once it is durable. Errors: CodeNoUserOrOffline, CodeUnavailable, CodeUnconfirmed (also when
// ctx ends first). Blocks do not stop system messages.
//
// It is part of the span of ctx.
func (s *SendSystemMessage) Execute(ctx context.Context, command SystemMessageCommand) (domain.Event, error) {
	ctx, span := s.Traces.Within(ctx, port.SpanSystemMessage)
	event, err := s.send(ctx, command)
	span.End(err)
	return event, err
}

func (s *SendSystemMessage) send(ctx context.Context, command SystemMessageCommand) (domain.Event, error) {
	if !s.Online.Online(command.Message.To) {
		if err := mayStore(ctx, s.Stored, command.Message.To); err != nil {
			return domain.Event{}, err
		}
	}
	event := domain.Event{ID: command.ID, Time: s.Now.Stamp(), Body: command.Message}
	if event.ID == (domain.EventID{}) {
		event.ID = s.NewID()
	}
	if err := port.AppendAndWait(ctx, s.Log, event); err != nil {
		return domain.Event{}, err
	}
	return event, nil
}
