package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatting/test/harness"
)

// How a user of a node that is killed behaves.
const (
	patient   = iota // reconnects once its friend was told that it is offline
	eager            // reconnects at once
	elsewhere        // reconnects at once, and has a second device on a node that stays
	behaviours
)

// victims are the users of the nodes that are killed, by turns, each chatting with a friend on a node that stays.
type victims struct {
	cluster *cluster
	stays   *harness.Node
	crowd   *crowd // friends with odd, victims with even numbers
	devices []*harness.Client

	mu       sync.Mutex
	alive    []*harness.Node // those that are killed, without the dead one
	held     bool            // patient users may not reconnect
	expected map[int][]string
}

func behaviourOf(user int) int { return user / 2 % behaviours }

// gather logs everybody in, the friends first, so that they are told of everything.
func gather(ctx context.Context, c *cluster, pairs int, nodes []*harness.Node) *victims {
	c.t.Helper()
	v := &victims{cluster: c, stays: nodes[0], alive: nodes[1:], expected: make(map[int][]string)}
	v.crowd = pairUp(c.t, 2*pairs, func(int) string { return v.stays.HTTP })
	friends, killed := &crowd{}, &crowd{}
	var users []int
	for _, chatter := range v.crowd.chatters {
		if v.expected[chatter.user] = []string{"online"}; chatter.user%2 == 1 {
			befriend(ctx, c.t, v.stays, chatter.user, chatter.partner)
			friends.chatters = append(friends.chatters, chatter)
			continue
		}
		chatter.place = func(attempt int) string { return v.place(chatter.user + attempt) }
		chatter.heldBack = func() bool { return v.holds(chatter.user) }
		killed.chatters = append(killed.chatters, chatter)
		if behaviourOf(chatter.user) == elsewhere {
			users = append(users, chatter.user)
		}
	}
	friends.login(ctx, c.t)
	killed.login(ctx, c.t)
	v.devices = connectAll(c.t, users, func(int) *harness.Node { return v.stays })
	return v
}

func (v *victims) place(n int) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.alive[n/2%len(v.alive)].HTTP
}

func (v *victims) holds(user int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.held && behaviourOf(user) == patient
}

// friendOf returns the connection that is told of a victim.
func (v *victims) friendOf(user int) *harness.Client {
	return v.crowd.chatters[user-2].connections()[0]
}

// usersOn returns the victims whose connections are on a node.
func (v *victims) usersOn(node *harness.Node) []*chatter {
	var there []*chatter
	for _, chatter := range v.crowd.chatters {
		connections := chatter.connections()
		if chatter.user%2 == 0 && connections[len(connections)-1].Addr == node.HTTP {
			there = append(there, chatter)
		}
	}
	return there
}

// killOne kills a node amid the traffic, and follows its users until they chat again. It returns how long after the kill
// the last of them was offline to its friend.
func (v *victims) killOne(ctx context.Context, node *harness.Node) time.Duration {
	t := v.cluster.t
	t.Helper()
	there := v.usersOn(node)
	v.mu.Lock()
	v.held = true
	v.alive = slices.DeleteFunc(slices.Clone(v.alive), func(n *harness.Node) bool { return n == node })
	v.mu.Unlock()
	killed := time.Now()
	node.Kill()
	var slowest time.Duration
	for _, chatter := range there {
		if behaviourOf(chatter.user) != patient {
			continue
		}
		v.expected[chatter.user] = append(v.expected[chatter.user], "offline")
		friend := v.friendOf(chatter.user)
		awaitStatuses(ctx, t, friend, chatter.user, v.expected[chatter.user]...)
		_, at := statuses(friend, chatter.user)
		slowest = max(slowest, at[len(at)-1].Sub(killed))
		v.expected[chatter.user] = append(v.expected[chatter.user], "online")
	}
	v.mu.Lock()
	v.held = false
	v.mu.Unlock()
	for _, chatter := range there {
		count := chatter.echoes()
		harness.Until(ctx, t, fmt.Sprintf("user %d chats again", chatter.user), func() bool { return chatter.echoes() > count+5 })
		if behaviourOf(chatter.user) == eager {
			v.tolerateLateness(chatter, killed)
		}
		awaitStatuses(ctx, t, v.friendOf(chatter.user), chatter.user, v.expected[chatter.user]...)
	}
	return slowest
}

// tolerateLateness notes that a user that should have been back at once was not, on a machine under load: then it was
// offline for a while.
func (v *victims) tolerateLateness(c *chatter, killed time.Time) {
	connections := c.connections()
	back := connections[len(connections)-1].Frames()[0].At
	if back.Sub(killed) < lease-beat {
		return
	}
	if said, _ := statuses(v.friendOf(c.user), c.user); len(said) > len(v.expected[c.user]) {
		v.cluster.t.Logf("user %d was back only %s after the kill", c.user, back.Sub(killed))
		v.expected[c.user] = append(v.expected[c.user], "offline", "online")
	}
}

