package server

import (
	"context"
	"errors"

	"chatting/adapters/sqlstore/conversations"
	"chatting/adapters/texthook"
	"chatting/adapters/wire"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/cmd/chatting/exit"
	"chatting/configs"
	"chatting/domain"
)

// newTextHook returns who asks the platform about texts; nil if nobody is asked.
func newTextHook(cfg configs.Config, notices *notice.Log, now port.Clock) (*texthook.Client, error) {
	if !cfg.Hook.URL.IsSet() {
		return nil, nil //nolint:nilnil // nil is a hook that is switched off
	}
	options := textHookOptions(cfg)
	options.Notices, options.Now = notices, now
	hook, err := texthook.New(options)
	return hook, exit.With(exit.Usage, configs.CausedBy("hook.url", err))
}

func textHookOptions(cfg configs.Config) texthook.Options {
	return texthook.Options{
		URL: cfg.Hook.URL.Reveal(), Token: cfg.Hook.Token.Reveal(), Timeout: cfg.Hook.Timeout, Concurrency: cfg.Hook.Concurrency,
	}
}

// newCheck returns the check of texts; nil without a hook.
func newCheck(c common, hook *texthook.Client) *messaging.CheckText {
	if hook == nil {
		return nil
	}
	check := &messaging.CheckText{
		Hook: hook, FailOpen: c.Config.Hook.OnFailure == configs.HookOpen, Notices: c.Notices, Traces: c.Traces, Observer: c.Observers.texts,
	}
	if c.Config.History.Enabled {
		check.Sent = sentTexts{c.Store.Undelivered}
	}
	return check
}

// sentTexts reads texts from the frames of the history.
type sentTexts struct{ stored *conversations.Undelivered }

// SentText implements messaging.SentTexts.
func (s sentTexts) SentText(ctx context.Context, sender, target domain.UserID, id domain.EventID) (domain.Text, bool, error) {
	frame, err := s.stored.SentFrame(ctx, sender, target, id)
	if err != nil || frame == nil {
		return domain.Text{}, false, err
	}
	event, err := wire.DecodeEvent(frame)
	if err != nil {
		return domain.Text{}, false, err
	}
	message, ok := event.Body.(domain.ChatMessage)
	if !ok {
		return domain.Text{}, false, errors.New("the event of a message's id is no message")
	}
	return message.Text, true, nil
}
