package projector

import (
	"testing"

	"chatting/adapters/kafka/logclient"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

func TestAChangeOfABlockIsQuietIfNothingWasSaidBeforeTheNext(t *testing.T) {
	change := func(version int64) domain.BlockChanged {
		return domain.BlockChanged{Blocker: 9, Target: 7, Blocked: version%2 == 1, Version: version}
	}
	other := domain.BlockChanged{Blocker: 7, Target: 9, Blocked: true, Version: 1} // the other direction
	q := newQuietBlocks()
	for _, step := range []struct {
		what   string
		do     func() (int64, bool)
		before int64
		quiet  bool
	}{
		{"the first that was read", func() (int64, bool) { return q.changed(change(5), 10) }, 0, false},
		{"the next one", func() (int64, bool) { return q.changed(change(6), 11) }, 10, true},
		{"written again", func() (int64, bool) { return q.changed(change(6), 12) }, 0, false},
		{"an older one again", func() (int64, bool) { return q.changed(change(5), 13) }, 0, false},
		{"the other direction", func() (int64, bool) { return q.changed(other, 14) }, 0, false},
		{"the next one", func() (int64, bool) { return q.changed(change(7), 15) }, 11, true},
		{"after something else was said", func() (int64, bool) {
			q.said(domain.Between(7, 8))
			return q.changed(change(8), 16)
		}, 15, true},
		{"after something was said in between", func() (int64, bool) {
			q.said(domain.Between(7, 9))
			return q.changed(change(9), 18)
		}, 0, false},
		{"the other direction, after something was said in between", func() (int64, bool) {
			next := other
			next.Version++
			return q.changed(next, 19)
		}, 0, false},
		{"after a gap in the versions", func() (int64, bool) { return q.changed(change(11), 19) }, 18, false},
		{"the next one", func() (int64, bool) { return q.changed(change(12), 20) }, 19, true},
		{"after something that could not be read", func() (int64, bool) {
			q.unread()
			return q.changed(change(13), 22)
		}, 0, false},
	} {
		before, quiet := step.do()
		if quiet != step.quiet || quiet && before != step.before {
			t.Errorf("%s: %d, %t; want %d, %t", step.what, before, quiet, step.before, step.quiet)
		}
	}
}

func TestBlocksAndUnblocksBetweenWhichNothingIsSaidLeaveOneChange(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		projector := testProjector(t, cluster, topic, store)
		project(t, projector)
		flood := func() {
			for range 50 {
				k.block(!k.blocked)
			}
		}
		flood()
		k.append(k.message())
		flood()
		k.append(k.message())
		k.block(!k.blocked)
		k.append(k.message())
		wantHistory(t, store, k.want)
		changes := func() int {
			store.mu.Lock()
			defer store.mu.Unlock()
			return len(store.changes)
		}
		if got := changes(); got != 3 {
			t.Errorf("%d changes are kept, want one before each message", got)
		}
		end := store.next(0)
		if _, err := projector.Rebuild(brokertest.Context(t), 0); err != nil {
			t.Fatal(err)
		}
		brokertest.WaitUntil(t, func() bool { return !store.next(0).Before(end) })
		wantHistory(t, store, k.want)
		if got := changes(); got != 3 {
			t.Errorf("%d changes are kept after a rebuild, want as many as before", got)
		}
	})
}
