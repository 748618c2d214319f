// Package kafka is what this server writes to the log and reads from it: conversations, sessions, the public topic of presence,
// and the topics themselves. Package ingest has the system messages that other programs write, package projector takes the
// log into the history. All of them speak through package logclient and what is below it, to Apache Kafka (4.0 or newer) or to
// the broker inside the process.
package kafka

import (
	"context"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/groups"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/domain"
)

// clientID is by what brokers know the server's connections, and groupProtocol the type of the protocol of its groups.
const (
	clientID      = "chatting"
	groupProtocol = "chatting"
)

// NewCluster prepares connections of this server; it dials nothing yet.
func NewCluster(options logclient.ClusterOptions) *logclient.Cluster {
	options.ClientID = clientID
	return logclient.NewCluster(options)
}

// NewAppender starts an appender whose errors are classified: CodeUnavailable (the record is not in the log and will not be) or
// CodeUnconfirmed (unknown; it may still come). The caller must Close it.
func NewAppender(cluster *logclient.Cluster, options appending.AppenderOptions) *appending.Appender {
	options.Failed = func(err *appending.AppendError) error {
		code := domain.CodeUnavailable
		if err.Unconfirmed {
			code = domain.CodeUnconfirmed
		}
		return domain.WrapError(code, err.Reason, err.Cause)
	}
	return appending.NewAppender(cluster, options)
}

// appender is an *appending.Appender.
type appender interface {
	AppendAs(owner appending.Owner, partition int, record recordbatch.Record, done func(error))
	PartitionOf(key []byte) int
	Partitions() int
	Topic() string
}

// GroupOptions returns how to join a consumer group of this server. The id of the database, which all members share, is part of
// the protocol: a node with another database would keep the others from what it projects and whom it knows.
//
// A node of a version up to schema 4 joined as a "consumer". While one is in the group, newer nodes stay out of it, and the
// older ones do the work of all; when the last has left, the newer ones take over. The other way round it is the same.
func GroupOptions(id, topic, database string) groups.Options {
	protocol := groupProtocol
	if database != "" {
		protocol += "-" + database
	}
	return groups.Options{ID: id, Topic: topic, Type: groupProtocol, Protocol: protocol, Mismatch: &OtherDatabaseError{id}}
}

// OtherDatabaseError tells that running nodes on the same topics use another database. Trying again does not help.
type OtherDatabaseError struct{ Group string }

// Error implements error: one line.
func (e *OtherDatabaseError) Error() string {
	return "nodes with another database are in the consumer group " + e.Group +
		": all nodes with one topic_prefix need one database: correct database.url or topic_prefix"
}

// CheckDatabase returns an *OtherDatabaseError if nodes with another database are in a consumer group of this server, and
// stay.
func CheckDatabase(ctx context.Context, cluster *logclient.Cluster, group, database string) error {
	return groups.Check(ctx, cluster, GroupOptions(group, "", database))
}
