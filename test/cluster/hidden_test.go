package cluster

import (
	"net/http"
	"testing"

	"chatting/test/harness"
)

// A user blocks and unblocks a friend again and again, and comes and goes over all nodes while the block lasts. The friend has
// a device on every node. Each sees one offline a block and one online an unblock, and nothing of what is between.
func TestWhoIsBlockedSeesNothingOfTheOneWhoBlockedOnAnyNode(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3)
	const blocker, friend, other = 7, 8, 9
	befriend(ctx, t, nodes[0], friend, blocker)
	current := connect(t, nodes[0], blocker)
	minted, asking, askingOther := token(t, blocker), token(t, friend), token(t, other)
	var devices []*harness.Client
	for _, node := range nodes {
		awaitKnownOnline(ctx, t, node.HTTP, askingOther, blocker)
		devices = append(devices, connect(t, node, friend))
	}
	var want []string
	for round := range scaled(4, 40) {
		at := nodes[round%3].HTTP
		if a, err := request(ctx, at, minted, http.MethodPost, blockedUsers, target(friend)); err != nil || a.status != http.StatusCreated {
			t.Fatalf("round %d: blocking: %v %+v", round, err, a)
		}
		want = append(want, "offline")
		for hop := range 3 {
			next := connect(t, nodes[(round+hop)%3], blocker)
			current.Close()
			if hop == 1 { // everybody else sees it go
				next.Close()
				for _, node := range nodes {
					harness.Until(ctx, t, "the user is offline", func() bool { return !isOnline(ctx, t, node.HTTP, askingOther, blocker) })
				}
				next = connect(t, nodes[hop], blocker)
			}
			current = next
		}
		for _, node := range nodes {
			awaitKnownOnline(ctx, t, node.HTTP, askingOther, blocker)
			if isOnline(ctx, t, node.HTTP, asking, blocker) {
				t.Errorf("round %d: the one who is blocked is told that the other is online", round)
			}
		}
		late := connect(t, nodes[round%3], friend)
		if online := late.Frames()[0].Friends; len(online) != 0 {
			t.Errorf("round %d: a login shows %v", round, online)
		}
		late.Close()
		if a, err := request(ctx, at, minted, http.MethodDelete, blockedUsers, target(friend)); err != nil || a.status != http.StatusOK {
			t.Fatalf("round %d: unblocking: %v %+v", round, err, a)
		}
		want = append(want, "online")
		for _, device := range devices {
			awaitStatuses(ctx, t, device, blocker, want...)
		}
	}
	for _, device := range devices {
		mustHaveStatuses(t, device, blocker, want...)
	}
}
