package presence_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// twoNodes starts two nodes on one topic.
func twoNodes(t *testing.T) (a, b *porttest.Node, log *porttest.SessionTopic) {
	log = porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
	return porttest.NewNode(log, 1).Start(t), porttest.NewNode(log, 2).Start(t), log
}

func TestADeadNodesUsersAreOfflineToEverybodyWithinLeaseAndHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := twoNodes(t)
		watcher, _ := b.Login(t, 8, 7, 9)
		a.Login(t, 7)
		a.Login(t, 9)
		b.Login(t, 9)
		time.Sleep(30*time.Second + 500*time.Millisecond) // between two beats
		a.Kill()
		time.Sleep(5 * time.Second)
		if !b.Presence.Online(7) {
			t.Fatal("buried before a lease was over")
		}
		times := presence.DefaultTimes
		// A second of rank beside lease and heartbeat: b's id is the higher one, until a does not count any more.
		time.Sleep(times.Lease + times.Beat + time.Second - 5*time.Second)
		if b.Presence.Online(7) {
			t.Fatal("the dead node's user is online")
		}
		if !b.Presence.Online(9) {
			t.Fatal("a user who is on a living node too is offline")
		}
		if porttest.Told(watcher, 7) != "+-" || porttest.Told(watcher, 9) != "+" {
			t.Fatalf("the watcher was told %v", porttest.Of[porttest.Status](watcher))
		}
	})
}

func TestAnOutageOfTheLogKillsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		watcher, _ := b.Login(t, 8, 7)
		a.Login(t, 7)
		for _, what := range []porttest.Fate{porttest.Refused, porttest.Lost, porttest.Late, porttest.Delayed} {
			log.Decide(func(porttest.SessionEntry) porttest.Fate { return what })
			time.Sleep(time.Minute)
			log.Decide(nil)
			log.Release()
			time.Sleep(time.Minute)
			if !a.Presence.Online(7) || !b.Presence.Online(7) || len(porttest.Burials(log, 0)) != 0 {
				t.Fatalf("after an outage of kind %d: buried %v", what, porttest.Burials(log, 0))
			}
		}
		porttest.WantStatuses(t, "the watcher", watcher, porttest.Status{To: 8, User: 7, Online: true})
	})
}

func TestANodeThatFindsItselfBuriedWritesItsSessionsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		watcher, _ := b.Login(t, 8, 7, 9, 10, 11)
		local, _ := a.Login(t, 12, 7)
		var left *presence.Membership
		for user := domain.UserID(7); user <= 11; user++ {
			if user != 8 {
				_, left = a.Login(t, user)
			}
		}
		time.Sleep(10 * time.Second)
		a.CutOff()
		time.Sleep(15*time.Second + 500*time.Millisecond) // it comes back between two beats
		if b.Presence.Online(7) || b.Presence.Online(11) {
			t.Fatal("a node that is cut off was not buried")
		}
		left.Leave() // 11, while the node is dead to all others
		a.Reconnect()
		if synctest.Wait(); !b.Presence.Online(7) {
			t.Error("the node waited for its next beat to write its sessions again")
		}
		time.Sleep(10 * time.Second)
		for _, n := range []*porttest.Node{a, b} {
			for user, want := range map[domain.UserID]bool{7: true, 9: true, 10: true, 11: false, 8: true} {
				if n.Presence.Online(user) != want {
					t.Fatalf("Online(%d) is %v after the node went on", user, !want)
				}
			}
		}
		want := map[domain.UserID]string{7: "+-+", 9: "+-+", 10: "+-+", 11: "+-"}
		for user, what := range want {
			if got := porttest.Told(watcher, user); got != what {
				t.Fatalf("of %d was told %s, want %s", user, got, what)
			}
		}
		if got := porttest.Told(local, 7); got != "+-+" && got != "+" {
			t.Fatalf("on the node itself of 7 was told %s: offline and online once at most", got)
		}
		time.Sleep(time.Hour)
		if got := porttest.Burials(log, 0); !slices.Equal(got, []domain.Incarnation{porttest.Incarnation(1, 1)}) {
			t.Fatalf("buried were %v, want the first life of node 1, once", got)
		}
	})
}

func TestALoginThatWaitsDuringABurialIsAnsweredByTheNewLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		log.Decide(porttest.Ups(porttest.Delayed))
		_, membership := n.Enter(t, 7)
		outcome := porttest.GoOnline(membership)
		synctest.Wait()
		log.Decide(nil)
		log.Bury(porttest.Incarnation(1, 1), func(error) {})
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		if !n.Presence.Online(7) {
			t.Fatal("7 is offline")
		}
		log.Release() // the up of the first life
		time.Sleep(30 * time.Second)
		membership.Leave()
		synctest.Wait()
		if n.Presence.Online(7) {
			t.Fatalf("7 is online for ever; the log has %q", log.Kinds(7))
		}
	})
}

