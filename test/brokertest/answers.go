package brokertest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Refusing has a broker answer each produce request with a code, without an append; below zero, the connection ends.
func Refusing(broker *kfake.Cluster, topic string, codes func(n int64) int16) {
	var produced atomic.Int64
	broker.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		code := codes(produced.Add(1) - 1)
		if code == 0 {
			return nil, nil, false
		}
		produce, _ := request.(*kmsg.ProduceRequest)
		response, _ := produce.ResponseKind().(*kmsg.ProduceResponse)
		partition := kmsg.NewProduceResponseTopicPartition()
		partition.ErrorCode = code
		response.Topics = []kmsg.ProduceResponseTopic{{Topic: topic, Partitions: []kmsg.ProduceResponseTopicPartition{partition}}}
		return response, nil, true
	})
}

// Listed has a broker answer ListOffsets: each partition with its number times ten, then changed.
func Listed(broker *kfake.Cluster, change func(request *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse)) {
	broker.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		list, _ := request.(*kmsg.ListOffsetsRequest)
		response, _ := list.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic := kmsg.ListOffsetsResponseTopic{Topic: "log"}
		for _, p := range list.Topics[0].Partitions {
			answer := kmsg.NewListOffsetsResponseTopicPartition()
			answer.Partition, answer.Offset = p.Partition, 10*int64(p.Partition)
			topic.Partitions = append(topic.Partitions, answer)
		}
		slices.Reverse(topic.Partitions)
		response.Topics = append(response.Topics, topic)
		change(list, response)
		return response, nil, true
	})
}

// ClaimedLog starts a broker with a log of ten records, "0" to "9" with the key 1:2, an hour apart from HoursApart on. It claims to
// begin at 5, to be readable up to 8 and to end at 10.
func ClaimedLog(t testing.TB) (brokers []string, topic string, claims *Claims) {
	t.Helper()
	broker := Controlled(t, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for n := range 10 {
		record := &kgo.Record{
			Topic: "log", Key: []byte("1:2"), Value: fmt.Append(nil, n), Timestamp: HoursApart.Add(time.Duration(n) * time.Hour),
		}
		if err := client.ProduceSync(Context(t), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	claims = &Claims{Start: 5, Stable: 8, End: 10, Since: 6}
	claims.Claim(broker)
	return broker.ListenAddrs(), "log", claims
}

// Claims are what a broker says of where its only partition begins and ends.
type Claims struct {
	Start, Stable, End int64
	// Since is the offset for a time.
	Since int64

	mu sync.Mutex
	at []time.Time // the times that were asked for
}

// The times of ListOffsets that are none, and an isolation level.
const (
	latest        = -1
	earliest      = -2
	readCommitted = 1
)

// Claim has a broker answer ListOffsets by claims, for as long as the test runs.
func (c *Claims) Claim(broker *kfake.Cluster) {
	broker.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		c.mu.Lock()
		defer c.mu.Unlock()
		list, _ := request.(*kmsg.ListOffsetsRequest)
		response, _ := list.ResponseKind().(*kmsg.ListOffsetsResponse)
		partition := kmsg.NewListOffsetsResponseTopicPartition()
		switch asked := list.Topics[0].Partitions[0].Timestamp; {
		case asked == earliest:
			partition.Offset = c.Start
		case asked == latest && list.IsolationLevel == readCommitted:
			partition.Offset = c.Stable
		case asked == latest:
			partition.Offset = c.End
		default:
			partition.Offset = c.Since
			c.at = append(c.at, time.UnixMilli(asked))
		}
		response.Topics = []kmsg.ListOffsetsResponseTopic{{
			Topic: list.Topics[0].Topic, Partitions: []kmsg.ListOffsetsResponseTopicPartition{partition},
		}}
		return response, nil, true
	})
}

// BeginAt changes where the log begins.
func (c *Claims) BeginAt(start int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Start = start
}

// EndAt changes where the log ends.
func (c *Claims) EndAt(end int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.End = end
}

// WasAsked tells whether the offset of a time was asked for since the last call of Asked.
func (c *Claims) WasAsked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.at) > 0
}

// Asked returns the only time that was asked for, and forgets it.
func (c *Claims) Asked(t testing.TB) time.Time {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.at) != 1 {
		t.Fatalf("the offsets of the times %v were asked for", c.at)
	}
	at := c.at[0]
	c.at = nil
	return at
}

// HoursApart is when the records of a log that is claimed about were written: record n in the hour n of a day that is past.
var HoursApart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
