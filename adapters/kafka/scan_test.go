package kafka

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever takes the records may be slower than the log: a pager that somebody reads, a replay that waits for its appends.
func TestAScanWaitsForWhoTakesItsRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 10 * scanPatience
		taken := 0
		handler := &scanHandler{
			to: map[int]int64{0: 3}, open: 1, progress: make(chan struct{}, 1),
			take: func(*TailRecord) error {
				time.Sleep(slow)
				taken++
				return nil
			},
		}
		err := handler.scan(t.Context(), "topic", func(ctx context.Context) error {
			for offset := range int64(3) {
				handler.Record(&TailRecord{Offset: offset})
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
			take: func(*TailRecord) error {
				taken++
				return nil
			},
		}
		began := time.Now()
		err := handler.scan(t.Context(), "topic", func(ctx context.Context) error {
			handler.Record(&TailRecord{Offset: 0})
			<-ctx.Done()
			handler.Record(&TailRecord{Offset: 1}) // the rest of an answer that is being handed over
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
