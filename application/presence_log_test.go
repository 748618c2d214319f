package application_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

// twoNodes starts two nodes on one topic.
func twoNodes(t *testing.T) (a, b *node, log *sessionTopic) {
	log = newSessionTopic(sessionPartitions, time.Now)
	return newNode(log, 1).start(t), newNode(log, 2).start(t), log
}

// burials returns whom the log's partition buries, in order.
func burials(log *sessionTopic, partition int) []domain.Incarnation {
	var dead []domain.Incarnation
	for _, entry := range log.all(partition) {
		if entry.record.Kind == domain.SessionDead {
			dead = append(dead, entry.record.Incarnation)
		}
	}
	return dead
}

func TestADeadNodesUsersAreOfflineToEverybodyWithinLeaseAndHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := twoNodes(t)
		watcher, _ := b.login(t, 8, 7, 9)
		a.login(t, 7)
		a.login(t, 9)
		b.login(t, 9)
		time.Sleep(30*time.Second + 500*time.Millisecond) // between two beats
		a.kill()
		time.Sleep(5 * time.Second)
		if !b.presence.Online(7) {
			t.Fatal("buried before a lease was over")
		}
		times := application.DefaultPresenceTimes
		// A second of rank beside lease and heartbeat: b's id is the higher one, until a does not count any more.
		time.Sleep(times.Lease + times.Beat + time.Second - 5*time.Second)
		if b.presence.Online(7) {
			t.Fatal("the dead node's user is online")
		}
		if !b.presence.Online(9) {
			t.Fatal("a user who is on a living node too is offline")
		}
		if told(watcher, 7) != "+-" || told(watcher, 9) != "+" {
			t.Fatalf("the watcher was told %v", of[status](watcher))
		}
	})
}

func TestAnOutageOfTheLogKillsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		watcher, _ := b.login(t, 8, 7)
		a.login(t, 7)
		for _, what := range []fate{refused, lost, late, delayed} {
			log.decide(func(sessionEntry) fate { return what })
			time.Sleep(time.Minute)
			log.decide(nil)
			log.release()
			time.Sleep(time.Minute)
			if !a.presence.Online(7) || !b.presence.Online(7) || len(burials(log, 0)) != 0 {
				t.Fatalf("after an outage of kind %d: buried %v", what, burials(log, 0))
			}
		}
		wantStatuses(t, "the watcher", watcher, status{8, 7, true})
	})
}

func TestANodeThatFindsItselfBuriedWritesItsSessionsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		watcher, _ := b.login(t, 8, 7, 9, 10, 11)
		local, _ := a.login(t, 12, 7)
		var left *application.Membership
		for user := domain.UserID(7); user <= 11; user++ {
			if user != 8 {
				_, left = a.login(t, user)
			}
		}
		time.Sleep(10 * time.Second)
		a.cutOff()
		time.Sleep(15*time.Second + 500*time.Millisecond) // it comes back between two beats
		if b.presence.Online(7) || b.presence.Online(11) {
			t.Fatal("a node that is cut off was not buried")
		}
		left.Leave() // 11, while the node is dead to all others
		a.reconnect()
		if synctest.Wait(); !b.presence.Online(7) {
			t.Error("the node waited for its next beat to write its sessions again")
		}
		time.Sleep(10 * time.Second)
		for _, n := range []*node{a, b} {
			for user, want := range map[domain.UserID]bool{7: true, 9: true, 10: true, 11: false, 8: true} {
				if n.presence.Online(user) != want {
					t.Fatalf("Online(%d) is %v after the node went on", user, !want)
				}
			}
		}
		want := map[domain.UserID]string{7: "+-+", 9: "+-+", 10: "+-+", 11: "+-"}
		for user, what := range want {
			if got := told(watcher, user); got != what {
				t.Fatalf("of %d was told %s, want %s", user, got, what)
			}
		}
		if got := told(local, 7); got != "+-+" && got != "+" {
			t.Fatalf("on the node itself of 7 was told %s: offline and online once at most", got)
		}
		time.Sleep(time.Hour)
		if got := burials(log, 0); !slices.Equal(got, []domain.Incarnation{incarnation(1, 1)}) {
			t.Fatalf("buried were %v, want the first life of node 1, once", got)
		}
	})
}

