package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"chatting/adapters/kafka"
	sqlstore "chatting/adapters/sql"
	"chatting/configs"
)

// topicSetup returns how the topics of a configuration are made or verified.
func topicSetup(cfg configs.Config, logger *slog.Logger) kafka.TopicSetup {
	return kafka.TopicSetup{
		Names: kafka.NamesFor(cfg.TopicPrefix), Partitions: cfg.Kafka.Partitions,
		VerifyOnly: cfg.Kafka.Topics == configs.TopicsVerify, Logger: logger,
	}
}

// otherLogError tells that the database belongs to another log than the configured one.
type otherLogError struct{ recorded, own sqlstore.LogIdentity }

// Error implements error: one line.
func (e *otherLogError) Error() string {
	if e.recorded == (sqlstore.LogIdentity{}) {
		return "the database is between two logs, because chatting adopt runs or did not finish: run it again"
	}
	return fmt.Sprintf("the database belongs to topic_prefix %q on %s, but topic_prefix is %q on %s: correct topic_prefix, "+
		"kafka.brokers or database.url; if the database is to go on with another log, stop all servers and run chatting adopt",
		e.recorded.TopicPrefix, clusterName(e.recorded.ClusterID), e.own.TopicPrefix, clusterName(e.own.ClusterID))
}

func clusterName(id string) string {
	if id == "" {
		return "a Kafka cluster without a known id"
	}
	return "the Kafka cluster " + id
}

// mustBe returns an *otherLogError unless the two may be one log.
func mustBe(recorded, own sqlstore.LogIdentity) error {
	if !recorded.Is(own) {
		return &otherLogError{recorded, own}
	}
	return nil
}

// ownLog returns the log of a configuration on a cluster.
func ownLog(ctx context.Context, cfg configs.Config, setup kafka.TopicSetup, cluster *kafka.Cluster) (sqlstore.LogIdentity, error) {
	id, err := setup.ClusterID(ctx, cluster)
	return sqlstore.LogIdentity{TopicPrefix: cfg.TopicPrefix, ClusterID: id}, err
}

// checkLog fails if the database belongs to another log. It records nothing.
func checkLog(ctx context.Context, store *sqlstore.Store, own sqlstore.LogIdentity) error {
	recorded, err := store.Log(ctx, own)
	if err != nil {
		return err
	}
	return mustBe(recorded, own)
}

const (
	// beatEvery is how long a server may not notice that its database was moved. Until then what it would change fails.
	beatEvery = 2 * time.Second
	// beatWithin is after how long a server that did not beat does not run.
	beatWithin = 3 * beatEvery
)

// beat shows that this server runs on the database, and returns an error once that belongs to another log. A database that
// is away is waited for.
func (n *node) beat(ctx context.Context) error {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		var other *sqlstore.OtherLogError
		if errors.As(n.parts.Store.Beat(ctx), &other) {
			return errors.New("the database was moved to another log while this server ran")
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// mustBeUnused fails if a server runs on the database.
func mustBeUnused(ctx context.Context, store *sqlstore.Store) error {
	before, err := store.Beats(ctx)
	if err != nil {
		return err
	}
	select {
	case <-time.After(beatWithin):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := store.Beats(ctx)
	if err == nil && after != before {
		return errors.New("a server runs on the database: stop all servers that use it, and run chatting adopt again")
	}
	return err
}

// claimLog has the database belong to the log, and fails if it belongs to another one.
func claimLog(ctx context.Context, store *sqlstore.Store, own sqlstore.LogIdentity) error {
	recorded, err := store.ClaimLog(ctx, own)
	if err != nil {
		return err
	}
	return mustBe(recorded, own)
}
