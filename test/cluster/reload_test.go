package cluster

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"chatting/test/harness"
)

// A friend who is added while it is online is shown to every device, on whatever node, once.
func TestAnAddedFriendIsShownOnEveryNode(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3)
	const friend, user, other = 7, 8, 9
	online, asking := connect(t, nodes[0], friend), token(t, other)
	var devices []*harness.Client
	for _, node := range nodes {
		awaitKnownOnline(ctx, t, node.HTTP, asking, friend)
		devices = append(devices, connect(t, node, user))
	}
	befriend(ctx, t, nodes[1], user, friend)
	for _, device := range devices {
		awaitStatuses(ctx, t, device, friend, "online")
	}
	if err := online.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	for _, device := range devices {
		awaitStatuses(ctx, t, device, friend, "online", "offline")
	}
}

// isReachable tells whether a node would deliver a system message to the user. It may send one.
func isReachable(ctx context.Context, t *testing.T, node *harness.Node, user int) bool {
	t.Helper()
	body := map[string]any{"target_id": user, "message": "are you there?"}
	a, err := request(ctx, node.HTTP, s2sToken, http.MethodPost, "/s2sapi/system-message/", body)
	if err != nil || a.status != http.StatusOK && a.status != http.StatusNotFound {
		t.Fatalf("a system message to %d: %v %d %s", user, err, a.status, a.body)
	}
	return a.status == http.StatusOK
}

// A user comes back again and again, to any node, within the grace. Nobody sees it go, and nobody reaches it meanwhile.
func TestAQuickReloadIsSeenByNobody(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3, "CHATTING_PRESENCE_OFFLINE_GRACE=5m")
	const user, watcher, other = 7, 8, 9
	befriend(ctx, t, nodes[0], watcher, user)
	asking := token(t, other)
	devices := []*harness.Client{connect(t, nodes[0], watcher), connect(t, nodes[1], watcher)}
	page := connect(t, nodes[2], user)
	for round := range scaled(4, 30) {
		for _, node := range nodes {
			awaitKnownOnline(ctx, t, node.HTTP, asking, user)
		}
		if err := page.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		for _, node := range nodes {
			harness.Until(ctx, t, "nobody reaches the user", func() bool { return !isReachable(ctx, t, node, user) })
			if !isOnline(ctx, t, node.HTTP, asking, user) {
				t.Errorf("round %d: the user is shown as offline", round)
			}
		}
		late := connect(t, nodes[round%3], watcher)
		if friends := late.Frames()[0].Friends; len(friends) != 1 {
			t.Errorf("round %d: a login shows %v", round, friends)
		}
		late.Close()
		page = connect(t, nodes[round%3], user)
		for _, node := range nodes {
			harness.Until(ctx, t, "the user is reached", func() bool { return isReachable(ctx, t, node, user) })
		}
	}
	for _, device := range devices {
		mustHaveStatuses(t, device, user, "online")
	}
}

// The node on which a user is in its grace dies: nobody is left that could end the grace, and the user is offline all the same.
func TestAGraceEndsWithItsNode(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2, "CHATTING_PRESENCE_OFFLINE_GRACE=5m")
	const user, watcher = 7, 8
	befriend(ctx, t, nodes[0], watcher, user)
	device := connect(t, nodes[0], watcher)
	page := connect(t, nodes[1], user)
	awaitStatuses(ctx, t, device, user, "online")
	if err := page.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	harness.Until(ctx, t, "nobody reaches the user", func() bool { return !isReachable(ctx, t, nodes[0], user) })
	mustHaveStatuses(t, device, user, "online")
	nodes[1].Kill()
	awaitStatuses(ctx, t, device, user, "online", "offline")
}

// Where messages to users who are offline are stored, those of the grace are.
func TestMessagesOfTheGraceAreStored(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2, "CHATTING_PRESENCE_OFFLINE_GRACE=5m", "CHATTING_CHAT_OFFLINE=store")
	const user, friend = 7, 8
	sender := connect(t, nodes[1], friend)
	page := connect(t, nodes[0], user)
	for round := range 3 {
		if err := page.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		from, text := len(sender.Frames()), string(rune('a'+round))
		if err := sender.Send(user, text); err != nil {
			t.Fatal(err)
		}
		isText := func(f harness.Frame) bool { return f.Message == text }
		if _, err := sender.Find(ctx, from, isText); err != nil {
			t.Fatal(err)
		}
		page = connect(t, nodes[round%2], user)
		at, err := page.Find(ctx, 1, isText)
		if err != nil || !page.Frames()[at].Replayed {
			t.Fatalf("round %d: %v, %+v", round, err, page.Frames())
		}
	}
}

// pendingInvites returns the rooms that a node lists for a user.
func pendingInvites(ctx context.Context, t *testing.T, node *harness.Node, user int) (rooms []string) {
	t.Helper()
	a, err := request(ctx, node.HTTP, token(t, user), http.MethodGet, "/api/chatting/invites/", nil)
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("the invites of %d: %v %d %s", user, err, a.status, a.body)
	}
	var said struct {
		Invites []harness.Frame `json:"invites"`
	}
	if err := json.Unmarshal(a.body, &said); err != nil {
		t.Fatal(err)
	}
	for _, f := range said.Invites {
		rooms = append(rooms, f.Room)
	}
	return rooms
}

// Every node lists the same invites at once: one on which nobody is, and one that started after they were made.
func TestEveryNodeListsThePendingInvites(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2, "CHATTING_INVITE_EXPIRES_AFTER=10m")
	inviter, invited := connectForInvites(t, nodes[0], 1), connectForInvites(t, nodes[0], 2)
	awaitOnline(ctx, t, inviter, invited)
	must := func(user int, nodes []*harness.Node, want ...string) {
		t.Helper()
		for number, node := range nodes {
			got := pendingInvites(ctx, t, node, user)
			if len(got) != len(want) {
				t.Errorf("node %d lists %v for user %d, not %v", number, got, user, want)
				continue
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("node %d lists %v for user %d, not %v", number, got, user, want)
				}
			}
		}
	}
	first := invite(ctx, t, inviter, invited)
	must(2, nodes, first)
	second := invite(ctx, t, invited, inviter)
	must(1, nodes, first, second)
	nodes = append(nodes, c.start("CHATTING_INVITE_EXPIRES_AFTER=10m"))
	must(1, nodes, first, second)
	must(2, nodes, first, second)
	must(3, nodes)
	if err := invited.SendFrame(map[string]any{"target_id": 1, "type": "invite_game", "status": "accept", "room_id": first}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, inviter, first, "accept")
	must(2, nodes, second)
}
