package porttest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
)

const SessionPartitions = 3

// Node is a presence with its heartbeats and its tail, on a sessions topic that it may share with others.
type Node struct {
	Presence *presence.SetPresence
	Kill     func()

	Mu      sync.Mutex
	Resumed *sync.Cond
	paused  bool
	cut     bool
	Log     *SessionTopic
}

// Append, Bury, PartitionOf and Partitions make Node the port.SessionLog of its presence: one that can be cut off.
func (n *Node) Append(record domain.SessionRecord, done func(error)) {
	if n.isCut() {
		done(ErrRefused)
		return
	}
	n.Log.Append(record, done)
}

func (n *Node) Bury(incarnation domain.Incarnation, done func(error)) {
	if n.isCut() {
		done(ErrRefused)
		return
	}
	n.Log.Bury(incarnation, done)
}

func (n *Node) PartitionOf(user domain.UserID) int { return n.Log.PartitionOf(user) }

func (n *Node) Partitions() int { return n.Log.Partitions() }

func (n *Node) isCut() bool {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	return n.cut
}

// Pause stops the node's tail; Resume lets it go on.
func (n *Node) Pause() { n.set(func() { n.paused = true }) }

func (n *Node) Resume() { n.set(func() { n.paused = false }) }

// CutOff lets the node neither write nor read.
func (n *Node) CutOff() { n.set(func() { n.cut, n.paused = true, true }) }

func (n *Node) Reconnect() { n.set(func() { n.cut, n.paused = false, false }) }

func (n *Node) set(change func()) {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	change()
	n.Resumed.Broadcast()
}

// NodeIDs makes the incarnations of a node: 1000 and on for node 1.
func NodeIDs(number byte) port.IDs {
	var next atomic.Uint32
	return func() domain.EventID { return domain.EventID{number, byte(next.Add(1))} }
}

func Incarnation(number, life byte) domain.Incarnation { return domain.Incarnation{number, life} }

// NewNode makes a node that has read the topic so far, but does not run yet.
func NewNode(log *SessionTopic, number byte) *Node { return NewNodeWithGrace(log, number, 0) }

// NewNodeWithGrace is NewNode with an offline grace.
func NewNodeWithGrace(log *SessionTopic, number byte, grace time.Duration) *Node {
	n := &Node{Log: log}
	n.Resumed = sync.NewCond(&n.Mu)
	times := presence.DefaultTimes
	times.OfflineGrace = grace
	n.Presence = presence.NewSetPresence(n, time.Now, NodeIDs(number), times, QuietNotices())
	return n
}

// Start runs the node until the test ends or Kill is called: from then on it does nothing any more, as after a kill -9.
func (n *Node) Start(t *testing.T) *Node {
	ctx, cancel := context.WithCancel(t.Context())
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		n.Presence.Run(ctx)
	}()
	stop := n.Log.Follow(func(partition, _ int, entry SessionEntry) {
		n.Mu.Lock()
		for n.paused {
			n.Resumed.Wait()
		}
		n.Mu.Unlock()
		n.Presence.Apply(partition, entry.Record, entry.At)
	})
	n.Kill = sync.OnceFunc(func() {
		n.set(func() { n.cut, n.paused = true, false })
		cancel()
		<-beating
		stop()
	})
	t.Cleanup(n.Kill)
	return n
}

// OneNode starts a node on a topic of its own.
func OneNode(t *testing.T) (*Node, *SessionTopic) {
	log := NewSessionTopic(SessionPartitions, time.Now)
	return NewNode(log, 1).Start(t), log
}

// Enter begins a login.
func (n *Node) Enter(t *testing.T, user domain.UserID, friends ...domain.UserID) (*Conn, *presence.Membership) {
	t.Helper()
	c := &Conn{}
	membership, err := n.Presence.Enter(user, c)
	if err != nil {
		t.Fatal(err)
	}
	membership.SetFriends(friends)
	return c, membership
}

// Login is Enter and the rest.
func (n *Node) Login(t *testing.T, user domain.UserID, friends ...domain.UserID) (*Conn, *presence.Membership) {
	t.Helper()
	c, membership := n.Enter(t, user, friends...)
	if err := Online(membership); err != nil {
		t.Fatal(err)
	}
	return c, membership
}

// Online completes a login, or gives up after ten seconds.
func Online(membership *presence.Membership) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return membership.Online(ctx, 0)
}

// GoOnline is Online in the background.
func GoOnline(membership *presence.Membership) <-chan error {
	outcome := make(chan error, 1)
	go func() { outcome <- Online(membership) }()
	return outcome
}

func WantStatuses(t *testing.T, what string, c *Conn, want ...Status) {
	t.Helper()
	if got := Of[Status](c); !slices.Equal(got, want) {
		t.Fatalf("%s was told %v, want %v", what, got, want)
	}
}

func WantSessions(t *testing.T, log *SessionTopic, user domain.UserID, want string) {
	t.Helper()
	if got := log.Kinds(user); got != want {
		t.Fatalf("the log has %q of %d, want %q", got, user, want)
	}
}

// Ups lets records of the kind up meet this fate, and confirms the rest.
func Ups(what Fate) func(SessionEntry) Fate {
	return func(entry SessionEntry) Fate {
		if entry.Record.Kind == domain.SessionUp {
			return what
		}
		return Confirmed
	}
}

// LoginWith is Login with a limit on the user's connections.
func (n *Node) LoginWith(t *testing.T, user domain.UserID, limit int) (*Conn, *presence.Membership) {
	t.Helper()
	c, membership := n.Enter(t, user)
	if err := membership.Online(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	return c, membership
}

func WantClosed(t *testing.T, who string, c *Conn, want ...port.CloseReason) {
	t.Helper()
	var got []port.CloseReason
	for _, end := range Of[Closed](c) {
		got = append(got, end.Reason)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s was closed by %v, want %v", who, got, want)
	}
}

// Beats counts the heartbeats in the log.
func Beats(log *SessionTopic) int {
	n := 0
	for _, entry := range log.All(0) {
		if entry.Record.Kind == domain.SessionBeat {
			n++
		}
	}
	return n
}

// Up is the record of a session's beginning.
func Up(node domain.Incarnation, user domain.UserID, count int64) domain.SessionRecord {
	return domain.SessionRecord{Kind: domain.SessionUp, Incarnation: node, User: user, Count: count}
}

// Burials returns whom the log's partition buries, in order.
func Burials(log *SessionTopic, partition int) []domain.Incarnation {
	var dead []domain.Incarnation
	for _, entry := range log.All(partition) {
		if entry.Record.Kind == domain.SessionDead {
			dead = append(dead, entry.Record.Incarnation)
		}
	}
	return dead
}

// Told returns what a Conn was told of a user: + for online, - for offline.
func Told(c *Conn, user domain.UserID) string {
	text := ""
	for _, s := range Of[Status](c) {
		if s.User == user && s.Online {
			text += "+"
		} else if s.User == user {
			text += "-"
		}
	}
	return text
}

// Run runs a part until the test ends, and joins it.
func Run(t *testing.T, part func(context.Context)) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		part(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// Refreshing runs a presence.FriendRefresh until the test ends, and returns whom it remembers.
func Refreshing(t *testing.T, n *Node, lists presence.FriendLists, maxAge time.Duration) *Users {
	remembered := &Users{}
	refresh := &presence.FriendRefresh{
		Presence: n.Presence, Users: remembered, Lists: lists, MaxAge: maxAge, Retry: 5 * time.Second,
	}
	Run(t, refresh.Run)
	return remembered
}
