package appending

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// eachBroker runs a suite on an embedded broker and, where CHATTING_TEST_KAFKA names one, on a real one.
func eachBroker[T brokertest.Tester[T]](t T, suite func(t T, cluster *logclient.Cluster)) {
	brokertest.Each(t, func(t T, brokers []string, isEmbedded bool) {
		suite(t, clusterWith(t, logclient.ClusterOptions{Brokers: brokers, ClientID: "chatting", Embedded: isEmbedded}))
	})
}

func testCluster(t testing.TB, brokers []string) *logclient.Cluster {
	t.Helper()
	return clusterWith(t, logclient.ClusterOptions{Brokers: brokers, ClientID: "chatting"})
}

func clusterWith(t testing.TB, options logclient.ClusterOptions) *logclient.Cluster {
	t.Helper()
	cluster := logclient.NewCluster(options)
	t.Cleanup(cluster.Close)
	return cluster
}

func testTopic(t testing.TB, cluster *logclient.Cluster, partitions int) string {
	t.Helper()
	return brokertest.Topic(t, cluster.Options().Brokers, partitions)
}

// controlledTopic is a topic of one partition, in a broker that can be made to answer wrongly.
func controlledTopic(t *testing.T) (broker *kfake.Cluster, cluster *logclient.Cluster, topic string) {
	t.Helper()
	broker = brokertest.Controlled(t, 1)
	return broker, testCluster(t, broker.ListenAddrs()), "log"
}

// testAppender returns an appender with more time than a busy broker needs.
func testAppender(t testing.TB, cluster *logclient.Cluster, topic string, partitions int) *Appender {
	t.Helper()
	return NewAppender(cluster, AppenderOptions{
		Topic: topic, Partitions: partitions, Deadline: time.Minute, QueueBytes: 4 << 20, Logger: brokertest.Logger(t),
	})
}

// logOf returns the values that each partition of a topic holds.
func logOf(t *testing.T, cluster *logclient.Cluster, topic string, partitions int) map[int][]string {
	t.Helper()
	ends, err := logclient.Ends(brokertest.Context(t), cluster, topic, partitions)
	if err != nil {
		t.Fatal(err)
	}
	from, values := make(map[int]int64), make(map[int][]string)
	for p := range partitions {
		from[p] = 0
	}
	err = logclient.Scan(brokertest.Context(t), cluster, logclient.TailOptions{Topic: topic, From: from, Logger: brokertest.Logger(t)}, ends,
		func(r *recordbatch.StoredRecord) error {
			values[r.Partition] = append(values[r.Partition], string(r.Value))
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// code is what an append came to, in a word.
type code string

const (
	codeUnavailable code = "unavailable" // it is not in the log
	codeUnconfirmed code = "unconfirmed"
	codeOther       code = "other"
)

func codeOf(err error) code {
	var failed *AppendError
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &failed):
		return codeOther
	case failed.Unconfirmed:
		return codeUnconfirmed
	default:
		return codeUnavailable
	}
}
