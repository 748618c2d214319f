package domain_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"chatting/domain"
)

var (
	nodeA = domain.Incarnation{0xa}
	nodeB = domain.Incarnation{0xb}
	nodeC = domain.Incarnation{0xc}
)

var someTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func up(node domain.Incarnation, user domain.UserID, count int64) domain.SessionRecord {
	return domain.SessionRecord{Kind: domain.SessionUp, Incarnation: node, User: user, Count: count}
}

func down(node domain.Incarnation, user domain.UserID, count int64) domain.SessionRecord {
	return domain.SessionRecord{Kind: domain.SessionDown, Incarnation: node, User: user, Count: count}
}

func away(node domain.Incarnation, user domain.UserID, count int64) domain.SessionRecord {
	return domain.SessionRecord{Kind: domain.SessionAway, Incarnation: node, User: user, Count: count}
}

func dead(node domain.Incarnation) domain.SessionRecord {
	return domain.SessionRecord{Kind: domain.SessionDead, Incarnation: node}
}

// step is a record and the transitions that it must cause.
type step struct {
	record domain.SessionRecord
	want   []domain.Transition
}

func on(user domain.UserID) domain.Transition {
	return domain.Transition{User: user, Online: true, At: someTime}
}

func off(user domain.UserID) domain.Transition { return domain.Transition{User: user, At: someTime} }

func apply(t *testing.T, steps ...step) *domain.Sessions {
	t.Helper()
	sessions := domain.NewSessions()
	for i, s := range steps {
		if got := sessions.Apply(s.record, someTime); !slices.Equal(got, s.want) {
			t.Fatalf("step %d, %s of %d: transitions %v, want %v", i, s.record.Kind, s.record.User, got, s.want)
		}
	}
	return sessions
}

func TestOnlineMeansASessionOnAnyNode(t *testing.T) {
	sessions := apply(t,
		step{up(nodeA, 7, 1), []domain.Transition{on(7)}},
		step{up(nodeB, 7, 1), nil},
		step{down(nodeA, 7, 1), nil},
		step{up(nodeA, 8, 2), []domain.Transition{on(8)}},
		step{down(nodeB, 7, 1), []domain.Transition{off(7)}},
	)
	if sessions.Online(7) || !sessions.Online(8) || sessions.Online(9) {
		t.Error("7 has left everywhere, 8 has not, 9 never came")
	}
}

func TestTheEndOfAnEarlierSessionDoesNotEndALaterOne(t *testing.T) {
	sessions := apply(t,
		step{up(nodeA, 7, 1), []domain.Transition{on(7)}},
		step{up(nodeA, 7, 2), nil},
		step{down(nodeA, 7, 1), nil},
	)
	if !sessions.Online(7) || sessions.Count(nodeA, 7) != 2 {
		t.Errorf("online %v, count %d; want true and 2", sessions.Online(7), sessions.Count(nodeA, 7))
	}
}

func TestALateUpOfAnEarlierSessionDoesNotLowerTheCount(t *testing.T) {
	apply(t,
		step{up(nodeA, 7, 2), []domain.Transition{on(7)}},
		step{up(nodeA, 7, 1), nil},
		step{down(nodeA, 7, 1), nil},
		step{down(nodeA, 7, 2), []domain.Transition{off(7)}},
	)
}

func TestTheEndOfALaterSessionEndsTheEarlierOnes(t *testing.T) {
	apply(t,
		step{up(nodeA, 7, 1), []domain.Transition{on(7)}},
		step{down(nodeA, 7, 3), []domain.Transition{off(7)}},
		step{down(nodeA, 7, 3), nil},
	)
}

func TestABurialEndsTheSessionsOfOneNodeInOrderOfUsers(t *testing.T) {
	sessions := apply(t,
		step{up(nodeA, 9, 1), []domain.Transition{on(9)}},
		step{up(nodeA, 7, 2), []domain.Transition{on(7)}},
		step{up(nodeB, 8, 1), []domain.Transition{on(8)}},
		step{up(nodeA, 8, 3), nil},
		step{up(nodeA, 1<<62, 4), []domain.Transition{on(1 << 62)}},
		step{dead(nodeA), []domain.Transition{off(7), off(9), off(1 << 62)}},
	)
	if !sessions.Online(8) || !sessions.IsDead(nodeA) || sessions.IsDead(nodeB) {
		t.Error("only A is dead, and B still serves 8")
	}
}

