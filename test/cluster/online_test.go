package cluster

import (
	"testing"
	"time"

	"chatting/test/harness"
)

func TestAllNodesAgreeOnWhoIsOnlineWithinASecond(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3)
	const user = 7
	asking := token(t, 8)
	var slowest time.Duration
	agree := func(online bool) {
		t.Helper()
		changed := time.Now()
		for _, node := range nodes {
			harness.Until(ctx, t, "the node has noticed", func() bool { return isOnline(ctx, t, node.HTTP, asking, user) == online })
		}
		slowest = max(slowest, time.Since(changed))
	}
	for round := range scaled(10, 100) {
		first := connect(t, nodes[round%3], user)
		agree(true)
		second := connect(t, nodes[(round+1)%3], user)
		first.Close()
		agree(true)
		second.Close()
		agree(false)
	}
	t.Logf("the slowest agreement took %s", slowest.Round(time.Millisecond))
	if slowest > leeway*time.Second {
		t.Error("that is too slow")
	}
}
