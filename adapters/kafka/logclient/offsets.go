package logclient

import (
	"context"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// Place names an offset in every partition of a topic.
type Place struct {
	timestamp int64 // see https://kafka.apache.org/protocol#The_Messages_ListOffsets
	isolation int8
}

const (
	timestampLatest   int64 = -1
	timestampEarliest int64 = -2
)

var (
	// Start is where the log begins.
	Start = Place{timestampEarliest, readCommitted}
	// End is where the next record will stand: past all that was appended, also what no tail can read yet because a
	// transaction is open.
	End = Place{timestampLatest, readUncommitted}
	// ReadableEnd is the last stable offset, up to which a tail can read. It stands still while a transaction is open.
	ReadableEnd = Place{timestampLatest, readCommitted}
)

// offsetsTimeout bounds one attempt to ask the leaders.
const offsetsTimeout = 3 * time.Second

// Since is the first record stamped at or after a time; the readable end if there is none. A time before 1970 counts as 1970.
func Since(at time.Time) Place { return Place{max(at.UnixMilli(), 0), readCommitted} }

// Offsets asks the leaders for the offset of a place in each of the partitions. It tries again until ctx ends, because a leader
// that was just elected may not know yet.
func (c *Cluster) Offsets(ctx context.Context, topic string, partitions []int, at Place) ([]int64, error) {
	retry := Backoff{}
	for {
		offsets, err := c.tryOffsets(ctx, topic, partitions, at)
		if err == nil {
			return offsets, nil
		}
		retry.Wait(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("asking for the offsets of %s: %w", topic, err)
		}
	}
}

// Bounds returns the offsets of two places in each of the partitions, those of the first asked for before those of the second.
func (c *Cluster) Bounds(ctx context.Context, topic string, partitions []int, from, to Place) (starts, ends []int64, err error) {
	if starts, err = c.Offsets(ctx, topic, partitions, from); err != nil {
		return nil, nil, err
	}
	ends, err = c.Offsets(ctx, topic, partitions, to)
	return starts, ends, err
}

// Ends returns the readable end of each partition of a topic.
func Ends(ctx context.Context, cluster *Cluster, topic string, partitions int) (map[int]int64, error) {
	ends, err := cluster.Offsets(ctx, topic, PartitionNumbers(partitions), ReadableEnd)
	return ByPartition(ends), err
}

// PartitionNumbers returns 0 to count-1.
func PartitionNumbers(count int) []int {
	numbers := make([]int, count)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// PartitionOf returns the partition of a key among numbers. It is the Java client's, murmur2 of the key, so that others who
// write the topic with a standard client write to the same partition.
func PartitionOf(key []byte, numbers []int) int {
	return kafkago.Murmur2Balancer{Consistent: true}.Balance(kafkago.Message{Key: key}, numbers...)
}

// ByPartition returns the offsets of the partitions from 0 on by their number.
func ByPartition(offsets []int64) map[int]int64 {
	m := make(map[int]int64, len(offsets))
	for partition, offset := range offsets {
		m[partition] = offset
	}
	return m
}

func (c *Cluster) tryOffsets(ctx context.Context, topic string, partitions []int, at Place) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, offsetsTimeout)
	defer cancel()
	request := &offsetsRequest{listoffsets.Request{
		ReplicaID: -1, IsolationLevel: at.isolation, Topics: []listoffsets.RequestTopic{{Topic: topic}},
	}}
	index := make(map[int32]int, len(partitions))
	for i, partition := range partitions {
		index[int32(partition)] = i
		request.Topics[0].Partitions = append(request.Topics[0].Partitions, listoffsets.RequestPartition{
			Partition: int32(partition), CurrentLeaderEpoch: -1, Timestamp: at.timestamp,
		})
	}
	response, err := c.RoundTrip(ctx, request)
	if err != nil {
		return nil, err
	}
	answer, ok := response.(*listoffsets.Response)
	if !ok || len(answer.Topics) != 1 {
		return nil, ErrAnswer
	}
	offsets := make([]int64, len(partitions))
	answered := 0
	var missing []int
	for _, p := range answer.Topics[0].Partitions {
		i, asked := index[p.Partition]
		switch {
		case !asked:
			continue
		case p.ErrorCode != 0:
			return nil, fmt.Errorf("%s/%d: %w", topic, p.Partition, kafkago.Error(p.ErrorCode))
		case p.Offset < 0:
			missing = append(missing, i)
		}
		offsets[i] = p.Offset
		answered++
	}
	if answered != len(partitions) {
		return nil, fmt.Errorf("%d of %d partitions answered", answered, len(partitions))
	}
	if len(missing) == 0 {
		return offsets, nil
	}
	// No record is as young as the timestamp.
	ends, err := c.tryOffsets(ctx, topic, partitions, Place{timestampLatest, at.isolation})
	if err != nil {
		return nil, err
	}
	for _, i := range missing {
		offsets[i] = ends[i]
	}
	return offsets, nil
}

// offsetsRequest asks each leader once, for all its partitions. The request of kafka-go asks for each partition by itself.
type offsetsRequest struct{ listoffsets.Request }

// Split implements protocol.Splitter.
func (r *offsetsRequest) Split(cluster protocol.Cluster) ([]protocol.Message, protocol.Merger, error) {
	topic := r.Topics[0] // there is one
	requests := make(map[int32]*listoffsets.Request)
	var messages []protocol.Message
	for _, partition := range topic.Partitions {
		leader := int32(-1) // not known: some broker answers, that it does not lead
		if known, ok := cluster.Topics[topic.Topic].Partitions[partition.Partition]; ok {
			leader = known.Leader
		}
		request := requests[leader]
		if request == nil {
			request = &listoffsets.Request{
				ReplicaID: r.ReplicaID, IsolationLevel: r.IsolationLevel,
				Topics: []listoffsets.RequestTopic{{Topic: topic.Topic}},
			}
			requests[leader] = request
			messages = append(messages, request)
		}
		request.Topics[0].Partitions = append(request.Topics[0].Partitions, partition)
	}
	return messages, new(listoffsets.Response), nil
}