// told returns what a conn was told of a user: + for online, - for offline.
func told(c *conn, user domain.UserID) string {
	text := ""
	for _, s := range of[status](c) {
		if s.user == user && s.online {
			text += "+"
		} else if s.user == user {
			text += "-"
		}
	}
	return text
}

func TestALoginThatWaitsDuringABurialIsAnsweredByTheNewLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		log.decide(ups(delayed))
		_, membership := n.enter(t, 7)
		outcome := goOnline(membership)
		synctest.Wait()
		log.decide(nil)
		log.Bury(incarnation(1, 1), func(error) {})
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		if !n.presence.Online(7) {
			t.Fatal("7 is offline")
		}
		log.release() // the up of the first life
		time.Sleep(30 * time.Second)
		membership.Leave()
		synctest.Wait()
		if n.presence.Online(7) {
			t.Fatalf("7 is online for ever; the log has %q", log.kinds(7))
		}
	})
}

func TestAFailureOfTheBuriedLifeDoesNotFailALoginOfTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		failing := &holdingLog{sessionTopic: log}
		presence := application.NewSetPresence(failing, time.Now, nodeIDs(1), application.DefaultPresenceTimes, quietNotices())
		membership, err := presence.Enter(7, &conn{})
		if err != nil {
			t.Fatal(err)
		}
		outcome := goOnline(membership)
		synctest.Wait()
		presence.Apply(0, domain.SessionRecord{Kind: domain.SessionDead, Incarnation: incarnation(1, 1)}, time.Now())
		if len(failing.appends()) != 2 {
			t.Fatalf("%d appends, want the up of each life", len(failing.appends()))
		}
		failing.appends()[0].done(errUnconfirmed)
		synctest.Wait()
		presence.Apply(log.PartitionOf(7), failing.appends()[1].record, time.Now())
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	})
}

func TestALateFailureOfAnEarlierUpDoesNotFailTheNextLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		failing := &holdingLog{sessionTopic: log}
		presence := application.NewSetPresence(failing, time.Now, nodeIDs(1), application.DefaultPresenceTimes, quietNotices())
		first, err := presence.Enter(7, &conn{})
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, "the first login", online(first), domain.CodeUnconfirmed)
		first.Leave()
		second, err := presence.Enter(7, &conn{})
		if err != nil {
			t.Fatal(err)
		}
		outcome := goOnline(second)
		synctest.Wait()
		failing.appends()[0].done(errUnconfirmed)
		run(t, presence) // its first beat compares, and writes what is missing
		synctest.Wait()
		for _, held := range failing.appends() {
			presence.Apply(log.PartitionOf(held.record.User), held.record, time.Now())
		}
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	})
}

func TestAfterAFailureTheNextOfSeveralWaitingConnectionsTriesAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		_, first := n.enter(t, 7)
		_, second := n.enter(t, 7)
		log.decide(ups(refused))
		wantCode(t, "the first login", online(first), domain.CodeUnavailable)
		log.decide(nil)
		if err := online(second); err != nil {
			t.Fatalf("the second login: %v", err)
		}
		first.Leave()
		synctest.Wait()
		if wantSessions(t, log, 7, "up2"); !n.presence.Online(7) {
			t.Fatal("7 is offline while a connection is left")
		}
	})
}

