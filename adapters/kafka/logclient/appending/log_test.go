package appending

import (
	"context"
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

// logOf returns the values that each partition of a topic holds. It waits for them as long as the test may take: a scan would give
// up a broker that is busy.
func logOf(t *testing.T, cluster *logclient.Cluster, topic string, partitions int) map[int][]string {
	t.Helper()
	ends, err := logclient.Ends(brokertest.Context(t), cluster, topic, partitions)
	if err != nil {
		t.Fatal(err)
	}
	from, read := make(map[int]int64), make(values)
	for p := range partitions {
		from[p] = 0
	}
	tail := logclient.NewTail(cluster, logclient.TailOptions{Topic: topic, From: from, Handler: read, Logger: brokertest.Logger(t)})
	ctx, stop := context.WithCancel(brokertest.Context(t))
	ended := make(chan error, 1)
	go func() { ended <- tail.Run(ctx) }()
	err = tail.WaitFor(ctx, ends)
	stop()
	if err = errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	return read
}

// values are a TailHandler: what it was given of each partition.
type values map[int][]string

func (v values) Record(r *recordbatch.StoredRecord) {
	v[r.Partition] = append(v[r.Partition], string(r.Value))
}
func (v values) LeftOut(recordbatch.LeftOut) {}
func (v values) BatchEnd(int, int64)         {}
func (v values) Hole(int, int64, int64)      {}

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
