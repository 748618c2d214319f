package harness

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Dial returns a Kafka client that shares nothing with the server's. It is closed with the test.
func Dial(t *testing.T, brokers string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(strings.Split(brokers, ",")...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// ReadTopic reads the committed records of a topic from its start to where it ended after the call began. The records of a
// partition are in their order.
func ReadTopic(ctx context.Context, t *testing.T, brokers, topic string) []*kgo.Record {
	t.Helper()
	client := Dial(t, brokers, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()) // the end may be that of a transaction
	defer client.Close()
	starts, ends := offsets(ctx, t, client, topic, -2), offsets(ctx, t, client, topic, -1)
	open := make(map[int32]struct{})
	for partition, end := range ends {
		if starts[partition] < end {
			open[partition] = struct{}{}
		}
	}
	var records []*kgo.Record
	for len(open) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading %s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset < ends[r.Partition] && !r.Attrs.IsControl() {
				records = append(records, r)
			}
			if r.Offset >= ends[r.Partition]-1 {
				delete(open, r.Partition)
			}
		})
	}
	return records
}

// offsets asks for the start (-2) or the end (-1) of each partition.
func offsets(ctx context.Context, t *testing.T, client *kgo.Client, topic string, timestamp int64) map[int32]int64 {
	t.Helper()
	described := kmsg.NewPtrMetadataRequest()
	wanted := kmsg.NewMetadataRequestTopic()
	wanted.Topic = &topic
	described.Topics = []kmsg.MetadataRequestTopic{wanted}
	layout, err := described.RequestWith(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	for _, p := range layout.Topics[0].Partitions {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = p.Partition, timestamp
		asked.Partitions = append(asked.Partitions, partition)
	}
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	request.Topics = []kmsg.ListOffsetsRequestTopic{asked}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[int32]int64)
	for _, leader := range response.Topics {
		for _, answered := range leader.Partitions {
			if err := kerr.ErrorForCode(answered.ErrorCode); err != nil {
				t.Fatalf("%s %d: %v", topic, answered.Partition, err)
			}
			found[answered.Partition] = answered.Offset
		}
	}
	return found
}

// Event is a record of the conversations or presence topic.
type Event struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Data struct {
		Message string `json:"message"`
		From    int    `json:"from_id"`
		To      int    `json:"to_id"`
		User    int    `json:"user_id"`
		Status  string `json:"status"`
		Version int    `json:"version"`
	} `json:"data"`

	Partition int32 `json:"-"`
	Offset    int64 `json:"-"`
}

// The types of events that tests look at.
const (
	ChatEvent   = "chatting.chat_message.v1"
	BlockEvent  = "chatting.user_blocked.v1"
	SystemEvent = "chatting.system_message.v1"
)

// ReadEvents reads a topic of events as ReadTopic does.
func ReadEvents(ctx context.Context, t *testing.T, brokers, topic string) []Event {
	t.Helper()
	records := ReadTopic(ctx, t, brokers, topic)
	events := make([]Event, 0, len(records))
	for _, r := range records {
		event := Event{Partition: r.Partition, Offset: r.Offset}
		if err := json.Unmarshal(r.Value, &event); err != nil {
			t.Fatalf("%s: %v", r.Value, err)
		}
		events = append(events, event)
	}
	return events
}

// DeleteTopics deletes the topics of a test.
func DeleteTopics(ctx context.Context, t *testing.T, brokers string, topics ...string) {
	t.Helper()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TimeoutMillis = 10_000
	for _, topic := range topics {
		named := kmsg.NewDeleteTopicsRequestTopic()
		named.Topic = &topic
		request.Topics = append(request.Topics, named)
		request.TopicNames = append(request.TopicNames, topic)
	}
	if _, err := request.RequestWith(ctx, Dial(t, brokers)); err != nil {
		t.Errorf("deleting topics: %v", err)
	}
}
