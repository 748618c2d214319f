package history_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/history"
	"chatting/domain"
	"chatting/test/porttest"
)

// oldEntries is a Retention with so many entries that are too old.
type oldEntries struct {
	mu     sync.Mutex
	left   int
	before []time.Time
	err    error
}

func (o *oldEntries) Expire(_ context.Context, before time.Time, limit int) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.before = append(o.before, before)
	if o.err != nil {
		return 0, o.err
	}
	n := min(o.left, limit)
	o.left -= n
	return n, nil
}

// AdvanceClock believes the machine's clock.
func (*oldEntries) AdvanceClock(context.Context, time.Time) (domain.TrustedClock, error) {
	return domain.TrustedClock{At: time.Now()}, nil
}

// have sets what is too old, and whether the database answers.
func (o *oldEntries) have(left int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left, o.err = left, err
}

func TestWhatIsOlderThanTheRetentionIsDeletedInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, out := &oldEntries{left: 2500}, &porttest.Output{}
		expire := &history.ExpireHistory{
			Store: store, Clock: store, LogTime: time.Now, Retention: 24 * time.Hour, Every: time.Minute, Logger: slog.New(slog.NewTextHandler(out, nil)),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			expire.Run(ctx)
		}()
		synctest.Wait()
		if store.left != 0 || len(store.before) != 3 || !store.before[0].Equal(time.Now().Add(-24*time.Hour)) {
			t.Errorf("%d are left after %v", store.left, store.before)
		}
		if got := out.Take(); got != "" {
			t.Errorf("the log says: %s", got)
		}
		store.have(2000, porttest.ErrRefused)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := out.Take(); strings.Count(got, "level=WARN") != 1 || len(store.before) != 4 {
			t.Errorf("after a failure: %d questions, the log says: %s", len(store.before), got)
		}
		store.have(2000, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if store.left != 0 || len(store.before) != 7 { // the last one finds that nothing is left
			t.Errorf("%d are left after %d questions", store.left, len(store.before))
		}
		cancel()
		<-done
		if got := out.Take(); got != "" {
			t.Errorf("at the end the log says: %s", got)
		}
	})
}