func TestAFailureOfTheBuriedLifeDoesNotFailALoginOfTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		failing := &holdingLog{SessionTopic: log}
		presence := presence.NewSetPresence(failing, time.Now, porttest.NodeIDs(1), presence.DefaultTimes, porttest.QuietNotices())
		membership, err := presence.Enter(7, &porttest.Conn{})
		if err != nil {
			t.Fatal(err)
		}
		outcome := porttest.GoOnline(membership)
		synctest.Wait()
		presence.Apply(0, domain.SessionRecord{Kind: domain.SessionDead, Incarnation: porttest.Incarnation(1, 1)}, time.Now())
		if len(failing.appends()) != 2 {
			t.Fatalf("%d appends, want the up of each life", len(failing.appends()))
		}
		failing.appends()[0].done(porttest.ErrUnconfirmed)
		synctest.Wait()
		presence.Apply(log.PartitionOf(7), failing.appends()[1].record, time.Now())
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	})
}

func TestALateFailureOfAnEarlierUpDoesNotFailTheNextLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		failing := &holdingLog{SessionTopic: log}
		presence := presence.NewSetPresence(failing, time.Now, porttest.NodeIDs(1), presence.DefaultTimes, porttest.QuietNotices())
		first, err := presence.Enter(7, &porttest.Conn{})
		if err != nil {
			t.Fatal(err)
		}
		porttest.WantCode(t, "the first login", porttest.Online(first), domain.CodeUnconfirmed)
		first.Leave()
		second, err := presence.Enter(7, &porttest.Conn{})
		if err != nil {
			t.Fatal(err)
		}
		outcome := porttest.GoOnline(second)
		synctest.Wait()
		failing.appends()[0].done(porttest.ErrUnconfirmed)
		porttest.Run(t, presence.Run) // its first beat compares, and writes what is missing
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
		n, log := porttest.OneNode(t)
		_, first := n.Enter(t, 7)
		_, second := n.Enter(t, 7)
		log.Decide(porttest.Ups(porttest.Refused))
		porttest.WantCode(t, "the first login", porttest.Online(first), domain.CodeUnavailable)
		log.Decide(nil)
		if err := porttest.Online(second); err != nil {
			t.Fatalf("the second login: %v", err)
		}
		first.Leave()
		synctest.Wait()
		if porttest.WantSessions(t, log, 7, "up2"); !n.Presence.Online(7) {
			t.Fatal("7 is offline while a connection is left")
		}
	})
}

// A beat that was given up and comes back after all must not pass for the one that is under way: the next would go out
// beside it, and after an outage they would come back in a burst.
func TestAnOldBeatThatComesBackIsNotTheOneUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		holding := &holdingLog{SessionTopic: log}
		presence := presence.NewSetPresence(holding, time.Now, porttest.NodeIDs(1), presence.DefaultTimes, porttest.QuietNotices())
		porttest.Run(t, presence.Run)
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

// holdingLog keeps what is appended, for the test to answer.
type holdingLog struct {
	*porttest.SessionTopic
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
			a.Login(t, user)
		}
		b.Login(t, 20)
		time.Sleep(10 * time.Second)
		a.Kill()
		log.Decide(func(entry porttest.SessionEntry) porttest.Fate {
			if entry.Record.Kind == domain.SessionDead && entry.Record.Count > 0 {
				return porttest.Lost
			}
			return porttest.Confirmed
		})
		time.Sleep(20 * time.Second)
		if len(porttest.Burials(log, 0)) == 0 || len(porttest.Burials(log, 1)) != 0 {
			t.Fatal("the test wants a burial in partition 0 alone")
		}
		log.Decide(nil)
		time.Sleep(20 * time.Second)
		for user := domain.UserID(7); user < 13; user++ {
			if b.Presence.Online(user) {
				t.Fatalf("%d of partition %d is online for ever", user, log.PartitionOf(user))
			}
		}
		last := len(porttest.Burials(log, 0))
		time.Sleep(time.Minute)
		if len(porttest.Burials(log, 0)) != last {
			t.Fatal("the burial is repeated after it is complete")
		}
	})
}

func TestANodeBuriedInSomePartitionsOnlyEndsItsOldSessionsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		var memberships []*presence.Membership
		for user := domain.UserID(6); user < 9; user++ {
			_, membership := n.Login(t, user)
			memberships = append(memberships, membership)
		}
		log.Put(0, porttest.SessionEntry{Record: domain.SessionRecord{Kind: domain.SessionDead, Incarnation: porttest.Incarnation(1, 1)}, At: time.Now()}, func(error) {})
		time.Sleep(time.Minute)
		for _, membership := range memberships {
			membership.Leave()
		}
		time.Sleep(time.Minute)
		for user := domain.UserID(6); user < 9; user++ {
			if n.Presence.Online(user) {
				t.Fatalf("%d of partition %d is online for ever", user, log.PartitionOf(user))
			}
		}
	})
}

