package kafka

import (
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/domain"
	"chatting/test/brokertest"
)

// testTopics makes topics of a name that no other test has.
func testTopics(t testing.TB, cluster *logclient.Cluster, partitions int) TopicNames {
	t.Helper()
	names := NamesFor(brokertest.Name(t))
	setup := TopicSetup{Names: names, Partitions: partitions, Logger: brokertest.Logger(t)}
	if err := setup.Ensure(brokertest.Context(t), cluster); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = cluster.Client().DeleteTopics(brokertest.Context(t), &kafkago.DeleteTopicsRequest{Topics: names.All()})
	})
	return names
}

func testAppender(t testing.TB, cluster *logclient.Cluster, topic string, partitions int) *appending.Appender {
	t.Helper()
	return NewAppender(cluster, appending.AppenderOptions{
		Topic: topic, Partitions: partitions, Deadline: time.Minute, QueueBytes: 4 << 20, Logger: brokertest.Logger(t),
	})
}

func codeOf(err error) domain.Code { return domain.CodeOf(err) }
