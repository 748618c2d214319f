package embedded

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzParse: what can be read is written again as a request that reads the same.
func FuzzParse(f *testing.F) {
	for _, frame := range seedFrames() {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < minFrame {
			return
		}
		first, err := parse(bytes.Clone(frame))
		if err != nil || first.body == nil {
			return
		}
		once := first.frame(first.body)
		second, err := parse(bytes.Clone(once))
		if err != nil || second.correlation != first.correlation || !bytes.Equal(second.frame(second.body), once) {
			t.Fatalf("read as %x, then %+v, %v", once, second, err)
		}
	})
}

// FuzzBatch: kfake can read every record of a batch that passes.
func FuzzBatch(f *testing.F) {
	now := time.Now()
	f.Add(batchOf(noStamp, now, "a", "b")[batchHead:], int32(2), int16(0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, int32(1), int16(0))
	for codec := range int16(5) {
		f.Add([]byte{130, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0}, int32(0), codec)
	}
	f.Fuzz(func(t *testing.T, records []byte, count int32, attributes int16) {
		raw := seal(kmsg.RecordBatch{
			Magic: 2, Attributes: attributes, NumRecords: count, LastOffsetDelta: count - 1,
			FirstTimestamp: now.UnixMilli(), MaxTimestamp: now.UnixMilli(), ProducerID: -1, Records: records,
		})
		if checkBatch(raw, now) != nil {
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

// FuzzLogFile: no byte of a file of the log is lost, and what is left of it is whole.
func FuzzLogFile(f *testing.F) {
	now := time.Now()
	good := slices.Concat(
		batchOf(stamp{id: 1}, now, "a"), batchOf(stamp{id: 1, first: 1}, now, "b", "c"), batchOf(noStamp, now, "d"))
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 0, 0, 0))
	f.Fuzz(func(t *testing.T, raw []byte) {
		from := partition{topic: "t"}
		known := make(producers)
		whole, damaged := known.readBatches(raw, from)
		if len(whole)+len(damaged) != len(raw) {
			t.Fatalf("%d whole and %d damaged bytes of %d", len(whole), len(damaged), len(raw))
		}
		again := make(producers)
		if kept, rest := again.readBatches(whole, from); !bytes.Equal(kept, whole) || len(rest) != 0 {
			t.Fatalf("of %d whole bytes %d are damaged", len(whole), len(rest))
		}
		pids, windows, err := known.encode()
		if err != nil || !json.Valid(windows) {
			t.Fatalf("%s, %v", windows, err)
		}
		if len(known) == 0 != (len(pids) == 0) {
			t.Fatalf("%d producers in %d bytes", len(known), len(pids))
		}
	})
}

// FuzzKept: what is read of the file that somebody may have changed names topics and files, or nothing.
func FuzzKept(f *testing.F) {
	f.Add([]byte(`{"version":1,"topics":{"version":1,"topics":[{"name":"a","partitions":2}]},"newest":{"a-1":5},"groups":true}`))
	f.Add([]byte(`{"version":1,"topics":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, topics, ok := parseKept(raw)
		if !ok && (topics != nil || k.Newest != nil || k.Groups) {
			t.Fatalf("%+v, %v of what cannot be read", k, topics)
		}
		uncovered(topics, topics, k.Newest)
		_ = lost(k.Newest, nil)
	})
}
