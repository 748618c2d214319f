package logdir

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"chatting/test/kafkawire"
)

// FuzzLogFile: no byte of a file of the log is lost, and what is left of it is whole.
func FuzzLogFile(f *testing.F) {
	now := time.Now()
	good := slices.Concat(
		kafkawire.BatchOf(kafkawire.Stamp{ID: 1}, now, "a"), kafkawire.BatchOf(kafkawire.Stamp{ID: 1, First: 1}, now, "b", "c"), kafkawire.BatchOf(kafkawire.NoStamp, now, "d"))
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 0, 0, 0))
	f.Fuzz(func(t *testing.T, raw []byte) {
		from := Partition{Topic: "t"}
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
