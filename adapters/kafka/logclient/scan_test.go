package logclient

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"chatting/adapters/kafka/logclient/recordbatch"
)

// Whoever takes the records may be slower than the log: a pager that somebody reads, a replay that waits for its appends.
func TestAScanWaitsForWhoTakesItsRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 10 * scanPatience
		taken := 0
		handler := &scanHandler{
			to: map[int]int64{0: 3}, open: 1, progress: make(chan struct{}, 1),
			take: func(*recordbatch.StoredRecord) error {
				time.Sleep(slow)
				taken++
				return nil
			},
		}
		err := handler.scan(t.Context(), "topic", func(ctx context.Context) error {
			for offset := range int64(3) {
				handler.Record(&recordbatch.StoredRecord{Offset: offset})
			}
			handler.BatchEnd(0, 3)
			<-ctx.Done()
			return nil
		})
		if err != nil || taken != 3 {
			t.Errorf("%d records are taken, %v", taken, err)
		}
	})
}

func TestAScanEndsWhenNothingComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := 0
		handler := &scanHandler{
			to: map[int]int64{0: 3}, open: 1, progress: make(chan struct{}, 1),
			take: func(*recordbatch.StoredRecord) error {
				taken++
				return nil
			},
		}
		began := time.Now()
		err := handler.scan(t.Context(), "topic", func(ctx context.Context) error {
			handler.Record(&recordbatch.StoredRecord{Offset: 0})
			<-ctx.Done()
			handler.Record(&recordbatch.StoredRecord{Offset: 1}) // the rest of an answer that is being handed over
			return nil
		})
		if err == nil || errors.Is(err, context.Canceled) || taken != 1 {
			t.Errorf("%d records are taken, %v", taken, err)
		}
		if waited := time.Since(began); waited != scanPatience {
			t.Errorf("it ended after %s", waited)
		}
	})
}

// scanned is a scan whose records are taken down.
func scanned(t *testing.T, to map[int]int64, take func(*recordbatch.StoredRecord) error) *scanHandler {
	t.Helper()
	h := &scanHandler{to: to, take: take, open: len(to), progress: make(chan struct{}, 1)}
	ctx, stop := context.WithCancelCause(t.Context())
	t.Cleanup(func() { stop(nil) })
	h.reading, h.stop = ctx, stop
	return h
}

func TestAScanHandsOverWhatIsBeforeItsEnds(t *testing.T) {
	var taken []string
	h := scanned(t, map[int]int64{0: 3, 1: 10}, func(r *recordbatch.StoredRecord) error {
		taken = append(taken, fmt.Sprintf("%d/%d", r.Partition, r.Offset))
		return nil
	})
	ended := func() bool { return errors.Is(context.Cause(h.reading), errScanned) }
	for _, r := range []recordbatch.StoredRecord{{Partition: 0, Offset: 1}, {Partition: 0, Offset: 2}, {Partition: 0, Offset: 3}, {Partition: 1, Offset: 3}} {
		h.Record(&r)
	}
	h.BatchEnd(0, 4)
	h.BatchEnd(0, 9) // it reads on, and counts once
	h.Record(&recordbatch.StoredRecord{Partition: 0, Offset: 0})
	h.LeftOut(recordbatch.LeftOut{Partition: 1})
	h.BatchEnd(1, 9)
	if ended() {
		t.Error("it ends before it has read everything")
	}
	h.BatchEnd(1, 10)
	if !ended() {
		t.Error("it goes on at its ends")
	}
	h.Record(&recordbatch.StoredRecord{Partition: 1, Offset: 9})
	if got := fmt.Sprint(taken); got != "[0/1 0/2 1/3]" {
		t.Errorf("taken %s", got)
	}
}

func TestAScanGoesOnBehindAHole(t *testing.T) {
	nothing := func(*recordbatch.StoredRecord) error { return nil }
	for what, c := range map[string]struct {
		from, to int64
		ends     bool
	}{
		"before the end":   {2, 9, false},
		"up to the end":    {2, 10, true},
		"beyond the end":   {2, 20, true},
		"made anew":        {9, 2, true},
		"made anew, empty": {9, 0, true},
	} {
		h := scanned(t, map[int]int64{0: 10}, nothing)
		h.Hole(0, c.from, c.to)
		if got := errors.Is(context.Cause(h.reading), errScanned); got != c.ends {
			t.Errorf("a hole %s: it has ended: %t", what, got)
		}
	}
}

func TestAScanEndsWithTheErrorOfWhoTakesItsRecords(t *testing.T) {
	failed, tail := errors.New("enough"), errors.New("the tail's own")
	end := func(ctx context.Context, h *scanHandler, with error) error {
		return h.scan(ctx, "topic", func(ctx context.Context) error {
			h.Record(&recordbatch.StoredRecord{Offset: 0})
			h.Record(&recordbatch.StoredRecord{Offset: 1})
			if ctx.Err() == nil && with == nil {
				h.BatchEnd(0, 3)
			}
			return with
		})
	}
	taken := 0
	handler := func(err error) *scanHandler {
		taken = 0
		return &scanHandler{to: map[int]int64{0: 3}, open: 1, progress: make(chan struct{}, 1), take: func(*recordbatch.StoredRecord) error {
			taken++
			return err
		}}
	}
	if err := end(t.Context(), handler(failed), nil); !errors.Is(err, failed) || taken != 1 {
		t.Errorf("%d taken, %v", taken, err)
	}
	if err := end(t.Context(), handler(nil), tail); !errors.Is(err, tail) || taken != 2 {
		t.Errorf("of the tail: %d taken, %v", taken, err)
	}
	if err := end(t.Context(), handler(nil), nil); err != nil || taken != 2 {
		t.Errorf("at its end: %d taken, %v", taken, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := end(ended, handler(nil), nil); !errors.Is(err, context.Canceled) || taken != 0 {
		t.Errorf("with its context ended: %d taken, %v", taken, err)
	}
}

// A batch that hands over nothing, and a record that is taken, show that the log is read: each gives it more time.
func TestAScanIsPatientWhileItReads(t *testing.T) {
	for what, read := range map[string]func(*scanHandler){
		"batches": func(h *scanHandler) { h.BatchEnd(0, 1) },
		"records": func(h *scanHandler) { h.Record(&recordbatch.StoredRecord{Offset: 0}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			handler := &scanHandler{
				to: map[int]int64{0: 3}, open: 1, progress: make(chan struct{}, 1), take: func(*recordbatch.StoredRecord) error { return nil },
			}
			err := handler.scan(t.Context(), "topic", func(ctx context.Context) error {
				for range 5 {
					time.Sleep(scanPatience - time.Millisecond)
					read(handler)
				}
				handler.BatchEnd(0, 3)
				<-ctx.Done()
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
}
