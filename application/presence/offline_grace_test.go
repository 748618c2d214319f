package presence_test

import (
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

const grace = 30 * time.Second

// graceful is two nodes with a grace, and a watcher of 7 on the second one.
type graceful struct {
	a, b    *porttest.Node
	log     *porttest.SessionTopic
	watcher *porttest.Conn
}

func newGraceful(t *testing.T) *graceful {
	log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
	g := &graceful{a: porttest.NewNodeWithGrace(log, 1, grace).Start(t), b: porttest.NewNodeWithGrace(log, 2, grace).Start(t), log: log}
	g.watcher, _ = g.b.Login(t, 8, 7)
	return g
}

// must looks at 7 on both nodes: whether it is shown as online, whether it is reachable, and what the watcher was told.
func (g *graceful) must(t *testing.T, what string, online, reachable bool, told ...bool) {
	t.Helper()
	synctest.Wait()
	for number, n := range []*porttest.Node{g.a, g.b} {
		if got := n.Presence.Online(7); got != online {
			t.Errorf("%s: online on node %d: %v", what, number, got)
		}
		if got := (presence.Reachable{Presence: n.Presence}).Online(7); got != reachable {
			t.Errorf("%s: reachable on node %d: %v", what, number, got)
		}
	}
	var statuses []porttest.Status
	for _, online := range told {
		statuses = append(statuses, porttest.Status{To: 8, User: 7, Online: online})
	}
	porttest.WantStatuses(t, what, g.watcher, statuses...)
}

func TestAUserWhoComesBackWithinTheGraceWasNeverOffline(t *testing.T) {
	for name, node := range map[string]func(*graceful) *porttest.Node{
		"on the same node": func(g *graceful) *porttest.Node { return g.a },
		"on another node":  func(g *graceful) *porttest.Node { return g.b },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGraceful(t)
				_, seven := g.a.Login(t, 7)
				g.must(t, "there", true, true, true)
				for range 3 {
					seven.Leave()
					g.must(t, "just gone", true, false, true)
					time.Sleep(grace - 2*time.Second)
					g.must(t, "gone for a while", true, false, true)
					_, seven = node(g).Login(t, 7)
					g.must(t, "back", true, true, true)
				}
				time.Sleep(5 * time.Minute)
				g.must(t, "long back", true, true, true)
				seven.Leave()
				time.Sleep(grace + 2*time.Second)
				g.must(t, "gone", false, false, true, false)
			})
		})
	}
}

func TestAUserWhoDoesNotComeBackIsOfflineAfterTheGraceOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraceful(t)
		_, seven := g.a.Login(t, 7)
		_, further := g.b.Login(t, 7)
		seven.Leave()
		time.Sleep(2 * grace)
		g.must(t, "gone from one node", true, true, true)
		porttest.WantSessions(t, g.log, 7, "up1 up2 away1 down1")
		further.Leave()
		time.Sleep(grace - time.Second)
		g.must(t, "within the grace", true, false, true)
		time.Sleep(3 * time.Second)
		g.must(t, "after it", false, false, true, false)
		porttest.WantSessions(t, g.log, 7, "up1 up2 away1 down1 away2 down2")
		time.Sleep(10 * time.Minute)
		g.must(t, "much later", false, false, true, false)
		porttest.WantSessions(t, g.log, 7, "up1 up2 away1 down1 away2 down2")
	})
}

func TestWhoTriesInVainToComeBackIsOfflineAfterTheGraceAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraceful(t)
		_, seven := g.a.Login(t, 7)
		seven.Leave()
		for range 10 {
			time.Sleep(grace / 10)
			_, vain := g.a.Enter(t, 7)
			vain.Leave()
		}
		time.Sleep(2 * time.Second)
		g.must(t, "after the grace", false, false, true, false)
	})
}

func TestTheUsersOfANodeThatDiesInTheirGraceAreOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraceful(t)
		_, seven := g.a.Login(t, 7)
		seven.Leave()
		synctest.Wait()
		g.a.Kill()
		time.Sleep(15 * time.Second)
		if g.b.Presence.Online(7) {
			t.Error("the user of a dead node is online for ever")
		}
		porttest.WantStatuses(t, "the watcher", g.watcher, porttest.Status{To: 8, User: 7, Online: true}, porttest.Status{To: 8, User: 7})
	})
}

func TestANodeThatStartsInAGraceShowsWhatTheOthersShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraceful(t)
		_, seven := g.a.Login(t, 7)
		seven.Leave()
		synctest.Wait()
		late := porttest.NewNode(g.log, 3).Start(t) // which may have another grace, or none
		synctest.Wait()
		if !late.Presence.Online(7) || (presence.Reachable{Presence: late.Presence}).Online(7) {
			t.Error("it shows something else")
		}
		time.Sleep(grace + 2*time.Second)
		if late.Presence.Online(7) {
			t.Error("it is online for ever")
		}
	})
}

func TestAGraceWhoseRecordFailsEndsAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraceful(t)
		_, seven := g.a.Login(t, 7)
		g.log.Decide(func(entry porttest.SessionEntry) porttest.Fate {
			if entry.Record.Kind == domain.SessionAway {
				return porttest.Refused
			}
			return porttest.Confirmed
		})
		seven.Leave()
		time.Sleep(grace / 2)
		g.must(t, "nobody knows that it is away", true, true, true)
		time.Sleep(grace/2 + 2*time.Second)
		g.must(t, "after the grace", false, false, true, false)
	})
}

func TestAnErasedUserHasNoGrace(t *testing.T) {
	for name, gone := range map[string]bool{"with a connection": false, "in its grace": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGraceful(t)
				_, seven := g.a.Login(t, 7)
				if gone {
					seven.Leave()
				}
				synctest.Wait()
				g.log.Append(domain.SessionRecord{Kind: domain.UserErased, User: 7}, func(error) {})
				synctest.Wait()
				seven.Leave()
				time.Sleep(2 * time.Second)
				g.must(t, "erased", false, false, true, false)
			})
		})
	}
}
