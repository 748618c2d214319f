package logclient

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"chatting/test/brokertest"
)

// eachBroker runs a suite on an embedded broker and, where CHATTING_TEST_KAFKA names one, on a real one.
func eachBroker[T brokertest.Tester[T]](t T, suite func(t T, cluster *Cluster)) {
	brokertest.Each(t, func(t T, brokers []string, isEmbedded bool) {
		cluster := testCluster(t, brokers)
		cluster.options.Embedded = isEmbedded
		suite(t, cluster)
	})
}

func testCluster(t testing.TB, brokers []string) *Cluster {
	t.Helper()
	cluster := NewCluster(ClusterOptions{Brokers: brokers, ClientID: "chatting"})
	t.Cleanup(cluster.Close)
	return cluster
}

func testTopic(t testing.TB, cluster *Cluster, partitions int) string {
	t.Helper()
	return brokertest.Topic(t, cluster.options.Brokers, partitions)
}

// testAppender returns an appender with more time than a busy broker needs.
func testAppender(t testing.TB, cluster *Cluster, topic string, partitions int) *Appender {
	t.Helper()
	return NewAppender(cluster, AppenderOptions{
		Topic: topic, Partitions: partitions, Deadline: time.Minute, QueueBytes: 4 << 20, Logger: brokertest.Logger(t),
	})
}

// controlledTopic is a topic of one partition, in a broker that can be made to answer wrongly.
func controlledTopic(t *testing.T) (broker *kfake.Cluster, cluster *Cluster, topic string) {
	t.Helper()
	broker = brokertest.Controlled(t, 1)
	return broker, testCluster(t, broker.ListenAddrs()), "log"
}

// claimedLog connects to a brokertest.ClaimedLog.
func claimedLog(t *testing.T) (cluster *Cluster, topic string, claims *brokertest.Claims) {
	t.Helper()
	brokers, topic, claims := brokertest.ClaimedLog(t)
	return testCluster(t, brokers), topic, claims
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
