package recordbatch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// madeBatch says how a batch is made.
type madeBatch struct {
	base       int64
	packing    packing // the zero value packs nothing
	attributes int16   // beside the codec
	producer   int64
	records    []Record
	// count is what the header claims, if it is not 0.
	count int32
	// plain are the records as bytes, instead of records.
	plain []byte
}

// encodedBatch is a batch of records, its length before it.
func encodedBatch(records []Record) []byte {
	return Append(nil, len(records), func(i int) *Record { return &records[i] }, NoStamp)
}

func (m madeBatch) bytes(t testing.TB) []byte {
	t.Helper()
	records := m.records
	if records == nil {
		records = []Record{{Value: []byte("x"), Time: time.UnixMilli(0)}}
	}
	encoded := encodedBatch(records)
	head, plain := bytes.Clone(encoded[lengthSize:HeaderSize]), encoded[HeaderSize:]
	if m.plain != nil {
		plain = m.plain
	}
	if m.packing.pack != nil {
		plain = m.packing.pack(t, bytes.NewReader(plain))
	}
	binary.BigEndian.PutUint64(head, uint64(m.base))
	binary.BigEndian.PutUint16(head[checksumOf:], uint16(m.attributes|int16(m.packing.codec)))
	binary.BigEndian.PutUint64(head[producerAt:], uint64(m.producer))
	if m.count != 0 {
		binary.BigEndian.PutUint32(head[countAt:], uint32(m.count))
		binary.BigEndian.PutUint32(head[lastDeltaAt:], uint32(m.count-1))
	}
	return sealed(append(head, plain...))
}

// sealed sets the length and the checksum of a batch.
func sealed(batch []byte) []byte {
	binary.BigEndian.PutUint32(batch[sizeAt:], uint32(len(batch)-sizeOf))
	binary.BigEndian.PutUint32(batch[checksumAt:], crc32.Checksum(batch[checksumOf:], castagnoli))
	return batch
}

func valuesOf(values ...string) []Record {
	records := make([]Record, len(values))
	for i, value := range values {
		records[i] = Record{Key: []byte("k"), Value: []byte(value), Time: time.UnixMilli(int64(1000 + i))}
	}
	return records
}

// marker is a batch that ends a transaction: 0 aborts it, 1 commits it.
func marker(base, producer int64, kind byte) madeBatch {
	return madeBatch{
		base: base, producer: producer, attributes: attrControlBatch | attrTransaction,
		records: []Record{{Key: []byte{0, 0, 0, kind}, Value: []byte{0, 0, 0, 0, 0, 0}, Time: time.UnixMilli(0)}},
	}
}

