// Package topictest makes the topics of a server, and appends to them, for tests of packages that use package kafka.
package topictest

import (
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/test/brokertest"
)

// Topics makes topics of a name that no other test has, and takes them away after the test.
func Topics(t testing.TB, cluster *logclient.Cluster, partitions int) kafka.TopicNames {
	t.Helper()
	names := kafka.NamesFor(brokertest.Name(t))
	setup := kafka.TopicSetup{Names: names, Partitions: partitions, Logger: brokertest.Logger(t)}
	if err := setup.Ensure(brokertest.Context(t), cluster); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = cluster.Client().DeleteTopics(brokertest.Context(t), &kafkago.DeleteTopicsRequest{Topics: names.All()})
	})
	return names
}

// Appender appends to a topic until it is closed.
func Appender(t testing.TB, cluster *logclient.Cluster, topic string, partitions int) *appending.Appender {
	t.Helper()
	return kafka.NewAppender(cluster, appending.AppenderOptions{
		Topic: topic, Partitions: partitions, Deadline: time.Minute, QueueBytes: 4 << 20, Logger: brokertest.Logger(t),
	})
}
