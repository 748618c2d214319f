// Package kafkawire speaks the protocol of Kafka request by request, for tests of a broker. It is a client that does what it
// is told: it checks nothing, tries nothing again, and can send what no real client would.
package kafkawire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Stamp is a producer's id, epoch and the sequence number of a batch's first record.
type Stamp struct {
	ID    int64
	Epoch int16
	First int32
}

// NoStamp is that of a batch without a producer.
var NoStamp = Stamp{ID: -1, Epoch: -1, First: -1}

// Where fields of a batch begin.
const (
	atLength  = 8
	afterSize = 12
	atCRC     = 17
	afterCRC  = 21
)

// BatchOf encodes a batch of values of the time at.
func BatchOf(s Stamp, at time.Time, values ...string) []byte {
	batch := kmsg.RecordBatch{
		Magic: 2, LastOffsetDelta: int32(len(values) - 1), NumRecords: int32(len(values)),
		FirstTimestamp: at.UnixMilli(), MaxTimestamp: at.UnixMilli(),
		ProducerID: s.ID, ProducerEpoch: s.Epoch, FirstSequence: s.First,
	}
	for i, value := range values {
		record := kmsg.NewRecord()
		record.OffsetDelta, record.Value = int32(i), []byte(value)
		unsized := record.AppendTo(nil)
		record.Length = int32(len(unsized) - 1) // the length itself took one byte
		batch.Records = record.AppendTo(batch.Records)
	}
	return Seal(batch)
}

// Seal encodes a batch with a length and a CRC that are right.
func Seal(batch kmsg.RecordBatch) []byte {
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[atLength:], uint32(len(raw)-afterSize))
	binary.BigEndian.PutUint32(raw[atCRC:], crc32.Checksum(raw[afterCRC:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// Versioned sets a request to the last version without tagged fields, and returns it.
func Versioned[R kmsg.Request](request R) R {
	version := request.MaxVersion()
	for request.SetVersion(version); request.IsFlexible(); request.SetVersion(version) {
		version--
	}
	return request
}

// FrameOf encodes a request without its size.
func FrameOf(request kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("t")).AppendRequest(nil, request, 7)[4:]
}

// Ask sends one request over a connection of its own and reads the answer to it.
func Ask(ctx context.Context, addr string, request kmsg.Request, response kmsg.Response) error {
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
	if size < correlation || size > 64<<20 {
		return fmt.Errorf("an answer of %d bytes", size)
	}
	body := make([]byte, size-correlation)
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	return response.ReadFrom(body)
}

// Answered asks, and fails the test if no answer comes.
func Answered(t testing.TB, addr string, request kmsg.Request) kmsg.Response {
	t.Helper()
	response := request.ResponseKind()
	if err := Ask(t.Context(), addr, request, response); err != nil {
		t.Fatalf("%T: %v", request, err)
	}
	return response
}

// Dial opens a connection, which has half a minute for all of it.
func Dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Asked sends a request over an open connection and reads the answer.
func Asked(t *testing.T, conn net.Conn, request kmsg.Request) error {
	t.Helper()
	return Exchange(conn, FrameOf(request))
}

// MustAsk has an open connection ask for something and take the answer, within 30 seconds. who is asking, for the complaint.
func MustAsk(t *testing.T, who string, conn net.Conn, request kmsg.Request) {
	t.Helper()
	err := conn.SetDeadline(time.Now().Add(30 * time.Second))
	if err == nil {
		err = Exchange(conn, FrameOf(request))
	}
	if err != nil {
		t.Fatalf("%s: %v", who, err)
	}
}

// Exchange sends a frame and takes the answer, whatever it is.
func Exchange(conn net.Conn, frame []byte) error {
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

// ReadAnswer reads the answer to a request from an open connection.
func ReadAnswer(conn net.Conn, response kmsg.Response) error {
	var head [4 + 4]byte // its size and the correlation id
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	return response.ReadFrom(body)
}

// IsClosed waits until the peer has closed the connection.
func IsClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open: %v", err)
	}
}

// IsAlive asks a broker something, and fails the test if no answer comes.
func IsAlive(t testing.TB, addr string) {
	t.Helper()
	Answered(t, addr, Versioned(kmsg.NewPtrMetadataRequest()))
}

// Until polls a condition, half a minute long.
func Until(t *testing.T, holds func() bool) {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-limit.Done():
			t.Fatal("waited in vain")
		}
	}
}

