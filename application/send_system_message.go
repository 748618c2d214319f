package application

import (
	"context"

	"chatting/domain"
)

// SendSystemMessage says something to one user on behalf of the platform.
type SendSystemMessage struct {
	Log    ConversationLog
	Online OnlineUsers
	Now    Clock
	NewID  IDs
}

// SystemMessageCommand asks to deliver Message. ID makes a repetition harmless; the zero ID lets a new one be made.
type SystemMessageCommand struct {
	ID      domain.EventID
	Message domain.SystemMessage
}

// Execute returns the event once it is durable. Errors: CodeNoUserOrOffline, CodeUnavailable, CodeUnconfirmed (also when
// ctx ends first). Blocks do not stop system messages.
func (s *SendSystemMessage) Execute(ctx context.Context, command SystemMessageCommand) (domain.Event, error) {
	if !s.Online.Online(command.Message.To) {
		return domain.Event{}, errNoUserOrOffline
	}
	event := domain.Event{ID: command.ID, Time: s.Now.stamp(), Body: command.Message}
	if event.ID == (domain.EventID{}) {
		event.ID = s.NewID()
	}
	if err := appendAndWait(ctx, s.Log, event); err != nil {
		return domain.Event{}, err
	}
	return event, nil
}

// appendAndWait appends and waits for the outcome, or for the end of ctx, which leaves the outcome unknown.
func appendAndWait(ctx context.Context, log ConversationLog, event domain.Event) error {
	outcome := make(chan error, 1)
	log.Append(event, func(err error) { outcome <- err })
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return domain.WrapError(domain.CodeUnconfirmed, "The append could not be confirmed.", ctx.Err())
	}
}
