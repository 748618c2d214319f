package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

func TestWhereADamagedBatchEnds(t *testing.T) {
	at := func(base int64) []byte { return madeBatch{base: base, records: valuesOf("x")}.bytes(t) }
	for what, c := range map[string]struct {
		base, last, count int64
		position          int64
		rest              []byte
		want              int64
	}{
		"the next one is there":             {10, 14, 5, 10, at(12), 12},
		"the next one begins at the place":  {10, 14, 5, 10, at(10), 15},
		"the next one begins just behind":   {10, 14, 5, 10, at(11), 11},
		"the next one begins before":        {10, 14, 5, 12, at(11), 15},
		"too little is there":               {10, 14, 5, 10, at(12)[:headSize-1], 15},
		"it agrees with itself":             {10, 14, 5, 12, nil, 15},
		"it does not":                       {10, 14, 4, 12, nil, 13},
		"it agrees, and ends at the place":  {10, 14, 5, 14, nil, 15},
		"it agrees, and ends before it":     {10, 14, 5, 15, nil, 16},
		"it agrees, and ends long before":   {10, 14, 5, 30, nil, 31},
		"it claims more than anybody wrote": {10, 1 << 40, 5, 10, nil, 11},
	} {
		b := storedBatch{base: c.base, last: c.last, count: c.count}
		if got := b.plausibleEnd(c.position, c.rest); got != c.want {
			t.Errorf("%s: at %d, not %d", what, got, c.want)
		}
	}
}

// A tail that reads nothing and does not move would ask for the same for ever.
func TestBatchesThatAreAllBeforeThePositionAreSeenAsSuch(t *testing.T) {
	old, here := madeBatch{base: 0, records: valuesOf("a", "b")}.bytes(t), madeBatch{base: 2, records: valuesOf("c")}.bytes(t)
	for what, c := range map[string]struct {
		batches  [][]byte
		position int64
		want     Reading
	}{
		"nothing":                 {nil, 2, Reading{Next: 2}},
		"all before":              {[][]byte{old}, 2, Reading{Next: 2, Stale: true}},
		"one before, one here":    {[][]byte{old, here}, 2, Reading{Next: 3}},
		"the last record of one":  {[][]byte{old}, 1, Reading{Next: 2}},
		"before, and a cut off":   {[][]byte{old, here[:65]}, 2, Reading{Next: 2, CutOff: true}},
		"before, and a head's":    {[][]byte{old, here[:7]}, 2, Reading{Next: 2, CutOff: true}},
		"here, and a cut off one": {[][]byte{here, old[:65]}, 2, Reading{Next: 3}},
	} {
		if got, _ := readAnswer(t, ReaderOptions{}, c.position, Batches{}, c.batches...); got != c.want {
			t.Errorf("%s: it comes to %+v, not %+v", what, got, c.want)
		}
	}
}

// Only a batch that would come again cut off is given up.
func TestABatchThatIsLongerThanAnAnswerMayBeIsReadIfItCanCome(t *testing.T) {
	first, second := madeBatch{base: 0, records: valuesOf("a")}.bytes(t), madeBatch{base: 1, records: valuesOf("b", "c")}.bytes(t)
	cutOff := second[:len(second)-1]
	for what, c := range map[string]struct {
		position int64
		batches  [][]byte
		want     Reading
		leftOut  int
	}{
		"behind another":           {0, [][]byte{first, cutOff}, Reading{Next: 1}, 0},
		"alone":                    {1, [][]byte{cutOff}, Reading{Next: 3}, 1},
		"from its last record on":  {2, [][]byte{cutOff}, Reading{Next: 3}, 1},
		"all of it was read":       {3, [][]byte{cutOff}, Reading{Next: 3, CutOff: true}, 0},
		"whole, in an answer that": {1, [][]byte{second}, Reading{Next: 3}, 0},
	} {
		got, log := readAnswer(t, ReaderOptions{}, c.position, Batches{Cut: true}, c.batches...)
		if got != c.want || len(log.leftOut) != c.leftOut {
			t.Errorf("%s: it comes to %+v, left out %v; want %+v", what, got, log.leftOut, c.want)
		}
		if len(log.leftOut) > 0 && (log.leftOut[0].From != c.position || log.leftOut[0].To != 3 || log.leftOut[0].Size != -1) {
			t.Errorf("%s: left out %+v", what, log.leftOut[0])
		}
	}
}

// withLast sets the last offset of a batch, as a broker leaves it that has taken records out.
func withLast(batch []byte, delta uint32) []byte {
	binary.BigEndian.PutUint32(batch[lastDeltaAt:], delta)
	return sealed(batch)
}

