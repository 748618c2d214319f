package ingest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/application/messaging"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
	"chatting/test/topictest"
)

// everybody is online.
type everybody struct{}

func (everybody) Online(domain.UserID) bool { return true }

// delivered counts what the use case has appended.
type delivered struct {
	messaging.SendSystemMessage

	count atomic.Int64
}

func (d *delivered) Execute(ctx context.Context, c messaging.SystemMessageCommand) (domain.Event, error) {
	event, err := d.SendSystemMessage.Execute(ctx, c)
	if err == nil {
		d.count.Add(1)
	}
	return event, err
}

// BenchmarkIngest takes messages that are in the topic already to the log of conversations, on one node.
func BenchmarkIngest(b *testing.B) {
	logtest.Each(b, func(b *testing.B, cluster *logclient.Cluster) {
		const partitions, users = 16, 1000
		names := topictest.Topics(b, cluster, partitions)
		conversations := topictest.Appender(b, cluster, names.Conversations, partitions)
		defer conversations.Close(brokertest.Context(b))
		dead := topictest.Appender(b, cluster, names.DeadLetters, partitions)
		defer dead.Close(brokertest.Context(b))
		writer := kafkago.Writer{
			Addr: cluster.Client().Addr, Topic: names.SystemMessages, RequiredAcks: kafkago.RequireAll, Transport: cluster.Client().Transport,
			BatchSize: 1000, BatchTimeout: time.Millisecond,
		}
		messages := make([]kafkago.Message, b.N)
		for i := range messages {
			messages[i] = say(domain.UserID(i%users+1), "round 2 starts, and this is about as long as such messages are")
		}
		for len(messages) > 0 {
			n := min(len(messages), 10_000)
			if err := writer.WriteMessages(brokertest.Context(b), messages[:n]...); err != nil {
				b.Fatal(err)
			}
			messages = messages[n:]
		}
		sent := &delivered{SendSystemMessage: messaging.SendSystemMessage{
			Log: kafka.NewConversations(cluster, conversations), Online: everybody{}, Now: time.Now,
		}}
		ingest := New(cluster, Options{
			Topic: names.SystemMessages, Group: names.SystemMessages, Messages: sent, DeadLetters: dead,
			Presence: func(context.Context) error { return nil }, Logger: brokertest.Logger(b),
		})
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- ingest.Run(ctx) }()
		brokertest.WaitUntil(b, func() bool { return sent.count.Load() > 0 }) // joining the group is not measured
		first := sent.count.Load()
		b.ResetTimer()
		brokertest.WaitUntil(b, func() bool { return sent.count.Load() >= int64(b.N) })
		b.StopTimer()
		b.ReportMetric(float64(int64(b.N)-first)/b.Elapsed().Seconds(), "messages/s")
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}
