package recordbatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// storedBatch is a record batch of version 2 as the log has it (https://kafka.apache.org/documentation/#recordbatch).
type storedBatch struct {
	base       int64 // the offset of its first record
	size       int   // of the whole batch, in bytes
	magic      int8
	checksum   uint32
	attributes int16
	last       int64 // the offset of its last record
	first      int64 // the time of its first record, in milliseconds since 1970
	producer   int64
	count      int64 // of its records, as its header says
	whole      []byte
}

// Where a batch has its fields, what they count, and what its attributes mean.
const (
	sizeAt      = 8
	sizeOf      = 12 // what the size counts begins here
	versionAt   = 16
	checksumAt  = 17
	checksumOf  = 21 // what the checksum covers begins here, with the attributes
	lastDeltaAt = 23
	firstTimeAt = 27
	producerAt  = 43
	countAt     = 57
	headSize    = 61

	version          = 2
	codecMask        = 7
	attrTransaction  = 1 << 4
	attrControlBatch = 1 << 5
)

// readHead reads the header of the batch at the beginning of b. ok is false if b is too short for one. The batch is
// whole if all of it is in b; else whole has what is.
func readHead(b []byte) (batch storedBatch, ok bool) {
	if len(b) < headSize {
		return batch, false
	}
	at32 := func(i int) int32 { return int32(binary.BigEndian.Uint32(b[i:])) }
	at64 := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[i:])) }
	batch = storedBatch{
		base: at64(0), size: sizeOf + int(at32(sizeAt)), magic: int8(b[versionAt]), checksum: uint32(at32(checksumAt)),
		attributes: int16(binary.BigEndian.Uint16(b[checksumOf:])), first: at64(firstTimeAt), producer: at64(producerAt),
		count: int64(at32(countAt)),
	}
	batch.last = batch.base + int64(at32(lastDeltaAt))
	batch.whole = b[:max(min(batch.size, len(b)), 0)]
	return batch, true
}

// isWhole tells whether no byte of the batch is missing.
func (b *storedBatch) isWhole() bool { return b.size >= headSize && len(b.whole) == b.size }

// damage returns what is wrong with the bytes of a whole batch.
func (b *storedBatch) damage() error {
	if b.magic != version {
		return fmt.Errorf("a batch of version %d", b.magic)
	}
	if b.base < 0 || b.last < b.base || b.last == math.MaxInt64 {
		return fmt.Errorf("a batch from offset %d to %d", b.base, b.last)
	}
	if sum := crc32.Checksum(b.whole[checksumOf:], castagnoli); sum != b.checksum {
		return fmt.Errorf("the checksum of a batch is %08x and should be %08x", sum, b.checksum)
	}
	return nil
}

// plausibleEnd returns where a damaged batch ends, past position: where the next one begins, if that is here, too; else
// what its header says, if that agrees with itself, or the next offset.
func (b *storedBatch) plausibleEnd(position int64, rest []byte) int64 {
	if next, ok := readHead(rest); ok && next.base > position {
		return next.base
	}
	if b.last-b.base+1 == b.count && b.last >= position {
		return b.last + 1
	}
	return position + 1
}

func (b *storedBatch) isControl() bool       { return b.attributes&attrControlBatch != 0 }
func (b *storedBatch) isTransactional() bool { return b.attributes&attrTransaction != 0 }

// timeAt returns the time of a record of the batch.
func (b *storedBatch) timeAt(delta int64) time.Time { return time.UnixMilli(b.first + delta) }

// isAbort tells whether a whole control batch aborts a transaction. The key of its record is a version and a type, both of 16
// bits; type 0 is the abort marker.
func (b *storedBatch) isAbort() bool {
	records := batchRecords{rest: b.whole[headSize:], left: b.count}
	r, err := records.next()
	return err == nil && len(r.key) >= 4 && binary.BigEndian.Uint16(r.key[2:]) == 0
}

// aborts knows which transactional batches of an answer are of transactions that were aborted. The zero value knows none.
type aborts struct {
	pending   []AbortedTransaction
	producers map[int64]struct{} // whose records do not count at the place that was reached
}

func newAborts(said []AbortedTransaction) aborts {
	a := aborts{pending: said}
	if len(said) > 0 {
		a.producers = make(map[int64]struct{})
	}
	return a
}

