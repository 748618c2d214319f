package application_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

func TestOnlineFriendsComeInTheOrderOfTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := oneNode(t)
		for _, user := range []domain.UserID{202, 203, 205} {
			n.login(t, user)
		}
		c, _ := n.login(t, 201, 205, 204, 202, 203)
		if got := of[loggedIn](c); len(got) != 1 || got[0].user != 201 || !slices.Equal(got[0].online, []domain.UserID{205, 202, 203}) {
			t.Fatalf("got %v", got)
		}
	})
}

func TestTransitionsReachLiveWatchersOncePerConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := twoNodes(t)
		here, _ := a.login(t, 8, 7)
		here2, gone := a.login(t, 8, 7)
		there, _ := b.login(t, 8, 9, 7)
		stranger, _ := a.login(t, 10, 9)
		waiting, entered := a.enter(t, 8, 7)
		_, membership := b.login(t, 7, 8)
		synctest.Wait()
		gone.Leave()
		membership.Leave()
		synctest.Wait()
		wantStatuses(t, "a connection", here, status{8, 7, true}, status{8, 7, false})
		wantStatuses(t, "one that left", here2, status{8, 7, true})
		wantStatuses(t, "one on another node", there, status{8, 7, true}, status{8, 7, false})
		wantStatuses(t, "who does not watch", stranger)
		if len(waiting.all()) != 0 {
			t.Fatalf("a login that is not answered got %v", waiting.all())
		}
		entered.Leave()
	})
}

func TestFurtherConnectionsOfAFriendAreNoTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := twoNodes(t)
		watcher, _ := a.login(t, 8, 7)
		_, first := a.login(t, 7)
		_, second := b.login(t, 7)
		synctest.Wait()
		first.Leave()
		synctest.Wait()
		wantStatuses(t, "the watcher", watcher, status{8, 7, true})
		second.Leave()
		synctest.Wait()
		wantStatuses(t, "the watcher", watcher, status{8, 7, true}, status{8, 7, false})
	})
}

// refreshing runs a FriendRefresh until the test ends, and returns whom it remembers.
func refreshing(t *testing.T, n *node, lists application.FriendLists, maxAge time.Duration) *users {
	remembered := &users{}
	refresh := &application.FriendRefresh{
		Presence: n.presence, Users: remembered, Lists: lists, MaxAge: maxAge, Retry: 5 * time.Second,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		refresh.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return remembered
}

func TestAChangedListIsLoadedAgainWhereItsUserIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		store := &friendStore{}
		refreshing(t, a, store, 0)
		friends := &application.Friends{Store: store, Sessions: log}
		c, _ := a.login(t, 8)
		if err := friends.Add(t.Context(), 8, 7); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, seven := b.login(t, 7)
		synctest.Wait()
		wantStatuses(t, "the watcher", c, status{8, 7, true})
		if err := friends.Remove(t.Context(), 8, 7); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		seven.Leave()
		synctest.Wait()
		wantStatuses(t, "who watched", c, status{8, 7, true})
	})
}

func TestAListThatCannotBeLoadedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := oneNode(t)
		store := &friendStore{}
		store.set(8, 7)
		store.fail(errRefused)
		refreshing(t, n, store, 0)
		c := &conn{}
		membership, err := n.presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		membership.FriendsMissing()
		if err := online(membership); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		store.fail(nil)
		time.Sleep(6 * time.Second)
		n.login(t, 7)
		synctest.Wait()
		wantStatuses(t, "the watcher", c, status{8, 7, true})
	})
}

func TestListsThatNobodyAnnouncesAreLoadedAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := oneNode(t)
		store := &friendStore{}
		refreshing(t, n, store, time.Minute)
		c, _ := n.login(t, 8)
		store.set(8, 7)
		time.Sleep(2 * time.Minute)
		n.login(t, 7)
		synctest.Wait()
		wantStatuses(t, "the watcher", c, status{8, 7, true})
	})
}

// A friend is added while its user logs in: the list that the login loaded is no reason to know no friends at all.
func TestAChangeDuringALoginDoesNotLoseItsList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		n.login(t, 7)
		c := &conn{}
		membership, err := n.presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		log.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, func(error) {})
		synctest.Wait()
		membership.SetFriends([]domain.UserID{7})
		if err := online(membership); err != nil {
			t.Fatal(err)
		}
		if got := of[loggedIn](c); !slices.Equal(got[0].online, []domain.UserID{7}) {
			t.Fatalf("online friends %v, want 7", got[0].online)
		}
	})
}