func TestWhatOfABatchIsLeftOut(t *testing.T) {
	const head = HeaderSize // of an encoded batch
	good := encodedBatch(valuesOf("a"))
	goodAndBad := append(bytes.Clone(good[head:]), 1)
	for what, c := range map[string]struct {
		batch    []byte
		values   []string
		from, to int64 // 0 and 0: nothing is left out
	}{
		"records that were taken out behind": {withLast(madeBatch{base: 5, records: valuesOf("a", "b")}.bytes(t), 9), []string{"a", "b"}, 0, 0},
		"the last one":                       {madeBatch{base: 5, count: 2, plain: goodAndBad}.bytes(t), []string{"a"}, 6, 7},
		"all of one":                         {madeBatch{base: 5, count: 1, plain: []byte{1}}.bytes(t), nil, 5, 6},
		"an offset before the first":         {madeBatch{base: 5, count: 2, plain: []byte{14, 0, 0, 1, 1, 1, 0, 0}}.bytes(t), nil, 5, 7},
		"an offset behind the last":          {madeBatch{base: 5, count: 2, plain: []byte{14, 0, 0, 4, 1, 1, 0, 0}}.bytes(t), nil, 5, 7},
		"a record of a byte too few":         {madeBatch{base: 5, count: 1, plain: append([]byte{good[head] + 2}, good[head+1:]...)}.bytes(t), nil, 5, 6},
		"nothing but what is behind them":    {madeBatch{base: 5, count: 1, packing: packings()["gzip"], plain: append(bytes.Clone(good[head:]), make([]byte, 1<<20)...)}.bytes(t), []string{"a"}, 0, 0},
	} {
		got, log := readAnswer(t, ReaderOptions{MaxBatch: 1 << 16}, 5, Batches{}, c.batch)
		last, _ := readHead(c.batch)
		if got.Next != last.last+1 || got.Damage != nil || !slices.Equal(log.values, c.values) {
			t.Errorf("%s: read %q, and came to %+v", what, log.values, got)
		}
		if c.to == 0 && len(log.leftOut) != 0 || c.to != 0 && (len(log.leftOut) != 1 || log.leftOut[0].From != c.from || log.leftOut[0].To != c.to) {
			t.Errorf("%s: left out %+v", what, log.leftOut)
		}
	}
}

func TestARecordOutsideItsBatchIsNotHandedOver(t *testing.T) {
	for what, delta := range map[string]byte{"before the first": 1, "behind the last": 4} {
		got, log := readAnswer(t, ReaderOptions{}, 0, Batches{}, madeBatch{base: 5, count: 2, plain: []byte{14, 0, 0, delta, 1, 1, 0, 0}}.bytes(t))
		if got.Next != 7 || len(log.values) > 0 || len(log.leftOut) != 1 || log.leftOut[0].To != 7 {
			t.Errorf("%s: read %q, left out %+v", what, log.values, log.leftOut)
		}
	}
}

func TestAControlBatchThatIsNoMarkerAbortsNothing(t *testing.T) {
	for what, c := range map[string]struct {
		batch madeBatch
		want  bool
	}{
		"abort":         {marker(0, 7, 0), true},
		"commit":        {marker(0, 7, 1), false},
		"a short key":   {madeBatch{attributes: attrControlBatch, records: []Record{{Key: []byte{0, 0, 0}, Time: time.UnixMilli(0)}}}, false},
		"no key":        {madeBatch{attributes: attrControlBatch}, false},
		"no record":     {madeBatch{attributes: attrControlBatch, count: 1, plain: []byte{1}}, false},
		"another kind":  {marker(0, 7, 2), false},
		"of version 1":  {madeBatch{attributes: attrControlBatch, records: []Record{{Key: []byte{0, 1, 0, 0}, Time: time.UnixMilli(0)}}}, true},
		"a bare number": {madeBatch{attributes: attrControlBatch, records: []Record{{Key: []byte{0, 0, 0, 0}, Time: time.UnixMilli(0)}}}, true},
	} {
		batch, ok := readHead(c.batch.bytes(t))
		if !ok || batch.isAbort() != c.want {
			t.Errorf("%s: it aborts: %t", what, batch.isAbort())
		}
	}
	// What a producer writes outside of its transaction is not the transaction's.
	outside := madeBatch{base: 1, producer: 7, records: valuesOf("outside")}.bytes(t)
	inside := madeBatch{base: 0, producer: 7, attributes: attrTransaction, records: valuesOf("inside")}.bytes(t)
	_, log := readAnswer(t, ReaderOptions{}, 0, Batches{Aborted: []AbortedTransaction{{7, 0}}}, inside, outside)
	if !slices.Equal(log.values, []string{"outside"}) {
		t.Errorf("read %q", log.values)
	}
}

