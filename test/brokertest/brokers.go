// Package brokertest starts brokers for tests of packages that speak to the log, and makes them answer wrongly. It does not know
// the log client, so that the client's own tests can use it; package logtest adds the client.
package brokertest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded"
)

// Tester is a *testing.T or *testing.B.
type Tester[T any] interface {
	testing.TB

	Run(name string, f func(t T)) bool
}

// Each runs a suite on an embedded broker and, if CHATTING_TEST_KAFKA names one, on a real one.
func Each[T Tester[T]](t T, suite func(t T, brokers []string, isEmbedded bool)) {
	t.Run("embedded", func(t T) {
		broker, err := embedded.Start(t.Context(), embedded.Options{
			Addr: "127.0.0.1:0", Dir: t.TempDir(), Logger: Logger(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := broker.Close(); err != nil {
				t.Error(err)
			}
		})
		suite(t, []string{broker.Addr()}, true)
	})
	t.Run("kafka", func(t T) {
		brokers := os.Getenv("CHATTING_TEST_KAFKA")
		if brokers == "" {
			t.Skip("CHATTING_TEST_KAFKA names no real Kafka")
		}
		suite(t, strings.Split(brokers, ","), false)
	})
}

// Logger logs to the test.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// Context ends with the test, and a minute after the call at the latest.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// WaitUntil waits until a condition holds.
func WaitUntil(t testing.TB, condition func() bool) {
	t.Helper()
	ctx := Context(t)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("it did not come to that")
		}
	}
}

// Run runs a reader until the test ends, and joins it. It must end without an error.
func Run(t testing.TB, reader func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- reader(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Name returns a name for topics that no other test has.
func Name(t testing.TB) string {
	return "test-" + strings.ToLower(strings.NewReplacer("/", "-").Replace(t.Name())) + "-" + rand.Text()[:8]
}

// Topic makes a topic that takes batches of up to 5 MiB, and takes it away after the test.
func Topic(t testing.TB, brokers []string, partitions int) string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = Name(t), int32(partitions), 1
	most := "5242880"
	topic.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "max.message.bytes", Value: &most}}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis, create.Topics = 10_000, []kmsg.CreateTopicsRequestTopic{topic}
	created, err := create.RequestWith(Context(t), client)
	if err == nil {
		err = kerr.ErrorForCode(created.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	WaitUntil(t, func() bool { return led(t, client, topic.Topic, partitions) })
	t.Cleanup(func() {
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
		if err != nil {
			return
		}
		defer client.Close()
		remove := kmsg.NewPtrDeleteTopicsRequest()
		remove.TimeoutMillis, remove.TopicNames = 10_000, []string{topic.Topic}
		remove.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &topic.Topic}}
		_, _ = remove.RequestWith(Context(t), client)
	})
	return topic.Topic
}

// led tells whether all partitions of a topic have a leader.
func led(t testing.TB, client *kgo.Client, topic string, partitions int) bool {
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	found, err := request.RequestWith(Context(t), client)
	if err != nil || len(found.Topics) != 1 || len(found.Topics[0].Partitions) != partitions {
		return false
	}
	for _, partition := range found.Topics[0].Partitions {
		if partition.Leader < 0 || partition.ErrorCode != 0 {
			return false
		}
	}
	return true
}

// Controlled starts a broker that can be made to answer wrongly. It has the topic "log".
func Controlled(t testing.TB, partitions int32) *kfake.Cluster {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	return broker
}

// DeleteBefore takes the records before an offset out of partition 0, as retention does. It skips the test if the broker, an
// embedded one, does not.
func DeleteBefore(t testing.TB, brokers []string, topic string, offset int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis = 5000
	request.Topics = []kmsg.DeleteRecordsRequestTopic{{
		Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: offset}},
	}}
	response, err := request.RequestWith(Context(t), client)
	if err != nil {
		t.Fatal(err)
	}
	switch code := response.Topics[0].Partitions[0].ErrorCode; {
	case code == 0:
	case code == kerr.PolicyViolation.Code && strings.Contains(t.Name(), "embedded"):
		t.Skip("the embedded broker deletes no records")
	default:
		t.Fatal(kerr.ErrorForCode(code))
	}
}
