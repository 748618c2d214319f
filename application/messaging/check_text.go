package messaging

import (
	"context"
	"log/slog"
	"time"

	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// CheckText asks the platform about the text of a message before it is sent. Only what users say is asked about: neither
// system messages nor invites are.
type CheckText struct {
	Hook TextHook
	// Sent tells what was sent before; nil if no history is kept.
	Sent SentTexts
	// FailOpen lets a text pass that the hook gives no answer about. Else such a text is refused.
	FailOpen bool
	Notices  *notice.Log
	// Observer is told of the hook's answers; nil: nobody is.
	Observer TextObserver
	// Traces has the spans of questions.
	Traces port.Traces
}

// TextObserver is told of the answers of the text hook. Its method must not block.
type TextObserver interface {
	// Checked tells what the hook answered: one of the outcomes Text; and how long the message waited for it.
	Checked(outcome string, took time.Duration)
}

// What the text hook answers.
const (
	TextPassed     = "passed"
	TextRewritten  = "rewritten"
	TextRefused    = "refused"
	TextUnanswered = "unanswered"
)

// TextHook asks the platform about texts.
type TextHook interface {
	// Ask returns the text to send: the command's, or another one in its place. CodeTextRefused means that none is to be sent; its
	// message is for the sender. Every other error means that there is no answer, and holds nothing of the text. Ask returns soon
	// after ctx ends.
	Ask(ctx context.Context, command ChatCommand) (domain.Text, error)
}

// SentTexts tells the texts of messages that were sent before.
type SentTexts interface {
	// SentText returns the text of a message as it is in the log; false if the history does not have the message. The history may
	// be a moment behind the log.
	SentText(ctx context.Context, sender, target domain.UserID, id domain.EventID) (text domain.Text, sent bool, err error)
}

var (
	errUnchecked  = domain.NewError(domain.CodeUnavailable, "The message cannot be checked now.")
	errCheckEnded = domain.NewError(domain.CodeUnavailable, "The connection ended while the message was checked.")
)

// Execute returns the command to send in place of this one. It waits for the platform's answer, so who calls it for one
// message after the other keeps their order. Errors: CodeTextRefused; CodeUnavailable if there is no answer and FailOpen is not
// set, if the history does not tell, or if ctx ended.
//
// A message that its sender named and that the history has was let pass before. Unless the platform lets it pass as it is, it
// is sent again with the text that it has in the log: it was shown, and can neither be refused any more nor get another text.
// So the history is asked only about the few texts that do not pass as they are.
func (c *CheckText) Execute(ctx context.Context, command ChatCommand) (ChatCommand, error) {
	text, err := c.ask(ctx, command)
	if err == nil && text == command.Text {
		return command, nil
	}
	if ctx.Err() != nil {
		return ChatCommand{}, errCheckEnded
	}
	answered := err == nil || domain.CodeOf(err) == domain.CodeTextRefused
	if !answered {
		text, err = c.unanswered(command, err)
	}
	switch logged, sent, errSent := c.sent(ctx, command); {
	case sent:
		command.Text, command.Logged = logged, true
		return command, nil
	case errSent != nil && answered:
		return ChatCommand{}, errSent
	case err != nil:
		return ChatCommand{}, err
	}
	command.Text = text
	return command, nil
}

// ask asks the platform.
func (c *CheckText) ask(ctx context.Context, command ChatCommand) (domain.Text, error) {
	span := c.Traces.Child(port.SpanCheckText, command.Trace)
	text, err := c.observed(span.In(ctx), command)
	span.End(err)
	return text, err
}

// observed asks the hook, and tells the observer what it answers.
func (c *CheckText) observed(ctx context.Context, command ChatCommand) (domain.Text, error) {
	if c.Observer == nil {
		return c.Hook.Ask(ctx, command)
	}
	began, outcome := time.Now(), TextUnanswered
	text, err := c.Hook.Ask(ctx, command)
	switch {
	case err == nil && text == command.Text:
		outcome = TextPassed
	case err == nil:
		outcome = TextRewritten
	case domain.CodeOf(err) == domain.CodeTextRefused:
		outcome = TextRefused
	}
	c.Observer.Checked(outcome, time.Since(began))
	return text, err
}

// unanswered decides on a text about which there is no answer.
func (c *CheckText) unanswered(command ChatCommand, cause error) (domain.Text, error) {
	attributes := []slog.Attr{slog.Any("user", command.Sender), slog.Any("error", cause)}
	if c.FailOpen {
		c.Notices.Warn("the text hook did not answer: a message was sent unchecked", attributes...)
		return command.Text, nil
	}
	c.Notices.Warn("the text hook did not answer: a message was refused", attributes...)
	return domain.Text{}, errUnchecked
}

// sent returns the text of a message that the history has. The error is CodeUnavailable if the history does not tell.
func (c *CheckText) sent(ctx context.Context, command ChatCommand) (text domain.Text, sent bool, err error) {
	id := command.ID()
	if c.Sent == nil || id == (domain.EventID{}) {
		return domain.Text{}, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, port.AskTimeout)
	defer cancel()
	text, sent, err = c.Sent.SentText(ctx, command.Sender, command.Target, id)
	if err != nil {
		return domain.Text{}, false, errUntold(err)
	}
	return text, sent, nil
}
