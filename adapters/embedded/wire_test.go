package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// stamp is a producer's id, epoch and the sequence number of a batch's first record.
type stamp struct {
	id    int64
	epoch int16
	first int32
}

var noStamp = stamp{id: -1, epoch: -1, first: -1}

// batchOf encodes a batch of values of the time at.
func batchOf(s stamp, at time.Time, values ...string) []byte {
	batch := kmsg.RecordBatch{
		Magic: 2, LastOffsetDelta: int32(len(values) - 1), NumRecords: int32(len(values)),
		FirstTimestamp: at.UnixMilli(), MaxTimestamp: at.UnixMilli(),
		ProducerID: s.id, ProducerEpoch: s.epoch, FirstSequence: s.first,
	}
	for i, value := range values {
		record := kmsg.NewRecord()
		record.OffsetDelta, record.Value = int32(i), []byte(value)
		unsized := record.AppendTo(nil)
		record.Length = int32(len(unsized) - 1) // the length itself took one byte
		batch.Records = record.AppendTo(batch.Records)
	}
	return seal(batch)
}

// seal encodes a batch with a length and a CRC that are right.
func seal(batch kmsg.RecordBatch) []byte {
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[batchLength:], uint32(len(raw)-lengthFrom))
	binary.BigEndian.PutUint32(raw[batchCRC:], crc32.Checksum(raw[crcFrom:], castagnoli))
	return raw
}

func versioned[R kmsg.Request](request R) R {
	request.SetVersion(apis[kmsg.Key(request.Key())].maxVersion)
	return request
}

// ask sends one request over a connection of its own and reads the answer to it.
func ask(ctx context.Context, addr string, request kmsg.Request, response kmsg.Response) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()                                          // only read from by now
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // so that Close of the broker need not wait
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, request, 0)
	if _, err := conn.Write(frame); err != nil {
		return err
	}
	const correlation = 4
	var head [4 + correlation]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < correlation || size > maxAnswer {
		return fmt.Errorf("an answer of %d bytes", size)
	}
	body := make([]byte, size-correlation)
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	return response.ReadFrom(body)
}

// answered asks and fails the test where no answer comes.
func answered(t testing.TB, addr string, request kmsg.Request) kmsg.Response {
	t.Helper()
	response := request.ResponseKind()
	if err := ask(t.Context(), addr, request, response); err != nil {
		t.Fatalf("%T: %v", request, err)
	}
	return response
}

func createTopic(t testing.TB, addr, name string, partitions int32, configs ...string) int16 {
	t.Helper()
	request := versioned(kmsg.NewPtrCreateTopicsRequest())
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = configs[i], kmsg.StringPtr(configs[i+1])
		topic.Configs = append(topic.Configs, config)
	}
	request.Topics = append(request.Topics, topic)
	return answered(t, addr, request).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode
}

func newProducer(t testing.TB, addr string) stamp {
	t.Helper()
	response := answered(t, addr, versioned(kmsg.NewPtrInitProducerIDRequest())).(*kmsg.InitProducerIDResponse)
	if response.ErrorCode != 0 {
		t.Fatalf("InitProducerID: error %d", response.ErrorCode)
	}
	return stamp{id: response.ProducerID, epoch: response.ProducerEpoch}
}

func produceRequest(topic string, number int32, raw []byte) *kmsg.ProduceRequest {
	request := versioned(kmsg.NewPtrProduceRequest())
	request.Acks, request.TimeoutMillis = -1, 10_000
	toTopic := kmsg.NewProduceRequestTopic()
	toTopic.Topic = topic
	toPartition := kmsg.NewProduceRequestTopicPartition()
	toPartition.Partition, toPartition.Records = number, raw
	toTopic.Partitions = append(toTopic.Partitions, toPartition)
	request.Topics = append(request.Topics, toTopic)
	return request
}

// produce appends a batch; err is that no answer came.
func produce(t testing.TB, addr, topic string, raw []byte) (offset int64, code int16, err error) {
	t.Helper()
	request := produceRequest(topic, 0, raw)
	response := kmsg.NewPtrProduceResponse()
	response.SetVersion(request.Version)
	if err := ask(t.Context(), addr, request, response); err != nil {
		return 0, 0, err
	}
	answer := response.Topics[0].Partitions[0]
	return answer.BaseOffset, answer.ErrorCode, nil
}

// mustProduce is produce where nothing may go wrong.
func mustProduce(t testing.TB, addr, topic string, raw []byte) int64 {
	t.Helper()
	offset, code, err := produce(t, addr, topic, raw)
	if err != nil || code != 0 {
		t.Fatalf("produce: error %d, %v", code, err)
	}
	return offset
}

// readBack is a record as it was read back.
type readBack struct {
	offset int64
	value  string
}

// readAll returns all records of partition 0 of a topic.
func readAll(t testing.TB, addr, topic string) (records []readBack) {
	t.Helper()
	position := listOffset(t, addr, topic, -2)
	for end := listOffset(t, addr, topic, -1); position < end; {
		request := fetchRequest(topic, position, 0)
		response := answered(t, addr, request).(*kmsg.FetchResponse)
		from := response.Topics[0].Partitions[0]
		if from.ErrorCode != 0 {
			t.Fatalf("fetch: error %d", from.ErrorCode)
		}
		before := position
		for raw := from.RecordBatches; len(raw) > 0; {
			var batch kmsg.RecordBatch
			size := lengthFrom + int(binary.BigEndian.Uint32(raw[batchLength:]))
			if err := batch.ReadFrom(raw[:size]); err != nil {
				t.Fatal(err)
			}
			for i, rest := 0, batch.Records; i < int(batch.NumRecords); i++ {
				length, n := binary.Varint(rest)
				var record kmsg.Record
				if err := record.ReadFrom(rest[:n+int(length)]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n+int(length):]
				if offset := batch.FirstOffset + int64(i); offset >= position {
					records = append(records, readBack{offset: offset, value: string(record.Value)})
					position = offset + 1
				}
			}
			raw = raw[size:]
		}
		if position == before {
			t.Fatalf("nothing to read at offset %d of %d", position, end)
		}
	}
	return records
}

func fetchRequest(topic string, offset int64, wait time.Duration) *kmsg.FetchRequest {
	request := versioned(kmsg.NewPtrFetchRequest())
	request.ReplicaID, request.SessionEpoch = -1, -1
	request.MaxBytes, request.MinBytes, request.MaxWaitMillis = 1<<30, 1, int32(wait.Milliseconds())
	from := kmsg.NewFetchRequestTopic()
	from.Topic = topic
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.FetchOffset, partition.PartitionMaxBytes, partition.CurrentLeaderEpoch = offset, 1<<30, -1
	from.Partitions = append(from.Partitions, partition)
	request.Topics = append(request.Topics, from)
	return request
}

// listOffset asks for the offset at a time in ms; -1 is the end, -2 the start.
func listOffset(t testing.TB, addr, topic string, at int64) int64 {
	t.Helper()
	request := versioned(kmsg.NewPtrListOffsetsRequest())
	request.ReplicaID = -1
	of := kmsg.NewListOffsetsRequestTopic()
	of.Topic = topic
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.Timestamp, partition.CurrentLeaderEpoch = at, -1
	of.Partitions = append(of.Partitions, partition)
	request.Topics = append(request.Topics, of)
	answer := answered(t, addr, request).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	if answer.ErrorCode != 0 {
		t.Fatalf("ListOffsets: error %d", answer.ErrorCode)
	}
	return answer.Offset
}

// exchange sends a frame and takes the answer, whatever it is.
func exchange(conn net.Conn, frame []byte) error {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(size[:])))
	return err
}
