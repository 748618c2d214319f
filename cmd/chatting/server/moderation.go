package server

import (
	"context"
	"time"

	"chatting/adapters/kafka"
	"chatting/application/moderation"
	"chatting/application/port"
	"chatting/domain"
)

// moderationParts are what the platform does to users.
type moderationParts struct {
	Register *moderation.Register
	Moderate *moderation.Moderate
	Relay    *moderation.RelayActs
}

func newModeration(c common, appenders appenders) moderationParts {
	register := moderation.NewRegister(c.Config.Kafka.Partitions, c.Now)
	log := kafka.NewActs(appenders.conversations, appenders.audit)
	return moderationParts{
		Register: register,
		Moderate: &moderation.Moderate{Store: c.Store.Moderation, Log: log, Register: register, Now: c.Now},
		Relay: &moderation.RelayActs{
			Outbox: c.Store.Moderation, Log: log, Register: register, Now: c.Now, Every: relayEvery, Logger: c.Logger,
		},
	}
}

// loadActs takes over what the database knows; one that is away is waited for.
func (t *tails) loadActs(ctx context.Context, at time.Time) error {
	for {
		err := t.acts.Load(ctx, t.common.Store.Moderation, at)
		if domain.CodeOf(err) != domain.CodeUnavailable || ctx.Err() != nil {
			return err
		}
		t.common.Logger.Warn("the acts of the platform cannot be loaded, will try again", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// endConnections ends the connections that an act ends.
func (n *node) endConnections(act domain.Act) {
	reason, why := port.CloseEnded, error(nil)
	switch act.Kind {
	case domain.ActBan:
		reason, why = port.CloseBanned, n.parts.Moderation.Register.BanOf(act.User)
	case domain.ActRevoke:
		reason = port.CloseRevoked
	}
	n.parts.Logins.Delivery.End(act.User, act.Version, reason, why)
}
