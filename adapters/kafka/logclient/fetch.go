package logclient

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"chatting/adapters/kafka/logclient/recordbatch"
)

const (
	// fetchWait is how long a leader without news holds its answer.
	fetchWait = 500 * time.Millisecond
	// fetchTimeout is how long an answer may take before the leader is asked again, or another one.
	fetchTimeout = 3 * time.Second
	// fetchBytes and fetchPartitionBytes bound an answer; a single larger batch still comes (KIP-74).
	fetchBytes          = 8 << 20
	fetchPartitionBytes = 1 << 20
	// After an answer of plentyBytes, the next request leaves at least fetchPace after the last: few large answers cost less than
	// many small ones. If little is written, no record waits for that.
	plentyBytes = 16 << 10
	fetchPace   = 2 * time.Millisecond
)

// fetcher asks leaders for records on behalf of a tail.
type fetcher struct {
	cluster   *Cluster
	topic     string
	isolation int8
	maxBatch  int
	rests     bool // the tail has a Rest
}

func newFetcher(cluster *Cluster, options TailOptions) fetcher {
	f := fetcher{
		cluster: cluster, topic: options.Topic, isolation: readCommitted, maxBatch: options.MaxBatch, rests: options.Rest > 0,
	}
	if options.uncommitted {
		f.isolation = readUncommitted
	}
	return f
}

// request asks for partitions from their positions on. Leader and session epochs are -1, for none: 0 would be an epoch, which is
// refused after the first change of leaders, and open a session at each call.
func (f *fetcher) request(partitions []int, positions *positions) *fetchRequest {
	topic := fetch.RequestTopic{Topic: f.topic}
	for _, partition := range partitions {
		topic.Partitions = append(topic.Partitions, fetch.RequestPartition{
			Partition: int32(partition), CurrentLeaderEpoch: -1, LogStartOffset: -1,
			FetchOffset: positions.get(partition).next, PartitionMaxBytes: fetchPartitionBytes,
		})
	}
	wait := fetchWait
	if f.rests {
		wait = 0 // the next beat asks again
	}
	return &fetchRequest{
		Request: fetch.Request{
			ReplicaID: -1, MaxWaitTime: int32(wait.Milliseconds()), MinBytes: 1, MaxBytes: fetchBytes,
			IsolationLevel: f.isolation, SessionEpoch: -1, Topics: []fetch.RequestTopic{topic},
		},
		maxBatch: f.maxBatch, clientID: f.cluster.transport.ClientID,
	}
}

// fetched is what one fetch came to.
type fetched struct {
	leader     int
	partitions []int
	added      int64     // Tail.added when it was sent
	notBefore  time.Time // when to send it
	sent       time.Time
	answer     *fetchAnswer
	err        error
}

func (f fetched) release() {
	if f.answer != nil {
		f.answer.release()
	}
}

func (f *fetcher) fetch(ctx context.Context, result fetched, request *fetchRequest) fetched {
	if pause := time.Until(result.notBefore); pause > 0 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	result.sent = time.Now()
	response, err := f.cluster.RoundTrip(ctx, request)
	if err != nil {
		result.err = err
		return result
	}
	if result.answer, _ = response.(*fetchAnswer); result.answer == nil {
		result.err = ErrAnswer
		return result
	}
	for i := range result.answer.partitions {
		if result.answer.partitions[i].code != 0 {
			f.cluster.CountRefused()
		}
	}
	return result
}

// bounds asks once where the log of a partition begins and ends.
func (f *fetcher) bounds(ctx context.Context, partition int) (start, end int64, err error) {
	starts, err := f.cluster.tryOffsets(ctx, f.topic, []int{partition}, Start)
	if err != nil {
		return 0, 0, err
	}
	ends, err := f.cluster.tryOffsets(ctx, f.topic, []int{partition}, End)
	if err != nil {
		return 0, 0, err
	}
	return starts[0], ends[0], nil
}

// pace returns when to ask a leader again after an answer; the zero time for at once.
func (f *fetcher) pace(result fetched) time.Time {
	if f.rests || result.answer.size() < plentyBytes {
		return time.Time{}
	}
	return result.sent.Add(fetchPace)
}

// fetchRequest is a Fetch request that reads its answer itself (protocol.RawExchanger). kafka-go's decoder unpacks all batches
// without a bound, fails the whole answer for one bad checksum, and drops the list of aborted transactions.
type fetchRequest struct {
	fetch.Request

	// maxBatch is how many bytes of one batch are kept.
	maxBatch int
	clientID string
	version  int16
}

// The isolation levels of KIP-98.
const (
	readUncommitted int8 = 0
	readCommitted   int8 = 1
)

const (
	// The first version has transactions, the last is the last that kafka-go writes.
	minFetchVersion = 4
	maxFetchVersion = 11
	// maxFraming is more than an answer has beside its batches: some 60 bytes a partition, and 16 an aborted transaction.
	maxFraming = 1 << 20
)

var correlation atomic.Int32

// Required implements protocol.RawExchanger.
func (r *fetchRequest) Required(versions map[protocol.ApiKey]int16) bool {
	r.version = versions[protocol.Fetch]
	return true
}

