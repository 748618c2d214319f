package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// fetchRequest is a Fetch request whose answer keeps the batches as the broker sent them. The decoder of kafka-go unpacks
// every batch of an answer at once and without a bound, fails the whole answer for one bad checksum, and drops the list of
// aborted transactions. So this request reads its answer itself (protocol.RawExchanger); kafka-go routes it to the leader.
type fetchRequest struct {
	fetch.Request

	// maxBatch is how many bytes of one batch are kept. Of a longer one the answer has the beginning.
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
	// minFetchVersion and maxFetchVersion are the versions of the API that are understood: the first has transactions, the
	// last is the last that kafka-go writes.
	minFetchVersion = 4
	maxFetchVersion = 11
	// maxFraming is more than an answer has beside its batches: for each partition some sixty bytes, and 16 for each
	// aborted transaction.
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
	number        int
	code          kafka.Error
	highWatermark int64
	// stable is the last stable offset: no record from there on is read before the transaction that is open there ends.
	stable  int64
	aborted []abortedTransaction
	batches []byte
	// cut tells that the end of batches is missing because the answer is longer than may be kept.
	cut bool
}

// abortedTransaction says that the records of a producer from an offset on, up to its next abort marker, do not count.
type abortedTransaction struct{ producer, first int64 }

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

// release gives the bytes of the answer back: nothing may use them any more.
func (a *fetchAnswer) release() {
	if a.buffer != nil {
		answerBuffers.Put(a.buffer)
		a.buffer = nil
	}
}

var errFetchAnswer = errors.New("an answer that is none to the request")

// readFetchAnswer reads an answer and keeps no more than limit bytes of it: a broker sends a batch that is longer than what
// was asked for rather than none at all.
func readFetchAnswer(r io.Reader, version int16, id int32, limit int) (*fetchAnswer, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:]))) - 4
	if size < 0 || int32(binary.BigEndian.Uint32(head[4:])) != id {
		return nil, errFetchAnswer
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

// partitions reads an answer (https://kafka.apache.org/protocol#The_Messages_Fetch). What a cut answer does not have is
// left out.
func (p *answerParser) partitions(version int16) ([]fetchedPartition, error) {
	p.int32() // how long the broker throttles
	if version >= 7 {
		if code := kafka.Error(p.int16()); code != 0 {
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
		return nil, errFetchAnswer
	}
	return partitions, nil
}

func (p *answerParser) partition(version int16) fetchedPartition {
	partition := fetchedPartition{
		number: int(p.int32()), code: kafka.Error(p.int16()), highWatermark: p.int64(), stable: p.int64(),
	}
	if version >= 5 {
		p.int64() // where the log starts
	}
	for count := p.int32(); count > 0 && !p.missing; count-- {
		partition.aborted = append(partition.aborted, abortedTransaction{producer: p.int64(), first: p.int64()})
	}
	if version >= 11 {
		p.int32() // the replica to read from rather
	}
	size := max(int(p.int32()), 0)
	if partition.cut = p.cut && size > len(p.rest); partition.cut {
		size = len(p.rest)
	}
	partition.batches = p.take(size)
	return partition
}

// end returns up to where records are there to be read.
func (p *fetchedPartition) end(isolation int8) int64 {
	if isolation == readCommitted && p.stable >= 0 {
		return p.stable
	}
	return p.highWatermark
}