// newReader returns a reader with the defaults of a tail.
func newReader(t testing.TB, options ReaderOptions) *Reader {
	if options.MaxBatch == 0 {
		options.MaxBatch = 4 << 20
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return NewReader(options)
}

// readLog takes what is read.
type readLog struct {
	values  []string
	leftOut []LeftOut
}

func (r *readLog) Record(record *StoredRecord) { r.values = append(r.values, string(record.Value)) }

func (r *readLog) LeftOut(left LeftOut) {
	left.Key = bytes.Clone(left.Key)
	r.leftOut = append(r.leftOut, left)
}

// readAnswer reads batches as the answer to a fetch from position on.
func readAnswer(t testing.TB, options ReaderOptions, position int64, b Batches, batches ...[]byte) (Reading, *readLog) {
	t.Helper()
	log := &readLog{}
	options.Handler = log
	b.Bytes = slices.Concat(append([][]byte{b.Bytes}, batches...)...)
	return newReader(t, options).Read(&b, position), log
}

func TestRecordsAreReadOfEveryCodec(t *testing.T) {
	for name, p := range packings() {
		batch := madeBatch{base: 10, packing: p, records: valuesOf("a", "b", "c")}.bytes(t)
		got, log := readAnswer(t, ReaderOptions{}, 11, Batches{}, batch)
		if got.Next != 13 || !slices.Equal(log.values, []string{"b", "c"}) {
			t.Errorf("%s: read %v, next %d", name, log.values, got.Next)
		}
	}
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	long := bytes.Repeat([]byte("k"), MaxKey+1)
	written := []Record{
		{Key: []byte("9:10"), Value: []byte("v"), Time: time.UnixMilli(5), Headers: []kafkago.Header{{Key: "a", Value: []byte("b")}, {Key: "c"}}},
		{Time: time.UnixMilli(3)},
		{Key: []byte{}, Value: []byte{}, Time: time.UnixMilli(4)},
		{Key: long, Time: time.UnixMilli(6)},
	}
	var read []StoredRecord
	handler := recordFunc(func(r *StoredRecord) {
		copied := *r
		headers, all := r.Headers()
		if !all {
			t.Error("not all headers are read")
		}
		if r.Offset == 100 && fmt.Sprint(headers) != fmt.Sprint(written[0].Headers) {
			t.Errorf("headers %v", headers)
		}
		read = append(read, copied)
	})
	reader := newReader(t, ReaderOptions{Handler: handler})
	reader.Read(&Batches{Bytes: madeBatch{base: 100, records: written}.bytes(t)}, 0)
	if len(read) != len(written) {
		t.Fatalf("%d records", len(read))
	}
	for i, r := range read {
		if r.Offset != int64(100+i) || !r.Time.Equal(written[i].Time) || !bytes.Equal(r.WholeKey, written[i].Key) ||
			(r.Value == nil) != (written[i].Value == nil) || (r.WholeKey == nil) != (written[i].Key == nil) {
			t.Errorf("record %d is %+v", i, r)
		}
	}
	if read[3].Key != nil || string(read[0].Key) != "9:10" {
		t.Errorf("keys %q and %q", read[0].Key, read[3].Key)
	}
}

// recordFunc is a Handler.
type recordFunc func(*StoredRecord)

func (f recordFunc) Record(r *StoredRecord) { f(r) }
func (recordFunc) LeftOut(LeftOut)          {}

func TestRecordsBeforeTheBoundAreHandedOverAndTheOthersAreLeftOut(t *testing.T) {
	large := strings.Repeat("\x00", 10<<20)
	for name, p := range packings() {
		batch := madeBatch{base: 5, packing: p, records: valuesOf("first", large, "last")}.bytes(t)
		after := madeBatch{base: 8, records: valuesOf("after")}.bytes(t)
		var got Reading
		var log *readLog
		took := allocated(func() { got, log = readAnswer(t, ReaderOptions{MaxBatch: 1 << 20}, 5, Batches{}, batch, after) })
		values := log.values
		if got.Next != 9 || values[len(values)-1] != "after" || len(log.leftOut) != 1 {
			t.Fatalf("%s: read %d records, next %d, left out %v", name, len(values), got.Next, log.leftOut)
		}
		left := log.leftOut[0]
		if !left.TooLarge || left.To != 8 || left.From != int64(5+len(values)-1) {
			t.Errorf("%s: left out %+v", name, left)
		}
		if left.From == 6 && (left.Size != 10<<20 || string(left.Key) != "k" || left.Time.UnixMilli() != 1001) {
			t.Errorf("%s: the first that was left out is of %d bytes, key %q, %s", name, left.Size, left.Key, left.Time)
		}
		if took > 20<<20 {
			t.Errorf("%s: %d bytes were allocated", name, took)
		}
	}
}

func TestABatchThatCannotBeReadConcernsOnlyItself(t *testing.T) {
	good := madeBatch{base: 2, records: valuesOf("good")}.bytes(t)
	for what, plain := range map[string][]byte{
		"no records":                {},
		"a length beyond the end":   {100, 0, 0, 0},
		"a length below zero":       {1},
		"an endless number":         bytes.Repeat([]byte{0xff}, 20),
		"a key beyond the end":      {12, 0, 0, 0, 100, 1, 0},
		"an offset beyond the last": {14, 0, 0, 20, 1, 1, 0, 0},
		"no headers":                {10, 0, 0, 0, 1, 1},
	} {
		batch := madeBatch{base: 0, count: 2, plain: plain}.bytes(t)
		got, log := readAnswer(t, ReaderOptions{}, 0, Batches{}, batch, good)
		if got.Next != 3 || got.Damage != nil || !slices.Equal(log.values, []string{"good"}) {
			t.Errorf("%s: read %q, next %d, damage %v", what, log.values, got.Next, got.Damage)
		}
		if len(log.leftOut) != 1 || log.leftOut[0].TooLarge || log.leftOut[0].From != 0 || log.leftOut[0].To != 2 {
			t.Errorf("%s: left out %v", what, log.leftOut)
		}
	}
	for what, p := range map[string]packing{
		"gzip": {codec: codecGzip}, "snappy": {codec: codecSnappy}, "lz4": {codec: codecLZ4}, "zstd": {codec: codecZstd}, "codec 6": {codec: 6},
	} {
		batch := madeBatch{base: 0, count: 2, packing: p, plain: []byte("this is not packed")}.bytes(t)
		got, log := readAnswer(t, ReaderOptions{}, 0, Batches{}, batch, good)
		if got.Next != 3 || len(log.leftOut) != 1 || !slices.Equal(log.values, []string{"good"}) {
			t.Errorf("%s that is none: read %q, next %d, left out %v", what, log.values, got.Next, log.leftOut)
		}
	}
}

func TestClaimsTakeNoMemory(t *testing.T) {
	manyHeaders := binary.AppendVarint([]byte{0, 0, 0, 1, 1}, math.MaxInt32)
	few := append(binary.AppendVarint(nil, int64(len(manyHeaders)+3)), append(manyHeaders, 2, 'h', 1)...)
	millions := binary.AppendVarint([]byte{0, 0, 0, 1, 1}, 2_000_000)
	millions = append(millions, bytes.Repeat([]byte{0, 1}, 2_000_000)...)
	millions = append(binary.AppendVarint(nil, int64(len(millions))), millions...)
	for what, m := range map[string]madeBatch{
		"records":      {count: math.MaxInt32},
		"headers":      {plain: few},
		"real headers": {plain: millions},
	} {
		batch := m.bytes(t)
		reader := newReader(t, ReaderOptions{Handler: recordFunc(func(r *StoredRecord) {
			if _, all := r.Headers(); what != "records" && all {
				t.Errorf("%s: all headers are read", what)
			}
		})})
		if took := allocated(func() { reader.Read(&Batches{Bytes: batch}, 0) }); took > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", what, took)
		}
	}
}