// The list that a login loaded may be older than the one that was loaded again meanwhile.
func TestAnOlderListDoesNotReplaceANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		store := &friendStore{}
		store.set(8, 7)
		c := &conn{}
		membership, err := n.presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		log.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, func(error) {})
		synctest.Wait()
		refreshing(t, n, store, 0)
		synctest.Wait()
		store.fail(errRefused) // the next attempt comes too late for the login
		membership.SetFriends(nil)
		if err := online(membership); err != nil {
			t.Fatal(err)
		}
		n.login(t, 7)
		synctest.Wait()
		wantStatuses(t, "the watcher", c, status{8, 7, true})
	})
}

// A change that is announced while the list is being loaded again makes it be loaded once more.
func TestAChangeWhileTheListIsLoadedIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		store := &friendStore{}
		friends := &application.Friends{Store: store, Sessions: log}
		c, _ := n.login(t, 8)
		loads := 0
		stale := &staleOnce{friendStore: store, during: func() {
			loads++
			if loads == 1 {
				if err := friends.Add(t.Context(), 8, 7); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second) // the record is read here
			}
		}}
		refreshing(t, n, stale, 0)
		if err := friends.Add(t.Context(), 8, 6); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		n.login(t, 7)
		synctest.Wait()
		wantStatuses(t, "the watcher", c, status{8, 7, true})
	})
}

// staleOnce reads a list, lets something happen, and then returns what it had read.
type staleOnce struct {
	*friendStore
	during func()
}

func (s *staleOnce) Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error) {
	friends, err := s.friendStore.Friends(ctx, user)
	s.during()
	return friends, err
}

