package presence_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// These tests run in the false time of testing/synctest: a minute of beats takes no time, and time.Sleep there waits for
// what happens by then, not for luck.

func TestTheFirstConnectionWritesOneUpAndTheLastOneADown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		_, first := n.Login(t, 7)
		porttest.WantSessions(t, log, 7, "up1")
		_, second := n.Login(t, 7)
		_, third := n.Login(t, 7)
		time.Sleep(10 * time.Second)
		porttest.WantSessions(t, log, 7, "up1")
		first.Leave()
		third.Leave()
		synctest.Wait()
		if porttest.WantSessions(t, log, 7, "up1"); !n.Presence.Online(7) {
			t.Fatal("7 is offline while a connection is left")
		}
		second.Leave()
		synctest.Wait()
		if porttest.WantSessions(t, log, 7, "up1 down1"); n.Presence.Online(7) {
			t.Fatal("7 is online without a connection")
		}
		_, again := n.Login(t, 7)
		porttest.WantSessions(t, log, 7, "up1 down1 up2")
		// Leaving twice does not end somebody else's session.
		second.Leave()
		first.Leave()
		time.Sleep(10 * time.Second)
		if porttest.WantSessions(t, log, 7, "up1 down1 up2"); !n.Presence.Online(7) {
			t.Fatal("7 is offline while a connection is left")
		}
		again.Leave()
	})
}

func TestALoginIsAnsweredOnlyOnceTheUpCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		synctest.Wait()
		n.Pause()
		c, membership := n.Enter(t, 7)
		outcome := porttest.GoOnline(membership)
		synctest.Wait()
		porttest.WantSessions(t, log, 7, "up1")
		if len(c.All()) != 0 || n.Presence.Online(7) {
			t.Fatalf("answered with %v before the log was read", c.All())
		}
		n.Resume()
		synctest.Wait()
		if err := <-outcome; err != nil || len(porttest.Of[porttest.LoggedIn](c)) != 1 || !n.Presence.Online(7) {
			t.Fatalf("%v, %v", err, c.All())
		}
	})
}

func TestLoginsOfOneUserAtOnceShareOneUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		n.Pause()
		_, first := n.Enter(t, 7)
		_, second := n.Enter(t, 7)
		a, b := porttest.GoOnline(first), porttest.GoOnline(second)
		synctest.Wait()
		n.Resume()
		if err, err2 := <-a, <-b; err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		porttest.WantSessions(t, log, 7, "up1")
	})
}

func TestAFailedUpFailsTheLoginAndTheNextOneWorks(t *testing.T) {
	for what, test := range map[string]struct {
		fate porttest.Fate
		want domain.Code
		log  string
	}{
		"refused": {porttest.Refused, domain.CodeUnavailable, "up2"},
		"lost":    {porttest.Lost, domain.CodeUnconfirmed, "up2"},
		"late":    {porttest.Late, domain.CodeUnconfirmed, "up1 up2"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, log := porttest.OneNode(t)
				log.Decide(porttest.Ups(test.fate))
				c, membership := n.Enter(t, 7)
				porttest.WantCode(t, "login", porttest.Online(membership), test.want)
				membership.Leave()
				if len(c.All()) != 0 {
					t.Fatalf("got %v, want nothing", c.All())
				}
				log.Decide(nil)
				_, again := n.Enter(t, 7)
				outcome := porttest.GoOnline(again)
				log.Release()
				if err := <-outcome; err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if !n.Presence.Online(7) {
					t.Fatalf("7 is offline; the log has %q", log.Kinds(7))
				}
				again.Leave()
				time.Sleep(10 * time.Second)
				if n.Presence.Online(7) {
					t.Fatalf("7 is online for ever; the log has %q", log.Kinds(7))
				}
			})
		})
	}
}

func TestAnUnconfirmedUpThatAppearsLaterIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		log.Decide(porttest.Ups(porttest.Late))
		_, membership := n.Enter(t, 7)
		porttest.WantCode(t, "login", porttest.Online(membership), domain.CodeUnconfirmed)
		membership.Leave()
		log.Decide(nil)
		time.Sleep(time.Minute)
		porttest.WantSessions(t, log, 7, "")
		log.Release()
		synctest.Wait()
		if porttest.WantSessions(t, log, 7, "up1 down1"); n.Presence.Online(7) {
			t.Fatal("a ghost is online")
		}
	})
}

func TestAnAppendThatNeitherComesBackNorFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		log.Decide(porttest.Ups(porttest.Delayed))
		_, membership := n.Enter(t, 7)
		porttest.WantCode(t, "login", porttest.Online(membership), domain.CodeUnconfirmed) // its ten seconds are over
		membership.Leave()
		_, again := n.Enter(t, 7)
		outcome := porttest.GoOnline(again)
		time.Sleep(2 * time.Second)
		log.Decide(nil)
		if err := <-outcome; err != nil {
			t.Fatalf("the retry after a while did not come: %v", err)
		}
		log.Release()
		time.Sleep(10 * time.Second)
		if !n.Presence.Online(7) {
			t.Fatal("the late up of an earlier session ended a later one")
		}
		again.Leave()
		synctest.Wait()
		if n.Presence.Online(7) {
			t.Fatalf("7 is online for ever; the log has %q", log.Kinds(7))
		}
	})
}

func TestAFailedDownIsTriedAgain(t *testing.T) {
	for _, what := range []porttest.Fate{porttest.Refused, porttest.Lost} {
		synctest.Test(t, func(t *testing.T) {
			n, log := porttest.OneNode(t)
			_, membership := n.Login(t, 7)
			log.Decide(func(porttest.SessionEntry) porttest.Fate { return what })
			membership.Leave()
			time.Sleep(3500 * time.Millisecond)
			log.Decide(nil)
			time.Sleep(2 * time.Second)
			if porttest.WantSessions(t, log, 7, "up1 down1"); n.Presence.Online(7) {
				t.Fatal("7 is online without a connection")
			}
		})
	}
}

func TestALoginWhileTheDownIsUnderWayStartsAnotherSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		watcher, _ := n.Login(t, 8, 7)
		_, membership := n.Login(t, 7)
		synctest.Wait()
		n.Pause()
		membership.Leave()
		_, again := n.Enter(t, 7)
		outcome := porttest.GoOnline(again)
		synctest.Wait()
		n.Resume()
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		porttest.WantSessions(t, log, 7, "up2 down2 up3")
		porttest.WantStatuses(t, "the watcher", watcher, porttest.Status{To: 8, User: 7, Online: true}, porttest.Status{To: 8, User: 7, Online: false}, porttest.Status{To: 8, User: 7, Online: true})
	})
}

func TestALoginThatIsGivenUpLeavesNobodyOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		n.Pause()
		_, membership := n.Enter(t, 7)
		ctx, cancel := context.WithCancel(t.Context())
		outcome := make(chan error, 1)
		go func() { outcome <- membership.Online(ctx, 0) }()
		synctest.Wait()
		cancel()
		porttest.WantCode(t, "login", <-outcome, domain.CodeUnconfirmed)
		membership.Leave()
		n.Resume()
		synctest.Wait()
		if porttest.WantSessions(t, log, 7, "up1 down1"); n.Presence.Online(7) {
			t.Fatal("7 is online")
		}
	})
}

func TestManyLoginsAtTheLimitReplaceExactlyTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		const limit, more = 32, 10
		var conns []*porttest.Conn
		for range limit {
			c, _ := n.LoginWith(t, 7, limit)
			conns = append(conns, c)
		}
		before := len(log.All(log.PartitionOf(7)))
		var logins sync.WaitGroup
		newer := make(chan *porttest.Conn, more)
		for range more {
			logins.Go(func() {
				c, _ := n.LoginWith(t, 7, limit)
				newer <- c
			})
		}
		logins.Wait()
		close(newer)
		for i, c := range conns {
			if i < more {
				porttest.WantClosed(t, fmt.Sprintf("login %d", i), c, port.CloseReplaced)
			} else {
				porttest.WantClosed(t, fmt.Sprintf("login %d", i), c)
			}
		}
		for c := range newer {
			porttest.WantClosed(t, "a newer one", c)
		}
		if got := len(log.All(log.PartitionOf(7))); got != before {
			t.Errorf("%d records were written about a user who stayed online", got-before)
		}
	})
}

func TestALoginThatFailsReplacesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		first, _ := n.LoginWith(t, 7, 1)
		_, membership := n.Enter(t, 7)
		porttest.WantClosed(t, "the first, while another logs in", first)
		membership.Leave()
		porttest.WantClosed(t, "the first", first)
		_, other := n.LoginWith(t, 8, 1)
		other.Leave()
		porttest.WantClosed(t, "the first, after another user's login", first)
	})
}

func TestTheLastConnectionCountsAlthoughReplacedOnesAreStillClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		_, first := n.LoginWith(t, 7, 1)
		_, second := n.LoginWith(t, 7, 1)
		second.Leave()
		synctest.Wait()
		if n.Presence.Online(7) {
			t.Error("a user is online by a connection that was replaced")
		}
		first.Leave()
		n.LoginWith(t, 7, 1)
		synctest.Wait()
		if !n.Presence.Online(7) {
			t.Error("the user is offline after another login")
		}
	})
}

func TestSocketsThatDoNotCloseAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		const limit = 2
		var conns []*porttest.Conn
		for range 3 * limit {
			c, _ := n.LoginWith(t, 7, limit)
			conns = append(conns, c)
		}
		for i, want := range [][]port.CloseReason{
			{port.CloseReplaced, port.CloseCut}, {port.CloseReplaced, port.CloseCut},
			{port.CloseReplaced}, {port.CloseReplaced}, nil, nil,
		} {
			porttest.WantClosed(t, fmt.Sprintf("login %d", i), conns[i], want...)
		}
	})
}

func TestSocketsThatDoNotCloseAreCutAlsoIfTheirUserWasOfflineMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		var conns []*porttest.Conn
		for range 2 {
			first, _ := n.LoginWith(t, 7, 1)
			conns = append(conns, first)
			_, last := n.LoginWith(t, 7, 1)
			last.Leave()
			synctest.Wait()
			if n.Presence.Online(7) {
				t.Fatal("the user is online")
			}
		}
		porttest.WantClosed(t, "the first", conns[0], port.CloseReplaced, port.CloseCut)
		porttest.WantClosed(t, "the second", conns[1], port.CloseReplaced)
	})
}

func TestEverySessionIsWrittenAgainWithinTheRefreshInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		n.Login(t, 7)
		time.Sleep(2 * time.Hour)
		var last time.Time
		count := 0
		for _, entry := range log.All(log.PartitionOf(7)) {
			if entry.Record.Kind != domain.SessionUp {
				continue
			}
			if gap := entry.At.Sub(last); count > 0 && gap > presence.DefaultTimes.Refresh {
				t.Fatalf("%v between two ups", gap)
			}
			last = entry.At
			count++
		}
		if count < 12 || count > 16 {
			t.Fatalf("%d ups in two hours, want one every eight to ten minutes", count)
		}
		if n.Presence.Online(8) {
			t.Fatal("8 was never there")
		}
	})
}

// Nodes that start read the log from a time on: what was written late, under its own time, may stand before that.
func TestASessionThatTheLogKeptWaitingIsWrittenAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		n.Login(t, 7)
		synctest.Wait()
		before := log.Kinds(7)
		partition := log.PartitionOf(7)
		up := log.All(partition)[len(log.All(partition))-1].Record
		n.Presence.Apply(partition, up, time.Now().Add(-presence.DefaultTimes.Refresh))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := log.Kinds(7); got != before+" up1" {
			t.Errorf("the log has %s", got)
		}
	})
}

func TestARefreshThatFailsIsTriedAgainAndNobodyNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		watcher, _ := n.Login(t, 8, 7)
		_, membership := n.Login(t, 7)
		time.Sleep(7 * time.Minute)
		log.Decide(porttest.Ups(porttest.Lost))
		time.Sleep(2 * time.Minute)
		log.Decide(nil)
		time.Sleep(2 * time.Second)
		porttest.WantSessions(t, log, 7, "up2 up2")
		porttest.WantStatuses(t, "the watcher", watcher, porttest.Status{To: 8, User: 7, Online: true})
		if err := porttest.Online(membership); err != nil { // as a further connection would
			t.Fatal(err)
		}
	})
}

func TestOneBeatIsUnderWayAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		synctest.Wait()
		n.Pause()
		before := porttest.Beats(log)
		time.Sleep(14 * time.Second)
		if got := porttest.Beats(log); got > before+1 {
			t.Fatalf("%d beats were sent while none came back", got-before)
		}
		n.Resume()
		before = porttest.Beats(log)
		time.Sleep(10500 * time.Millisecond)
		if got := porttest.Beats(log) - before; got < 10 {
			t.Fatalf("%d beats in ten seconds, want one a second", got)
		}
	})
}

func TestABeatThatIsRefusedIsFollowedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, log := porttest.OneNode(t)
		synctest.Wait()
		log.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Refused })
		time.Sleep(3500 * time.Millisecond)
		log.Decide(nil)
		before := porttest.Beats(log)
		time.Sleep(1500 * time.Millisecond)
		if porttest.Beats(log) == before {
			t.Fatal("no beat once the log takes them again")
		}
		log.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Lost })
		time.Sleep(3500 * time.Millisecond)
		log.Decide(nil)
		before = porttest.Beats(log)
		time.Sleep(20 * time.Second)
		if porttest.Beats(log) == before {
			t.Fatal("no beat after one was lost")
		}
	})
}

func TestADepartedNodeServesNobodyAndItsUsersAreOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		n, other := porttest.NewNode(log, 1).Start(t), porttest.NewNode(log, 2).Start(t)
		watcher, _ := other.Login(t, 8, 7, 10)
		_, membership := n.Login(t, 7)
		n.Pause()
		_, waiting := n.Enter(t, 10) // in the partition of 7
		outcome := porttest.GoOnline(waiting)
		_, late := n.Enter(t, 11)
		synctest.Wait()
		began := time.Now()
		if err := n.Presence.Depart(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		porttest.WantCode(t, "the login that waited", <-outcome, domain.CodeUnavailable)
		porttest.WantCode(t, "a login that had entered", porttest.Online(late), domain.CodeUnavailable)
		if waited := time.Since(began); waited != 0 {
			t.Fatalf("they had to wait %v", waited)
		}
		_, err := n.Presence.Enter(10, &porttest.Conn{})
		porttest.WantCode(t, "a login afterwards", err, domain.CodeUnavailable)
		n.Resume()
		membership.Leave()
		waiting.Leave()
		time.Sleep(time.Minute)
		if other.Presence.Online(7) || other.Presence.Online(10) || n.Presence.Online(7) {
			t.Fatal("users of a departed node are online")
		}
		porttest.WantStatuses(t, "the watcher", watcher,
			porttest.Status{To: 8, User: 7, Online: true}, porttest.Status{To: 8, User: 10, Online: true}, porttest.Status{To: 8, User: 7, Online: false}, porttest.Status{To: 8, User: 10, Online: false})
		porttest.WantSessions(t, log, 7, "up1")
	})
}

func TestUsersOfANodeThatLeavesWithAGraceAndComeBackInTimeNeverGoOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		leaving, staying := porttest.NewNode(log, 1).Start(t), porttest.NewNode(log, 2).Start(t)
		watcher, _ := staying.Login(t, 8, 7, 10)
		_, back := leaving.Login(t, 7)
		_, away := leaving.Login(t, 10)
		leaving.Presence.Freeze()
		back.Leave()
		away.Leave()
		time.Sleep(8 * time.Second) // longer than a lease: a node that takes its time to leave still beats
		const grace = 20 * time.Second
		if err := leaving.Presence.Depart(t.Context(), grace); err != nil {
			t.Fatal(err)
		}
		leaving.Kill()
		left := time.Now()
		time.Sleep(10 * time.Second)
		staying.Login(t, 7)
		porttest.WantStatuses(t, "the watcher, within the grace", watcher, porttest.Status{To: 8, User: 7, Online: true}, porttest.Status{To: 8, User: 10, Online: true})
		for staying.Presence.Online(10) {
			time.Sleep(time.Second)
			if time.Since(left) > 3*grace {
				t.Fatal("who did not come back is online for ever")
			}
		}
		if waited := time.Since(left); waited < grace {
			t.Errorf("buried after %v, within the grace", waited)
		}
		porttest.WantStatuses(t, "the watcher, in the end", watcher, porttest.Status{To: 8, User: 7, Online: true}, porttest.Status{To: 8, User: 10, Online: true}, porttest.Status{To: 8, User: 10, Online: false})
	})
}

func TestADepartureThatFailsSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		log.Decide(func(entry porttest.SessionEntry) porttest.Fate {
			if entry.Record.Kind == domain.SessionDead && entry.Record.Count == 2 {
				return porttest.Lost
			}
			return porttest.Confirmed
		})
		porttest.WantCode(t, "Depart", n.Presence.Depart(t.Context(), 0), domain.CodeUnconfirmed)
		log.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Delayed })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		porttest.WantCode(t, "Depart, without an answer", n.Presence.Depart(ctx, 0), domain.CodeUnconfirmed)
	})
}

// A session counts as in the log only by its own count or a later one: an earlier up may have been given up, and its down may
// follow.
func TestAnUpOfAnEarlierSessionIsNotTakenForThatOfTheCurrentOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		log.Decide(porttest.Ups(porttest.Late))
		_, first := n.Enter(t, 7)
		porttest.WantCode(t, "the first login", porttest.Online(first), domain.CodeUnconfirmed)
		first.Leave()
		log.Decide(porttest.Ups(porttest.Delayed))
		c, second := n.Enter(t, 7)
		outcome := porttest.GoOnline(second)
		synctest.Wait()
		log.Mu.Lock()
		log.Add(log.PartitionOf(7), porttest.SessionEntry{Record: porttest.Up(porttest.Incarnation(1, 1), 7, 1), At: time.Now()}) // the first one's, after all
		log.Mu.Unlock()
		synctest.Wait()
		if len(outcome) != 0 || len(porttest.Of[porttest.LoggedIn](c)) != 0 {
			t.Fatal("the login is answered by another one's up")
		}
		log.Release() // its own
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		second.Leave()
	})
}

func TestAConnectionThatOnlyEnteredMakesNobodyOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		_, waiting := n.Enter(t, 7)
		time.Sleep(time.Minute)
		if porttest.WantSessions(t, log, 7, ""); n.Presence.Online(7) {
			t.Error("7 is online before its login goes on")
		}
		waiting.Leave()
		// One that ended before its login goes on is none.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		porttest.WantCode(t, "the login of a connection that has ended", waiting.Online(ctx, 0), domain.CodeUnconfirmed)
		if porttest.WantSessions(t, log, 7, ""); n.Presence.Online(7) {
			t.Error("7 is online without a connection")
		}
	})
}

func TestAConnectionThatEndsWhileItsLoginWaitsIsNotHeldForOneThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		synctest.Wait()
		n.Pause()
		_, first := n.Enter(t, 7)
		_, second := n.Enter(t, 7)
		a, b := porttest.GoOnline(first), porttest.GoOnline(second)
		synctest.Wait()
		first.Leave()
		n.Resume()
		if err, err2 := <-a, <-b; err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		second.Leave()
		synctest.Wait()
		if porttest.WantSessions(t, log, 7, "up1 down1"); n.Presence.Online(7) {
			t.Error("7 is online without a connection")
		}
	})
}

func TestTheOldestConnectionIsTheOneThatLoggedInFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		slow, first := n.Enter(t, 7)
		quick, second := n.Enter(t, 7)
		for _, membership := range []*presence.Membership{second, first} { // the one that came first logs in last
			if err := membership.Online(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		porttest.WantClosed(t, "the one that logged in first", quick, port.CloseReplaced)
		porttest.WantClosed(t, "the one that logged in last", slow)
	})
}

func TestAReplacedSocketThatHasClosedIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		first, membership := n.LoginWith(t, 7, 1)
		second, _ := n.LoginWith(t, 7, 1)
		membership.Leave()
		membership.Leave()
		n.LoginWith(t, 7, 1)
		porttest.WantClosed(t, "the first", first, port.CloseReplaced)
		porttest.WantClosed(t, "the second", second, port.CloseReplaced)
	})
}

// Other nodes, also those of other versions, read back for as long as this.
func TestTheLookbackOfSessionsIsTwoRefreshes(t *testing.T) {
	times := presence.Times{Refresh: 7 * time.Minute}
	if got := times.Lookback(); got != 14*time.Minute {
		t.Errorf("it is %v", got)
	}
	if got := presence.DefaultTimes.Lookback(); got != 20*time.Minute {
		t.Errorf("by default it is %v", got)
	}
	if got, want := presence.DefaultTimes, (presence.Times{Beat: time.Second, Lease: 6 * time.Second, Refresh: 10 * time.Minute}); got != want {
		t.Errorf("by default the times are %+v, want %+v", got, want)
	}
}