func TestADamagedBatchIsNotReadAndWhatIsBeforeItIs(t *testing.T) {
	before := madeBatch{base: 0, records: valuesOf("before")}.bytes(t)
	damaged := madeBatch{base: 1, records: valuesOf("x", "y")}.bytes(t)
	damaged[len(damaged)-1] ^= 1
	old := madeBatch{base: 1, records: valuesOf("x", "y")}.bytes(t)
	old[versionAt] = 1
	short := madeBatch{base: 1, records: valuesOf("x", "y")}.bytes(t)
	binary.BigEndian.PutUint32(short[sizeAt:], 3)
	after := madeBatch{base: 3, records: valuesOf("after")}.bytes(t)
	for what, batch := range map[string][]byte{"damaged": damaged, "of an old version": old} {
		got, log := readAnswer(t, ReaderOptions{}, 0, Batches{}, before, batch, after)
		if got.Damage == nil || got.Next != 1 || got.LostTo != 3 || !slices.Equal(log.values, []string{"before"}) {
			t.Errorf("%s: read %v and came to %+v", what, log.values, got)
		}
		if got, _ := readAnswer(t, ReaderOptions{}, 0, Batches{}, before, batch); got.LostTo != 3 {
			t.Errorf("%s, the last one: it ends at %d", what, got.LostTo)
		}
	}
	if got, _ := readAnswer(t, ReaderOptions{}, 0, Batches{}, before, short); got.Damage == nil || got.Next != 1 || got.LostTo != 2 {
		t.Errorf("too short: %+v", got)
	}
}

func TestABatchThatIsCutOffIsLeftToTheNextAnswer(t *testing.T) {
	first := madeBatch{base: 0, records: valuesOf("a")}.bytes(t)
	second := madeBatch{base: 1, records: valuesOf("b")}.bytes(t)
	for cut := 1; cut < len(second); cut++ {
		got, log := readAnswer(t, ReaderOptions{}, 0, Batches{}, first, second[:cut])
		if got.Next != 1 || got.CutOff || got.Damage != nil || len(log.values) != 1 {
			t.Fatalf("cut at %d: read %v and came to %+v", cut, log.values, got)
		}
		if got, _ := readAnswer(t, ReaderOptions{}, 1, Batches{}, second[:cut]); got.Next != 1 || !got.CutOff {
			t.Fatalf("cut at %d, alone: %+v", cut, got)
		}
	}
}

// A batch that is longer than what is kept of an answer would come again for ever.
func TestABatchThatIsLongerThanAnAnswerMayBeIsLeftOut(t *testing.T) {
	long := madeBatch{base: 4, records: valuesOf("a", "b")}.bytes(t)
	got, log := readAnswer(t, ReaderOptions{}, 4, Batches{Cut: true}, long[:len(long)-1])
	if got.Next != 6 || got.CutOff || len(log.leftOut) != 1 || !log.leftOut[0].TooLarge {
		t.Errorf("came to %+v, left out %v", got, log.leftOut)
	}
}