func TestAfterItsOwnBurialANodeJudgesNobodyForThreeLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		b.Login(t, 8)
		time.Sleep(10 * time.Second)
		a.CutOff()
		time.Sleep(20 * time.Second)
		a.Reconnect()
		b.Kill()
		lease := presence.DefaultTimes.Lease
		time.Sleep(3*lease - time.Second)
		if !a.Presence.Online(8) {
			t.Fatal("what cut this node off may have hit the other one as well")
		}
		time.Sleep(lease)
		if a.Presence.Online(8) {
			t.Fatalf("a dead node is not buried; partition 0 buries %v", porttest.Burials(log, 0))
		}
	})
}

func TestRecordsOfALaterVersionBuryNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		log.Append(domain.SessionRecord{Kind: "news", User: 7}, func(error) {})
		time.Sleep(time.Minute)
		if got := porttest.Burials(log, 0); len(got) != 0 {
			t.Fatalf("buried %v", got)
		}
		if n.Presence.Online(7) {
			t.Fatal("7 is online")
		}
		n.Presence.Apply(-1, domain.SessionRecord{Kind: domain.SessionUp, Incarnation: porttest.Incarnation(9, 9), User: 7, Count: 1}, time.Now())
		n.Presence.Apply(porttest.SessionPartitions, domain.SessionRecord{Kind: domain.SessionUp, Incarnation: porttest.Incarnation(9, 9), User: 7, Count: 1}, time.Now())
	})
}

func TestNodesFromBeforeWhatANodeHasReadAreBuriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		n := porttest.NewNode(log, 2).Start(t)
		living := porttest.NewNode(log, 3).Start(t)
		buried, gone := porttest.Incarnation(9, 1), porttest.Incarnation(9, 2)
		for partition := range porttest.SessionPartitions {
			log.Put(partition, porttest.SessionEntry{Record: domain.SessionRecord{Kind: domain.SessionDead, Incarnation: buried}, At: time.Now()}, func(error) {})
		}
		synctest.Wait()
		n.Presence.Suspect([]domain.Incarnation{buried, gone, porttest.Incarnation(3, 1), porttest.Incarnation(2, 1)})
		time.Sleep(time.Minute)
		synctest.Wait()
		for partition := range porttest.SessionPartitions {
			if got := porttest.Burials(log, partition); !slices.Equal(got, []domain.Incarnation{buried, gone}) {
				t.Errorf("partition %d buries %v", partition, got)
			}
		}
		living.Kill()
	})
}

func TestAStartingNodeKnowsEverybodyAndBuriesEarlierNodesWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		earlier := porttest.NewNode(log, 1).Start(t)
		for user := domain.UserID(7); user < 10; user++ {
			earlier.Login(t, user)
		}
		earlier.Kill()
		n := porttest.NewNode(log, 2).Start(t)
		synctest.Wait()
		if !n.Presence.Online(7) || !n.Presence.Online(9) {
			t.Fatal("the node does not know who is online")
		}
		watcher, _ := n.Login(t, 20, 7, 9)
		if got := porttest.Of[porttest.LoggedIn](watcher)[0].Online; !slices.Equal(got, []domain.UserID{7, 9}) {
			t.Fatalf("online friends %v", got)
		}
		if err := n.Presence.BuryOthers(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n.Presence.Online(7) || n.Presence.Online(9) || !n.Presence.Online(20) {
			t.Fatal("want the earlier node's users offline and the own one online")
		}
		log.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Refused })
		if err := n.Presence.BuryOthers(t.Context()); err != nil {
			t.Fatalf("with nobody left to bury: %v", err)
		}
		log.Decide(nil)
		other := porttest.NewNode(log, 3).Start(t)
		synctest.Wait()
		log.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Refused })
		porttest.WantCode(t, "BuryOthers", n.Presence.BuryOthers(t.Context()), domain.CodeUnavailable)
		other.Kill()
	})
}

func TestADepartedNodeDoesNotGoOnAsAnotherOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		n.Login(t, 7)
		if err := n.Presence.Depart(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		for partition := range porttest.SessionPartitions {
			for _, entry := range log.All(partition) {
				if entry.Record.Incarnation != porttest.Incarnation(1, 1) && entry.Record.Kind != domain.FriendsChanged {
					t.Fatalf("partition %d has %+v", partition, entry.Record)
				}
			}
		}
	})
}

