package cluster

import (
	"testing"
	"time"

	"chatting/test/harness"
)

// Pairs chat both ways at once, each side on another node, some users with a second device on the third one.
func TestUsersOnThreeNodesSeeEveryMessageOnceAndInOrderOnEveryDevice(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3)
	users := scaled(60, 300)
	crowd := pairUp(t, users, func(user int) string { return nodes[user%3].HTTP })
	crowd.login(ctx, t)
	var second []int
	for user := 5; user <= users; user += 5 {
		second = append(second, user)
	}
	devices := connectAll(t, second, func(user int) *harness.Node { return nodes[(user+1)%3] })
	for _, chatter := range crowd.chatters {
		chatter.pace = scaled(20*time.Millisecond, 200*time.Millisecond)
	}

	crowd.start(ctx)
	harness.Pause(ctx, scaled(5*time.Second, time.Minute))
	crowd.progress(ctx, t, 20)
	crowd.finish()
	log := c.mustBeSound(ctx, crowd, devices...)
	everyone := devices
	for _, chatter := range crowd.chatters {
		if len(chatter.refused)+len(chatter.unsure)+len(chatter.resent) > 0 || len(chatter.connections()) != 1 {
			t.Errorf("user %d was disturbed: %v %v %v, %d connections", chatter.user, chatter.refused, chatter.unsure,
				chatter.resent, len(chatter.connections()))
		}
		everyone = append(everyone, chatter.connections()...)
	}
	for _, client := range everyone {
		saw := 0
		for _, f := range client.Frames() {
			if f.Type == "chat_message" {
				saw++
			}
		}
		if all := len(log[pairOf(client.User, (client.User-1^1)+1)]); saw != all {
			t.Errorf("a device of user %d on %s saw %d of %d messages", client.User, client.Addr, saw, all)
		}
	}
	for _, node := range nodes {
		if err := node.Stop(); err != nil {
			t.Errorf("a node left with %v", err)
		}
	}
}
