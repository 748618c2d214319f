package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/harness"
)

// All nodes were away for longer than a starting one reads back: nobody else tells of the end of the sessions of then.
func TestPresenceTellsOfTheEndOfSessionsOfLongAgo(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	createTopic(ctx, t, c.parts.Brokers, kafka.TopicConfig{Topic: c.sessions(), NumPartitions: 16, ReplicationFactor: 1})
	const user = 7
	long, node := time.Now().Add(-40*time.Minute), uuid.NewString()
	up, beat := sessionRecord(c.sessions(), "up", node, user, 1, long), beatRecord(c.sessions(), node, 1, long)
	toPartitionZero := kgo.RecordPartitioner(kgo.ManualPartitioner())
	for record, client := range map[*kgo.Record]*kgo.Client{
		up: harness.Dial(t, c.parts.Brokers), beat: harness.Dial(t, c.parts.Brokers, toPartitionZero),
	} {
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c.start()
	harness.Until(ctx, t, "the user came online and went offline", func() bool {
		var told []string
		for _, event := range harness.ReadEvents(ctx, t, c.parts.Brokers, c.presence()) {
			told = append(told, fmt.Sprint(event.Data.User, " ", event.Data.Status))
		}
		return fmt.Sprint(told) == fmt.Sprintf("[%d online %d offline]", user, user)
	})
}
