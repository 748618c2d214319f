package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/protocol"
	"chatting/test/kafkawire"
)

// recordOf encodes a record with a length that is right.
func recordOf(offsetDelta int32, timeDelta int64, value string) []byte {
	record := kmsg.NewRecord()
	record.OffsetDelta, record.TimestampDelta64, record.Value = offsetDelta, timeDelta, []byte(value)
	record.Length = int32(len(record.AppendTo(nil)) - 1) // the length itself took one byte
	return record.AppendTo(nil)
}

// xerial frames blocks as Java's snappy does.
func xerial(blocks ...[]byte) []byte {
	framed := append(bytes.Clone(xerialHead), 0, 0, 0, 1, 0, 0, 0, 1)
	for _, block := range blocks {
		framed = append(binary.BigEndian.AppendUint32(framed, uint32(len(block))), block...)
	}
	return framed
}

// compressed compresses with a codec of Kafka's.
func compressed(t *testing.T, codec kgo.CompressionCodecType, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var err error
	switch codec {
	case kgo.CodecNone:
		return plain
	case kgo.CodecGzip:
		w := gzip.NewWriter(&out)
		_, err = w.Write(plain)
		err = errors.Join(err, w.Close())
	case kgo.CodecSnappy:
		return snappy.Encode(nil, plain)
	case kgo.CodecLz4:
		w := lz4.NewWriter(&out)
		_, err = w.Write(plain)
		err = errors.Join(err, w.Close())
	case kgo.CodecZstd:
		w, made := zstd.NewWriter(nil)
		if made != nil {
			t.Fatal(made)
		}
		defer w.Close()
		return w.EncodeAll(plain, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestABatchIsWhatItsHeaderSays holds each field of a batch against its records, at the bounds.
func TestABatchIsWhatItsHeaderSays(t *testing.T) {
	const good, corrupt, invalidRecord, invalidTimestamp = 0, 0, 87, 32 // kfake itself refuses what is corrupt
	now := time.UnixMilli(1_800_000_000_000)
	latest := now.Add(maxRecordLead).UnixMilli()
	two := append(recordOf(0, 0, "a"), recordOf(1, 0, "b")...)
	for name, c := range map[string]struct {
		change func(*kmsg.RecordBatch)
		code   int16
	}{
		"as it is":                       {func(*kmsg.RecordBatch) {}, good},
		"the last offset is too high":    {func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 2 }, invalidRecord},
		"the last offset is too low":     {func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 0 }, invalidRecord},
		"the last offset is far":         {func(b *kmsg.RecordBatch) { b.LastOffsetDelta = math.MaxInt32 }, invalidRecord},
		"no record, and the offset fits": {func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta, b.Records = 0, -1, nil }, invalidRecord},
		"less than none":                 {func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta, b.Records = -1, -2, nil }, invalidRecord},
		"offsets that repeat":            {func(b *kmsg.RecordBatch) { b.Records = append(recordOf(0, 0, "a"), recordOf(0, 0, "b")...) }, invalidRecord},
		"offsets with a hole":            {func(b *kmsg.RecordBatch) { b.Records = append(recordOf(0, 0, "a"), recordOf(2, 0, "b")...) }, invalidRecord},
		"offsets from 1":                 {func(b *kmsg.RecordBatch) { b.Records = append(recordOf(1, 0, "a"), recordOf(2, 0, "b")...) }, invalidRecord},
		"offsets in another order":       {func(b *kmsg.RecordBatch) { b.Records = append(recordOf(1, 0, "a"), recordOf(0, 0, "b")...) }, invalidRecord},
		"a record more":                  {func(b *kmsg.RecordBatch) { b.Records = append(bytes.Clone(two), recordOf(2, 0, "c")...) }, invalidRecord},
		"a byte more":                    {func(b *kmsg.RecordBatch) { b.Records = append(bytes.Clone(two), 0) }, invalidRecord},
		"a byte less":                    {func(b *kmsg.RecordBatch) { b.Records = two[:len(two)-1] }, invalidRecord},
		"a record without a byte":        {func(b *kmsg.RecordBatch) { b.Records = append([]byte{0}, two...) }, invalidRecord},
		"a record that cannot be read":   {func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta, b.Records = 1, 0, []byte{4, 0, 0} }, invalidRecord},
		"a length without an end":        {func(b *kmsg.RecordBatch) { b.Records = []byte{0xff} }, invalidRecord},

		"the first time is the latest":       {func(b *kmsg.RecordBatch) { b.FirstTimestamp, b.MaxTimestamp = latest, latest }, good},
		"the first time is later":            {func(b *kmsg.RecordBatch) { b.FirstTimestamp = latest + 1 }, invalidTimestamp},
		"the highest time is later":          {func(b *kmsg.RecordBatch) { b.MaxTimestamp = latest + 1 }, invalidTimestamp},
		"no time":                            {func(b *kmsg.RecordBatch) { b.FirstTimestamp, b.MaxTimestamp = -1, -1 }, good},
		"the first time is before all times": {func(b *kmsg.RecordBatch) { b.FirstTimestamp = -2 }, invalidTimestamp},
		"the highest is before all times":    {func(b *kmsg.RecordBatch) { b.MaxTimestamp = -2 }, invalidTimestamp},
		"a record at the latest time": {func(b *kmsg.RecordBatch) {
			b.Records = append(recordOf(0, 0, "a"), recordOf(1, maxRecordLead.Milliseconds(), "b")...)
		}, good},
		"a record's time counts from the first": {func(b *kmsg.RecordBatch) {
			b.FirstTimestamp, b.MaxTimestamp = now.Add(-maxRecordLead).UnixMilli(), latest
			b.Records = append(recordOf(0, 0, "a"), recordOf(1, 2*maxRecordLead.Milliseconds(), "b")...)
		}, good},
		"a record later than that": {func(b *kmsg.RecordBatch) {
			b.Records = append(recordOf(0, 0, "a"), recordOf(1, maxRecordLead.Milliseconds()+1, "b")...)
		}, invalidTimestamp},
		"a record before all times": {func(b *kmsg.RecordBatch) {
			b.Records = append(recordOf(0, 0, "a"), recordOf(1, -now.UnixMilli()-2, "b")...)
		}, invalidTimestamp},
		"a record whose time overflows": {func(b *kmsg.RecordBatch) {
			b.Records = append(recordOf(0, 0, "a"), recordOf(1, math.MaxInt64, "b")...)
		}, invalidTimestamp},

		"a stamp":                         {func(b *kmsg.RecordBatch) { b.ProducerID, b.ProducerEpoch, b.FirstSequence = 0, 0, 0 }, good},
		"a producer that none is":         {func(b *kmsg.RecordBatch) { b.ProducerID = -2 }, invalidRecord},
		"a stamp without an epoch":        {func(b *kmsg.RecordBatch) { b.ProducerID, b.ProducerEpoch, b.FirstSequence = 0, -1, 0 }, invalidRecord},
		"a stamp without a number":        {func(b *kmsg.RecordBatch) { b.ProducerID, b.ProducerEpoch, b.FirstSequence = 0, 0, -1 }, invalidRecord},
		"an epoch of no producer":         {func(b *kmsg.RecordBatch) { b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, 3, 3 }, good},
		"a transaction":                   {func(b *kmsg.RecordBatch) { b.Attributes = attrTransactional }, protocol.ErrTransactional.Code},
		"the end of a transaction":        {func(b *kmsg.RecordBatch) { b.Attributes = attrTransactional | attrControl }, invalidRecord},
		"a codec beyond the last":         {func(b *kmsg.RecordBatch) { b.Attributes = codecHighest + 1 }, invalidRecord},
		"a compressed one that is not":    {func(b *kmsg.RecordBatch) { b.Attributes = int16(kgo.CodecSnappy) }, invalidRecord},
		"another format is for kfake":     {func(b *kmsg.RecordBatch) { b.Magic, b.NumRecords = 1, 9 }, corrupt},
		"a record with a key and headers": {func(b *kmsg.RecordBatch) { b.Records = append(recordOf(0, 0, "a"), withHeader(1)...) }, good},
	} {
		batch := kmsg.RecordBatch{
			Magic: 2, NumRecords: 2, LastOffsetDelta: 1, FirstTimestamp: now.UnixMilli(), MaxTimestamp: now.UnixMilli(),
			ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, Records: two,
		}
		c.change(&batch)
		err := Check(kafkawire.Seal(batch), now)
		code := int16(0)
		if err != nil {
			code = err.Code
		}
		if code != c.code {
			t.Errorf("%s: error %d, %v; want %d", name, code, err, c.code)
		}
	}
}