// CreateTopic makes a topic with settings, names and values in turn. It returns the error code.
func CreateTopic(t testing.TB, addr, name string, partitions int32, configs ...string) int16 {
	t.Helper()
	request := Versioned(kmsg.NewPtrCreateTopicsRequest())
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = configs[i], kmsg.StringPtr(configs[i+1])
		topic.Configs = append(topic.Configs, config)
	}
	request.Topics = append(request.Topics, topic)
	return Answered(t, addr, request).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode
}

// NewProducer returns the stamp of a new producer's first batch.
func NewProducer(t testing.TB, addr string) Stamp {
	t.Helper()
	response := Answered(t, addr, Versioned(kmsg.NewPtrInitProducerIDRequest())).(*kmsg.InitProducerIDResponse)
	if response.ErrorCode != 0 {
		t.Fatalf("InitProducerID: error %d", response.ErrorCode)
	}
	return Stamp{ID: response.ProducerID, Epoch: response.ProducerEpoch}
}

// ProduceRequest asks to append a batch to a partition.
func ProduceRequest(topic string, number int32, raw []byte) *kmsg.ProduceRequest {
	request := Versioned(kmsg.NewPtrProduceRequest())
	request.Acks, request.TimeoutMillis = -1, 10_000
	toTopic := kmsg.NewProduceRequestTopic()
	toTopic.Topic = topic
	toPartition := kmsg.NewProduceRequestTopicPartition()
	toPartition.Partition, toPartition.Records = number, raw
	toTopic.Partitions = append(toTopic.Partitions, toPartition)
	request.Topics = append(request.Topics, toTopic)
	return request
}

// Produce appends a batch; err is that no answer came.
func Produce(t testing.TB, addr, topic string, raw []byte) (offset int64, code int16, err error) {
	t.Helper()
	request := ProduceRequest(topic, 0, raw)
	response := kmsg.NewPtrProduceResponse()
	response.SetVersion(request.Version)
	if err := Ask(t.Context(), addr, request, response); err != nil {
		return 0, 0, err
	}
	answer := response.Topics[0].Partitions[0]
	return answer.BaseOffset, answer.ErrorCode, nil
}

// MustProduce is Produce, and fails the test if anything goes wrong.
func MustProduce(t testing.TB, addr, topic string, raw []byte) int64 {
	t.Helper()
	offset, code, err := Produce(t, addr, topic, raw)
	if err != nil || code != 0 {
		t.Fatalf("produce: error %d, %v", code, err)
	}
	return offset
}

