package server

import (
	"context"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/limits"
	"chatting/application/messaging"
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

func newActs(appenders appenders) *kafka.Acts {
	return kafka.NewActs(appenders.conversations, appenders.audit)
}

func newModeration(c common, log *kafka.Acts) moderationParts {
	register := moderation.NewRegister(c.Config.Kafka.Partitions, c.Now)
	return moderationParts{
		Register: register,
		Moderate: &moderation.Moderate{Store: c.Store.Moderation, Log: log, Register: register, Now: c.Now, Observer: c.Observers.platform},
		Relay: &moderation.RelayActs{
			Outbox: c.Store.Moderation, Log: log, Register: register, Now: c.Now, Every: relayEvery, Logger: c.Logger,
		},
	}
}

func newAnnounce(c common, log *kafka.Acts, m messageParts) *moderation.Announce {
	say := func(ctx context.Context, id domain.EventID, message domain.SystemMessage) error {
		_, err := m.System.Execute(ctx, messaging.SystemMessageCommand{ID: id, Message: message})
		return err
	}
	return &moderation.Announce{Log: log, Say: say, Rate: newAnnouncementRate(), Now: c.Now, NewID: c.NewID, Observer: c.Observers.platform}
}

func newActivity(c common, log *kafka.Acts, acts moderationParts, p presenceParts) *moderation.LookAtActivity {
	return &moderation.LookAtActivity{
		Moderate: acts.Moderate, Facts: c.Store.Facts, Done: c.Store.History, Online: p.Set, Audit: log, Now: c.Now, NewID: c.NewID,
		Observer: c.Observers.platform,
	}
}

// announcementRate is a moderation.AnnouncementRate: one for all who call this node.
type announcementRate struct {
	of *limits.Rate[struct{}]
}

// announcementsAtOnce are as many as may be made together, and announcementsPerSecond for long: ten a minute.
const (
	announcementsAtOnce    = 10
	announcementsPerSecond = 10. / 60
)

func newAnnouncementRate() announcementRate {
	return announcementRate{limits.New[struct{}](announcementsPerSecond, announcementsAtOnce, time.Now)}
}

// Take implements moderation.AnnouncementRate.
func (r announcementRate) Take() time.Duration { return r.of.Take(struct{}{}, 1) }

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
