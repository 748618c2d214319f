package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/harness"
)

// All nodes were away for longer than a starting one reads back: nobody else tells of the end of the sessions of then.
func TestPresenceTellsOfTheEndOfSessionsOfLongAgo(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	createTopic(ctx, t, c.parts.Brokers, c.sessions(), 16)
	const user = 7
	long, node := time.Now().Add(-40*time.Minute), uuid.NewString()
	up := &kgo.Record{
		Topic: c.sessions(), Key: fmt.Append(nil, user), Timestamp: long,
		Value: fmt.Appendf(nil, `{"type":"up","incarnation":%q,"user":%d,"count":1}`, node, user),
	}
	beat := &kgo.Record{
		Topic: c.sessions(), Key: []byte(node), Timestamp: long,
		Value: fmt.Appendf(nil, `{"type":"beat","incarnation":%q,"count":1}`, node),
	}
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
