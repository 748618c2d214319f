package server

import (
	"context"
	"maps"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/projector"
	"chatting/application/delivery"
	"chatting/application/moderation"
	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
)

// tails are the readers of the two topics that every node follows.
type tails struct {
	common   common
	cluster  *logclient.Cluster
	clock    *nodeClock
	presence *presence.SetPresence
	delivery *delivery.Delivery
	flushes  *projector.Flushes
	acts     *moderation.Register
	asking   *kafka.ConnectionQuestions
	names    kafka.TopicNames

	sessions, conversations *logclient.Tail
	delivering              *kafka.ConversationTail // the handler of conversations
	openedAt                time.Time               // when the tails were opened, by a clock that was right
	// sessionsFrom is where the reading of the beats begins, and the ends are where the topics ended when the tails were opened.
	sessionsFrom                  int64
	sessionsEnd, conversationsEnd map[int]int64
}

func newTails(
	c common, cluster *logclient.Cluster, clock *nodeClock, acts moderationParts, p presenceParts, i inviteParts, l loginParts,
	flushes *projector.Flushes,
) *tails {
	t := &tails{
		common: c, cluster: cluster, clock: clock, presence: p.Set, delivery: l.Delivery, flushes: flushes,
		acts: acts.Register, asking: p.Questions,
		names: kafka.NamesFor(c.Config.TopicPrefix),
	}
	i.List.CaughtUp = t.conversationsRead
	return t
}

// open waits until the node's clock is right, finds out where the tails begin to read, and loads the acts of the platform. The tail of
// conversations delivers from the end of the log on, and learns of the invites before it.
func (t *tails) open(ctx context.Context) error {
	at, err := t.clock.await(ctx)
	if err != nil {
		return err
	}
	partitions := t.common.Config.Kafka.Partitions
	from, to, err := kafka.Lookback(
		ctx, t.cluster, t.names.Sessions, partitions, at, presence.DefaultTimes.Lookback())
	if err != nil {
		return err
	}
	recalled, ends, err := kafka.Lookback(ctx, t.cluster, t.names.Conversations, partitions, at, domain.InviteLookback+judgedBefore)
	if err != nil {
		return err
	}
	// Before the tail reads, and not before its place is known: an act from meanwhile stands behind that place.
	if err := t.loadActs(ctx, at); err != nil {
		return err
	}
	births, err := kafka.Births(ctx, t.cluster, t.names.Conversations, partitions)
	if err != nil {
		t.common.Logger.Warn("resume tokens of an earlier topic of the same name may not be known as such", "error", err)
	}
	for partition, at := range births {
		t.delivery.Begins(partition, at)
		t.acts.Begins(partition, at)
	}
	if err := t.judgeSince(ctx, at, recalled); err != nil {
		return err
	}
	t.openedAt, t.sessionsFrom, t.sessionsEnd, t.conversationsEnd = at, from[0], to, ends
	t.sessions = logclient.NewTail(t.cluster, logclient.TailOptions{
		Topic: t.names.Sessions, From: from, Logger: t.common.Logger,
		Handler: &kafka.SessionTail{
			Presence: t.presence, Notices: t.common.Notices, FlushWanted: t.flushes.Hear, Connections: t.asking, Lost: t.lost,
		},
	})
	t.delivering = &kafka.ConversationTail{
		Delivery: t.delivery, Log: t.common.Log, From: maps.Clone(ends), Acts: t.acts, Notices: t.common.Notices,
		Logger:   t.common.Logger,
		Observer: t.common.Observers.deliveries,
		Traces:   t.common.Traces,
	}
	t.conversations = logclient.NewTail(t.cluster, logclient.TailOptions{
		Topic: t.names.Conversations, From: recalled, Logger: t.common.Logger, Handler: t.delivering,
	})
	return nil
}

// judgedBefore is for how long before its start a node knows what became of invites: then clients that come back after a restart
// can be told of them.
const judgedBefore = 2 * time.Minute

// judgeSince tells delivery from where on it knows what became of invites, if the tail reads the log from recalled on.
func (t *tails) judgeSince(ctx context.Context, at time.Time, recalled map[int]int64) error {
	known, _, err := kafka.Lookback(ctx, t.cluster, t.names.Conversations, t.common.Config.Kafka.Partitions, at, judgedBefore)
	if err != nil {
		return err
	}
	for partition, next := range recalled {
		t.delivery.Begin(partition, known[partition], next)
	}
	return nil
}

func (t *tails) runSessions(ctx context.Context) error { return t.sessions.Run(ctx) }

// runConversations reads the conversations. Behind a hole it waits for the database: nobody may be shown what an act that stood there
// keeps back.
func (t *tails) runConversations(ctx context.Context) error {
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	t.delivering.Reload = func() {
		if err := t.loadActs(running, t.openedAt); err != nil {
			stop(err)
		}
	}
	err := t.conversations.Run(running)
	if running.Err() != nil && ctx.Err() == nil {
		return context.Cause(running)
	}
	return err
}

// caughtUp waits until the tails have read what was there when they were opened.
func (t *tails) caughtUp(ctx context.Context) error {
	if err := t.sessions.WaitFor(ctx, t.sessionsEnd); err != nil {
		return err
	}
	return t.conversations.WaitFor(ctx, t.conversationsEnd)
}

// conversationsRead waits until this node has read what could be read of the conversations when it was called.
func (t *tails) conversationsRead(ctx context.Context) error {
	ends, err := t.common.Log.Readable().EndOffsets(ctx)
	if err != nil {
		return err
	}
	if err := t.conversations.WaitFor(ctx, logclient.ByPartition(ends)); err != nil {
		return domain.WrapError(domain.CodeUnavailable, "The log is not read in time.", err)
	}
	return nil
}

// suspectEarlier has nodes buried whose last record is before where this node reads from.
func (t *tails) suspectEarlier(ctx context.Context) error {
	unburied, err := kafka.Unburied(ctx, t.cluster, t.names.Sessions, t.sessionsFrom)
	if err != nil {
		if ctx.Err() == nil {
			t.common.Logger.Warn("nodes that ended long ago may not be buried", "error", err)
		}
		return nil
	}
	t.presence.Suspect(unburied)
	return nil
}

// lost handles a hole in the sessions topic: the node no longer knows who is online.
func (t *tails) lost() {
	t.presence.Forget()
	t.delivery.CloseAll(port.CloseHole)
}
