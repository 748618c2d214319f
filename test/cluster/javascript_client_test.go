package cluster

import (
	"testing"

	"chatting/test/harness"
)

// Two clients in JavaScript talk through a balancer while one node after the other is killed, and once while packets are lost.
func TestTheJavaScriptClientLosesNothingWhileNodesAreKilled(t *testing.T) {
	parts := harness.SharedParts(t)
	for _, mode := range []string{"reject", "store"} {
		t.Run(mode, func(t *testing.T) {
			c := newCluster(t, parts)
			nodes := c.startAll(2, "CHATTING_CHAT_OFFLINE="+mode)
			door := harness.OpenDoor(t)
			door.Lead(nodes[0].HTTP, nodes[1].HTTP) // in turn: each client is on its own
			killed := func(i int) func() {
				return func() {
					door.Lead(nodes[1-i].HTTP)
					nodes[i].Kill()
					nodes[i] = c.start("CHATTING_CHAT_OFFLINE=" + mode)
					door.Lead(nodes[0].HTTP, nodes[1].HTTP)
				}
			}
			harness.TalkThrough(t, door, [2]string{token(t, 1), token(t, 2)}, 2, map[int]func(){
				50: killed(0), 120: door.Lose, 200: killed(1),
			})
		})
	}
}