// Of the first record that is left out, the time, the key and the size are known only if its beginning is there.
func TestWhatIsKnownOfARecordThatIsCutOff(t *testing.T) {
	unknown := cutRecord{value: -1}
	for what, c := range map[string]struct {
		rest []byte
		want cutRecord
	}{
		"nothing":              {nil, unknown},
		"an endless length":    {bytes.Repeat([]byte{0xff}, 11), unknown},
		"its length":           {[]byte{200, 1}, cutRecord{value: -1}},
		"its time":             {[]byte{200, 1, 0, 6}, cutRecord{value: -1, time: 3}},
		"its place":            {[]byte{200, 1, 0, 6, 4}, cutRecord{value: -1, time: 3, offset: 2}},
		"part of its key":      {[]byte{200, 1, 0, 6, 4, 4, 'k'}, cutRecord{value: -1, time: 3, offset: 2}},
		"its key":              {[]byte{200, 1, 0, 6, 4, 2, 'k'}, cutRecord{value: -1, time: 3, offset: 2}},
		"its value's length":   {[]byte{200, 1, 0, 6, 4, 2, 'k', 180, 1}, cutRecord{value: 90, time: 3, offset: 2, key: []byte("k")}},
		"a value of all of it": {[]byte{200, 1, 0, 6, 4, 2, 'k', 200, 1}, cutRecord{value: 100, time: 3, offset: 2, key: []byte("k")}},
		"a value beyond it":    {[]byte{200, 1, 0, 6, 4, 2, 'k', 202, 1}, cutRecord{value: -1, time: 3, offset: 2}},
	} {
		records := batchRecords{rest: c.rest, left: 1}
		got := records.cut()
		if got.value != c.want.value || got.time != c.want.time || got.offset != c.want.offset || !bytes.Equal(got.key, c.want.key) {
			t.Errorf("%s: %+v, not %+v", what, got, c.want)
		}
		wrong := errCutRecord
		if what == "an endless length" {
			wrong = errBadRecord
		}
		if _, err := records.next(); !errors.Is(err, wrong) {
			t.Errorf("%s: it is read with %v, not %v", what, err, wrong)
		}
	}
	// It is told of the record at the place alone.
	cut := []byte{200, 1, 0, 6, 4, 2, 'k', 180, 1}
	for delta, want := range map[byte]int64{0: 90, 1: -1} {
		plain := bytes.Clone(cut)
		plain[4] = 2 * delta
		_, log := readAnswer(t, ReaderOptions{}, 5, Batches{}, madeBatch{base: 5, count: 2, plain: plain}.bytes(t))
		if len(log.leftOut) != 1 || log.leftOut[0].Size != want || (log.leftOut[0].Key != nil) != (want >= 0) {
			t.Errorf("with a record of offset %d cut off, left out %+v", 5+delta, log.leftOut)
		}
		plain = append([]byte{12, 0, 0, 0, 1, 1, 0}, plain...) // one that is whole, before it
		_, log = readAnswer(t, ReaderOptions{}, 5, Batches{}, madeBatch{base: 5, count: 2, plain: plain}.bytes(t))
		if want = 89 - want; len(log.leftOut) != 1 || log.leftOut[0].From != 6 || log.leftOut[0].Size != want {
			t.Errorf("with a record of offset %d cut off behind another, left out %+v", 5+delta, log.leftOut)
		}
	}
}