// RawExchange implements protocol.RawExchanger.
func (r *fetchRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if r.version < minFetchVersion || r.version > maxFetchVersion {
		return nil, fmt.Errorf("the broker speaks version %d of Fetch; versions %d to %d are known here",
			r.version, minFetchVersion, maxFetchVersion)
	}
	id := correlation.Add(1)
	if err := protocol.WriteRequest(rw, r.version, id, r.clientID, &r.Request); err != nil {
		return nil, err
	}
	return readFetchAnswer(rw, r.version, id, max(fetchBytes, r.maxBatch)+maxFraming)
}

// fetchAnswer is what a leader says about the partitions that it was asked for. It must be released after use.
type fetchAnswer struct {
	partitions []fetchedPartition
	buffer     *[]byte
}

// ApiKey implements protocol.Message.
func (*fetchAnswer) ApiKey() protocol.ApiKey { return protocol.Fetch } //nolint:revive // the interface's name

// fetchedPartition is the answer for one partition. Its bytes are those of the answer.
type fetchedPartition struct {
	recordbatch.Batches

	code          kafkago.Error
	highWatermark int64
	// stable is the last stable offset, where an open transaction begins.
	stable int64
}

// answerBuffers are the buffers of fetch answers, used again.
var answerBuffers sync.Pool

func newAnswerBuffer(size int) *[]byte {
	if buffer, ok := answerBuffers.Get().(*[]byte); ok && cap(*buffer) >= size {
		*buffer = (*buffer)[:size]
		return buffer
	}
	buffer := make([]byte, size, 1<<bits.Len(uint(max(size, 4096)-1)))
	return &buffer
}

// size is how many bytes the answer has; 0 for none.
func (a *fetchAnswer) size() int {
	if a == nil || a.buffer == nil {
		return 0
	}
	return len(*a.buffer)
}

// release gives the bytes of the answer back: nothing may use them any more.
func (a *fetchAnswer) release() {
	if a.buffer != nil {
		answerBuffers.Put(a.buffer)
		a.buffer = nil
	}
}

// readFetchAnswer reads an answer and keeps at most limit bytes of it. A broker may send a longer batch than was asked for.
func readFetchAnswer(r io.Reader, version int16, id int32, limit int) (*fetchAnswer, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:]))) - 4
	if size < 0 || int32(binary.BigEndian.Uint32(head[4:])) != id {
		return nil, ErrAnswer
	}
	kept := min(size, limit)
	answer := &fetchAnswer{buffer: newAnswerBuffer(kept)}
	_, err := io.ReadFull(r, *answer.buffer)
	if err == nil && size > kept {
		_, err = io.CopyN(io.Discard, r, int64(size-kept))
	}
	if err == nil {
		parser := answerParser{rest: *answer.buffer, cut: size > kept}
		answer.partitions, err = parser.partitions(version)
	}
	if err != nil {
		answer.release()
		return nil, err
	}
	return answer, nil
}

// answerParser reads the fields of an answer one after the other. Once a field is missing, all that follow are zero.
type answerParser struct {
	rest []byte
	// cut tells that the end of the answer was not kept.
	cut     bool
	missing bool
}

// take returns the next n bytes.
func (p *answerParser) take(n int) []byte {
	if n < 0 || n > len(p.rest) {
		p.missing, p.rest = true, nil
	}
	if p.missing {
		return nil
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

func (p *answerParser) int16() int16 {
	if b := p.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (p *answerParser) int32() int32 {
	if b := p.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (p *answerParser) int64() int64 {
	if b := p.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// partitions reads an answer (https://kafka.apache.org/protocol#The_Messages_Fetch).
func (p *answerParser) partitions(version int16) ([]fetchedPartition, error) {
	p.int32() // how long the broker throttles
	if version >= 7 {
		if code := kafkago.Error(p.int16()); code != 0 {
			return nil, code
		}
		p.int32() // the fetch session
	}
	var partitions []fetchedPartition
	for topics := p.int32(); topics > 0 && !p.missing; topics-- {
		p.take(int(p.int16())) // the name: only one topic is asked for
		for count := p.int32(); count > 0 && !p.missing; count-- {
			if partition := p.partition(version); !p.missing {
				partitions = append(partitions, partition)
			}
		}
	}
	if p.missing && !p.cut {
		return nil, ErrAnswer
	}
	return partitions, nil
}

func (p *answerParser) partition(version int16) fetchedPartition {
	partition := fetchedPartition{
		Batches: recordbatch.Batches{Partition: int(p.int32())},
		code:    kafkago.Error(p.int16()), highWatermark: p.int64(), stable: p.int64(),
	}
	if version >= 5 {
		p.int64() // where the log starts
	}
	for count := p.int32(); count > 0 && !p.missing; count-- {
		aborted := recordbatch.AbortedTransaction{Producer: p.int64(), First: p.int64()}
		partition.Aborted = append(partition.Aborted, aborted)
	}
	if version >= 11 {
		p.int32() // the replica to read from rather
	}
	size := max(int(p.int32()), 0)
	if partition.Cut = p.cut && size > len(p.rest); partition.Cut {
		size = len(p.rest)
	}
	partition.Bytes = p.take(size)
	return partition
}

// end returns up to where records are there to be read.
func (p *fetchedPartition) end(isolation int8) int64 {
	if isolation == readCommitted && p.stable >= 0 {
		return p.stable
	}
	return p.highWatermark
}
