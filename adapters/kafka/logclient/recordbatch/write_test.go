package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What is appended has to be read by everybody: the decoder is kafka-go's.
func TestABatchIsReadByOthersAsItWasWritten(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_000)
	records := []Record{
		{Key: []byte("9:10"), Value: []byte("first"), Headers: []kafkago.Header{{Key: "content-type", Value: []byte("text/plain")}}, Time: at},
		{Key: nil, Value: bytes.Repeat([]byte("x"), 100_000), Time: at.Add(time.Hour)},
		{Key: []byte{}, Value: nil, Headers: []kafkago.Header{{Key: "", Value: nil}, {Key: "h", Value: []byte{}}}, Time: at.Add(-time.Hour)}, // a clock that went back
	}
	var head kmsg.RecordBatch
	if err := head.ReadFrom(encodedBatch(records)[lengthSize:]); err != nil || head.MaxTimestamp != at.Add(time.Hour).UnixMilli() {
		t.Errorf("the latest is of %d, %v", head.MaxTimestamp, err)
	}
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bytes.NewReader(encodedBatch(records))); err != nil {
		t.Fatal(err)
	}
	for i, want := range records {
		got, err := set.Records.ReadRecord()
		if err != nil {
			t.Fatal(err)
		}
		key, keyErr := protocol.ReadAll(got.Key)
		value, valueErr := protocol.ReadAll(got.Value)
		if err := errors.Join(keyErr, valueErr); err != nil {
			t.Fatal(err)
		}
		same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
		if got.Offset != int64(i) || !same(key, want.Key) || !same(value, want.Value) || !got.Time.Equal(want.Time) {
			t.Errorf("record %d is %d, %q, %.20q, %v", i, got.Offset, key, value, got.Time)
		}
		if len(got.Headers) != len(want.Headers) {
			t.Fatalf("record %d has %d headers", i, len(got.Headers))
		}
		for j, h := range want.Headers {
			if got.Headers[j].Key != h.Key || !bytes.Equal(got.Headers[j].Value, h.Value) {
				t.Errorf("record %d has the header %+v, not %+v", i, got.Headers[j], h)
			}
		}
	}
	if _, err := set.Records.ReadRecord(); !errors.Is(err, io.EOF) {
		t.Errorf("behind them is %v", err)
	}
}

func TestLengthsOfVarints(t *testing.T) {
	for bits := range 64 {
		for _, n := range []int64{1 << bits, 1<<bits - 1, -1 << bits, -1<<bits - 1, math.MinInt64, math.MaxInt64, 0} {
			if got, want := varintLength(n), len(binary.AppendVarint(nil, n)); got != want {
				t.Errorf("%d takes %d bytes, not %d", n, want, got)
			}
		}
	}
}

func TestAStampStandsWhereBrokersLookForIt(t *testing.T) {
	stamp, records := Stamp{ID: 1<<40 + 5, Epoch: 1<<10 + 7, Sequence: 1<<20 + 9}, valuesOf("a", "b")
	at := func(i int) *Record { return &records[i] }
	stamped := Append([]byte("before"), len(records), at, stamp)[len("before"):]
	var batch kmsg.RecordBatch
	if err := batch.ReadFrom(stamped[4:]); err != nil {
		t.Fatal(err)
	}
	if batch.ProducerID != stamp.ID || batch.ProducerEpoch != stamp.Epoch || batch.FirstSequence != stamp.Sequence || batch.NumRecords != 2 {
		t.Errorf("it is read as %+v", batch)
	}
	read, ok := readHead(stamped[4:])
	if !ok || read.damage() != nil || read.producer != stamp.ID {
		t.Errorf("it is damaged: %v", read.damage())
	}
}