func withHeader(offsetDelta int32) []byte {
	record := kmsg.NewRecord()
	record.OffsetDelta, record.Key, record.Headers = offsetDelta, []byte("k"), []kmsg.Header{{Key: "h", Value: []byte("v")}}
	record.Length = int32(len(record.AppendTo(nil)) - 1)
	return record.AppendTo(nil)
}

// TestCompressedRecordsAreReadBehindTheirCodec: with each codec, what is inside is held against the header as well.
func TestCompressedRecordsAreReadBehindTheirCodec(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	good := append(recordOf(0, 0, "a"), recordOf(1, 0, "b")...)
	bad := append(recordOf(0, 0, "a"), recordOf(0, 0, "b")...)
	for codec := kgo.CodecNone; codec <= codecHighest; codec++ {
		of := func(records []byte) []byte {
			return kafkawire.Seal(kmsg.RecordBatch{Magic: 2, Attributes: int16(codec), NumRecords: 2, LastOffsetDelta: 1,
				FirstTimestamp: now.UnixMilli(), MaxTimestamp: now.UnixMilli(), ProducerID: -1, Records: records})
		}
		if err := Check(of(compressed(t, codec, good)), now); err != nil {
			t.Errorf("codec %d: %v", codec, err)
		}
		if err := Check(of(compressed(t, codec, bad)), now); err == nil {
			t.Errorf("codec %d: records that are not what the header says are taken", codec)
		}
	}
	framed := kafkawire.Seal(kmsg.RecordBatch{Magic: 2, Attributes: int16(kgo.CodecSnappy), NumRecords: 2, LastOffsetDelta: 1,
		FirstTimestamp: now.UnixMilli(), MaxTimestamp: now.UnixMilli(), ProducerID: -1,
		Records: xerial(snappy.Encode(nil, good[:3]), snappy.Encode(nil, good[3:]))})
	if err := Check(framed, now); err != nil {
		t.Errorf("as Java's snappy writes: %v", err)
	}
}