func TestABuriedNodeBeatsUnderItsNewNameAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		synctest.Wait()
		log.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Delayed })
		time.Sleep(2 * time.Second) // a beat is under way
		log.Decide(nil)
		log.Bury(porttest.Incarnation(1, 1), func(error) {})
		time.Sleep(1500 * time.Millisecond)
		beats := 0
		for _, entry := range log.All(0) {
			if entry.Record.Kind == domain.SessionBeat && entry.Record.Incarnation == porttest.Incarnation(1, 2) {
				beats++
			}
		}
		if beats == 0 {
			t.Error("its new life has not beaten: the others do not know of it")
		}
		n.Kill()
	})
}

// A record can be in the log twice. The second copy of a beat must not count as a beat, which it would be without a time.
func TestTheSecondCopyOfABeatDoesNotHideAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		holding := &holdingLog{SessionTopic: log}
		presence := presence.NewSetPresence(holding, time.Now, porttest.NodeIDs(1), presence.DefaultTimes, porttest.QuietNotices())
		porttest.Run(t, presence.Run)
		next := 0
		comeBack := func() { // what was appended since
			synctest.Wait()
			for held := holding.appends(); next < len(held); next++ {
				presence.Apply(0, held[next].record, time.Now())
			}
		}
		presence.Apply(0, domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: porttest.Incarnation(2, 1), Count: 1}, time.Now())
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
		if got := porttest.Burials(log, 0); len(got) != 0 {
			t.Errorf("right after an outage are buried %v", got)
		}
	})
}

func TestAGhostWhoseDownFailsIsEndedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		log.Decide(func(entry porttest.SessionEntry) porttest.Fate {
			if entry.Record.Kind == domain.SessionDown {
				return porttest.Refused
			}
			return porttest.Confirmed
		})
		log.Mu.Lock()
		log.Add(log.PartitionOf(7), porttest.SessionEntry{Record: porttest.Up(porttest.Incarnation(1, 1), 7, 9), At: time.Now()}) // of a login that was given up
		log.Mu.Unlock()
		time.Sleep(3 * time.Second)
		if !n.Presence.Online(7) {
			t.Fatal("the test wants a ghost")
		}
		log.Decide(nil)
		time.Sleep(3 * time.Second)
		if porttest.WantSessions(t, log, 7, "up9 down9"); n.Presence.Online(7) {
			t.Error("a ghost is online")
		}
	})
}

func TestAfterLostRecordsTheNodesOwnUsersAreWrittenAgainAndOthersForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, log := twoNodes(t)
		a.Login(t, 7)
		b.Login(t, 8)
		time.Sleep(2 * time.Second)
		before := log.Kinds(7)
		a.Presence.Forget()
		if a.Presence.Online(8) {
			t.Error("what is known of others is not forgotten")
		}
		time.Sleep(100 * time.Millisecond) // before the next beat
		if got := log.Kinds(7); got != before+" up1" || !a.Presence.Online(7) {
			t.Errorf("the log has %s; 7 is online: %v", got, a.Presence.Online(7))
		}
		if !b.Presence.Online(7) || !b.Presence.Online(8) {
			t.Error("another node has lost them")
		}
	})
}

func TestABurialIsLoggedAndSoIsOneThatFails(t *testing.T) {
	for name, what := range map[string]porttest.Fate{"it works": porttest.Confirmed, "it fails": porttest.Refused} {
		synctest.Test(t, func(t *testing.T) {
			log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
			notices, out := porttest.NewNotices()
			n := &porttest.Node{Log: log}
			n.Resumed = sync.NewCond(&n.Mu)
			n.Presence = presence.NewSetPresence(n, time.Now, porttest.NodeIDs(2), presence.DefaultTimes, notices)
			n.Start(t)
			other := porttest.NewNode(log, 1).Start(t)
			time.Sleep(2 * time.Second)
			other.Kill()
			log.Decide(func(entry porttest.SessionEntry) porttest.Fate {
				if entry.Record.Kind == domain.SessionDead {
					return what
				}
				return porttest.Confirmed
			})
			time.Sleep(20 * time.Second)
			got := out.Take()
			if !strings.Contains(got, "level=INFO") || strings.Contains(got, "failed") != (what == porttest.Refused) {
				t.Errorf("%s: %s", name, got)
			}
		})
	}
}

// Anybody who may write the topic can write such a record.
func TestAGraceIsBoundedWhateverANodeAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, log := porttest.OneNode(t)
		gone := porttest.Incarnation(9, 9)
		log.Append(domain.SessionRecord{Kind: domain.SessionLeaving, Incarnation: gone, Grace: 100 * time.Hour}, func(error) {})
		time.Sleep(10*time.Minute - time.Second)
		if got := porttest.Burials(log, 0); len(got) != 0 {
			t.Errorf("buried are %v", got)
		}
		time.Sleep(time.Minute)
		if got := porttest.Burials(log, 0); !slices.Equal(got, []domain.Incarnation{gone}) {
			t.Errorf("buried are %v", got)
		}
	})
}
