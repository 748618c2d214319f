package ingest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// The server's headers say why a record was refused: readers must find them however many headers its producer wrote.
func TestADeadLetterOfARecordWithManyHeadersSaysWhy(t *testing.T) {
	for count, code := range map[int]string{maxHeaders - 1: DeadInvalidJSON, maxHeaders: DeadInvalidJSON, maxHeaders + 1: DeadTooLarge, 5000: DeadTooLarge} {
		r := foreignRecord{topic: "t.system-messages", partition: 3, offset: 17, time: time.Now()}
		for i := range count {
			r.headers = append(r.headers, textHeader(fmt.Sprint("h", i), "v"))
		}
		read := stored(t, recordbatch.Record{Key: []byte("k"), Value: []byte("{"), Headers: r.headers, Time: time.Now()})
		_, refused := read.systemMessage()
		if refused == nil || refused.code != code {
			t.Fatalf("%d headers: refused with %+v", count, refused)
		}
		for failures := 1; failures <= 2; failures++ {
			letter := stored(t, read.deadLetter(refused))
			got := describe(&letter)
			if got.Code != code || got.Reason != refused.sentence || got.Count != failures || got.FirstOffset != 0 || got.LeftOut {
				t.Errorf("%d headers: %s %q, %d times, from %d", count, got.Code, got.Reason, got.Count, got.FirstOffset)
			}
			kept := len(withoutHeaders(got.Headers, deadLetterHeaders...))
			leftOut := slices.ContainsFunc(got.Headers, func(h kafkago.Header) bool {
				return h.Key == headerHeadersLeftOut && string(h.Value) == fmt.Sprint(count)
			})
			if code == DeadInvalidJSON && (kept != count || leftOut) || code == DeadTooLarge && (kept != 0 || !leftOut) {
				t.Errorf("%d headers: %d are in the letter, which says that they are not: %t", count, kept, leftOut)
			}
			if code == DeadTooLarge {
				break
			}
			read = letter // as it is written again and refused again
		}
	}
}

// stored returns a record as it is read from the log.
func stored(t *testing.T, r recordbatch.Record) foreignRecord {
	t.Helper()
	var read foreignRecord
	handler := recordFunc(func(r *recordbatch.StoredRecord) { read = copyRecord("t.system-messages", r) })
	logtest.Feed(t, handler, 0, brokertest.Batch{Records: []recordbatch.Record{r}}.Bytes())
	return read
}

// A header takes two bytes of a record, and forty of memory.
func TestMillionsOfHeadersTakeNoMemory(t *testing.T) {
	claimed := binary.AppendVarint([]byte{0, 0, 0, 1, 1}, math.MaxInt32)
	few := append(binary.AppendVarint(nil, int64(len(claimed)+3)), append(claimed, 2, 'h', 1)...)
	millions := binary.AppendVarint([]byte{0, 0, 0, 1, 1}, 2_000_000)
	millions = append(millions, bytes.Repeat([]byte{0, 1}, 2_000_000)...)
	millions = append(binary.AppendVarint(nil, int64(len(millions))), millions...)
	for what, plain := range map[string][]byte{"claimed": few, "real": millions} {
		batch := brokertest.Batch{Plain: plain}.Bytes()
		handler := recordFunc(func(r *recordbatch.StoredRecord) {
			if copied := copyRecord("t", r); copied.refused == nil || copied.refused.code != DeadTooLarge {
				t.Errorf("%s: refused with %v", what, copied.refused)
			}
		})
		if took := brokertest.Allocated(func() { logtest.Feed(t, handler, 0, batch) }); took > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", what, took)
		}
	}
}
