package projector

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestWishesAreFulfilledAtOnceAndThenNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var fulfilled []time.Duration
		wishes, ended := make(chan struct{}, 1), make(chan struct{})
		ctx, end := testEnd(t)
		go func() {
			defer close(ended)
			paced(ctx, wishes, time.Minute, func() { fulfilled = append(fulfilled, time.Since(began)) })
		}()
		wish(wishes)
		synctest.Wait()
		for range 3 {
			wish(wishes)
		}
		time.Sleep(90 * time.Second)
		wish(wishes)
		time.Sleep(time.Hour)
		wish(wishes)
		synctest.Wait()
		want := []time.Duration{0, time.Minute, 2 * time.Minute, time.Hour + 90*time.Second}
		if !slices.Equal(fulfilled, want) {
			t.Errorf("fulfilled after %v, want %v", fulfilled, want)
		}
		end()
		<-ended
	})
}
