package harness

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// PackedZeros returns a record batch, compressed with zstd, of one record with a key and size zeros as its value. The zeros
// are nowhere in memory.
func PackedZeros(t *testing.T, key string, size int64) []byte {
	t.Helper()
	head := binary.AppendVarint([]byte{0, 0, 0}, int64(len(key))) // no attributes, no deltas
	head = binary.AppendVarint(append(head, key...), size)
	const noHeaders = 0
	length := binary.AppendVarint(nil, int64(len(head))+size+1)
	var packed bytes.Buffer
	encoder, err := zstd.NewWriter(&packed)
	if err == nil {
		_, err = io.Copy(encoder, io.MultiReader(
			bytes.NewReader(append(length, head...)), io.LimitReader(zeros{}, size), bytes.NewReader([]byte{noHeaders})))
	}
	if err == nil {
		err = encoder.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	const (
		headBytes, counted, checked, crcAt = 61, 12, 21, 17
		codecZstd                          = 4
	)
	now := time.Now().UnixMilli()
	batch := kmsg.RecordBatch{
		Length: int32(headBytes - counted + packed.Len()), PartitionLeaderEpoch: -1, Magic: 2, Attributes: codecZstd,
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1,
		Records: packed.Bytes(),
	}
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[crcAt:], crc32.Checksum(raw[checked:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// ProduceBatch writes a record batch as it is to the leader of a partition. It returns the broker's refusal, if any.
func ProduceBatch(ctx context.Context, t *testing.T, brokers, topic string, partition int32, batch []byte) error {
	t.Helper()
	client := Dial(t, brokers)
	defer client.Close()
	described := kmsg.NewPtrMetadataRequest()
	wanted := kmsg.NewMetadataRequestTopic()
	wanted.Topic = &topic
	described.Topics = []kmsg.MetadataRequestTopic{wanted}
	layout, err := described.RequestWith(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	var leader int32
	for _, p := range layout.Topics[0].Partitions {
		if p.Partition == partition {
			leader = p.Leader
		}
	}
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, 30_000
	request.Topics = []kmsg.ProduceRequestTopic{{
		Topic: topic, TopicID: layout.Topics[0].TopicID,
		Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: partition, Records: batch}},
	}}
	response, err := client.Broker(int(leader)).RetriableRequest(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := response.(*kmsg.ProduceResponse)
	return kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
}
