package kafka

import (
	"log/slog"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

// TailHandler takes what a tail reads. All calls come from one goroutine; until it returns, nothing further is read.
type TailHandler interface {
	// Record takes the next record of its partition. It is valid until the call returns.
	Record(record *TailRecord)
	// BatchEnd tells that the records of one answer of one partition are through, if there were any: the next one will be
	// at or past next.
	BatchEnd(partition int, next int64)
	// LeftOut tells that records were left out which this server did not write. It comes in their place among the records.
	LeftOut(left LeftOut)
	// Hole tells that a partition's offsets from the first (included) to the second (excluded) are lost to this tail; a
	// second below the first tells that the topic was made anew and is read on from there.
	Hole(partition int, from, to int64)
}

// TailOptions say what to read.
type TailOptions struct {
	Topic string
	// From is the first offset to read of each partition to read.
	From    map[int]int64
	Handler TailHandler
	// Interrupted, where it is set, is called by the goroutine of Handler when a partition cannot be read, for whatever
	// reason: what is read later may be of another topic of the same name.
	Interrupted func(partition int)
	// Through, where it is set, is called by the goroutine of Handler when all partitions of an answer were handed over, or
	// of several that came together.
	Through func()
	// Rest is the time between two beats. A partition that was read to its end is read again at the next one. 0: a partition
	// is waited for at its leader, and what comes is read at once.
	Rest   time.Duration
	Logger *slog.Logger
	// MaxBatch bounds what one batch unpacks to, in bytes; MaxOwnBatch where it is 0. Of a batch that unpacks to more, the
	// records before that are handed over, and the others are left out. A tail holds one unpacked batch at a time.
	MaxBatch int
	// beats, where it is set, tells the beats of Rest instead of a clock.
	beats <-chan time.Time
	// uncommitted has records of open and aborted transactions read, too.
	uncommitted bool
}

const (
	// MaxOwnBatch bounds the batches of the topics that only this server writes. It does not compress; a broker that does
	// (compression.type) does not make batches larger than maxOwnBytes.
	MaxOwnBatch = 4 << 20
	// MaxForeignBatch bounds the batches that other programs write. Producers bound a batch before compression by
	// batch.size (16 KiB in the Java client, 1 MB in librdkafka) or by one record of 1 MiB, and Java, which goes by the
	// size that it expects after compression, by a multiple of that.
	MaxForeignBatch = 32 << 20
	// keptUnpacked is how large a buffer for unpacked batches is kept for the next answer.
	keptUnpacked = 1 << 20
)

func (o *TailOptions) maxBatch() int {
	if o.MaxBatch == 0 {
		return MaxOwnBatch
	}
	return o.MaxBatch
}

func (o *TailOptions) isolation() int8 {
	if o.uncommitted {
		return readUncommitted
	}
	return readCommitted
}

// TailRecord is a record as a tail reads it. Its bytes are valid until the handler returns.
type TailRecord struct {
	Partition int
	Offset    int64
	Time      time.Time
	// Key is nil for a record without one, and for one whose key is longer than any of ours.
	Key []byte
	// WholeKey is the key, however long it is.
	WholeKey []byte
	// Value is nil for a record without one.
	Value []byte

	headers []byte
}

// Headers reads the headers of the record, whose values are valid until the handler returns. all is false if the record
// has more than are read, or some that cannot be read.
func (r *TailRecord) Headers() (headers []kafka.Header, all bool) { return readHeaders(r.headers) }

// headerCount returns how many headers the record says it has, in decimal, or sizeUnknown.
func (r *TailRecord) headerCount() string {
	fields := recordFields{rest: r.headers}
	if count := fields.varint(); !fields.bad && count >= 0 {
		return strconv.FormatInt(count, 10)
	}
	return sizeUnknown
}

// maxKey bounds the keys that are looked at; ours are far shorter. A record with a longer one is handed over with no key.
const maxKey = 256

// LeftOut is a stretch of the log that a tail did not hand over, although its bytes are as their producer wrote them: they
// unpack to too much, or to no records. This server writes no such batches.
type LeftOut struct {
	Partition int
	// From is the offset of the first record that was left out, To that after the last one.
	From, To int64
	// Why is what is wrong with the batch. TooLarge tells that it is the size.
	Why      error
	TooLarge bool
	// Time, Key and Size are of the first record that was left out: its time, or that of the first record of the batch; its
	// key, if that could be read, valid until the handler returns; and the length of its value, or -1 if that is unknown.
	Time time.Time
	Key  []byte
	Size int64
}
