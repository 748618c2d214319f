// Package recordbatch writes and reads the bytes of Kafka record batches, version 2
// (https://kafka.apache.org/documentation/#recordbatch). It trusts nothing of what it reads: a batch unpacks to a bounded size,
// and a damaged one costs no other. It does no I/O; package logclient sends and fetches what it writes and reads.
package recordbatch

import (
	"errors"
	"log/slog"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/time/rate"
)

// Handler takes the records of batches.
type Handler interface {
	// Record takes the next record. It is valid until the call returns.
	Record(record *StoredRecord)
	// LeftOut tells that records were left out. It comes in their place among the records.
	LeftOut(left LeftOut)
}

// StoredRecord is a record of a log. Its bytes are valid until the handler returns.
type StoredRecord struct {
	Partition int
	Offset    int64
	Time      time.Time
	// Key is nil for a record without one, or with one of more than MaxKey bytes.
	Key []byte
	// WholeKey is the key, however long it is.
	WholeKey []byte
	// Value is nil for a record without one.
	Value []byte

	headers []byte
}

// MaxKey is the length of the longest StoredRecord.Key.
const MaxKey = 256

// Headers reads the headers of the record, at most MaxHeaders. all is false if the record has more, or some that cannot be
// read. The values are valid until the handler returns.
func (r *StoredRecord) Headers() (headers []kafkago.Header, all bool) { return readHeaders(r.headers) }

// HeaderCount returns how many headers the record says it has. ok is false if it does not say.
func (r *StoredRecord) HeaderCount() (count int64, ok bool) {
	fields := recordFields{rest: r.headers}
	count = fields.varint()
	return count, !fields.bad && count >= 0
}

// LeftOut is a stretch of the log that was not handed over, although its bytes are as their producer wrote them: its batch
// unpacks to too much, or to no records.
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

// Batches are what a broker answers of a partition.
type Batches struct {
	Partition int
	Bytes     []byte
	// Aborted lists the transactions that do not count, in the order of their first offsets.
	Aborted []AbortedTransaction
	// Cut tells that the end of Bytes is missing because it is longer than what is kept of an answer.
	Cut bool
}

// AbortedTransaction says that the records of a producer from an offset on, up to its next abort marker, do not count.
type AbortedTransaction struct{ Producer, First int64 }

// ReaderOptions say how batches are read.
type ReaderOptions struct {
	Topic   string // for the log lines
	Handler Handler
	// MaxBatch bounds what one batch unpacks to, in bytes. Of a batch that unpacks to more, the records before that are handed
	// over, and the others are left out.
	MaxBatch int
	// Uncommitted has records of open and aborted transactions read, too.
	Uncommitted bool
	Logger      *slog.Logger
}

// Reader hands the records of batches to a Handler. It is for one goroutine: it uses one record and one buffer again.
type Reader struct {
	options  ReaderOptions
	record   StoredRecord
	unpacked []byte
	leftOuts rate.Sometimes // for the log lines
}

// NewReader returns a reader.
func NewReader(options ReaderOptions) *Reader {
	return &Reader{options: options, leftOuts: rate.Sometimes{First: 10, Interval: time.Second}}
}

// Reading is what came of reading Batches.
type Reading struct {
	// Next is the next offset to read.
	Next int64
	// Damage is why the batch at Next could not be read; it ends before LostTo.
	Damage error
	LostTo int64
	// CutOff tells that there is only the beginning of a batch, Stale that there are batches, and all are before Next.
	CutOff, Stale bool
}

// KeptUnpacked is the size of the largest buffer that Trim keeps.
const KeptUnpacked = 1 << 20

// Trim lets go of a large buffer. It is called between answers.
func (r *Reader) Trim() {
	if cap(r.unpacked) > KeptUnpacked {
		r.unpacked = nil
	}
}

// Read hands over the records at or past a position.
func (r *Reader) Read(b *Batches, position int64) Reading {
	var transactions aborts
	if !r.options.Uncommitted {
		transactions = newAborts(b.Aborted)
	}
	before := position
	for rest := b.Bytes; len(rest) > 0; {
		batch, ok := readHead(rest)
		if !ok {
			return Reading{Next: position, CutOff: position == before} // the next answer begins with it
		}
		rest = rest[len(batch.whole):]
		switch {
		case batch.size < headSize:
			return Reading{Next: position, Damage: errBadRecord, LostTo: position + 1}
		case !batch.isWhole() && b.Cut && position == before && batch.last >= position:
			r.leaveOut(b.Partition, position, &batch, ErrTooLarge, cutRecord{value: -1})
			return Reading{Next: batch.last + 1}
		case !batch.isWhole():
			return Reading{Next: position, CutOff: position == before}
		}
		if err := batch.damage(); err != nil {
			return Reading{Next: position, Damage: err, LostTo: batch.plausibleEnd(position, rest)}
		}
		if batch.last < position {
			continue
		}
		if !transactions.skips(&batch) {
			r.readBatch(b.Partition, position, &batch)
		}
		position = batch.last + 1
	}
	return Reading{Next: position, Stale: position == before && len(b.Bytes) > 0}
}

// readBatch hands over the records of a whole batch at or past the position, and what is left out of it.
func (r *Reader) readBatch(partition int, position int64, batch *storedBatch) {
	records := batchRecords{rest: batch.whole[headSize:], left: batch.count}
	var wrong error
	if codec := int(batch.attributes & codecMask); codec != codecNone {
		r.unpacked, wrong = unpack(codec, records.rest, r.unpacked, r.options.MaxBatch)
		records.rest = r.unpacked
	}
	for {
		stored, err := records.next()
		offset := batch.base + stored.offsetDelta
		if err == nil && (offset < batch.base || offset > batch.last) {
			err = errBadRecord
		}
		if err != nil {
			if wrong == nil && !errors.Is(err, errNoMoreRecords) {
				wrong = err
			}
			if wrong != nil && position <= batch.last {
				r.leaveOut(partition, position, batch, wrong, records.cut())
			}
			return
		}
		if offset < position {
			continue
		}
		position = offset + 1
		r.record = StoredRecord{
			Partition: partition, Offset: offset, Time: batch.timeAt(stored.timeDelta),
			WholeKey: stored.key, Value: stored.value, headers: stored.headers,
		}
		if len(stored.key) <= MaxKey {
			r.record.Key = stored.key
		}
		r.options.Handler.Record(&r.record)
	}
}

// leaveOut tells the handler that the records of a batch from an offset on are not read.
func (r *Reader) leaveOut(partition int, from int64, batch *storedBatch, why error, cut cutRecord) {
	left := LeftOut{
		Partition: partition, From: from, To: batch.last + 1, Why: why, TooLarge: errors.Is(why, ErrTooLarge),
		Time: batch.timeAt(0), Size: -1,
	}
	if batch.base+cut.offset == from {
		left.Time, left.Key, left.Size = batch.timeAt(cut.time), cut.key, cut.value
	}
	r.leftOuts.Do(func() {
		r.options.Logger.Error("left out records that cannot be read", "topic", r.options.Topic, "partition", partition,
			"offset", left.From, "records", left.To-left.From, "error", why)
	})
	r.options.Handler.LeftOut(left)
}
