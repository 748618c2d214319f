package recordbatch

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// Record is a record to write.
type Record struct {
	Key, Value []byte // nil for none
	Headers    []kafkago.Header
	Time       time.Time
}

// Size is about what the record takes in a batch, and never less.
func (r *Record) Size() int {
	size := len(r.Key) + len(r.Value) + Overhead
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value) + 4
	}
	return size
}

// Overhead is more than the lengths and deltas of a record take.
const Overhead = 32

// Stamp makes a batch idempotent (KIP-98): a broker that has the batch answers with its offset again, and a broker refuses a
// batch that leaves a gap.
type Stamp struct {
	ID       int64
	Epoch    int16
	Sequence int32
}

// NoStamp is the stamp of a batch that is not idempotent.
var NoStamp = Stamp{ID: -1, Epoch: -1, Sequence: -1}

// HeaderSize is the length of a batch without its records, with the 4-byte length that Append puts before it.
const HeaderSize = lengthSize + headSize

const (
	lengthSize    = 4
	noLeaderEpoch = math.MaxUint32 // -1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends a batch of count records behind its 4-byte length, as a Produce request has it. at returns each record.
func Append(b []byte, count int, at func(i int) *Record, stamp Stamp) []byte {
	first := at(0).Time.UnixMilli()
	latest := first
	for i := range count {
		latest = max(latest, at(i).Time.UnixMilli())
	}
	be := binary.BigEndian
	start := len(b)
	b = append(b, make([]byte, lengthSize+8)...) // the length, see below; the offset, which the broker sets
	b = be.AppendUint32(b, 0)                    // the length, see below
	b = be.AppendUint32(b, noLeaderEpoch)
	b = append(b, version)
	b = be.AppendUint32(b, 0) // the checksum, see below
	b = be.AppendUint16(b, 0) // attributes: the times are of the records, nothing is compressed
	b = be.AppendUint32(b, uint32(count-1))
	b = be.AppendUint64(b, uint64(first))
	b = be.AppendUint64(b, uint64(latest))
	b = be.AppendUint64(b, uint64(stamp.ID))
	b = be.AppendUint16(b, uint16(stamp.Epoch))
	b = be.AppendUint32(b, uint32(stamp.Sequence))
	b = be.AppendUint32(b, uint32(count))
	for i := range count {
		r := at(i)
		b = r.appendTo(b, r.Time.UnixMilli()-first, int64(i))
	}
	be.PutUint32(b[start:], uint32(len(b)-start-lengthSize))
	batch := b[start+lengthSize:]
	be.PutUint32(batch[sizeAt:], uint32(len(batch)-sizeOf))
	be.PutUint32(batch[checksumAt:], crc32.Checksum(batch[checksumOf:], castagnoli))
	return b
}

// appendTo appends the record as it stands in a batch, its length before it.
func (r *Record) appendTo(b []byte, timeDelta, offsetDelta int64) []byte {
	length := 1 + varintLength(timeDelta) + varintLength(offsetDelta) + nullableLength(r.Key) + nullableLength(r.Value) +
		varintLength(int64(len(r.Headers)))
	for _, h := range r.Headers {
		length += varintLength(int64(len(h.Key))) + len(h.Key) + nullableLength(h.Value)
	}
	b = binary.AppendVarint(b, int64(length))
	b = append(b, 0) // attributes, of which there are none
	b = binary.AppendVarint(b, timeDelta)
	b = binary.AppendVarint(b, offsetDelta)
	b = appendNullable(b, r.Key)
	b = appendNullable(b, r.Value)
	b = binary.AppendVarint(b, int64(len(r.Headers)))
	for _, h := range r.Headers {
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendNullable(b, h.Value)
	}
	return b
}

// appendNullable appends bytes behind their length, or a length of -1 for nil.
func appendNullable(b, field []byte) []byte {
	if field == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(field))), field...)
}

func nullableLength(field []byte) int {
	if field == nil {
		return varintLength(-1)
	}
	return varintLength(int64(len(field))) + len(field)
}

// varintLength is how many bytes binary.AppendVarint appends.
func varintLength(n int64) int {
	zigzag := uint64(n)<<1 ^ uint64(n>>63)
	return (bits.Len64(zigzag|1) + 6) / 7
}
