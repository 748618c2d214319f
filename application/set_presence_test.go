package application_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

// These tests run in the false time of testing/synctest: a minute of beats takes no time, and time.Sleep there waits for
// what happens by then, not for luck.

const sessionPartitions = 3

// node is a presence with its heartbeats and its tail, on a sessions topic that it may share with others.
type node struct {
	presence *application.SetPresence
	kill     func()

	mu      sync.Mutex
	resumed *sync.Cond
	paused  bool
	cut     bool
	log     *sessionTopic
}

// Append, Bury, PartitionOf and Partitions make node the SessionLog of its presence: one that can be cut off.
func (n *node) Append(record domain.SessionRecord, done func(error)) {
	if n.isCut() {
		done(errRefused)
		return
	}
	n.log.Append(record, done)
}

func (n *node) Bury(incarnation domain.Incarnation, done func(error)) {
	if n.isCut() {
		done(errRefused)
		return
	}
	n.log.Bury(incarnation, done)
}

func (n *node) PartitionOf(user domain.UserID) int { return n.log.PartitionOf(user) }
func (n *node) Partitions() int                    { return n.log.Partitions() }

func (n *node) isCut() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut
}

// pause stops the node's tail; resume lets it go on.
func (n *node) pause() { n.set(func() { n.paused = true }) }

func (n *node) resume() { n.set(func() { n.paused = false }) }

// cutOff lets the node neither write nor read.
func (n *node) cutOff() { n.set(func() { n.cut, n.paused = true, true }) }

func (n *node) reconnect() { n.set(func() { n.cut, n.paused = false, false }) }

func (n *node) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	n.resumed.Broadcast()
}

// nodeIDs makes the incarnations of a node: 1000 and on for node 1.
func nodeIDs(number byte) application.IDs {
	next := byte(0)
	return func() domain.EventID {
		next++
		return domain.EventID{number, next}
	}
}

func incarnation(number, life byte) domain.Incarnation { return domain.Incarnation{number, life} }

// newNode makes a node that has read the topic so far, but does not run yet.
func newNode(log *sessionTopic, number byte) *node {
	n := &node{log: log}
	n.resumed = sync.NewCond(&n.mu)
	n.presence = application.NewSetPresence(n, time.Now, nodeIDs(number), application.DefaultPresenceTimes, quietNotices())
	return n
}

// start runs the node until the test ends or kill is called: from then on it does nothing any more, as after a kill -9.
func (n *node) start(t *testing.T) *node {
	ctx, cancel := context.WithCancel(t.Context())
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		n.presence.Run(ctx)
	}()
	stop := n.log.follow(func(partition, _ int, entry sessionEntry) {
		n.mu.Lock()
		for n.paused {
			n.resumed.Wait()
		}
		n.mu.Unlock()
		n.presence.Apply(partition, entry.record, entry.at)
	})
	n.kill = sync.OnceFunc(func() {
		n.set(func() { n.cut, n.paused = true, false })
		cancel()
		<-beating
		stop()
	})
	t.Cleanup(n.kill)
	return n
}

// oneNode starts a node on a topic of its own.
func oneNode(t *testing.T) (*node, *sessionTopic) {
	log := newSessionTopic(sessionPartitions, time.Now)
	return newNode(log, 1).start(t), log
}

// enter begins a login.
func (n *node) enter(t *testing.T, user domain.UserID, friends ...domain.UserID) (*conn, *application.Membership) {
	t.Helper()
	c := &conn{}
	membership, err := n.presence.Enter(user, c)
	if err != nil {
		t.Fatal(err)
	}
	membership.SetFriends(friends)
	return c, membership
}

// login is enter and the rest.
func (n *node) login(t *testing.T, user domain.UserID, friends ...domain.UserID) (*conn, *application.Membership) {
	t.Helper()
	c, membership := n.enter(t, user, friends...)
	if err := online(membership); err != nil {
		t.Fatal(err)
	}
	return c, membership
}

// online completes a login, or gives up after ten seconds.
func online(membership *application.Membership) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return membership.Online(ctx, 0)
}

// goOnline is online in the background.
func goOnline(membership *application.Membership) <-chan error {
	outcome := make(chan error, 1)
	go func() { outcome <- online(membership) }()
	return outcome
}

