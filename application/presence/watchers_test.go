package presence_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

func TestOnlineFriendsComeInTheOrderOfTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		for _, user := range []domain.UserID{202, 203, 205} {
			n.Login(t, user)
		}
		c, _ := n.Login(t, 201, 205, 204, 202, 203)
		if got := porttest.Of[porttest.LoggedIn](c); len(got) != 1 || got[0].User != 201 || !slices.Equal(got[0].Online, []domain.UserID{205, 202, 203}) {
			t.Fatalf("got %v", got)
		}
	})
}

func TestTransitionsReachLiveWatchersOncePerConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := twoNodes(t)
		here, _ := a.Login(t, 8, 7)
		here2, gone := a.Login(t, 8, 7)
		there, _ := b.Login(t, 8, 9, 7)
		stranger, _ := a.Login(t, 10, 9)
		waiting, entered := a.Enter(t, 8, 7)
		_, membership := b.Login(t, 7, 8)
		synctest.Wait()
		gone.Leave()
		membership.Leave()
		synctest.Wait()
		porttest.WantStatuses(t, "a connection", here, porttest.Status{To: 8, User: 7, Online: true}, porttest.Status{To: 8, User: 7, Online: false})
		porttest.WantStatuses(t, "one that left", here2, porttest.Status{To: 8, User: 7, Online: true})
		porttest.WantStatuses(t, "one on another node", there, porttest.Status{To: 8, User: 7, Online: true}, porttest.Status{To: 8, User: 7, Online: false})
		porttest.WantStatuses(t, "who does not watch", stranger)
		if len(waiting.All()) != 0 {
			t.Fatalf("a login that is not answered got %v", waiting.All())
		}
		entered.Leave()
	})
}

func TestFurtherConnectionsOfAFriendAreNoTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := twoNodes(t)
		watcher, _ := a.Login(t, 8, 7)
		_, first := a.Login(t, 7)
		_, second := b.Login(t, 7)
		synctest.Wait()
		first.Leave()
		synctest.Wait()
		porttest.WantStatuses(t, "the watcher", watcher, porttest.Status{To: 8, User: 7, Online: true})
		second.Leave()
		synctest.Wait()
		porttest.WantStatuses(t, "the watcher", watcher, porttest.Status{To: 8, User: 7, Online: true}, porttest.Status{To: 8, User: 7, Online: false})
	})
}

func TestAChangedListIsLoadedAgainWhereItsUserIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		store := &porttest.FriendStore{}
		porttest.Refreshing(t, a, store, 0)
		friends := &presence.Friends{Store: store, Sessions: log}
		c, _ := a.Login(t, 8)
		if err := friends.Add(t.Context(), 8, 7); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, seven := b.Login(t, 7)
		synctest.Wait()
		porttest.WantStatuses(t, "the watcher", c, porttest.Status{To: 8, User: 7, Online: true})
		if err := friends.Remove(t.Context(), 8, 7); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		seven.Leave()
		synctest.Wait()
		porttest.WantStatuses(t, "who watched", c, porttest.Status{To: 8, User: 7, Online: true})
	})
}

func TestAListThatCannotBeLoadedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		store := &porttest.FriendStore{}
		store.Set(8, 7)
		store.Fail(porttest.ErrRefused)
		porttest.Refreshing(t, n, store, 0)
		c := &porttest.Conn{}
		membership, err := n.Presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		membership.FriendsMissing()
		if err := porttest.Online(membership); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		store.Fail(nil)
		time.Sleep(6 * time.Second)
		n.Login(t, 7)
		synctest.Wait()
		porttest.WantStatuses(t, "the watcher", c, porttest.Status{To: 8, User: 7, Online: true})
	})
}

func TestListsThatNobodyAnnouncesAreLoadedAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		store := &porttest.FriendStore{}
		porttest.Refreshing(t, n, store, time.Minute)
		c, _ := n.Login(t, 8)
		store.Set(8, 7)
		time.Sleep(2 * time.Minute)
		n.Login(t, 7)
		synctest.Wait()
		porttest.WantStatuses(t, "the watcher", c, porttest.Status{To: 8, User: 7, Online: true})
	})
}