// A beat that was given up and comes back after all must not pass for the one that is under way: the next would go out
// beside it, and after an outage they would come back in a burst.
func TestAnOldBeatThatComesBackIsNotTheOneUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		holding := &holdingLog{sessionTopic: log}
		presence := application.NewSetPresence(holding, time.Now, nodeIDs(1), application.DefaultPresenceTimes, quietNotices())
		run(t, presence)
		time.Sleep(20 * time.Second)
		if len(holding.appends()) != 2 {
			t.Fatalf("%d beats in 20 s, want one, and another once the first is given up", len(holding.appends()))
		}
		presence.Apply(0, holding.appends()[0].record, time.Now())
		time.Sleep(5 * time.Second)
		if len(holding.appends()) != 2 {
			t.Fatal("a third beat was sent while the second is under way")
		}
		presence.Apply(0, holding.appends()[1].record, time.Now())
		time.Sleep(2 * time.Second)
		if len(holding.appends()) != 3 {
			t.Fatalf("%d beats, want a third after the second came back", len(holding.appends()))
		}
	})
}

// run lets a presence beat until the test ends.
func run(t *testing.T, presence *application.SetPresence) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		presence.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// holdingLog keeps what is appended, for the test to answer.
type holdingLog struct {
	*sessionTopic
	mu   sync.Mutex
	held []heldAppend
}

func (l *holdingLog) appends() []heldAppend {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.held)
}

type heldAppend struct {
	record domain.SessionRecord
	done   func(error)
}

func (l *holdingLog) Append(record domain.SessionRecord, done func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, heldAppend{record, done})
}

// Whoever buries may fail, or die, when only some partitions have it.
func TestABurialThatReachedSomePartitionsIsCompleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		for user := domain.UserID(7); user < 13; user++ {
			a.login(t, user)
		}
		b.login(t, 20)
		time.Sleep(10 * time.Second)
		a.kill()
		log.decide(func(entry sessionEntry) fate {
			if entry.record.Kind == domain.SessionDead && entry.record.Count > 0 {
				return lost
			}
			return confirmed
		})
		time.Sleep(20 * time.Second)
		if len(burials(log, 0)) == 0 || len(burials(log, 1)) != 0 {
			t.Fatal("the test wants a burial in partition 0 alone")
		}
		log.decide(nil)
		time.Sleep(20 * time.Second)
		for user := domain.UserID(7); user < 13; user++ {
			if b.presence.Online(user) {
				t.Fatalf("%d of partition %d is online for ever", user, log.PartitionOf(user))
			}
		}
		last := len(burials(log, 0))
		time.Sleep(time.Minute)
		if len(burials(log, 0)) != last {
			t.Fatal("the burial is repeated after it is complete")
		}
	})
}

func TestANodeBuriedInSomePartitionsOnlyEndsItsOldSessionsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		var memberships []*application.Membership
		for user := domain.UserID(6); user < 9; user++ {
			_, membership := n.login(t, user)
			memberships = append(memberships, membership)
		}
		log.put(0, sessionEntry{domain.SessionRecord{Kind: domain.SessionDead, Incarnation: incarnation(1, 1)}, time.Now()}, func(error) {})
		time.Sleep(time.Minute)
		for _, membership := range memberships {
			membership.Leave()
		}
		time.Sleep(time.Minute)
		for user := domain.UserID(6); user < 9; user++ {
			if n.presence.Online(user) {
				t.Fatalf("%d of partition %d is online for ever", user, log.PartitionOf(user))
			}
		}
	})
}

func TestAfterItsOwnBurialANodeJudgesNobodyForThreeLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		b.login(t, 8)
		time.Sleep(10 * time.Second)
		a.cutOff()
		time.Sleep(20 * time.Second)
		a.reconnect()
		b.kill()
		lease := application.DefaultPresenceTimes.Lease
		time.Sleep(3*lease - time.Second)
		if !a.presence.Online(8) {
			t.Fatal("what cut this node off may have hit the other one as well")
		}
		time.Sleep(lease)
		if a.presence.Online(8) {
			t.Fatalf("a dead node is not buried; partition 0 buries %v", burials(log, 0))
		}
	})
}

func TestRecordsOfALaterVersionBuryNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		log.Append(domain.SessionRecord{Kind: "news", User: 7}, func(error) {})
		time.Sleep(time.Minute)
		if got := burials(log, 0); len(got) != 0 {
			t.Fatalf("buried %v", got)
		}
		if n.presence.Online(7) {
			t.Fatal("7 is online")
		}
		n.presence.Apply(-1, domain.SessionRecord{Kind: domain.SessionUp, Incarnation: incarnation(9, 9), User: 7, Count: 1}, time.Now())
		n.presence.Apply(sessionPartitions, domain.SessionRecord{Kind: domain.SessionUp, Incarnation: incarnation(9, 9), User: 7, Count: 1}, time.Now())
	})
}