// FetchRequest asks for the records of partition 0 of a topic from an offset on, and to wait for them.
func FetchRequest(topic string, offset int64, wait time.Duration) *kmsg.FetchRequest {
	request := Versioned(kmsg.NewPtrFetchRequest())
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

// ListOffset asks for the offset at a time in ms; -1 is the end, -2 the start.
func ListOffset(t testing.TB, addr, topic string, at int64) int64 {
	t.Helper()
	request := Versioned(kmsg.NewPtrListOffsetsRequest())
	request.ReplicaID = -1
	of := kmsg.NewListOffsetsRequestTopic()
	of.Topic = topic
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.Timestamp, partition.CurrentLeaderEpoch = at, -1
	of.Partitions = append(of.Partitions, partition)
	request.Topics = append(request.Topics, of)
	answer := Answered(t, addr, request).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	if answer.ErrorCode != 0 {
		t.Fatalf("ListOffsets: error %d", answer.ErrorCode)
	}
	return answer.Offset
}

// Record is a record as it was read back.
type Record struct {
	Offset int64
	Value  string
}

// ReadAll returns all records of partition 0 of a topic.
func ReadAll(t testing.TB, addr, topic string) (records []Record) {
	t.Helper()
	position := ListOffset(t, addr, topic, -2)
	for end := ListOffset(t, addr, topic, -1); position < end; {
		request := FetchRequest(topic, position, 0)
		response := Answered(t, addr, request).(*kmsg.FetchResponse)
		from := response.Topics[0].Partitions[0]
		if from.ErrorCode != 0 {
			t.Fatalf("fetch: error %d", from.ErrorCode)
		}
		before := position
		for raw := from.RecordBatches; len(raw) > 0; {
			var batch kmsg.RecordBatch
			size := afterSize + int(binary.BigEndian.Uint32(raw[atLength:]))
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
					records = append(records, Record{Offset: offset, Value: string(record.Value)})
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

// CommitRequest asks to keep the offset 1 of a group for each of the partitions.
func CommitRequest(group, topic, metadata string, partitions ...int32) *kmsg.OffsetCommitRequest {
	request := Versioned(kmsg.NewPtrOffsetCommitRequest())
	request.Group, request.Generation = group, -1
	of := kmsg.OffsetCommitRequestTopic{Topic: topic}
	for _, number := range partitions {
		of.Partitions = append(of.Partitions, kmsg.OffsetCommitRequestTopicPartition{Partition: number, Offset: 1, Metadata: &metadata})
	}
	request.Topics = append(request.Topics, of)
	return request
}

// SeedFrames are requests of every API key and version that kmsg knows, plain and with something in them.
func SeedFrames() (frames [][]byte) {
	for key := range int16(100) {
		empty := kmsg.RequestForKey(key)
		if empty == nil {
			continue
		}
		for version := range empty.MaxVersion() + 1 {
			request := kmsg.RequestForKey(key)
			request.SetVersion(version)
			frames = append(frames, FrameOf(request))
		}
	}
	now := time.Now()
	for _, request := range []kmsg.Request{
		ProduceRequest("hostile", 0, BatchOf(NoStamp, now, "a", "b")),
		ProduceRequest("hostile", 0, BatchOf(Stamp{ID: 5}, now, "c")),
		FetchRequest("hostile", 0, 0),
		func() kmsg.Request {
			r := Versioned(kmsg.NewPtrJoinGroupRequest())
			r.Group, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis, r.ProtocolType = "g", 6000, 6000, "consumer"
			r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 1, 0, 0, 0, 1, 0, 1, 'x'}}}
			return r
		}(),
		func() kmsg.Request {
			r := Versioned(kmsg.NewPtrListOffsetsRequest())
			r.ReplicaID = -1
			r.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "hostile", Partitions: []kmsg.ListOffsetsRequestTopicPartition{
				{Timestamp: 1, CurrentLeaderEpoch: -1}}}}
			return r
		}(),
		func() kmsg.Request {
			r := Versioned(kmsg.NewPtrOffsetCommitRequest())
			r.Group, r.Generation = "g", -1
			r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "hostile",
				Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 3}}}}
			return r
		}(),
		func() kmsg.Request {
			r := Versioned(kmsg.NewPtrCreateTopicsRequest())
			r.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "made", NumPartitions: 2, ReplicationFactor: 1}}
			return r
		}(),
		func() kmsg.Request {
			r := Versioned(kmsg.NewPtrIncrementalAlterConfigsRequest())
			r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
				ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "hostile",
				Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{
					Name: "retention.ms", Value: kmsg.StringPtr("1000")}}}}
			return r
		}(),
	} {
		frames = append(frames, FrameOf(request))
	}
	return frames
}