// A friend is added while its user logs in: the list that the login loaded is no reason to know no friends at all.
func TestAChangeDuringALoginDoesNotLoseItsList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		n.Login(t, 7)
		c := &porttest.Conn{}
		membership, err := n.Presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		log.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, func(error) {})
		synctest.Wait()
		membership.SetFriends([]domain.UserID{7})
		if err := porttest.Online(membership); err != nil {
			t.Fatal(err)
		}
		if got := porttest.Of[porttest.LoggedIn](c); !slices.Equal(got[0].Online, []domain.UserID{7}) {
			t.Fatalf("online friends %v, want 7", got[0].Online)
		}
	})
}

// The list that a login loaded may be older than the one that was loaded again meanwhile.
func TestAnOlderListDoesNotReplaceANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		store := &porttest.FriendStore{}
		store.Set(8, 7)
		c := &porttest.Conn{}
		membership, err := n.Presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		log.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, func(error) {})
		synctest.Wait()
		porttest.Refreshing(t, n, store, 0)
		synctest.Wait()
		store.Fail(porttest.ErrRefused) // the next attempt comes too late for the login
		membership.SetFriends(nil)
		if err := porttest.Online(membership); err != nil {
			t.Fatal(err)
		}
		n.Login(t, 7)
		synctest.Wait()
		porttest.WantStatuses(t, "the watcher", c, porttest.Status{To: 8, User: 7, Online: true})
	})
}

// A change that is announced while the list is being loaded again makes it be loaded once more.
func TestAChangeWhileTheListIsLoadedIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		store := &porttest.FriendStore{}
		friends := &presence.Friends{Store: store, Sessions: log}
		c, _ := n.Login(t, 8)
		loads := 0
		stale := &staleOnce{FriendStore: store, during: func() {
			loads++
			if loads == 1 {
				if err := friends.Add(t.Context(), 8, 7); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second) // the record is read here
			}
		}}
		porttest.Refreshing(t, n, stale, 0)
		if err := friends.Add(t.Context(), 8, 6); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		n.Login(t, 7)
		synctest.Wait()
		porttest.WantStatuses(t, "the watcher", c, porttest.Status{To: 8, User: 7, Online: true})
	})
}

// staleOnce reads a list, lets something happen, and then returns what it had read.
type staleOnce struct {
	*porttest.FriendStore
	during func()
}

func (s *staleOnce) Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error) {
	friends, err := s.FriendStore.Friends(ctx, user)
	s.during()
	return friends, err
}

// A list that comes when its user has just left must not count as watched at the next login.
func TestAListLoadedForNobodyIsNotTakenForAWatchedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		store := &porttest.FriendStore{}
		store.Set(8, 7)
		_, membership := n.Login(t, 8, 7)
		log.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Refused })
		membership.Leave() // its down fails: the node keeps it in mind
		porttest.Refreshing(t, n, store, time.Nanosecond)
		log.Append(domain.SessionRecord{}, func(error) {})
		log.Mu.Lock()
		log.Add(log.PartitionOf(8), porttest.SessionEntry{Record: domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, At: time.Now()})
		log.Mu.Unlock()
		synctest.Wait()
		store.Fail(porttest.ErrRefused)
		log.Decide(nil)
		c := &porttest.Conn{}
		again, err := n.Presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		again.FriendsMissing()
		n.Login(t, 7)
		if err := porttest.Online(again); err != nil {
			t.Fatal(err)
		}
		if got := porttest.Of[porttest.LoggedIn](c); len(got[0].Online) != 0 {
			t.Fatalf("friends %v are shown as online, though nobody watches them", got[0].Online)
		}
	})
}

// What a connection was told at login and since then is the truth, at every moment and on every node: nothing is lost or
// told twice around logins, burials or failures.
func TestSnapshotAndStatusFramesAreTheTruth(t *testing.T) {
	for seed := range uint64(25) {
		synctest.Test(t, func(t *testing.T) { snapshotAndFrames(t, seed) })
	}
}