func TestNodesFromBeforeWhatANodeHasReadAreBuriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		n := newNode(log, 2).start(t)
		living := newNode(log, 3).start(t)
		buried, gone := incarnation(9, 1), incarnation(9, 2)
		for partition := range sessionPartitions {
			log.put(partition, sessionEntry{domain.SessionRecord{Kind: domain.SessionDead, Incarnation: buried}, time.Now()}, func(error) {})
		}
		synctest.Wait()
		n.presence.Suspect([]domain.Incarnation{buried, gone, incarnation(3, 1), incarnation(2, 1)})
		time.Sleep(time.Minute)
		synctest.Wait()
		for partition := range sessionPartitions {
			if got := burials(log, partition); !slices.Equal(got, []domain.Incarnation{buried, gone}) {
				t.Errorf("partition %d buries %v", partition, got)
			}
		}
		living.kill()
	})
}

func TestAStartingNodeKnowsEverybodyAndBuriesEarlierNodesWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		earlier := newNode(log, 1).start(t)
		for user := domain.UserID(7); user < 10; user++ {
			earlier.login(t, user)
		}
		earlier.kill()
		n := newNode(log, 2).start(t)
		synctest.Wait()
		if !n.presence.Online(7) || !n.presence.Online(9) {
			t.Fatal("the node does not know who is online")
		}
		watcher, _ := n.login(t, 20, 7, 9)
		if got := of[loggedIn](watcher)[0].online; !slices.Equal(got, []domain.UserID{7, 9}) {
			t.Fatalf("online friends %v", got)
		}
		if err := n.presence.BuryOthers(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n.presence.Online(7) || n.presence.Online(9) || !n.presence.Online(20) {
			t.Fatal("want the earlier node's users offline and the own one online")
		}
		log.decide(func(sessionEntry) fate { return refused })
		if err := n.presence.BuryOthers(t.Context()); err != nil {
			t.Fatalf("with nobody left to bury: %v", err)
		}
		log.decide(nil)
		other := newNode(log, 3).start(t)
		synctest.Wait()
		log.decide(func(sessionEntry) fate { return refused })
		wantCode(t, "BuryOthers", n.presence.BuryOthers(t.Context()), domain.CodeUnavailable)
		other.kill()
	})
}

func TestADepartedNodeDoesNotGoOnAsAnotherOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		n.login(t, 7)
		if err := n.presence.Depart(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		for partition := range sessionPartitions {
			for _, entry := range log.all(partition) {
				if entry.record.Incarnation != incarnation(1, 1) && entry.record.Kind != domain.FriendsChanged {
					t.Fatalf("partition %d has %+v", partition, entry.record)
				}
			}
		}
	})
}

func TestABuriedNodeBeatsUnderItsNewNameAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		synctest.Wait()
		log.decide(func(sessionEntry) fate { return delayed })
		time.Sleep(2 * time.Second) // a beat is under way
		log.decide(nil)
		log.Bury(incarnation(1, 1), func(error) {})
		time.Sleep(1500 * time.Millisecond)
		beats := 0
		for _, entry := range log.all(0) {
			if entry.record.Kind == domain.SessionBeat && entry.record.Incarnation == incarnation(1, 2) {
				beats++
			}
		}
		if beats == 0 {
			t.Error("its new life has not beaten: the others do not know of it")
		}
		n.kill()
	})
}

