package groups

import (
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// A node that starts must neither deliver a topic again that its group has read to the end, nor leave anything out.
func TestAGroupGoesOnWhereItIs(t *testing.T) {
	cluster, topic, _ := logtest.ClaimedLog(t)
	for committed, want := range map[int64]int64{
		-1: 5, 0: 5, 4: 5, 5: 5, 6: 6, 8: 8, 9: 9,
		10: 10, // all is read
		11: 5, 1000: 5,
	} {
		from, err := Begin(brokertest.Context(t), cluster, topic, []Assignment{{Partition: 0, Offset: committed}})
		if err != nil || len(from) != 1 || from[0] != want {
			t.Errorf("committed %d: it begins at %v, %v; want %d", committed, from, err, want)
		}
	}
}

func TestAGroupGoesOnInEachOfItsPartitions(t *testing.T) {
	broker, cluster, _ := logtest.Controlled(t, 7)
	brokertest.Listed(broker, func(*kmsg.ListOffsetsRequest, *kmsg.ListOffsetsResponse) {}) // partition p begins and ends at 10 p
	from, err := Begin(brokertest.Context(t), cluster, "log", []Assignment{{Partition: 5, Offset: 50}, {Partition: 0, Offset: -1}, {Partition: 3, Offset: 7}, {Partition: 2, Offset: 100}})
	if want := (map[int]int64{5: 50, 0: 0, 3: 30, 2: 20}); err != nil || !maps.Equal(from, want) {
		t.Errorf("it begins at %v, %v; want %v", from, err, want)
	}
}