func snapshotAndFrames(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 11))
	log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
	var nodes []*porttest.Node
	for number := range byte(3) {
		// With a grace the frames are those of what is shown.
		nodes = append(nodes, porttest.NewNodeWithGrace(log, number+1, time.Duration(seed%2)*5*time.Second).Start(t))
	}
	type session struct {
		node       *porttest.Node
		conn       *porttest.Conn
		user       domain.UserID
		friends    []domain.UserID
		membership *presence.Membership
		outcome    <-chan error
	}
	var sessions []*session
	// truth compares what every answered connection knows with what its node has read.
	truth := func() {
		synctest.Wait()
		for _, s := range sessions {
			known := make(map[domain.UserID]bool)
			answered := false
			for _, what := range s.conn.All() {
				switch w := what.(type) {
				case porttest.LoggedIn:
					if answered {
						t.Fatalf("seed %d: two answers to one login", seed)
					}
					answered = true
					for _, friend := range w.Online {
						known[friend] = true
					}
				case porttest.Status:
					if !answered || known[w.User] == w.Online || w.To != s.user {
						t.Fatalf("seed %d: %v is no news: %v", seed, w, s.conn.All())
					}
					known[w.User] = w.Online
				}
			}
			if !answered {
				continue
			}
			for _, friend := range s.friends {
				if known[friend] != s.node.Presence.Online(friend) {
					t.Fatalf("seed %d: %d knows of %d %v, its node %v: %v",
						seed, s.user, friend, known[friend], !known[friend], s.conn.All())
				}
			}
		}
	}
	for range 120 {
		switch random.IntN(12) {
		case 0, 1, 2, 3:
			n := nodes[random.IntN(len(nodes))]
			user := domain.UserID(1 + random.IntN(6))
			var friends []domain.UserID
			for friend := domain.UserID(1); friend <= 6; friend++ {
				// The list is a function of the user: all its connections have the same.
				if (friend+user)%2 == 0 || friend == user+1 {
					friends = append(friends, friend)
				}
			}
			c, membership := n.Enter(t, user, friends...)
			sessions = append(sessions, &session{n, c, user, friends, membership, porttest.GoOnline(membership)})
		case 4, 5, 6:
			if len(sessions) > 0 {
				i := random.IntN(len(sessions))
				s := sessions[i]
				select {
				case <-s.outcome:
					s.membership.Leave()
					sessions = slices.Delete(sessions, i, i+1)
				default: // its login is under way
				}
			}
		case 7:
			what := porttest.Fate(random.IntN(5))
			log.Decide(func(entry porttest.SessionEntry) porttest.Fate {
				switch entry.Record.Kind {
				case domain.SessionUp, domain.SessionAway, domain.SessionDown:
					return what
				default:
					return porttest.Confirmed
				}
			})
		case 8:
			log.Decide(nil)
			log.Release()
		case 9:
			n := nodes[random.IntN(len(nodes))]
			n.Pause()
			time.Sleep(time.Duration(random.IntN(4)) * time.Second)
			n.Resume()
		case 10:
			if random.IntN(4) == 0 {
				n := nodes[random.IntN(len(nodes))]
				n.CutOff()
				time.Sleep(12 * time.Second)
				n.Reconnect()
			}
		default:
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
		if random.IntN(3) == 0 {
			truth()
		}
	}
	log.Decide(nil)
	log.Release()
	time.Sleep(time.Minute)
	truth()
	// In the end those are online who have a connection, and nobody else.
	here := make(map[domain.UserID]bool)
	for _, s := range sessions {
		if err := <-s.outcome; err == nil {
			here[s.user] = true
		} else {
			s.membership.Leave()
		}
	}
	time.Sleep(time.Minute)
	for _, n := range nodes {
		for user := domain.UserID(1); user <= 6; user++ {
			if reachable := (presence.Reachable{Presence: n.Presence}).Online(user); n.Presence.Online(user) != here[user] || reachable != here[user] {
				t.Fatalf("seed %d: Online(%d) or Reachable is %v; the log has %q", seed, user, !here[user], log.Kinds(user))
			}
		}
	}
}