// TestRecordsAreBoundedWhenUncompressed holds the bound of each codec to the byte.
func TestRecordsAreBoundedWhenUncompressed(t *testing.T) {
	zeros := make([]byte, maxUncompressed+1)
	for _, codec := range []kgo.CompressionCodecType{kgo.CodecGzip, kgo.CodecSnappy, kgo.CodecLz4, kgo.CodecZstd} {
		most := compressed(t, codec, zeros[:maxUncompressed])
		if !fitsUncompressed(most, codec) {
			t.Errorf("codec %d: %d bytes are refused", codec, maxUncompressed)
		}
		if fitsUncompressed(compressed(t, codec, zeros), codec) {
			t.Errorf("codec %d: %d bytes are taken", codec, len(zeros))
		}
		if fitsUncompressed(most[:len(most)/2], codec) && codec != kgo.CodecSnappy { // of which only lengths are looked at
			t.Errorf("codec %d: a half is taken", codec)
		}
	}
	if fitsUncompressed(nil, codecHighest+1) {
		t.Error("an unknown codec is taken")
	}
	// Only the lengths count, which stand at the beginning of each block.
	length := func(n uint64) []byte { return binary.AppendUvarint(nil, n) }
	const half = maxUncompressed / 2
	for name, c := range map[string]struct {
		raw  []byte
		fits bool
	}{
		"its first bytes alone":               {xerialHead, true}, // which is a length of ten thousand
		"no block":                            {xerial(), true},
		"no snappy":                           {bytes.Repeat([]byte{0xff}, 12), false},
		"a block":                             {xerial(length(5)), true},
		"two blocks to the bound":             {xerial(length(half), length(half)), true},
		"two blocks beyond the bound":         {xerial(length(half), length(half+1)), false},
		"a large one before a small one":      {xerial(length(maxUncompressed+1), length(1)), false},
		"a block that is cut off":             {xerial(length(half))[:20], false},
		"a block with a byte too few":         {append(xerial(), 0, 0, 0, 3, 1, 0), false},
		"a length that is cut off":            {append(xerial(length(5)), 0, 0, 0), false},
		"a block with a length and no number": {append(xerial(length(5)), 0, 0, 0, 0), false},
		"a length beyond all":                 {append(xerial(length(5)), 0xff, 0xff, 0xff, 0xff), false},
		"a block that is no snappy":           {xerial([]byte(strings.Repeat("\xff", 12))), false},
	} {
		if fits := snappyWithin(c.raw); fits != c.fits {
			t.Errorf("%s: %v", name, fits)
		}
	}
	if n, err := s2.DecodedLen(length(maxUncompressed)); err != nil || n != maxUncompressed {
		t.Fatalf("the lengths above are none: %d, %v", n, err)
	}
}

