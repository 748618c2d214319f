package main

import (
	"context"
	"fmt"
	"log/slog"

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

// claimLog has the database belong to the log, and fails if it belongs to another one.
func claimLog(ctx context.Context, store *sqlstore.Store, own sqlstore.LogIdentity) error {
	recorded, err := store.ClaimLog(ctx, own)
	if err != nil {
		return err
	}
	return mustBe(recorded, own)
}