func TestWhatTheDeadStillSayIsIgnored(t *testing.T) {
	sessions := apply(t,
		step{up(nodeA, 7, 1), []domain.Transition{on(7)}},
		step{dead(nodeA), []domain.Transition{off(7)}},
		step{up(nodeA, 7, 2), nil},
		step{dead(nodeA), nil},
		step{down(nodeA, 7, 2), nil},
		step{dead(nodeC), nil}, // buried before it said anything
		step{up(nodeC, 7, 1), nil},
		step{up(nodeB, 7, 1), []domain.Transition{on(7)}},
		step{down(nodeA, 7, 9), nil},
	)
	if !sessions.Online(7) || sessions.Count(nodeA, 7) != 0 || sessions.Count(nodeB, 7) != 1 {
		t.Error("7 is online on B alone")
	}
}

func TestOtherRecordsChangeNobodysPresence(t *testing.T) {
	apply(t,
		step{up(nodeA, 7, 1), []domain.Transition{on(7)}},
		step{domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: nodeA, Count: 3}, nil},
		step{domain.SessionRecord{Kind: domain.FriendsChanged, User: 7}, nil},
		step{domain.SessionRecord{Kind: "of a later version", Incarnation: nodeA, User: 7, Count: 9}, nil},
		step{down(nodeB, 7, 9), nil},
		step{down(nodeA, 8, 9), nil},
	)
}

func TestAUserWhoseSessionsAreAwayIsOnlineAndNotReachable(t *testing.T) {
	sessions := apply(t, step{up(nodeA, 7, 2), []domain.Transition{on(7)}}, step{away(nodeA, 7, 1), nil})
	mustReach := func(what string, want bool) {
		t.Helper()
		if got := sessions.Reachable(7); got != want || !sessions.Online(7) {
			t.Errorf("%s: reachable: %v, online: %v", what, got, sessions.Online(7))
		}
	}
	mustReach("an earlier session is away", true)
	sessions.Apply(away(nodeA, 7, 2), someTime)
	mustReach("away", false)
	if !sessions.IsAway(nodeA, 7) || sessions.IsAway(nodeB, 7) || sessions.IsAway(nodeA, 8) {
		t.Error("another session is away")
	}
	sessions.Apply(up(nodeA, 7, 2), someTime)
	mustReach("the same session again", false)
	if got := sessions.Apply(up(nodeB, 7, 1), someTime); got != nil {
		t.Errorf("who is back comes online once more: %v", got)
	}
	mustReach("back on another node", true)
	sessions.Apply(down(nodeB, 7, 1), someTime)
	mustReach("gone from there", false)
	if got := sessions.Apply(up(nodeA, 7, 3), someTime); got != nil {
		t.Errorf("who is back comes online once more: %v", got)
	}
	mustReach("back", true)
	sessions.Apply(away(nodeA, 7, 3), someTime)
	if got := sessions.Apply(down(nodeA, 7, 3), someTime); !slices.Equal(got, []domain.Transition{off(7)}) || sessions.Reachable(7) {
		t.Errorf("the end of the grace: %v", got)
	}
	sessions.Apply(up(nodeA, 7, 4), someTime)
	sessions.Apply(away(nodeA, 7, 4), someTime)
	if got := sessions.Apply(dead(nodeA), someTime); !slices.Equal(got, []domain.Transition{off(7)}) {
		t.Errorf("the death of the node: %v", got)
	}
	if got := domain.NewSessions().Apply(away(nodeA, 7, 1), someTime); got != nil {
		t.Errorf("away without a session: %v", got)
	}
}

// naive is the same rules told differently: the state is computed anew from all records so far.
type naive struct{ log []domain.SessionRecord }

// online returns who is online, and of them who is reachable, and the newest count of each user and node.
func (n *naive) online() (online, reachable map[domain.UserID]bool, counts map[domain.SessionRecord]int64) {
	dead := make(map[domain.Incarnation]bool)
	for _, r := range n.log {
		if r.Kind == domain.SessionDead {
			dead[r.Incarnation] = true
		}
	}
	online, reachable = make(map[domain.UserID]bool), make(map[domain.UserID]bool)
	counts = make(map[domain.SessionRecord]int64)
	for i, r := range n.log {
		if r.Kind != domain.SessionUp || dead[r.Incarnation] {
			continue
		}
		// A session lives until a later record says that it, or a later one of the same node, has ended.
		highest, ended, isAway := r.Count, false, false
		for _, later := range n.log[i+1:] {
			if later.Incarnation != r.Incarnation || later.User != r.User || ended {
				continue
			}
			switch later.Kind {
			case domain.SessionUp:
				isAway = isAway && later.Count <= highest
				highest = max(highest, later.Count)
			case domain.SessionAway:
				isAway = isAway || later.Count >= highest
			case domain.SessionDown:
				ended = later.Count >= highest
			}
		}
		if !ended {
			online[r.User] = true
			key := domain.SessionRecord{Incarnation: r.Incarnation, User: r.User}
			if counts[key] == 0 && !isAway { // the record with which the session began
				reachable[r.User] = true
			}
			counts[key] = max(counts[key], highest)
		}
	}
	return online, reachable, counts
}

