package kafka

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"chatting/application"
	"chatting/domain"
)

// everybody is online.
type everybody struct{}

func (everybody) Online(domain.UserID) bool { return true }

// delivered counts what the use case has appended.
type delivered struct {
	application.SendSystemMessage

	count atomic.Int64
}

func (d *delivered) Execute(ctx context.Context, c application.SystemMessageCommand) (domain.Event, error) {
	event, err := d.SendSystemMessage.Execute(ctx, c)
	if err == nil {
		d.count.Add(1)
	}
	return event, err
}

// BenchmarkIngest takes messages that are in the topic already to the log of conversations, on one node.
func BenchmarkIngest(b *testing.B) {
	eachBroker(b, func(b *testing.B, cluster *Cluster) {
		const partitions, users = 16, 1000
		names := testTopics(b, cluster, partitions)
		conversations := testAppender(b, cluster, names.Conversations, partitions)
		defer conversations.Close(testContext(b))
		dead := testAppender(b, cluster, names.DeadLetters, partitions)
		defer dead.Close(testContext(b))
		writer := kafka.Writer{
			Addr: cluster.addr, Topic: names.SystemMessages, RequiredAcks: kafka.RequireAll, Transport: cluster.transport,
			BatchSize: 1000, BatchTimeout: time.Millisecond,
		}
		messages := make([]kafka.Message, b.N)
		for i := range messages {
			messages[i] = say(domain.UserID(i%users+1), "round 2 starts, and this is about as long as such messages are")
		}
		for len(messages) > 0 {
			n := min(len(messages), 10_000)
			if err := writer.WriteMessages(testContext(b), messages[:n]...); err != nil {
				b.Fatal(err)
			}
			messages = messages[n:]
		}
		sent := &delivered{SendSystemMessage: application.SendSystemMessage{
			Log: NewConversations(cluster, conversations), Online: everybody{}, Now: time.Now,
		}}
		ingest := NewIngest(cluster, IngestOptions{
			Topic: names.SystemMessages, Group: names.SystemMessages, Messages: sent, DeadLetters: dead,
			Presence: func(context.Context) error { return nil }, Logger: testLogger(b),
		})
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- ingest.Run(ctx) }()
		waitUntil(b, func() bool { return sent.count.Load() > 0 }) // joining the group is not measured
		first := sent.count.Load()
		b.ResetTimer()
		waitUntil(b, func() bool { return sent.count.Load() >= int64(b.N) })
		b.StopTimer()
		b.ReportMetric(float64(int64(b.N)-first)/b.Elapsed().Seconds(), "messages/s")
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}
