package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"chatting/test/harness"
)

// connectionsOf asks a node where a user is connected: the names of the nodes with its connections, and of those that did not answer.
func connectionsOf(t *testing.T, node *harness.Node, user int) (on, unanswered []string) {
	t.Helper()
	type of struct{ Incarnation string }
	var answer struct {
		Connections []of
		Unanswered  []of
	}
	a, err := request(testContext(t), node.HTTP, s2sToken, http.MethodGet, fmt.Sprintf("/s2sapi/moderation/connections/?user_id=%d", user), nil)
	if err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &answer) != nil {
		t.Fatalf("the connections of user %d: %v %d %s", user, err, a.status, a.body)
	}
	for _, c := range answer.Connections {
		on = append(on, c.Incarnation)
	}
	for _, c := range answer.Unanswered {
		unanswered = append(unanswered, c.Incarnation)
	}
	slices.Sort(on)
	return slices.Compact(on), unanswered
}

// While users chat on three nodes, all of them get what is announced, once each, and the platform sees on which nodes a user is
// connected. Of a node that was killed it is told that it did not answer, until it is buried.
func TestThePlatformReachesAndSeesUsersOnAllNodes(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3)
	var devices []*harness.Client
	for user := 1; user <= scaled(12, 60); user++ {
		devices = append(devices, connect(t, nodes[user%3], user))
	}
	devices = append(devices, connect(t, nodes[0], 1)) // who is on nodes 0 and 1
	awaitKnownOnline(ctx, t, nodes[0].HTTP, token(t, 1), 2)
	stop := make(chan struct{})
	var flooding sync.WaitGroup
	for i, device := range devices {
		flooding.Go(func() { flood(ctx, device, 1+(i+1)%12, fmt.Sprint(i), stop) })
	}
	announce := func(node int, text, key string) {
		t.Helper()
		body := map[string]any{"to": "online", "message": text, "actor": "alice"}
		a, err := request(ctx, nodes[node].HTTP, s2sToken, http.MethodPost, "/s2sapi/moderation/announcements/", body, "Idempotency-Key: "+key)
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("announcing: %v %d %s", err, a.status, a.body)
		}
	}
	announce(0, "noon", "k1")
	announce(1, "noon", "k1") // a repetition by way of another node
	announce(2, "last", "k2")
	for i, device := range devices {
		at, err := device.Find(ctx, 0, func(f harness.Frame) bool { return f.Type == "system_message" && f.Message == "last" })
		if err != nil {
			t.Fatalf("device %d: %v", i, err)
		}
		heard := 0
		for _, f := range device.Frames()[:at] {
			if f.Type == "system_message" && f.Message == "noon" {
				heard++
			}
		}
		if heard != 1 {
			t.Errorf("device %d heard the announcement %d times", i, heard)
		}
	}

	on, unanswered := connectionsOf(t, nodes[2], 1)
	if len(on) != 2 || len(unanswered) != 0 {
		t.Errorf("user 1 is on %v, no answer of %v", on, unanswered)
	}
	nodes[1].Kill()
	left, silent := connectionsOf(t, nodes[2], 1)
	if len(left) != 1 || len(silent) != 1 || !slices.Contains(on, left[0]) || !slices.Contains(on, silent[0]) || left[0] == silent[0] {
		t.Errorf("a node was killed: user 1 is on %v, no answer of %v; it was on %v", left, silent, on)
	}
	harness.Until(ctx, t, "the dead node is buried", func() bool {
		now, silent := connectionsOf(t, nodes[2], 1)
		return len(silent) == 0 && slices.Equal(now, left)
	})
	close(stop)
	flooding.Wait()
}