func wantStatuses(t *testing.T, what string, c *conn, want ...status) {
	t.Helper()
	if got := of[status](c); !slices.Equal(got, want) {
		t.Fatalf("%s was told %v, want %v", what, got, want)
	}
}

func wantSessions(t *testing.T, log *sessionTopic, user domain.UserID, want string) {
	t.Helper()
	if got := log.kinds(user); got != want {
		t.Fatalf("the log has %q of %d, want %q", got, user, want)
	}
}

func TestTheFirstConnectionWritesOneUpAndTheLastOneADown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		_, first := n.login(t, 7)
		wantSessions(t, log, 7, "up1")
		_, second := n.login(t, 7)
		_, third := n.login(t, 7)
		time.Sleep(10 * time.Second)
		wantSessions(t, log, 7, "up1")
		first.Leave()
		third.Leave()
		synctest.Wait()
		if wantSessions(t, log, 7, "up1"); !n.presence.Online(7) {
			t.Fatal("7 is offline while a connection is left")
		}
		second.Leave()
		synctest.Wait()
		if wantSessions(t, log, 7, "up1 down1"); n.presence.Online(7) {
			t.Fatal("7 is online without a connection")
		}
		_, again := n.login(t, 7)
		wantSessions(t, log, 7, "up1 down1 up2")
		// Leaving twice does not end somebody else's session.
		second.Leave()
		first.Leave()
		time.Sleep(10 * time.Second)
		if wantSessions(t, log, 7, "up1 down1 up2"); !n.presence.Online(7) {
			t.Fatal("7 is offline while a connection is left")
		}
		again.Leave()
	})
}

func TestALoginIsAnsweredOnlyOnceTheUpCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		synctest.Wait()
		n.pause()
		c, membership := n.enter(t, 7)
		outcome := goOnline(membership)
		synctest.Wait()
		wantSessions(t, log, 7, "up1")
		if len(c.all()) != 0 || n.presence.Online(7) {
			t.Fatalf("answered with %v before the log was read", c.all())
		}
		n.resume()
		synctest.Wait()
		if err := <-outcome; err != nil || len(of[loggedIn](c)) != 1 || !n.presence.Online(7) {
			t.Fatalf("%v, %v", err, c.all())
		}
	})
}

func TestLoginsOfOneUserAtOnceShareOneUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		n.pause()
		_, first := n.enter(t, 7)
		_, second := n.enter(t, 7)
		a, b := goOnline(first), goOnline(second)
		synctest.Wait()
		n.resume()
		if err, err2 := <-a, <-b; err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		wantSessions(t, log, 7, "up1")
	})
}

func TestAFailedUpFailsTheLoginAndTheNextOneWorks(t *testing.T) {
	for what, test := range map[string]struct {
		fate fate
		want domain.Code
		log  string
	}{
		"refused": {refused, domain.CodeUnavailable, "up2"},
		"lost":    {lost, domain.CodeUnconfirmed, "up2"},
		"late":    {late, domain.CodeUnconfirmed, "up1 up2"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, log := oneNode(t)
				log.decide(ups(test.fate))
				c, membership := n.enter(t, 7)
				wantCode(t, "login", online(membership), test.want)
				membership.Leave()
				if len(c.all()) != 0 {
					t.Fatalf("got %v, want nothing", c.all())
				}
				log.decide(nil)
				_, again := n.enter(t, 7)
				outcome := goOnline(again)
				log.release()
				if err := <-outcome; err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if !n.presence.Online(7) {
					t.Fatalf("7 is offline; the log has %q", log.kinds(7))
				}
				again.Leave()
				time.Sleep(10 * time.Second)
				if n.presence.Online(7) {
					t.Fatalf("7 is online for ever; the log has %q", log.kinds(7))
				}
			})
		})
	}
}

// ups lets ups meet this fate, and confirms the rest.
func ups(what fate) func(sessionEntry) fate {
	return func(entry sessionEntry) fate {
		if entry.record.Kind == domain.SessionUp {
			return what
		}
		return confirmed
	}
}