// skips tells whether no record of the batch is to be handed over. It is called with every batch, in their order.
func (a *aborts) skips(b *storedBatch) bool {
	for len(a.pending) > 0 && a.pending[0].First <= b.last {
		a.producers[a.pending[0].Producer] = struct{}{}
		a.pending = a.pending[1:]
	}
	if b.isControl() {
		if b.isAbort() {
			delete(a.producers, b.producer)
		}
		return true
	}
	_, aborted := a.producers[b.producer]
	return aborted && b.isTransactional()
}

// batchRecords reads the records of a batch one after the other, without copying any.
type batchRecords struct {
	rest []byte
	left int64 // how many there are to come, as the header says
}

// recordInBatch is a record within its batch. Its bytes are those of the batch.
type recordInBatch struct {
	offsetDelta, timeDelta int64
	key, value             []byte // nil where there is none
	headers                []byte // their count, and they
}

// cutRecord is what is known of a record whose end is missing.
type cutRecord struct {
	key    []byte
	value  int64 // its length; -1 where that is missing, too, or where there is no value
	offset int64 // delta; 0 where that is missing, too
	time   int64 // delta; 0 where that is missing, too
}

var (
	errNoMoreRecords = errors.New("no more records")
	errBadRecord     = errors.New("a record that does not fit its batch")
	// errCutRecord says that the bytes end within a record.
	errCutRecord = errors.New("a record is cut off")
)

// next returns the next record, or errNoMoreRecords, errCutRecord or errBadRecord.
func (r *batchRecords) next() (record recordInBatch, err error) {
	if r.left <= 0 {
		return record, errNoMoreRecords
	}
	size, n := binary.Varint(r.rest)
	switch {
	case n < 0 || size < 0:
		return record, errBadRecord
	case n == 0 || size > int64(len(r.rest)-n):
		return record, errCutRecord
	}
	fields := recordFields{rest: r.rest[n : n+int(size)]}
	fields.take(1) // attributes, of which there are none
	record.timeDelta, record.offsetDelta = fields.varint(), fields.varint()
	record.key, record.value = fields.bytes(), fields.bytes()
	record.headers = fields.rest
	if fields.bad || len(fields.rest) == 0 {
		return record, errBadRecord
	}
	r.rest = r.rest[n+int(size):]
	r.left--
	return record, nil
}

// cut returns what is known of the record at which next returned errCutRecord.
func (r *batchRecords) cut() cutRecord {
	cut := cutRecord{value: -1}
	size, n := binary.Varint(r.rest)
	if n <= 0 {
		return cut
	}
	fields := recordFields{rest: r.rest[n:]}
	fields.take(1)
	cut.time, cut.offset = fields.varint(), fields.varint()
	key := fields.bytes()
	value := fields.varint()
	if !fields.bad && value <= size {
		cut.key, cut.value = key, value
	}
	return cut
}

// recordFields reads the fields of a record one after the other. Once one is bad, all that follow are.
type recordFields struct {
	rest []byte
	bad  bool
}

func (f *recordFields) take(n int64) []byte {
	if n > int64(len(f.rest)) {
		f.bad, f.rest = true, nil
	}
	if f.bad {
		return nil
	}
	taken := f.rest[:n:n]
	f.rest = f.rest[n:]
	return taken
}

func (f *recordFields) varint() int64 {
	value, n := binary.Varint(f.rest)
	if n <= 0 {
		f.bad, f.rest = true, nil
		return 0
	}
	f.rest = f.rest[n:]
	return value
}

// bytes reads a length and so many bytes; a length below zero stands for none at all.
func (f *recordFields) bytes() []byte {
	length := f.varint()
	if length < 0 {
		return nil
	}
	return f.take(length)
}

// MaxHeaders is how many headers of a record are read. A header takes 40 bytes of memory and may take 2 of the record.
const MaxHeaders = 1010

// readHeaders reads the headers of a record. all is false where there are more than MaxHeaders, or where some cannot be
// read: then the headers are those before.
func readHeaders(b []byte) (headers []kafkago.Header, all bool) {
	fields := recordFields{rest: b}
	count := fields.varint()
	if fields.bad || count < 0 {
		return nil, false
	}
	if count > 0 {
		headers = make([]kafkago.Header, 0, min(count, MaxHeaders, int64(len(fields.rest))))
	}
	for range count {
		key, value := fields.bytes(), fields.bytes()
		if fields.bad || len(headers) == MaxHeaders {
			return headers, false
		}
		headers = append(headers, kafkago.Header{Key: string(key), Value: value})
	}
	return headers, true
}
