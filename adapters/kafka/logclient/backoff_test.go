package logclient

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAttemptsAreSpacedFromTwentyMillisecondsToHalfASecond(t *testing.T) {
	var b Backoff
	for i, want := range []time.Duration{20, 40, 80, 160, 320, 500, 500, 500} {
		if got := b.next(); got != want*time.Millisecond {
			t.Errorf("pause %d is %s", i, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		b, began := Backoff{count: 9}, time.Now()
		b.Wait(t.Context())
		if took := time.Since(began); took <= 250*time.Millisecond || took > 500*time.Millisecond {
			t.Errorf("a pause of half a second takes %s", took)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		began = time.Now()
		b.Wait(ended)
		if took := time.Since(began); took != 0 {
			t.Errorf("with its context ended it takes %s", took)
		}
	})
}