// A record can be in the log twice. The second copy of a beat must not count as a beat, which it would be without a time.
func TestTheSecondCopyOfABeatDoesNotHideAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		holding := &holdingLog{sessionTopic: log}
		presence := application.NewSetPresence(holding, time.Now, nodeIDs(1), application.DefaultPresenceTimes, quietNotices())
		run(t, presence)
		next := 0
		comeBack := func() { // what was appended since
			synctest.Wait()
			for held := holding.appends(); next < len(held); next++ {
				presence.Apply(0, held[next].record, time.Now())
			}
		}
		presence.Apply(0, domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: incarnation(2, 1), Count: 1}, time.Now())
		for range 3 {
			comeBack()
			time.Sleep(time.Second)
		}
		comeBack()
		presence.Apply(0, holding.appends()[next-1].record, time.Now())
		time.Sleep(time.Hour) // nothing comes back
		next = len(holding.appends()) - 1
		for range 18 { // three leases
			comeBack()
			time.Sleep(time.Second)
		}
		if got := burials(log, 0); len(got) != 0 {
			t.Errorf("right after an outage are buried %v", got)
		}
	})
}

func TestAGhostWhoseDownFailsIsEndedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		log.decide(func(entry sessionEntry) fate {
			if entry.record.Kind == domain.SessionDown {
				return refused
			}
			return confirmed
		})
		log.mu.Lock()
		log.add(log.PartitionOf(7), sessionEntry{up(incarnation(1, 1), 7, 9), time.Now()}) // of a login that was given up
		log.mu.Unlock()
		time.Sleep(3 * time.Second)
		if !n.presence.Online(7) {
			t.Fatal("the test wants a ghost")
		}
		log.decide(nil)
		time.Sleep(3 * time.Second)
		if wantSessions(t, log, 7, "up9 down9"); n.presence.Online(7) {
			t.Error("a ghost is online")
		}
	})
}

func TestAfterLostRecordsTheNodesOwnUsersAreWrittenAgainAndOthersForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		a.login(t, 7)
		b.login(t, 8)
		time.Sleep(2 * time.Second)
		before := log.kinds(7)
		a.presence.Forget()
		if a.presence.Online(8) {
			t.Error("what is known of others is not forgotten")
		}
		time.Sleep(100 * time.Millisecond) // before the next beat
		if got := log.kinds(7); got != before+" up1" || !a.presence.Online(7) {
			t.Errorf("the log has %s; 7 is online: %v", got, a.presence.Online(7))
		}
		if !b.presence.Online(7) || !b.presence.Online(8) {
			t.Error("another node has lost them")
		}
	})
}

func TestABurialIsLoggedAndSoIsOneThatFails(t *testing.T) {
	for name, what := range map[string]fate{"it works": confirmed, "it fails": refused} {
		synctest.Test(t, func(t *testing.T) {
			log := newSessionTopic(sessionPartitions, time.Now)
			notices, out := newNotices()
			n := &node{log: log}
			n.resumed = sync.NewCond(&n.mu)
			n.presence = application.NewSetPresence(n, time.Now, nodeIDs(2), application.DefaultPresenceTimes, notices)
			n.start(t)
			other := newNode(log, 1).start(t)
			time.Sleep(2 * time.Second)
			other.kill()
			log.decide(func(entry sessionEntry) fate {
				if entry.record.Kind == domain.SessionDead {
					return what
				}
				return confirmed
			})
			time.Sleep(20 * time.Second)
			got := out.take()
			if !strings.Contains(got, "level=INFO") || strings.Contains(got, "failed") != (what == refused) {
				t.Errorf("%s: %s", name, got)
			}
		})
	}
}

// Anybody who may write the topic can write such a record.
func TestAGraceIsBoundedWhateverANodeAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, log := oneNode(t)
		gone := incarnation(9, 9)
		log.Append(domain.SessionRecord{Kind: domain.SessionLeaving, Incarnation: gone, Grace: 100 * time.Hour}, func(error) {})
		time.Sleep(10*time.Minute - time.Second)
		if got := burials(log, 0); len(got) != 0 {
			t.Errorf("buried are %v", got)
		}
		time.Sleep(time.Minute)
		if got := burials(log, 0); !slices.Equal(got, []domain.Incarnation{gone}) {
			t.Errorf("buried are %v", got)
		}
	})
}
