package cluster

import (
	"context"
	"testing"

	"github.com/fasthttp/websocket"
	"github.com/segmentio/kafka-go"

	"chatting/test/harness"
)

// An operator deletes the topic of conversations under running nodes and makes it again. What it held is lost; who may have
// missed something comes again, and goes on in the new one.
func TestNodesGoOnWhereTheConversationsAreMadeAnew(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	node := c.start()
	const one, two = 1, 2
	say := func(from, to *harness.Client, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if err := from.Send(to.User, text); err != nil {
				t.Fatal(err)
			}
			for _, client := range []*harness.Client{from, to} {
				if _, err := client.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == text }); err != nil {
					t.Fatalf("%q, user %d: %v", text, client.User, err)
				}
			}
		}
	}
	first, second := connect(t, node, one), connect(t, node, two)
	say(first, second, "a", "b", "c", "d", "e")
	node = c.start() // which delivers from the end of these on
	first, second = connect(t, node, one), connect(t, node, two)
	say(first, second, "f")

	makeAnew(ctx, t, c.parts.Brokers, c.conversations(), 16)
	for _, client := range []*harness.Client{first, second} {
		harness.Until(ctx, t, "its connection has ended", func() bool { return client.Err() != nil })
		if err := client.Err(); !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
			t.Errorf("user %d: %v", client.User, err)
		}
	}
	first, second = connect(t, node, one), connect(t, node, two)
	say(first, second, "g")
	say(second, first, "h")
}

// makeAnew deletes a topic and makes it again.
func makeAnew(ctx context.Context, t *testing.T, brokers, topic string, partitions int) {
	t.Helper()
	harness.DeleteTopics(ctx, t, brokers, topic)
	createTopic(ctx, t, brokers, kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1})
}
