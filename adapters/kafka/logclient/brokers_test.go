package logclient

import (
	"testing"

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