func TestAnUnconfirmedUpThatAppearsLaterIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		log.decide(ups(late))
		_, membership := n.enter(t, 7)
		wantCode(t, "login", online(membership), domain.CodeUnconfirmed)
		membership.Leave()
		log.decide(nil)
		time.Sleep(time.Minute)
		wantSessions(t, log, 7, "")
		log.release()
		synctest.Wait()
		if wantSessions(t, log, 7, "up1 down1"); n.presence.Online(7) {
			t.Fatal("a ghost is online")
		}
	})
}

func TestAnAppendThatNeitherComesBackNorFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		log.decide(ups(delayed))
		_, membership := n.enter(t, 7)
		wantCode(t, "login", online(membership), domain.CodeUnconfirmed) // its ten seconds are over
		membership.Leave()
		_, again := n.enter(t, 7)
		outcome := goOnline(again)
		time.Sleep(2 * time.Second)
		log.decide(nil)
		if err := <-outcome; err != nil {
			t.Fatalf("the retry after a while did not come: %v", err)
		}
		log.release()
		time.Sleep(10 * time.Second)
		if !n.presence.Online(7) {
			t.Fatal("the late up of an earlier session ended a later one")
		}
		again.Leave()
		synctest.Wait()
		if n.presence.Online(7) {
			t.Fatalf("7 is online for ever; the log has %q", log.kinds(7))
		}
	})
}

func TestAFailedDownIsTriedAgain(t *testing.T) {
	for _, what := range []fate{refused, lost} {
		synctest.Test(t, func(t *testing.T) {
			n, log := oneNode(t)
			_, membership := n.login(t, 7)
			log.decide(func(sessionEntry) fate { return what })
			membership.Leave()
			time.Sleep(3500 * time.Millisecond)
			log.decide(nil)
			time.Sleep(2 * time.Second)
			if wantSessions(t, log, 7, "up1 down1"); n.presence.Online(7) {
				t.Fatal("7 is online without a connection")
			}
		})
	}
}

func TestALoginWhileTheDownIsUnderWayStartsAnotherSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		watcher, _ := n.login(t, 8, 7)
		_, membership := n.login(t, 7)
		synctest.Wait()
		n.pause()
		membership.Leave()
		_, again := n.enter(t, 7)
		outcome := goOnline(again)
		synctest.Wait()
		n.resume()
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		wantSessions(t, log, 7, "up2 down2 up3")
		wantStatuses(t, "the watcher", watcher, status{8, 7, true}, status{8, 7, false}, status{8, 7, true})
	})
}

func TestALoginThatIsGivenUpLeavesNobodyOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		n.pause()
		_, membership := n.enter(t, 7)
		ctx, cancel := context.WithCancel(t.Context())
		outcome := make(chan error, 1)
		go func() { outcome <- membership.Online(ctx, 0) }()
		synctest.Wait()
		cancel()
		wantCode(t, "login", <-outcome, domain.CodeUnconfirmed)
		membership.Leave()
		n.resume()
		synctest.Wait()
		if wantSessions(t, log, 7, "up1 down1"); n.presence.Online(7) {
			t.Fatal("7 is online")
		}
	})
}

// loginWith is login with a limit on the user's connections.
func (n *node) loginWith(t *testing.T, user domain.UserID, limit int) (*conn, *application.Membership) {
	t.Helper()
	c, membership := n.enter(t, user)
	if err := membership.Online(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	return c, membership
}

func wantClosed(t *testing.T, who string, c *conn, want ...application.CloseReason) {
	t.Helper()
	var got []application.CloseReason
	for _, end := range of[closed](c) {
		got = append(got, end.reason)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s was closed by %v, want %v", who, got, want)
	}
}

func TestManyLoginsAtTheLimitReplaceExactlyTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		const limit, more = 32, 10
		var conns []*conn
		for range limit {
			c, _ := n.loginWith(t, 7, limit)
			conns = append(conns, c)
		}
		before := len(log.all(log.PartitionOf(7)))
		var logins sync.WaitGroup
		newer := make(chan *conn, more)
		for range more {
			logins.Go(func() {
				c, _ := n.loginWith(t, 7, limit)
				newer <- c
			})
		}
		logins.Wait()
		close(newer)
		for i, c := range conns {
			if i < more {
				wantClosed(t, fmt.Sprintf("login %d", i), c, application.CloseReplaced)
			} else {
				wantClosed(t, fmt.Sprintf("login %d", i), c)
			}
		}
		for c := range newer {
			wantClosed(t, "a newer one", c)
		}
		if got := len(log.all(log.PartitionOf(7))); got != before {
			t.Errorf("%d records were written about a user who stayed online", got-before)
		}
	})
}

func TestALoginThatFailsReplacesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := oneNode(t)
		first, _ := n.loginWith(t, 7, 1)
		_, membership := n.enter(t, 7)
		wantClosed(t, "the first, while another logs in", first)
		membership.Leave()
		wantClosed(t, "the first", first)
		_, other := n.loginWith(t, 8, 1)
		other.Leave()
		wantClosed(t, "the first, after another user's login", first)
	})
}

func TestTheLastConnectionCountsAlthoughReplacedOnesAreStillClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := oneNode(t)
		_, first := n.loginWith(t, 7, 1)
		_, second := n.loginWith(t, 7, 1)
		second.Leave()
		synctest.Wait()
		if n.presence.Online(7) {
			t.Error("a user is online by a connection that was replaced")
		}
		first.Leave()
		n.loginWith(t, 7, 1)
		synctest.Wait()
		if !n.presence.Online(7) {
			t.Error("the user is offline after another login")
		}
	})
}

func TestSocketsThatDoNotCloseAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := oneNode(t)
		const limit = 2
		var conns []*conn
		for range 3 * limit {
			c, _ := n.loginWith(t, 7, limit)
			conns = append(conns, c)
		}
		for i, want := range [][]application.CloseReason{
			{application.CloseReplaced, application.CloseCut}, {application.CloseReplaced, application.CloseCut},
			{application.CloseReplaced}, {application.CloseReplaced}, nil, nil,
		} {
			wantClosed(t, fmt.Sprintf("login %d", i), conns[i], want...)
		}
	})
}

func TestSocketsThatDoNotCloseAreCutAlsoIfTheirUserWasOfflineMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := oneNode(t)
		var conns []*conn
		for range 2 {
			first, _ := n.loginWith(t, 7, 1)
			conns = append(conns, first)
			_, last := n.loginWith(t, 7, 1)
			last.Leave()
			synctest.Wait()
			if n.presence.Online(7) {
				t.Fatal("the user is online")
			}
		}
		wantClosed(t, "the first", conns[0], application.CloseReplaced, application.CloseCut)
		wantClosed(t, "the second", conns[1], application.CloseReplaced)
	})
}

func TestEverySessionIsWrittenAgainWithinTheRefreshInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		n.login(t, 7)
		time.Sleep(2 * time.Hour)
		var last time.Time
		count := 0
		for _, entry := range log.all(log.PartitionOf(7)) {
			if entry.record.Kind != domain.SessionUp {
				continue
			}
			if gap := entry.at.Sub(last); count > 0 && gap > application.DefaultPresenceTimes.Refresh {
				t.Fatalf("%v between two ups", gap)
			}
			last = entry.at
			count++
		}
		if count < 12 || count > 16 {
			t.Fatalf("%d ups in two hours, want one every eight to ten minutes", count)
		}
		if n.presence.Online(8) {
			t.Fatal("8 was never there")
		}
	})
}

// Nodes that start read the log from a time on: what was written late, under its own time, may stand before that.
func TestASessionThatTheLogKeptWaitingIsWrittenAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		n.login(t, 7)
		synctest.Wait()
		before := log.kinds(7)
		partition := log.PartitionOf(7)
		up := log.all(partition)[len(log.all(partition))-1].record
		n.presence.Apply(partition, up, time.Now().Add(-application.DefaultPresenceTimes.Refresh))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := log.kinds(7); got != before+" up1" {
			t.Errorf("the log has %s", got)
		}
	})
}

func TestARefreshThatFailsIsTriedAgainAndNobodyNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		watcher, _ := n.login(t, 8, 7)
		_, membership := n.login(t, 7)
		time.Sleep(7 * time.Minute)
		log.decide(ups(lost))
		time.Sleep(2 * time.Minute)
		log.decide(nil)
		time.Sleep(2 * time.Second)
		wantSessions(t, log, 7, "up2 up2")
		wantStatuses(t, "the watcher", watcher, status{8, 7, true})
		if err := online(membership); err != nil { // as a further connection would
			t.Fatal(err)
		}
	})
}

func TestOneBeatIsUnderWayAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		synctest.Wait()
		n.pause()
		before := beats(log)
		time.Sleep(14 * time.Second)
		if got := beats(log); got > before+1 {
			t.Fatalf("%d beats were sent while none came back", got-before)
		}
		n.resume()
		before = beats(log)
		time.Sleep(10500 * time.Millisecond)
		if got := beats(log) - before; got < 10 {
			t.Fatalf("%d beats in ten seconds, want one a second", got)
		}
	})
}

func TestABeatThatIsRefusedIsFollowedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, log := oneNode(t)
		synctest.Wait()
		log.decide(func(sessionEntry) fate { return refused })
		time.Sleep(3500 * time.Millisecond)
		log.decide(nil)
		before := beats(log)
		time.Sleep(1500 * time.Millisecond)
		if beats(log) == before {
			t.Fatal("no beat once the log takes them again")
		}
		log.decide(func(sessionEntry) fate { return lost })
		time.Sleep(3500 * time.Millisecond)
		log.decide(nil)
		before = beats(log)
		time.Sleep(20 * time.Second)
		if beats(log) == before {
			t.Fatal("no beat after one was lost")
		}
	})
}

// beats counts the heartbeats in the log.
func beats(log *sessionTopic) int {
	n := 0
	for _, entry := range log.all(0) {
		if entry.record.Kind == domain.SessionBeat {
			n++
		}
	}
	return n
}

func TestADepartedNodeServesNobodyAndItsUsersAreOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		n, other := newNode(log, 1).start(t), newNode(log, 2).start(t)
		watcher, _ := other.login(t, 8, 7, 10)
		_, membership := n.login(t, 7)
		n.pause()
		_, waiting := n.enter(t, 10) // in the partition of 7
		outcome := goOnline(waiting)
		_, late := n.enter(t, 11)
		synctest.Wait()
		began := time.Now()
		if err := n.presence.Depart(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "the login that waited", <-outcome, domain.CodeUnavailable)
		wantCode(t, "a login that had entered", online(late), domain.CodeUnavailable)
		if waited := time.Since(began); waited != 0 {
			t.Fatalf("they had to wait %v", waited)
		}
		_, err := n.presence.Enter(10, &conn{})
		wantCode(t, "a login afterwards", err, domain.CodeUnavailable)
		n.resume()
		membership.Leave()
		waiting.Leave()
		time.Sleep(time.Minute)
		if other.presence.Online(7) || other.presence.Online(10) || n.presence.Online(7) {
			t.Fatal("users of a departed node are online")
		}
		wantStatuses(t, "the watcher", watcher,
			status{8, 7, true}, status{8, 10, true}, status{8, 7, false}, status{8, 10, false})
		wantSessions(t, log, 7, "up1")
	})
}

func TestUsersOfANodeThatLeavesWithAGraceAndComeBackInTimeNeverGoOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		leaving, staying := newNode(log, 1).start(t), newNode(log, 2).start(t)
		watcher, _ := staying.login(t, 8, 7, 10)
		_, back := leaving.login(t, 7)
		_, away := leaving.login(t, 10)
		leaving.presence.Freeze()
		back.Leave()
		away.Leave()
		time.Sleep(8 * time.Second) // longer than a lease: a node that takes its time to leave still beats
		const grace = 20 * time.Second
		if err := leaving.presence.Depart(t.Context(), grace); err != nil {
			t.Fatal(err)
		}
		leaving.kill()
		left := time.Now()
		time.Sleep(10 * time.Second)
		staying.login(t, 7)
		wantStatuses(t, "the watcher, within the grace", watcher, status{8, 7, true}, status{8, 10, true})
		for staying.presence.Online(10) {
			time.Sleep(time.Second)
			if time.Since(left) > 3*grace {
				t.Fatal("who did not come back is online for ever")
			}
		}
		if waited := time.Since(left); waited < grace {
			t.Errorf("buried after %v, within the grace", waited)
		}
		wantStatuses(t, "the watcher, in the end", watcher, status{8, 7, true}, status{8, 10, true}, status{8, 10, false})
	})
}

func TestADepartureThatFailsSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		log.decide(func(entry sessionEntry) fate {
			if entry.record.Kind == domain.SessionDead && entry.record.Count == 2 {
				return lost
			}
			return confirmed
		})
		wantCode(t, "Depart", n.presence.Depart(t.Context(), 0), domain.CodeUnconfirmed)
		log.decide(func(sessionEntry) fate { return delayed })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantCode(t, "Depart, without an answer", n.presence.Depart(ctx, 0), domain.CodeUnconfirmed)
	})
}

// A session counts as in the log only by its own count or a later one: an earlier up may have been given up, and its down may
// follow.
func TestAnUpOfAnEarlierSessionIsNotTakenForThatOfTheCurrentOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		log.decide(ups(late))
		_, first := n.enter(t, 7)
		wantCode(t, "the first login", online(first), domain.CodeUnconfirmed)
		first.Leave()
		log.decide(ups(delayed))
		c, second := n.enter(t, 7)
		outcome := goOnline(second)
		synctest.Wait()
		log.mu.Lock()
		log.add(log.PartitionOf(7), sessionEntry{up(incarnation(1, 1), 7, 1), time.Now()}) // the first one's, after all
		log.mu.Unlock()
		synctest.Wait()
		if len(outcome) != 0 || len(of[loggedIn](c)) != 0 {
			t.Fatal("the login is answered by another one's up")
		}
		log.release() // its own
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		second.Leave()
	})
}

// up is the record of a session's beginning.
func up(node domain.Incarnation, user domain.UserID, count int64) domain.SessionRecord {
	return domain.SessionRecord{Kind: domain.SessionUp, Incarnation: node, User: user, Count: count}
}

func TestAConnectionThatOnlyEnteredMakesNobodyOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		_, waiting := n.enter(t, 7)
		time.Sleep(time.Minute)
		if wantSessions(t, log, 7, ""); n.presence.Online(7) {
			t.Error("7 is online before its login goes on")
		}
		waiting.Leave()
		// One that ended before its login goes on is none.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		wantCode(t, "the login of a connection that has ended", waiting.Online(ctx, 0), domain.CodeUnconfirmed)
		if wantSessions(t, log, 7, ""); n.presence.Online(7) {
			t.Error("7 is online without a connection")
		}
	})
}

func TestAConnectionThatEndsWhileItsLoginWaitsIsNotHeldForOneThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		synctest.Wait()
		n.pause()
		_, first := n.enter(t, 7)
		_, second := n.enter(t, 7)
		a, b := goOnline(first), goOnline(second)
		synctest.Wait()
		first.Leave()
		n.resume()
		if err, err2 := <-a, <-b; err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		second.Leave()
		synctest.Wait()
		if wantSessions(t, log, 7, "up1 down1"); n.presence.Online(7) {
			t.Error("7 is online without a connection")
		}
	})
}

func TestTheOldestConnectionIsTheOneThatLoggedInFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := oneNode(t)
		slow, first := n.enter(t, 7)
		quick, second := n.enter(t, 7)
		for _, membership := range []*application.Membership{second, first} { // the one that came first logs in last
			if err := membership.Online(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		wantClosed(t, "the one that logged in first", quick, application.CloseReplaced)
		wantClosed(t, "the one that logged in last", slow)
	})
}

func TestAReplacedSocketThatHasClosedIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := oneNode(t)
		first, membership := n.loginWith(t, 7, 1)
		second, _ := n.loginWith(t, 7, 1)
		membership.Leave()
		membership.Leave()
		n.loginWith(t, 7, 1)
		wantClosed(t, "the first", first, application.CloseReplaced)
		wantClosed(t, "the second", second, application.CloseReplaced)
	})
}

// Other nodes, also those of other versions, read back for as long as this.
func TestTheLookbackOfSessionsIsTwoRefreshes(t *testing.T) {
	times := application.PresenceTimes{Refresh: 7 * time.Minute}
	if got := times.Lookback(); got != 14*time.Minute {
		t.Errorf("it is %v", got)
	}
	if got := application.DefaultPresenceTimes.Lookback(); got != 20*time.Minute {
		t.Errorf("by default it is %v", got)
	}
	if got, want := application.DefaultPresenceTimes, (application.PresenceTimes{Beat: time.Second, Lease: 6 * time.Second, Refresh: 10 * time.Minute}); got != want {
		t.Errorf("by default the times are %+v, want %+v", got, want)
	}
}
