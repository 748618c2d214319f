package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// fleet is the nodes as a load balancer knows them: places, each with the node that is there now.
type fleet struct {
	mu    sync.Mutex
	nodes []*harness.Node
	held  bool // nobody may reconnect
}

func (f *fleet) hold(held bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = held
}

func (f *fleet) holds() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

func (f *fleet) at(place int) *harness.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[place%len(f.nodes)]
}

func (f *fleet) replace(place int, node *harness.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[place] = node
}

// unready returns how many nodes are not ready.
func (f *fleet) unready(ctx context.Context) int {
	count := 0
	for place := range f.nodes {
		if !isReady(ctx, f.at(place)) {
			count++
		}
	}
	return count
}

// Every node is restarted, one after the other, while everybody chats and reconnects.
func TestARollingRestartLosesNothingAndNobodyIsSeenOffline(t *testing.T) {
	ctx := testContext(t)
	const grace, closeOver = 10 * time.Second, 2 * time.Second
	c := newCluster(t, harness.SharedParts(t))
	settings := []string{
		"CHATTING_PRESENCE_LEAVE_GRACE=" + grace.String(), "CHATTING_SHUTDOWN_CLOSE_OVER=" + closeOver.String(),
	}
	fleet := &fleet{}
	for range 3 { // each on a port that it finds free again when it comes back
		fleet.nodes = append(fleet.nodes, c.start(append(settings, "CHATTING_HTTP_ADDR="+harness.FreeAddress(t))...))
	}
	crowd := pairUp(t, scaled(30, 300), func(int) string { return "" })
	for _, chatter := range crowd.chatters {
		chatter.place = func(attempt int) string { return fleet.at(chatter.user + attempt).HTTP }
		chatter.heldBack = fleet.holds
		chatter.pace = scaled(50*time.Millisecond, 300*time.Millisecond)
		befriend(ctx, t, fleet.at(0), chatter.user, chatter.partner)
	}
	crowd.login(ctx, t)
	crowd.start(ctx)
	crowd.progress(ctx, t, 5)

	watching, unwatch := context.WithCancel(ctx)
	var monitor sync.WaitGroup
	monitor.Go(func() {
		for ; watching.Err() == nil; harness.Pause(watching, 50*time.Millisecond) {
			if fleet.unready(watching) < 2 {
				continue
			}
			// Asked again, because one answer may be late on a machine under load.
			if again := fleet.unready(watching); again > 1 && watching.Err() == nil {
				t.Errorf("%d nodes were not ready at the same time", again)
			}
		}
	})
	terminated := make([]time.Time, 3)
	for place := range terminated {
		node := fleet.at(place)
		sockets := crowd.usersOn(node)
		if sockets < 2 {
			t.Fatalf("node %d has %d users: there is nothing to close one after the other", place, sockets)
		}
		fleet.hold(place == 0) // those of one node come back well after it has left, and within the grace
		terminated[place] = time.Now()
		if err := node.Stop(); err != nil {
			t.Errorf("a node left with %v", err)
		}
		left := time.Since(terminated[place])
		if place == 0 {
			harness.Pause(ctx, 2*beat) // by then the others would have buried it, but for the grace
			fleet.hold(false)
		}
		// Few sockets take less than the whole time; half of what they have to take is enough to tell it from none.
		if spread := closeOver / 80 * time.Duration(min(sockets, 40)-1); left < spread {
			t.Errorf("a node closed %d sockets or more and left within %s, not over %s at least", sockets, left, spread)
		}
		addr := node.HTTP
		if place == 1 { // one comes back on another port
			addr = "127.0.0.1:0"
		}
		fleet.replace(place, c.start(append(settings, "CHATTING_HTTP_ADDR="+addr)...))
		harness.Until(ctx, t, "the new node is ready", func() bool { return isReady(ctx, fleet.at(place)) })
		crowd.progress(ctx, t, 5)
		t.Logf("node %d left in %s and was back after %s", place, left.Round(time.Millisecond),
			time.Since(terminated[place]).Round(time.Millisecond))
	}
	unwatch()
	monitor.Wait()
	c.awaitBurials(ctx, 3)
	crowd.progress(ctx, t, 5)
	crowd.finish()
	c.mustBeSound(ctx, crowd)
	crowd.mustHaveFoundANode(t)
	reconnects := 0
	for _, chatter := range crowd.chatters {
		connections := chatter.connections()
		for _, client := range connections[:len(connections)-1] {
			reconnects++
			if err := client.Err(); !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
				t.Errorf("a connection of user %d ended with %v, not with 1012", chatter.user, err)
			}
		}
		crowd.mustHaveStayed(t, chatter, terminated, grace)
	}
	if t.Logf("%d reconnects", reconnects); reconnects < len(crowd.chatters) {
		t.Errorf("%d users had %d reconnects: not everybody's node was restarted", len(crowd.chatters), reconnects)
	}
}

// usersOn counts the users whose connections are on a node.
func (c *crowd) usersOn(node *harness.Node) int {
	count := 0
	for _, chatter := range c.chatters {
		connections := chatter.connections()
		if last := connections[len(connections)-1]; last.Addr == node.HTTP && last.Err() == nil {
			count++
		}
	}
	return count
}

// mustHaveStayed looks whether the partner of a user was told anything after the logins, all the way.
func (c *crowd) mustHaveStayed(t *testing.T, chatter *chatter, terminated []time.Time, grace time.Duration) {
	t.Helper()
	var away time.Duration // for how long the user was away, at most
	connections := chatter.connections()
	for _, client := range connections[1:] {
		back := client.Frames()[0].At
		var before time.Time
		for _, at := range terminated {
			if at.Before(back) {
				before = at
			}
		}
		away = max(away, back.Sub(before))
	}
	partner := c.chatters[chatter.partner-1]
	for i, client := range partner.connections() {
		said, _ := statuses(client, chatter.user)
		if len(said) == 0 || (i == 0 && fmt.Sprint(said) == "[online]") {
			continue // the first is that of the first login
		}
		if away > grace-2*time.Second {
			t.Logf("user %d was away for up to %s: %v", chatter.user, away, said)
			continue
		}
		t.Errorf("user %d was told %v of user %d, who was away for %s at most", partner.user, said, chatter.user, away)
	}
}

// awaitBurials waits until so many incarnations are buried in every partition.
func (c *cluster) awaitBurials(ctx context.Context, incarnations int) {
	c.t.Helper()
	const partitions = 16
	harness.Until(ctx, c.t, fmt.Sprintf("%d nodes are buried", incarnations), func() bool {
		harness.Pause(ctx, 300*time.Millisecond)
		dead := make(map[string]map[int32]bool)
		for _, r := range harness.ReadTopic(ctx, c.t, c.parts.Brokers, c.sessions()) {
			var record struct {
				Type        string `json:"type"`
				Incarnation string `json:"incarnation"`
			}
			if err := json.Unmarshal(r.Value, &record); err != nil {
				c.t.Fatal(err)
			}
			if record.Type == "dead" {
				if dead[record.Incarnation] == nil {
					dead[record.Incarnation] = make(map[int32]bool)
				}
				dead[record.Incarnation][r.Partition] = true
			}
		}
		complete := 0
		for _, in := range dead {
			if len(in) == partitions {
				complete++
			}
		}
		return complete >= incarnations
	})
}
