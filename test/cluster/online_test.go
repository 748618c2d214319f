package cluster

import (
	"testing"
	"time"

	"chatting/test/harness"
)

func TestAllNodesAgreeOnWhoIsOnlineLongBeforeALeaseIsOver(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3)
	const user = 7
	asking := token(t, 8)
	// Who watches the user is told of each change, on each node in the order of the log.
	var watchers []*harness.Client
	for i, node := range nodes {
		befriend(ctx, t, node, 10+i, user)
		watchers = append(watchers, connect(t, node, 10+i))
	}
	var slowest time.Duration
	agree := func(online bool) {
		t.Helper()
		changed := time.Now()
		for _, node := range nodes {
			harness.Until(ctx, t, "the node has noticed", func() bool { return isOnline(ctx, t, node.HTTP, asking, user) == online })
		}
		slowest = max(slowest, time.Since(changed))
	}
	var told []string
	for round := range scaled(10, 100) {
		first := connect(t, nodes[round%3], user)
		agree(true)
		second := connect(t, nodes[(round+1)%3], user)
		first.Close()
		agree(true)
		second.Close()
		agree(false)
		// That the first one went changed nothing, or there would be more than these two.
		told = append(told, "online", "offline")
		for _, watcher := range watchers {
			awaitStatuses(ctx, t, watcher, user, told...)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("the slowest agreement took %s", slowest.Round(time.Millisecond))
	if slowest >= lease { // usually it takes some milliseconds
		t.Error("that is no sooner than the end of a lease")
	}
}