func TestTheLogSaysWhatIsLeftOut(t *testing.T) {
	var out bytes.Buffer
	reader := newReader(t, ReaderOptions{Topic: "topic", Handler: &readLog{}, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	reader.Read(&Batches{Partition: 4, Bytes: madeBatch{base: 5, count: 3, plain: []byte{200, 1}}.bytes(t)}, 6)
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "topic=topic partition=4 offset=6 records=2") {
		t.Errorf("it says %q", got)
	}
}

func TestTheLongestKeyThatIsLookedAt(t *testing.T) {
	for size, want := range map[int]int{MaxKey: MaxKey, MaxKey + 1: 0} {
		batch := madeBatch{records: []Record{{Key: make([]byte, size), Time: time.UnixMilli(0)}}}.bytes(t)
		reader := newReader(t, ReaderOptions{Handler: recordFunc(func(r *StoredRecord) {
			if len(r.Key) != want || len(r.WholeKey) != size {
				t.Errorf("a key of %d bytes is handed over with %d, whole with %d", size, len(r.Key), len(r.WholeKey))
			}
		})})
		reader.Read(&Batches{Bytes: batch}, 0)
	}
}

func TestHeadersAreReadUpToTheirBound(t *testing.T) {
	written := func(count int) []byte {
		b := binary.AppendVarint(nil, int64(count))
		for range count {
			b = append(b, 2, 'h', 2, 'v')
		}
		return b
	}
	for what, c := range map[string]struct {
		bytes []byte
		count int
		all   bool
		says  int64 // -1: nothing
	}{
		"none":             {written(0), 0, true, 0},
		"one":              {written(1), 1, true, 1},
		"as many as can":   {written(MaxHeaders), MaxHeaders, true, 1010},
		"one more":         {written(MaxHeaders + 1), MaxHeaders, false, 1011},
		"fewer than it is": {written(3)[:9], 2, false, 3},
		"no count":         {nil, 0, false, -1},
		"below zero":       {[]byte{1}, 0, false, -1},
	} {
		headers, all := readHeaders(c.bytes)
		if len(headers) != c.count || all != c.all {
			t.Errorf("%s: %d headers are read, all: %t", what, len(headers), all)
		}
		for _, h := range headers {
			if h.Key != "h" || string(h.Value) != "v" {
				t.Fatalf("%s: %v", what, h)
			}
		}
		r := StoredRecord{headers: c.bytes}
		if got, ok := r.HeaderCount(); ok != (c.says >= 0) || ok && got != c.says {
			t.Errorf("%s: they are %d, %t", what, got, ok)
		}
	}
	headers, all := readHeaders([]byte{4, 2, 'a', 1, 2, 'b', 0})
	if want := []kafkago.Header{{Key: "a"}, {Key: "b", Value: []byte{}}}; !all || len(headers) != 2 || headers[0].Value != nil || headers[1].Value == nil {
		t.Errorf("read %v, want %v", headers, want)
	}
}

// A batch is judged by its header before anything of it is read.
func TestABatchWhoseHeaderMakesNoSenseIsDamaged(t *testing.T) {
	for what, change := range map[string]func(head []byte){
		"version 1":              func(b []byte) { b[versionAt] = 1 },
		"version 3":              func(b []byte) { b[versionAt] = 3 },
		"a place below zero":     func(b []byte) { binary.BigEndian.PutUint64(b, 1<<63) },
		"a last before the base": func(b []byte) { binary.BigEndian.PutUint32(b[lastDeltaAt:], 1<<32-1) },
		"a last offset of all":   func(b []byte) { binary.BigEndian.PutUint64(b, 1<<63-1) },
		"another checksum":       func(b []byte) { b[checksumAt]++ },
	} {
		batch := madeBatch{base: 5, records: valuesOf("x")}.bytes(t)
		change(batch)
		if read, ok := readHead(batch); !ok || read.damage() == nil {
			t.Errorf("%s: it counts as good", what)
		}
	}
	for what, change := range map[string]func(head []byte){ // with a checksum that is right
		"a last before the base": func(b []byte) { binary.BigEndian.PutUint32(b[lastDeltaAt:], 1<<32-1) },
		"a last offset of all": func(b []byte) {
			binary.BigEndian.PutUint64(b, 1<<63-2)
			binary.BigEndian.PutUint32(b[lastDeltaAt:], 1)
		},
	} {
		batch := madeBatch{base: 5, records: valuesOf("x")}.bytes(t)
		change(batch)
		if read, ok := readHead(sealed(batch)); !ok || read.damage() == nil {
			t.Errorf("%s: it counts as good", what)
		}
	}
	batch := madeBatch{base: 0, records: valuesOf("x")}.bytes(t)
	if read, ok := readHead(batch); !ok || read.damage() != nil || !read.isWhole() || read.last != 0 || read.isControl() || read.isTransactional() {
		t.Errorf("a good one is %+v, %v", read, read.damage())
	}
	if _, ok := readHead(batch[:headSize-1]); ok {
		t.Error("a head that is cut off is read")
	}
	head, ok := readHead(batch[:headSize])
	if !ok || head.isWhole() || len(head.whole) != headSize {
		t.Errorf("of a head alone, %d bytes are there, whole: %t", len(head.whole), head.isWhole())
	}
}

func TestAReaderKeepsNoLargeBuffer(t *testing.T) {
	for size, kept := range map[int]bool{KeptUnpacked: true, KeptUnpacked + 1: false} {
		reader := newReader(t, ReaderOptions{})
		reader.unpacked = make([]byte, 0, size)
		if reader.Trim(); (reader.unpacked != nil) != kept {
			t.Errorf("a buffer of %d bytes is kept: %t", size, !kept)
		}
	}
}
