package kafka

import (
	"fmt"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"
)

// The server's headers say why a record was refused: readers must find them however many headers its producer wrote.
func TestADeadLetterOfARecordWithManyHeadersSaysWhy(t *testing.T) {
	for count, code := range map[int]string{maxHeaders - 1: DeadInvalidJSON, maxHeaders: DeadInvalidJSON, maxHeaders + 1: DeadTooLarge, 5000: DeadTooLarge} {
		r := foreignRecord{topic: "t.system-messages", partition: 3, offset: 17, time: now()}
		for i := range count {
			r.headers = append(r.headers, textHeader(fmt.Sprint("h", i), "v"))
		}
		read := stored(t, record{key: []byte("k"), value: []byte("{"), headers: r.headers, time: now()})
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
			leftOut := slices.ContainsFunc(got.Headers, func(h kafka.Header) bool {
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
func stored(t *testing.T, r record) foreignRecord {
	t.Helper()
	var read foreignRecord
	handler := recordFunc(func(r *TailRecord) { read = copyRecord("t.system-messages", r) })
	tail := NewTail(nil, TailOptions{Handler: handler, Logger: testLogger(t), MaxBatch: MaxForeignBatch})
	tail.read(&fetchedPartition{batches: madeBatch{records: []record{r}}.bytes(t)}, 0)
	return read
}
