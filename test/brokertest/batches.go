package brokertest

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"chatting/adapters/kafka/logclient/recordbatch"
)

// Batch says how a record batch is made, as any program could have written it.
type Batch struct {
	Base       int64
	Attributes int16 // the codec included
	Producer   int64
	Records    []recordbatch.Record // nil: one with the value "x"
	// Count is what the header claims, if it is not 0.
	Count int32
	// Plain are the records as bytes, packed or not, instead of Records.
	Plain []byte
}

// Where a batch has its fields (https://kafka.apache.org/documentation/#recordbatch).
const (
	sizeAt       = 8
	sizeOf       = 12
	checksumAt   = 17
	attributesAt = 21
	lastDeltaAt  = 23
	firstTimeAt  = 27
	producerAt   = 43
	countAt      = 57
	headSize     = 61
)

// Bytes returns the batch.
func (b Batch) Bytes() []byte {
	records := b.Records
	if records == nil {
		records = []recordbatch.Record{{Value: []byte("x"), Time: time.UnixMilli(0)}}
	}
	encoded := recordbatch.Append(nil, len(records), func(i int) *recordbatch.Record { return &records[i] }, recordbatch.NoStamp)[4:]
	head, plain := bytes.Clone(encoded[:headSize]), encoded[headSize:]
	if b.Plain != nil {
		plain = b.Plain
	}
	binary.BigEndian.PutUint64(head, uint64(b.Base))
	binary.BigEndian.PutUint16(head[attributesAt:], uint16(b.Attributes))
	binary.BigEndian.PutUint64(head[producerAt:], uint64(b.Producer))
	if b.Count != 0 {
		binary.BigEndian.PutUint32(head[countAt:], uint32(b.Count))
		binary.BigEndian.PutUint32(head[lastDeltaAt:], uint32(b.Count-1))
	}
	return Sealed(append(head, plain...))
}

// Sealed sets the length and the checksum of a batch.
func Sealed(batch []byte) []byte {
	binary.BigEndian.PutUint32(batch[sizeAt:], uint32(len(batch)-sizeOf))
	binary.BigEndian.PutUint32(batch[checksumAt:], crc32.Checksum(batch[attributesAt:], crc32.MakeTable(crc32.Castagnoli)))
	return batch
}

// StampedNow sets the times of a batch.
func StampedNow(batch []byte) []byte {
	millis := uint64(time.Now().UnixMilli())
	binary.BigEndian.PutUint64(batch[firstTimeAt:], millis)
	binary.BigEndian.PutUint64(batch[firstTimeAt+8:], millis)
	return Sealed(batch)
}

// Values are records with the key "k".
func Values(values ...string) []recordbatch.Record {
	records := make([]recordbatch.Record, len(values))
	for i, value := range values {
		records[i] = recordbatch.Record{Key: []byte("k"), Value: []byte(value), Time: time.UnixMilli(int64(1000 + i))}
	}
	return records
}

// PackedZeros is a batch of records with a key and so many zeros each as their value, which nobody ever had in memory.
func PackedZeros(t testing.TB, sizes ...int64) []byte {
	t.Helper()
	var packed bytes.Buffer
	encoder, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range sizes {
		head := binary.AppendVarint(append(binary.AppendVarint([]byte{0, 0}, int64(i)), 2, 'k'), size)
		length := binary.AppendVarint(nil, int64(len(head))+size+1)
		record := io.MultiReader(bytes.NewReader(append(length, head...)), io.LimitReader(zeros{}, size), bytes.NewReader([]byte{0}))
		if _, err := io.Copy(encoder, record); err != nil {
			t.Fatal(err)
		}
	}
	if err := encoder.Close(); err != nil {
		t.Fatal(err)
	}
	const zstdCodec = 4
	return Batch{Count: int32(len(sizes)), Producer: -1, Attributes: zstdCodec, Plain: packed.Bytes()}.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// RoundTripper is the log client's cluster.
type RoundTripper interface {
	RoundTrip(ctx context.Context, request protocol.Message) (protocol.Message, error)
}

// Produce writes a batch as it is, under no producer id. refused is the broker's error.
func Produce(t testing.TB, cluster RoundTripper, topic string, partition int, batch []byte) (refused error) {
	t.Helper()
	set := append(binary.BigEndian.AppendUint32(nil, uint32(len(batch))), batch...)
	response, err := cluster.RoundTrip(Context(t), &rawproduce.Request{
		Acks: -1, Timeout: 30_000, Topics: []rawproduce.RequestTopic{{Topic: topic, Partitions: []rawproduce.RequestPartition{{
			Partition: int32(partition), RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(set)},
		}}}},
	})
	if err != nil {
		return err
	}
	answer, _ := response.(*produce.Response)
	if code := kafkago.Error(answer.Topics[0].Partitions[0].ErrorCode); code != 0 {
		return code
	}
	return nil
}

// Allocated returns how many bytes f allocates.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