func randomRecord(random *rand.Rand, nodes []domain.Incarnation) domain.SessionRecord {
	node := nodes[random.IntN(len(nodes))]
	user, count := domain.UserID(1+random.IntN(4)), 1+random.Int64N(5)
	switch n := random.IntN(40); {
	case n < 20:
		return up(node, user, count)
	case n < 30:
		return down(node, user, count)
	case n < 37:
		return away(node, user, count)
	case n < 38:
		return domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: node}
	case n < 39:
		return domain.SessionRecord{Kind: domain.FriendsChanged, User: user}
	default:
		return dead(node)
	}
}

func TestSessionsAgreeWithANaiveModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	nodes := []domain.Incarnation{nodeA, nodeB, nodeC, {0xd}, {0xe}}
	for range 300 {
		var model naive
		sessions, twin := domain.NewSessions(), domain.NewSessions()
		told := make(map[domain.UserID]bool) // what someone knows who only hears of transitions
		for i := range 60 {
			record := randomRecord(random, nodes)
			if len(model.log) > 0 && random.IntN(8) == 0 {
				record = model.log[random.IntN(len(model.log))] // a duplicate, late
			}
			model.log = append(model.log, record)
			at := someTime.Add(time.Duration(i) * time.Second)
			transitions := sessions.Apply(record, at)
			if again := twin.Apply(record, at); !slices.Equal(transitions, again) {
				t.Fatalf("the same records give %v here and %v there", transitions, again)
			}
			for j, change := range transitions {
				if told[change.User] == change.Online || !change.At.Equal(at) {
					t.Fatalf("after %v: %v is no change, or not of now", model.log, change)
				}
				if j > 0 && transitions[j-1].User >= change.User {
					t.Fatalf("transitions out of order: %v", transitions)
				}
				told[change.User] = change.Online
			}
			maps.DeleteFunc(told, func(_ domain.UserID, online bool) bool { return !online })
			online, reachable, counts := model.online()
			if !maps.Equal(told, online) {
				t.Fatalf("after %v: told %v, the model says %v", model.log, told, online)
			}
			for user := domain.UserID(1); user <= 4; user++ {
				if sessions.Online(user) != online[user] {
					t.Fatalf("after %v: Online(%d) is %v", model.log, user, sessions.Online(user))
				}
				if sessions.Reachable(user) != reachable[user] {
					t.Fatalf("after %v: Reachable(%d) is %v", model.log, user, sessions.Reachable(user))
				}
				for _, node := range nodes {
					if got, want := sessions.Count(node, user), counts[domain.SessionRecord{Incarnation: node, User: user}]; got != want {
						t.Fatalf("after %v: the count of %d on %s is %d, want %d", model.log, user, node, got, want)
					}
				}
			}
		}
	}
}

// Nodes of several versions read each other's records.
func TestTheKindsOfSessionRecordsAreThoseOfTheTopic(t *testing.T) {
	for kind, want := range map[domain.SessionKind]string{
		domain.SessionUp: "up", domain.SessionDown: "down", domain.SessionAway: "away", domain.SessionBeat: "beat", domain.SessionLeaving: "leaving",
		domain.SessionDead: "dead", domain.FriendsChanged: "friends", domain.UserErased: "erased", domain.UserForgotten: "forgotten",
	} {
		if string(kind) != want {
			t.Errorf("%q, want %q", kind, want)
		}
	}
}

func TestANodesNameIsShortAndPrintable(t *testing.T) {
	longest := strings.Repeat("n", 300)
	for name, want := range map[string]string{
		"chat-1": "chat-1", "!~": "!~", longest: longest, longest + "n": "", "": "",
		"a b": "", " ": "", "a\n": "", "a\x7f": "", "ü": "",
	} {
		if got := domain.NodeName(name); got != want {
			t.Errorf("%q is named %q", name, got)
		}
	}
}
