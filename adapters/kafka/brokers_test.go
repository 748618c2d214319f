package kafka

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"chatting/adapters/embedded"
	"chatting/domain"
)

// tester is a *testing.T or *testing.B.
type tester[T any] interface {
	testing.TB

	Run(name string, f func(t T)) bool
}

// eachBroker runs a suite on an embedded broker and, where CHATTING_TEST_KAFKA names one, on a real one.
func eachBroker[T tester[T]](t T, suite func(t T, cluster *Cluster)) {
	t.Run("embedded", func(t T) {
		broker, err := embedded.Start(t.Context(), embedded.Options{
			Addr: "127.0.0.1:0", Dir: t.TempDir(), Logger: testLogger(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := broker.Close(); err != nil {
				t.Error(err)
			}
		})
		cluster := testCluster(t, []string{broker.Addr()})
		cluster.options.Embedded = true
		suite(t, cluster)
	})
	t.Run("kafka", func(t T) {
		brokers := os.Getenv("CHATTING_TEST_KAFKA")
		if brokers == "" {
			t.Skip("CHATTING_TEST_KAFKA names no real Kafka")
		}
		suite(t, testCluster(t, strings.Split(brokers, ",")))
	})
}

func testCluster(t testing.TB, brokers []string) *Cluster {
	t.Helper()
	cluster := NewCluster(ClusterOptions{Brokers: brokers})
	t.Cleanup(cluster.Close)
	return cluster
}

// testTopics makes topics of a name that no other test has.
func testTopics(t testing.TB, cluster *Cluster, partitions int) TopicNames {
	t.Helper()
	names := NamesFor("test-" + strings.ToLower(strings.NewReplacer("/", "-").Replace(t.Name())) + "-" + randomSuffix())
	if err := (TopicSetup{Names: names, Partitions: partitions, Logger: testLogger(t)}).Ensure(testContext(t), cluster); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = cluster.client.DeleteTopics(testContext(t), &kafka.DeleteTopicsRequest{Topics: names.All()})
	})
	return names
}

func testAppender(t testing.TB, cluster *Cluster, topic string, partitions int) *Appender {
	t.Helper()
	return NewAppender(cluster, AppenderOptions{
		Topic: topic, Partitions: partitions, Deadline: 5 * time.Second, QueueBytes: 4 << 20, Logger: testLogger(t),
	})
}

// testLogger logs to the test.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func codeOf(err error) domain.Code { return domain.CodeOf(err) }