// A list that comes when its user has just left must not count as watched at the next login.
func TestAListLoadedForNobodyIsNotTakenForAWatchedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		store := &friendStore{}
		store.set(8, 7)
		_, membership := n.login(t, 8, 7)
		log.decide(func(sessionEntry) fate { return refused })
		membership.Leave() // its down fails: the node keeps it in mind
		refreshing(t, n, store, time.Nanosecond)
		log.Append(domain.SessionRecord{}, func(error) {})
		log.mu.Lock()
		log.add(log.PartitionOf(8), sessionEntry{domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, time.Now()})
		log.mu.Unlock()
		synctest.Wait()
		store.fail(errRefused)
		log.decide(nil)
		c := &conn{}
		again, err := n.presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		again.FriendsMissing()
		n.login(t, 7)
		if err := online(again); err != nil {
			t.Fatal(err)
		}
		if got := of[loggedIn](c); len(got[0].online) != 0 {
			t.Fatalf("friends %v are shown as online, though nobody watches them", got[0].online)
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
	log := newSessionTopic(sessionPartitions, time.Now)
	nodes := []*node{newNode(log, 1).start(t), newNode(log, 2).start(t), newNode(log, 3).start(t)}
	type session struct {
		node       *node
		conn       *conn
		user       domain.UserID
		friends    []domain.UserID
		membership *application.Membership
		outcome    <-chan error
	}
	var sessions []*session
	// truth compares what every answered connection knows with what its node has read.
	truth := func() {
		synctest.Wait()
		for _, s := range sessions {
			known := make(map[domain.UserID]bool)
			answered := false
			for _, what := range s.conn.all() {
				switch w := what.(type) {
				case loggedIn:
					if answered {
						t.Fatalf("seed %d: two answers to one login", seed)
					}
					answered = true
					for _, friend := range w.online {
						known[friend] = true
					}
				case status:
					if !answered || known[w.user] == w.online || w.to != s.user {
						t.Fatalf("seed %d: %v is no news: %v", seed, w, s.conn.all())
					}
					known[w.user] = w.online
				}
			}
			if !answered {
				continue
			}
			for _, friend := range s.friends {
				if known[friend] != s.node.presence.Online(friend) {
					t.Fatalf("seed %d: %d knows of %d %v, its node %v: %v",
						seed, s.user, friend, known[friend], !known[friend], s.conn.all())
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
			c, membership := n.enter(t, user, friends...)
			sessions = append(sessions, &session{n, c, user, friends, membership, goOnline(membership)})
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
			what := fate(random.IntN(5))
			log.decide(func(entry sessionEntry) fate {
				if entry.record.Kind == domain.SessionUp || entry.record.Kind == domain.SessionDown {
					return what
				}
				return confirmed
			})
		case 8:
			log.decide(nil)
			log.release()
		case 9:
			n := nodes[random.IntN(len(nodes))]
			n.pause()
			time.Sleep(time.Duration(random.IntN(4)) * time.Second)
			n.resume()
		case 10:
			if random.IntN(4) == 0 {
				n := nodes[random.IntN(len(nodes))]
				n.cutOff()
				time.Sleep(12 * time.Second)
				n.reconnect()
			}
		default:
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
		if random.IntN(3) == 0 {
			truth()
		}
	}
	log.decide(nil)
	log.release()
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
			if n.presence.Online(user) != here[user] {
				t.Fatalf("seed %d: Online(%d) is %v; the log has %q", seed, user, !here[user], log.kinds(user))
			}
		}
	}
}

func TestTwoHundredUsersComeAndGoAtOnce(t *testing.T) {
	const users, rounds = 200, 20
	log := newSessionTopic(sessionPartitions, time.Now)
	nodes := []*node{newNode(log, 1).start(t), newNode(log, 2).start(t)}
	watcher := &conn{}
	membership, err := nodes[0].presence.Enter(1000, watcher)
	if err != nil {
		t.Fatal(err)
	}
	defer membership.Leave()
	var all []domain.UserID
	for user := domain.UserID(1); user <= users; user++ {
		all = append(all, user)
	}
	membership.SetFriends(all)
	if err := online(membership); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	failures := make(chan error, users*rounds)
	for _, user := range all {
		group.Go(func() {
			for round := range rounds {
				membership, err := nodes[(int(user)+round)%2].presence.Enter(user, &conn{})
				if err != nil {
					failures <- err
					return
				}
				membership.SetFriends(all[:20])
				if err := online(membership); err != nil {
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
	eventually(t, func() bool {
		for _, n := range nodes {
			for _, user := range all {
				if n.presence.Online(user) != (user%2 == 1) {
					return false
				}
			}
		}
		return true
	})
	// The watcher was told what the log alone gives.
	sessions := make([]*domain.Sessions, sessionPartitions)
	want := make(map[domain.UserID]string)
	for partition := range sessions {
		sessions[partition] = domain.NewSessions()
		for _, entry := range log.all(partition) {
			for _, change := range sessions[partition].Apply(entry.record, entry.at) {
				if change.Online {
					want[change.User] += "+"
				} else {
					want[change.User] += "-"
				}
			}
		}
	}
	for _, user := range all {
		if got := told(watcher, user); got != want[user] {
			t.Fatalf("of %d was told %s, the log says %s", user, got, want[user])
		}
	}
}

// countedLists counts how often each list is loaded.
type countedLists struct {
	*friendStore
	loads map[domain.UserID]int
}

func (l *countedLists) Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error) {
	l.mu.Lock()
	l.loads[user]++
	l.mu.Unlock()
	return l.friendStore.Friends(ctx, user)
}

func (l *countedLists) of(user domain.UserID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loads[user]
}

func TestAListIsLoadedAgainOncePerChangeOrAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		lists := &countedLists{friendStore: &friendStore{}, loads: make(map[domain.UserID]int)}
		refreshing(t, n, lists, 0)
		n.login(t, 8)
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
		n, _ := oneNode(t)
		lists := &countedLists{friendStore: &friendStore{}, loads: make(map[domain.UserID]int)}
		refreshing(t, n, lists, time.Minute)
		_, membership := n.login(t, 8)
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
		n, log := oneNode(t)
		n.login(t, 7)
		_, membership := n.login(t, 8, 6)
		log.decide(func(entry sessionEntry) fate {
			if entry.record.Kind == domain.SessionDown {
				return refused
			}
			return confirmed
		})
		membership.Leave()
		c := &conn{}
		again, err := n.presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		log.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, func(error) {})
		synctest.Wait()
		again.SetFriends([]domain.UserID{7})
		if err := online(again); err != nil {
			t.Fatal(err)
		}
		if got := of[loggedIn](c); !slices.Equal(got[0].online, []domain.UserID{7}) {
			t.Errorf("online friends %v, want 7", got[0].online)
		}
	})
}
