package presence_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// asking are nodes that ask each other where users are connected.
type asking struct {
	nodes []*presence.Whereabouts
	// failing is what questions are answered with, and forged are answers that nobody can open.
	failing error
	forged  bool
	mute    map[int]bool // nodes to which no question comes
}

func (a *asking) Ask(question domain.EventID, user domain.UserID, done func(error)) {
	if a.failing != nil {
		done(a.failing)
		return
	}
	for i, node := range a.nodes {
		if !a.mute[i] {
			node.Asked(question, user)
		}
	}
	done(nil)
}

func (a *asking) Tell(question domain.EventID, told presence.Told, done func(error)) {
	for _, node := range a.nodes {
		node.Told(question, func() (presence.Told, bool) { return told, !a.forged })
	}
	done(nil)
}

// add has a node take part.
func (a *asking) add(t *testing.T, n *porttest.Node) *presence.Whereabouts {
	t.Helper()
	w := presence.NewWhereabouts(n.Presence, a, porttest.NodeIDs(byte(100+len(a.nodes))), porttest.QuietNotices())
	a.nodes = append(a.nodes, w)
	porttest.Run(t, w.Run)
	return w
}

// twoAsking are two nodes that have heard of each other, named a and b.
func twoAsking(t *testing.T) (a, b *porttest.Node, all *asking, ask func(domain.UserID) string) {
	t.Helper()
	log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
	a, b = porttest.NewNode(log, 1), porttest.NewNode(log, 2)
	a.Presence.Name, b.Presence.Name = "a", "b"
	a.Start(t)
	b.Start(t)
	all = &asking{mute: make(map[int]bool)}
	asked := all.add(t, a)
	all.add(t, b)
	time.Sleep(5 * time.Second)
	return a, b, all, func(user domain.UserID) string {
		t.Helper()
		where, err := asked.Execute(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		return shownWhere(where)
	}
}

// shownWhere is an answer as text: "a: 10.0.0.1 [resume]; silent: b".
func shownWhere(where presence.Where) string {
	var parts []string
	for _, at := range where.Nodes {
		text := at.Name + ":"
		for _, of := range at.Connections {
			text += fmt.Sprintf(" %s %v", of.Address, of.Features)
		}
		if at.More {
			text += " and more"
		}
		parts = append(parts, text)
	}
	for _, node := range where.Silent {
		parts = append(parts, "silent: "+node.Name)
	}
	return strings.Join(parts, "; ")
}

// comesFrom logs a user in from an address.
func comesFrom(t *testing.T, n *porttest.Node, user domain.UserID, address string, features ...port.Feature) *presence.Membership {
	t.Helper()
	membership, err := n.Presence.Enter(user, &porttest.Conn{ClientAddress: address, Features: features})
	if err != nil {
		t.Fatal(err)
	}
	membership.SetFriends(nil)
	if err := porttest.Online(membership); err != nil {
		t.Fatal(err)
	}
	return membership
}

func TestTheConnectionsOfAUserAreToldByAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, ask := twoAsking(t)
		comesFrom(t, a, 7, "10.0.0.1", port.FeatureResume)
		left := comesFrom(t, a, 7, "10.0.0.2")
		comesFrom(t, b, 7, "10.0.0.3")
		comesFrom(t, b, 8, "10.0.0.4")
		if _, err := a.Presence.Enter(7, &porttest.Conn{ClientAddress: "10.0.0.5"}); err != nil { // it is still in its login
			t.Fatal(err)
		}
		if got, want := ask(7), "a: 10.0.0.1 [resume] 10.0.0.2 []; b: 10.0.0.3 []"; got != want {
			t.Errorf("user 7 is connected to %q, want %q", got, want)
		}
		left.Leave()
		if got, want := ask(7), "a: 10.0.0.1 [resume]; b: 10.0.0.3 []"; got != want {
			t.Errorf("then it is connected to %q, want %q", got, want)
		}
		if got := ask(9); got != "" {
			t.Errorf("a user who is offline is connected to %q", got)
		}
	})
}

func TestANodeThatDoesNotAnswerIsNamedUntilItIsBuried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, all, ask := twoAsking(t)
		comesFrom(t, a, 7, "10.0.0.1")
		comesFrom(t, b, 7, "10.0.0.3")
		all.mute[1] = true
		began := time.Now()
		if got, want := ask(7), "a: 10.0.0.1 []; silent: b"; got != want {
			t.Errorf("user 7 is connected to %q, want %q", got, want)
		}
		if waited := time.Since(began); waited != 2*time.Second { // by the clock of the bubble
			t.Errorf("it took %s", waited)
		}
		b.Kill()
		time.Sleep(time.Minute)
		if got, want := ask(7), "a: 10.0.0.1 []"; got != want {
			t.Errorf("once the node is buried, user 7 is connected to %q, want %q", got, want)
		}
	})
}

func TestAnAnswerThatNobodyCanOpenIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, all, ask := twoAsking(t)
		comesFrom(t, a, 7, "10.0.0.1")
		all.forged = true
		if got, want := ask(7), "silent: a; silent: b"; got != want {
			t.Errorf("user 7 is connected to %q, want %q", got, want)
		}
	})
}

func TestNobodyIsAskedWhileTheLogIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, all, _ := twoAsking(t)
		all.failing = porttest.ErrUnconfirmed
		if _, err := all.nodes[0].Execute(t.Context(), 7); domain.CodeOf(err) != domain.CodeUnavailable {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestConnectionsBeyondABoundAreOnlySaidToBeThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _, ask := twoAsking(t)
		for range 101 {
			comesFrom(t, a, 7, "x")
		}
		if got := ask(7); strings.Count(got, "x") != 100 || !strings.HasSuffix(got, "and more") {
			t.Errorf("%d connections are told: %s", strings.Count(got, "x"), got)
		}
	})
}

func TestOnlySoManyQuestionsAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, all, _ := twoAsking(t)
		all.mute[0], all.mute[1] = true, true
		outcomes := make(chan error)
		for range 65 {
			go func() {
				_, err := all.nodes[0].Execute(context.Background(), 7)
				outcomes <- err
			}()
		}
		refused := 0
		for range 65 {
			if domain.CodeOf(<-outcomes) == domain.CodeUnavailable {
				refused++
			}
		}
		if refused != 1 {
			t.Errorf("%d of 65 questions were refused", refused)
		}
	})
}