func TestRecordsOfAbortedTransactionsAreNotReadAndControlRecordsNever(t *testing.T) {
	const a, b, idempotent = 7, 8, 9
	inTransaction := func(base, producer int64, values ...string) []byte {
		return madeBatch{base: base, producer: producer, attributes: attrTransaction, records: valuesOf(values...)}.bytes(t)
	}
	var log []byte
	for _, batch := range [][]byte{
		inTransaction(0, a, "aborted 1", "aborted 2"),
		inTransaction(2, b, "committed 1"),
		madeBatch{base: 3, producer: idempotent, records: valuesOf("alone")}.bytes(t),
		inTransaction(4, a, "aborted 3"),
		marker(5, b, 1).bytes(t),
		marker(6, a, 0).bytes(t),
		inTransaction(7, a, "committed 2"),
		inTransaction(8, b, "aborted 4"),
		marker(9, a, 1).bytes(t),
		marker(10, b, 0).bytes(t),
		madeBatch{base: 11, producer: b, records: valuesOf("after")}.bytes(t),
	} {
		log = append(log, batch...)
	}
	answer := Batches{Bytes: log, Aborted: []AbortedTransaction{{a, 0}, {b, 8}}}
	got, read := readAnswer(t, ReaderOptions{}, 0, answer)
	want := []string{"committed 1", "alone", "committed 2", "after"}
	if got.Next != 12 || !slices.Equal(read.values, want) {
		t.Errorf("read %q, next %d", read.values, got.Next)
	}
	// A fetch in the midst of an aborted transaction: its first offset is before what was asked for.
	_, read = readAnswer(t, ReaderOptions{}, 1, answer)
	if !slices.Equal(read.values, want) {
		t.Errorf("from 1 on: read %q", read.values)
	}
	_, read = readAnswer(t, ReaderOptions{Uncommitted: true}, 0, answer)
	if len(read.values) != 8 {
		t.Errorf("uncommitted: read %q", read.values)
	}
}

func FuzzReadBatches(f *testing.F) {
	for _, p := range packings() {
		f.Add(madeBatch{base: 3, packing: p, records: valuesOf("a", "b")}.bytes(f), int64(3), true)
	}
	f.Add(marker(0, 1, 0).bytes(f), int64(0), false)
	f.Add(madeBatch{attributes: attrTransaction, records: valuesOf("a")}.bytes(f), int64(0), true)
	f.Fuzz(func(t *testing.T, answer []byte, position int64, seal bool) {
		if seal && len(answer) >= headSize {
			answer = sealed(bytes.Clone(answer))
		}
		last := position - 1
		reader := newReader(t, ReaderOptions{MaxBatch: 64 << 10, Handler: recordFunc(func(r *StoredRecord) {
			if r.Offset <= last {
				t.Errorf("offset %d after %d", r.Offset, last)
			}
			last = r.Offset
			r.Headers()
		})})
		got := reader.Read(&Batches{Bytes: answer, Aborted: []AbortedTransaction{{1, 0}}}, position)
		if got.Next < position || got.Next <= last && last >= position {
			t.Errorf("from %d on, with records up to %d, the next one is %d", position, last, got.Next)
		}
		if got.Damage != nil && got.LostTo <= got.Next {
			t.Errorf("the damage at %d ends at %d", got.Next, got.LostTo)
		}
		if errors.Is(got.Damage, context.Canceled) {
			t.Error(got.Damage)
		}
	})
}

// What a batch says of itself is written by other clients, here by kafka-go's.
func TestBatchesOfAnotherClientAreRead(t *testing.T) {
	write := func(attributes protocol.Attributes) []byte {
		t.Helper()
		record := protocol.Record{Time: time.UnixMilli(5), Key: protocol.NewBytes([]byte("k")), Value: protocol.NewBytes([]byte("value"))}
		set := protocol.RecordSet{Version: 2, Attributes: attributes, Records: protocol.NewRecordReader(record)}
		var buffer bytes.Buffer
		if _, err := set.WriteTo(&buffer); err != nil {
			t.Fatal(err)
		}
		return buffer.Bytes()[lengthSize:]
	}
	for _, codec := range []kafkago.Compression{0, kafkago.Gzip, kafkago.Snappy, kafkago.Lz4, kafkago.Zstd} {
		got, log := readAnswer(t, ReaderOptions{}, 0, Batches{}, write(protocol.Attributes(codec)))
		if got.Next != 1 || !slices.Equal(log.values, []string{"value"}) {
			t.Errorf("compressed as %s: read %q, and came to %+v", codec, log.values, got)
		}
	}
	for attributes, want := range map[protocol.Attributes]struct{ transactional, control bool }{
		0: {}, protocol.Transactional: {true, false}, protocol.Control | protocol.Transactional: {true, true},
	} {
		batch, ok := readHead(write(attributes))
		if !ok || batch.isTransactional() != want.transactional || batch.isControl() != want.control {
			t.Errorf("%d: transactional: %t, control: %t", attributes, batch.isTransactional(), batch.isControl())
		}
	}
}
