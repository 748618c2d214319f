package cluster

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/harness"
)

// leaderOf returns the broker that leads partition 0 of the conversations, and whether every replica of every partition of
// the server's topics is in sync.
func (c *cluster) leaderOf(ctx context.Context, brokers int) (leader int, inSync bool) {
	c.t.Helper()
	client := harness.Dial(c.t, c.parts.Brokers)
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range []string{c.conversations(), c.sessions(), c.presence()} {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		c.t.Fatal(err)
	}
	inSync = true
	for _, topic := range response.Topics {
		for _, p := range topic.Partitions {
			if len(p.ISR) < brokers || p.Leader < 0 {
				inSync = false
			}
			if *topic.Topic == c.conversations() && p.Partition == 0 {
				leader = int(p.Leader)
			}
		}
	}
	return leader, inSync
}

// Brokers are killed and stopped under load. How long it takes until everybody chats again is compared with a bare writer
// and reader of the library, which run at the same time.
func TestALostLeaderCostsNoEchoedMessage(t *testing.T) {
	ctx := testContext(t)
	own := harness.StartOwnParts(t, 3)
	c := newCluster(t, own.Parts)
	nodes := c.startAll(2)
	crowd := pairUp(t, scaled(12, 60), func(user int) string { return nodes[user%2].HTTP })
	for _, chatter := range crowd.chatters {
		befriend(ctx, t, nodes[0], chatter.user, chatter.partner)
		chatter.pace = 50 * time.Millisecond
	}
	crowd.login(ctx, t)
	crowd.start(ctx)
	probe := startProbe(ctx, t, c, 6, 3)
	trips := crowd.trips()
	crowd.progress(ctx, t, 10)
	awaitAll(ctx, t, "the bare library", time.Now(), probe.trips)

	inSync := func() bool {
		harness.Pause(ctx, 100*time.Millisecond)
		_, all := c.leaderOf(ctx, 3)
		return all
	}
	measure := func(what string, cut time.Time) {
		ours := awaitAll(ctx, t, "the server", cut, trips).Sub(cut)
		bare := awaitAll(ctx, t, "the bare library", cut, probe.trips).Sub(cut)
		t.Logf("%s: everybody chats again after %s, the bare library after %s: %.2f times", what,
			ours.Round(time.Millisecond), bare.Round(time.Millisecond), float64(ours)/float64(bare))
		if ours > 2*bare {
			t.Errorf("%s: that is more than twice the time of the bare library", what)
		}
	}
	for range scaled(1, 5) {
		harness.Until(ctx, t, "all replicas are in sync", inSync)
		leader, _ := c.leaderOf(ctx, 3)
		cut := time.Now()
		own.KillBroker(leader)
		measure("a killed leader", cut)
		own.StartBroker(leader)
		crowd.progress(ctx, t, 10)
	}
	harness.Until(ctx, t, "all replicas are in sync", inSync)
	leader, _ := c.leaderOf(ctx, 3)
	cut := time.Now()
	own.SignalBroker(leader, syscall.SIGSTOP)
	harness.Pause(ctx, 10*time.Second)
	own.SignalBroker(leader, syscall.SIGCONT)
	measure("a leader that was stopped for 10 s", cut)
	crowd.progress(ctx, t, 10)
	probe.stop()

	crowd.finish()
	c.mustBeSound(ctx, crowd)
	crowd.mustBeUndisturbed(t)
	crowd.mustBeAnsweredWithin(t, appendDeadline+lease)
}
