package server

import (
	"context"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/ingest"
	"chatting/adapters/kafka/projector"
	"chatting/application/messaging"
	"chatting/cmd/chatting/installation"
)

// consumers are the consumer groups that every node is a member of.
type consumers struct {
	common       common
	installation installation.Installation
	appenders    appenders
	system       *messaging.SendSystemMessage
	flushes      *projector.Flushes
	tails        *tails

	// database is the id of the database, once it is recognised.
	database string
}

func newConsumers(
	c common, i installation.Installation, appenders appenders, m messageParts, flushes *projector.Flushes, tails *tails,
) *consumers {
	return &consumers{common: c, installation: i, appenders: appenders, system: m.System, flushes: flushes, tails: tails}
}

func (c *consumers) group(name string) string { return c.common.Config.TopicPrefix + "." + name }

// recognise fails if the groups belong to another database.
func (c *consumers) recognise(ctx context.Context) (err error) {
	c.database, err = c.installation.Recognise(ctx, c.group("presence-audit"))
	return err
}

// audit publishes who comes and goes.
func (c *consumers) audit(ctx context.Context) error {
	return kafka.NewPresenceAudit(c.installation.Cluster, kafka.AuditOptions{
		Sessions: c.tails.names.Sessions, Group: c.group("presence-audit"), Database: c.database,
		Presence: c.appenders.presence, Lookback: kafka.SessionRetention, Logger: c.common.Logger,
	}).Run(ctx)
}

// project takes the log into the history.
func (c *consumers) project(ctx context.Context) error {
	return c.installation.Projector(c.database, c.common.Notices, c.flushes, c.common.Traces).Run(ctx)
}

// ingest takes in the system messages of other programs.
func (c *consumers) ingest(ctx context.Context) error {
	present := kafka.NewReadBarrier(c.installation.Cluster, c.tails.names.Sessions, c.common.Config.Kafka.Partitions, c.tails.sessions)
	defer present.Close()
	return ingest.New(c.installation.Cluster, ingest.Options{
		Topic: c.tails.names.SystemMessages, Group: c.group("system-messages"), Database: c.database, Messages: c.system,
		DeadLetters: c.appenders.deadLetters, Presence: present.Wait, Logger: c.common.Logger, Notices: c.common.Notices,
		Observer: c.common.Observers.letters, Traces: c.common.Traces,
	}).Run(ctx)
}