// TestAWholeBatchEndsWhereItSays: whole batches are told from those that are cut off or changed.
func TestAWholeBatchEndsWhereItSays(t *testing.T) {
	raw := kafkawire.BatchOf(kafkawire.NoStamp, time.UnixMilli(1), "a", "b")
	bare := kafkawire.Seal(kmsg.RecordBatch{Magic: 2, ProducerID: -1}) // a head alone
	if len(bare) != Head {
		t.Fatalf("a head of %d bytes", len(bare))
	}
	withLength := func(n int) []byte {
		changed := bytes.Clone(bare)
		binary.BigEndian.PutUint32(changed[atLength:], uint32(n))
		return changed
	}
	flipped := bytes.Clone(raw)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		raw  []byte
		size int
		is   bool
	}{
		"whole":                 {raw, len(raw), true},
		"with more behind it":   {append(bytes.Clone(raw), raw...), len(raw), true},
		"without a byte":        {raw[:len(raw)-1], 0, false},
		"changed":               {flipped, len(raw), false},
		"a head":                {bare, Head, true},
		"less than a head":      {bare[:Head-1], 0, false},
		"a length below a head": {withLength(Head - afterSize - 1), 0, false},
		"a length beyond all":   {withLength(-1), 0, false},
	} {
		batch, size := Whole(c.raw)
		if (batch != nil) != c.is || size != c.size {
			t.Errorf("%s: %v, %d bytes; want %v, %d", name, batch != nil, size, c.is, c.size)
		}
	}
	three := append(append(bytes.Clone(raw), bare...), raw...)
	if n, end := Extent(three, 9); n != 3 || end != 2 {
		t.Errorf("%d batches are counted, up to %d", n, end)
	}
	if n, _ := Extent(bare, 9); n != 1 {
		t.Errorf("of a head %d batches are counted", n)
	}
	if n, end := Extent(nil, 9); n != 0 || end != 9 {
		t.Errorf("of nothing %d batches are counted, up to %d", n, end)
	}
	for name, c := range map[string]struct {
		raw   []byte
		holds bool
	}{
		"at the start":  {raw, true},
		"later":         {append([]byte("damage"), raw...), true},
		"at the end":    {append([]byte("damage"), bare...), true},
		"cut off":       {append([]byte("damage"), raw[:len(raw)-1]...), false},
		"changed":       {flipped, false},
		"nothing":       {nil, false},
		"before zeroes": {append(bytes.Clone(bare), 0, 0, 0), true},
	} {
		if AnyIn(c.raw) != c.holds {
			t.Errorf("%s: %v", name, !c.holds)
		}
	}
}

// TestBatchesBeforeAnEndAreThoseThatBeginBeforeIt, and what is no batch ends them.
func TestBatchesBeforeAnEndAreThoseThatBeginBeforeIt(t *testing.T) {
	at := func(offset uint64, values ...string) []byte {
		raw := kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), values...)
		binary.BigEndian.PutUint64(raw, offset)
		return raw
	}
	one, two := at(5, "a", "b"), at(7, "c")
	both := append(bytes.Clone(one), two...)
	for end, want := range map[int64]int{4: 0, 5: 0, 7: len(one), 8: len(both), 100: len(both)} {
		if got := Before(both, end); !bytes.Equal(got, both[:want]) {
			t.Errorf("before %d: %d bytes, want %d", end, len(got), want)
		}
	}
	if got := Before(append(bytes.Clone(both), one[:Head-1]...), 100); len(got) != len(both) {
		t.Errorf("with half a head behind: %d bytes", len(got))
	}
}

// FuzzBatch: kfake can read every record of a batch that passes.
func FuzzBatch(f *testing.F) {
	now := time.Now()
	f.Add(kafkawire.BatchOf(kafkawire.NoStamp, now, "a", "b")[Head:], int32(2), int16(0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, int32(1), int16(0))
	for codec := range int16(5) {
		f.Add([]byte{130, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0}, int32(0), codec)
	}
	f.Fuzz(func(t *testing.T, records []byte, count int32, attributes int16) {
		raw := kafkawire.Seal(kmsg.RecordBatch{
			Magic: 2, Attributes: attributes, NumRecords: count, LastOffsetDelta: count - 1,
			FirstTimestamp: now.UnixMilli(), MaxTimestamp: now.UnixMilli(), ProducerID: -1, Records: records,
		})
		if Check(raw, now) != nil {
			return
		}
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(raw); err != nil {
			t.Fatal(err)
		}
		if read, err := kfake.BatchRecords(batch); err != nil || len(read) != int(count) {
			t.Fatalf("%d of %d records, %v", len(read), count, err)
		}
	})
}

// The broker has one decoder for good: what a large batch unpacked to must not stay with it.
func TestTheDecoderLetsGoOfWhatItUnpacked(t *testing.T) {
	for _, size := range []int{maxUncompressed, maxUncompressed + 1} {
		packed := compressed(t, kgo.CodecZstd, make([]byte, size))
		before := heap()
		if fits := fitsUncompressed(packed, kgo.CodecZstd); fits != (size == maxUncompressed) {
			t.Errorf("%d bytes fit: %t", size, fits)
		}
		if grown := heap() - before; grown > maxUncompressed/8 {
			t.Errorf("after %d bytes, %d stay", size, grown)
		}
		runtime.KeepAlive(packed)
	}
}

// heap returns how many bytes are in use once the garbage is gone.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools let go of
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