func TestTwoHundredUsersComeAndGoAtOnce(t *testing.T) {
	const users, rounds = 200, 20
	log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
	nodes := []*porttest.Node{porttest.NewNode(log, 1).Start(t), porttest.NewNode(log, 2).Start(t)}
	watcher := &porttest.Conn{}
	membership, err := nodes[0].Presence.Enter(1000, watcher)
	if err != nil {
		t.Fatal(err)
	}
	defer membership.Leave()
	var all []domain.UserID
	for user := domain.UserID(1); user <= users; user++ {
		all = append(all, user)
	}
	membership.SetFriends(all)
	if err := porttest.Online(membership); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	failures := make(chan error, users*rounds)
	for _, user := range all {
		group.Go(func() {
			for round := range rounds {
				membership, err := nodes[(int(user)+round)%2].Presence.Enter(user, &porttest.Conn{})
				if err != nil {
					failures <- err
					return
				}
				membership.SetFriends(all[:20])
				if err := porttest.Online(membership); err != nil {
					failures <- fmt.Errorf("user %d, round %d: %w", user, round, err)
				}
				if round < rounds-1 || user%2 == 0 {
					membership.Leave()
				}
			}
		})
	}
	group.Wait()
	close(failures)
	for err := range failures {
		t.Fatal(err)
	}
	porttest.Eventually(t, func() bool {
		for _, n := range nodes {
			for _, user := range all {
				if n.Presence.Online(user) != (user%2 == 1) {
					return false
				}
			}
		}
		return true
	})
	// The watcher was told what the log alone gives.
	sessions := make([]*domain.Sessions, porttest.SessionPartitions)
	want := make(map[domain.UserID]string)
	for partition := range sessions {
		sessions[partition] = domain.NewSessions()
		for _, entry := range log.All(partition) {
			for _, change := range sessions[partition].Apply(entry.Record, entry.At) {
				if change.Online {
					want[change.User] += "+"
				} else {
					want[change.User] += "-"
				}
			}
		}
	}
	for _, user := range all {
		if got := porttest.Told(watcher, user); got != want[user] {
			t.Fatalf("of %d was told %s, the log says %s", user, got, want[user])
		}
	}
}

// countedLists counts how often each list is loaded.
type countedLists struct {
	*porttest.FriendStore
	loads map[domain.UserID]int
}

func (l *countedLists) Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error) {
	l.Mu.Lock()
	l.loads[user]++
	l.Mu.Unlock()
	return l.FriendStore.Friends(ctx, user)
}

func (l *countedLists) of(user domain.UserID) int {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return l.loads[user]
}

func TestAListIsLoadedAgainOncePerChangeOrAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		lists := &countedLists{FriendStore: &porttest.FriendStore{}, loads: make(map[domain.UserID]int)}
		porttest.Refreshing(t, n, lists, 0)
		n.Login(t, 8)
		time.Sleep(time.Hour)
		if got := lists.of(8); got != 0 {
			t.Errorf("loaded %d times, though nothing changed", got)
		}
		log.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, func(error) {})
		log.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 9}, func(error) {}) // of nobody here
		time.Sleep(time.Hour)
		if got := lists.of(8); got != 1 || lists.of(9) != 0 {
			t.Errorf("loaded %d times after one change, and that of nobody here %d times", got, lists.of(9))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		lists := &countedLists{FriendStore: &porttest.FriendStore{}, loads: make(map[domain.UserID]int)}
		porttest.Refreshing(t, n, lists, time.Minute)
		_, membership := n.Login(t, 8)
		time.Sleep(41 * time.Second)
		if got := lists.of(8); got != 0 {
			t.Errorf("loaded %d times before 70 %% of its age", got)
		}
		time.Sleep(10 * time.Minute)
		if got := lists.of(8); got < 12 || got > 15 { // each after 42 to 48 seconds and a look each 1.2 s
			t.Errorf("loaded %d times in ten minutes", got)
		}
		membership.Leave()
		time.Sleep(time.Minute)
		before := lists.of(8)
		time.Sleep(10 * time.Minute)
		if got := lists.of(8); got != before {
			t.Errorf("loaded %d times for nobody", got-before)
		}
	})
}

// A user who comes back while the node still has to end its session knows no list any more.
func TestAListThatChangedWhileItsUserWasAwayIsTakenAtTheNextLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		n.Login(t, 7)
		_, membership := n.Login(t, 8, 6)
		log.Decide(func(entry porttest.SessionEntry) porttest.Fate {
			if entry.Record.Kind == domain.SessionDown {
				return porttest.Refused
			}
			return porttest.Confirmed
		})
		membership.Leave()
		c := &porttest.Conn{}
		again, err := n.Presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		log.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, func(error) {})
		synctest.Wait()
		again.SetFriends([]domain.UserID{7})
		if err := porttest.Online(again); err != nil {
			t.Fatal(err)
		}
		if got := porttest.Of[porttest.LoggedIn](c); !slices.Equal(got[0].Online, []domain.UserID{7}) {
			t.Errorf("online friends %v, want 7", got[0].Online)
		}
	})
}