// A node is killed in the middle of traffic, again and again.
func TestAKilledNodeCostsItsUsersAReconnectAndTheirFriendsOneStatusFrame(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3)
	v := gather(ctx, c, scaled(12, 60), nodes)
	v.crowd.start(ctx)
	v.crowd.progress(ctx, t, 10)
	bound := lease + beat + time.Second // an append takes far less than the last
	for round := range scaled(2, 10) {
		node := nodes[1+round%2]
		users := len(v.usersOn(node))
		after := v.killOne(ctx, node)
		t.Logf("round %d: %d users; the last was offline to its friend %s after the kill (bound: %s)", round, users,
			after.Round(time.Millisecond), bound)
		if users == 0 || after > leeway*bound {
			t.Errorf("round %d: %d users, %s", round, users, after)
		}
		v.crowd.progress(ctx, t, 10)
		nodes[1+round%2] = c.start()
		v.mu.Lock()
		v.alive = append(v.alive, nodes[1+round%2])
		v.mu.Unlock()
	}
	v.crowd.finish()
	c.mustBeSound(ctx, v.crowd, v.devices...)
	for _, chatter := range v.crowd.chatters {
		if chatter.user%2 == 0 {
			mustHaveStatuses(t, v.friendOf(chatter.user), chatter.user, v.expected[chatter.user]...)
		}
	}
	c.mustHaveAudited(ctx, v.expected)
}

// mustHaveAudited waits until the public presence topic tells of as many transitions as the test knows of, and compares.
// An event may be there again, under the same id.
func (c *cluster) mustHaveAudited(ctx context.Context, expected map[int][]string) {
	c.t.Helper()
	wanted := 0
	for _, statuses := range expected {
		wanted += len(statuses)
	}
	var said map[int][]string
	var found string
	harness.Until(ctx, c.t, fmt.Sprintf("%d transitions are in the presence topic", wanted), func() bool {
		said = make(map[int][]string)
		ids := make(map[string]harness.Event)
		events := harness.ReadEvents(ctx, c.t, c.parts.Brokers, c.presence())
		for _, event := range events {
			if before, again := ids[event.ID]; again {
				if before.Data != event.Data {
					c.t.Errorf("the id %s is of %+v and of %+v", event.ID, before.Data, event.Data)
				}
				continue
			}
			ids[event.ID] = event
			said[event.Data.User] = append(said[event.Data.User], event.Data.Status)
		}
		found = fmt.Sprintf("the presence topic holds %d ids in %d records; the test knows of %d transitions", len(ids), len(events), wanted)
		if len(ids) < wanted {
			harness.Pause(ctx, 200*time.Millisecond)
			return false
		}
		return true
	})
	c.t.Log(found)
	for user, statuses := range expected {
		if fmt.Sprint(said[user]) != fmt.Sprint(statuses) {
			c.t.Errorf("the presence topic says %v of user %d, not %v", said[user], user, statuses)
		}
		delete(said, user)
	}
	if len(said) > 0 {
		c.t.Errorf("the presence topic knows users who were never there: %v", said)
	}
}

// A node hangs for long enough to be buried, and goes on: its users never notice more than the pause.
func TestANodeThatHangsIsBuriedAndComesBack(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2)
	v := gather(ctx, c, scaled(8, 60), nodes)
	v.crowd.start(ctx)
	v.crowd.progress(ctx, t, 10)

	nodes[1].Signal(syscall.SIGSTOP)
	stopped := time.Now()
	for _, chatter := range v.usersOn(nodes[1]) {
		if behaviourOf(chatter.user) != elsewhere {
			v.expected[chatter.user] = append(v.expected[chatter.user], "offline")
			awaitStatuses(ctx, t, v.friendOf(chatter.user), chatter.user, v.expected[chatter.user]...)
		}
	}
	asking := token(t, 1)
	for _, chatter := range v.usersOn(nodes[1]) {
		if online := isOnline(ctx, t, nodes[0].HTTP, asking, chatter.user); online != (behaviourOf(chatter.user) == elsewhere) {
			t.Errorf("user %d of the buried node is online: %t", chatter.user, online)
		}
	}
	t.Logf("buried %s after it stopped", time.Since(stopped).Round(time.Millisecond))
	harness.Pause(ctx, time.Until(stopped.Add(15*time.Second)))
	nodes[1].Signal(syscall.SIGCONT)
	for _, chatter := range v.usersOn(nodes[1]) {
		if behaviourOf(chatter.user) != elsewhere {
			v.expected[chatter.user] = append(v.expected[chatter.user], "online")
			awaitStatuses(ctx, t, v.friendOf(chatter.user), chatter.user, v.expected[chatter.user]...)
		}
	}
	v.crowd.progress(ctx, t, 10)
	v.crowd.finish()
	c.mustBeSound(ctx, v.crowd, v.devices...)
	for _, chatter := range v.crowd.chatters {
		if chatter.user%2 == 0 {
			mustHaveStatuses(t, v.friendOf(chatter.user), chatter.user, v.expected[chatter.user]...)
		}
	}
	c.mustHaveAudited(ctx, v.expected)
}
