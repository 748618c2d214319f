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
	// Stored is as that of SendMessage.
	Stored KnownUsers
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
		if err := mayStore(ctx, s.Stored, command.Message.To); err != nil {
			return domain.Event{}, err
		}
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
	return await(ctx, "The append could not be confirmed.", func(done func(error)) { log.Append(event, done) })
}

// await starts something that calls done once, and waits for its outcome, or for the end of ctx, which leaves the outcome
// unknown: CodeUnconfirmed, with the sentence given.
func await(ctx context.Context, unconfirmed string, start func(done func(error))) error {
	outcome := make(chan error, 1)
	start(func(err error) { outcome <- err })
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return domain.WrapError(domain.CodeUnconfirmed, unconfirmed, ctx.Err())
	}
}
