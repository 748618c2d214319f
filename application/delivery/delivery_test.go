package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// stage is a porttest.Stage, and what was committed there and is not in the log.
type stage struct {
	*porttest.Stage
	pending map[porttest.Pair][]domain.Event
	// few tells everythingInItsPlace to have two users who say little else than what they said before, and come and go more often.
	few bool
}

func newStage(t testing.TB, partitions int) *stage {
	return &stage{Stage: porttest.NewStage(t, partitions), pending: make(map[porttest.Pair][]domain.Event)}
}

// asks has the stage's delivery ask what stands in the log before. Each answer waits as those about versions do.
func (s *stage) asks(history *porttest.FirstPlaces) {
	s.Delivery.Repeats = repeatsBehindGate{history.NewRepeats(), s.Versions.Gate}
}

// repeatsBehindGate answers when the test lets it.
type repeatsBehindGate struct {
	delivery.Repeats

	gate chan struct{} // nil: at once
}

func (r repeatsBehindGate) Repeated(
	ctx context.Context, user domain.UserID, events []past.Named,
) (map[domain.Place]struct{}, error) {
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return r.Repeats.Repeated(ctx, user, events)
}

// checks is porttest.Stage.Checks.
func (s *stage) checks(versions *porttest.StageVersions) *stage {
	s.Checks(versions)
	return s
}

func TestBothSidesSeeAMessageOnAllTheirConnections(t *testing.T) {
	s := newStage(t, 4)
	sender, _ := s.Login(201)
	sender2, _ := s.Login(201)
	target, _ := s.Login(202)
	other, _ := s.Login(203)
	at := s.Chat(201, 202)
	s.Tail()
	for what, c := range map[string]*porttest.Conn{"sender": sender, "its second connection": sender2, "target": target} {
		s.Shown(what, c, at)
	}
	s.Shown("a third user", other)
}

func TestTheNameOfAMessageIsForItsSendersConnectionsOnly(t *testing.T) {
	s := newStage(t, 4)
	sender, _ := s.Login(201)
	sender2, _ := s.Login(201)
	target, _ := s.Login(202)
	s.Named(201, 202, "m1")
	s.Tail()
	for _, c := range []*porttest.Conn{sender, sender2} {
		if got := porttest.Of[porttest.Delivered](c); len(got) != 1 || got[0].EchoOf != "m1" {
			t.Errorf("the sender got %v, want its echo of m1", got)
		}
	}
	if got := porttest.Of[porttest.Delivered](target); len(got) != 1 || got[0].EchoOf != "" {
		t.Errorf("the target got %v, want the frame without a name", got)
	}
}

func TestToOneselfThereIsOneFrame(t *testing.T) {
	s := newStage(t, 4)
	c, _ := s.Login(201)
	at := s.Named(201, 201, "m1")
	s.Tail()
	s.Shown("the user", c, at)
	if got := porttest.Of[porttest.Delivered](c); got[0].EchoOf != "m1" {
		t.Errorf("got %v, want the echo of m1", got)
	}
}

func TestBlockedSenderStillGetsItsEchoAndTheBlockerNothing(t *testing.T) {
	s := newStage(t, 4)
	blocker, _ := s.Login(202)
	sender, _ := s.Login(201)
	before := s.Chat(201, 202)
	s.Block(202, 201)
	hidden := s.Chat(201, 202)
	invite := s.Append(domain.Event{Body: domain.GameInvite{From: 201, To: 202, Status: domain.InviteOpened, Room: "r"}})
	own := s.Chat(202, 201)
	system := s.Append(domain.Event{Body: domain.SystemMessage{To: 202}})
	s.Unblock(202, 201)
	after := s.Chat(201, 202)
	s.Tail()
	s.Shown("blocked sender", sender, before, hidden, invite, own, after)
	// Partitions are read one after the other here: 0:202 is another than 201:202.
	if s.Log.PartitionOf(domain.Between(0, 202)) > s.Log.PartitionOf(domain.Between(201, 202)) {
		s.Shown("blocker", blocker, before, own, after, system)
	} else {
		s.Shown("blocker", blocker, system, before, own, after)
	}
}

func TestABlockOfTheOtherSideHidesNothingFromItsTarget(t *testing.T) {
	s := newStage(t, 1)
	target, _ := s.Login(201)
	s.Block(202, 201)
	at := s.Chat(202, 201)
	s.Tail()
	s.Shown("the blocked user", target, at)
}

func TestAConnectionIsServedFromTheEndsNotedAtItsLogin(t *testing.T) {
	s := newStage(t, 1)
	old, _ := s.Login(202)
	s.Chat(201, 202) // in the log, but not yet read
	c := &porttest.Conn{}
	a := s.Delivery.Attach(202, c)
	a.Activate(s.Load(202), s.Ends())
	second := s.Chat(201, 202)
	s.Tail()
	if len(c.All()) != 0 {
		t.Fatalf("got %v before the login was answered", c.All())
	}
	c.LoggedIn(202, nil, porttest.SomeTime)
	a.Release()
	third := s.Chat(201, 202)
	s.Tail()
	s.Shown("the new connection", c, second, third)
	if _, first := c.All()[0].(porttest.LoggedIn); !first {
		t.Errorf("got %v first, want the answer to the login", c.All()[0])
	}
	s.Shown("the old one", old, domain.Place{}, second, third)
}

func TestADetachedConnectionGetsNothing(t *testing.T) {
	s := newStage(t, 1)
	c, a := s.Login(202)
	other, b := s.Login(202)
	a.Detach()
	at := s.Chat(201, 202)
	s.Tail()
	a.Detach()
	s.Shown("detached", c)
	s.Shown("the other connection", other, at)
	b.Detach()
	b.Activate(nil, s.Ends())
	b.Release()
	s.Chat(201, 202)
	s.Tail()
	s.Shown("the other connection, detached", other, at)
}

func TestTheSameMessageAgainReachesOnlyWhoDidNotHaveIt(t *testing.T) {
	s := newStage(t, 1)
	sender, a := s.Login(201)
	target, _ := s.Login(202)
	first := s.Named(201, 202, "m1")
	s.Tail()
	s.Named(201, 202, "m1")
	s.Tail()
	s.Shown("sender", sender, first)
	s.Shown("target", target, first)
	// The sender lost its connection before it read the echo: on the next one it sends m1 again, and again.
	a.Detach()
	sender, _ = s.Login(201)
	target2, _ := s.Login(202)
	again := s.Named(201, 202, "m1")
	s.Named(201, 202, "m1")
	other := s.Named(201, 202, "m2")
	s.Tail()
	s.Named(201, 202, "m1")
	s.Tail()
	s.Shown("sender's new connection", sender, again, other)
	s.Shown("target", target, first, other)
	s.Shown("target's new connection", target2, again, other)
}

func TestTheSameMessageAgainDuringALoginIsShownOnce(t *testing.T) {
	s := newStage(t, 1)
	keeper, _ := s.Login(202)
	first := s.Named(201, 202, "m1")
	c := &porttest.Conn{}
	a := s.Delivery.Attach(202, c)
	s.Tail() // held: the ends are not noted
	ends := s.Ends()
	second := s.Named(201, 202, "m1")
	s.Tail()
	a.Activate(nil, ends)
	s.Named(201, 202, "m1")
	s.Tail()
	a.Release()
	s.Named(201, 202, "m1")
	s.Tail()
	s.Shown("the new connection", c, second)
	s.Shown("the one that was there", keeper, first)
}

func TestASystemMessageRepeatedUnderItsIDIsShownOnce(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.Login(7)
	event := domain.Event{ID: domain.DerivedID("idempotency key", "k"), Body: domain.SystemMessage{To: 7}}
	at := s.Append(event)
	s.Append(event)
	s.Tail()
	s.Shown("the user", c, at)
}

func TestTheNodeForgetsOldNamesAndNotMoreThanItMust(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.Login(202)
	var want []domain.Place
	for i := range 1024 {
		want = append(want, s.Named(201, 202, domain.ClientMessageID(fmt.Sprint(i))))
	}
	s.Named(201, 202, "0") // the oldest of those remembered
	s.Named(201, 202, "1023")
	want = append(want, s.Named(201, 202, "new")) // "0" is forgotten for it
	s.Named(201, 202, "1")
	want = append(want, s.Named(201, 202, "0"))
	s.Tail()
	s.Shown("the target", c, want...)
}

func TestALoginIsBoundedInWhatItHolds(t *testing.T) {
	s := newStage(t, 1)
	c := &porttest.Conn{}
	a := s.Delivery.Attach(202, c)
	a.Activate(nil, s.Ends())
	for range 1024 {
		s.Chat(201, 202)
	}
	s.Tail()
	if got := c.All(); len(got) != 0 {
		t.Fatalf("got %v while nothing was exceeded", got[0])
	}
	s.Chat(201, 202)
	s.Tail()
	if got := porttest.Of[porttest.Closed](c); len(got) != 1 || got[0].Reason != port.CloseSlow {
		t.Fatalf("got %v, want it closed as slow", got)
	}
}

// longRecord is a record of a message with a long frame.
type longRecord struct{ porttest.Record }

func (r longRecord) Open() (domain.Event, []byte, error) { return r.Event, make([]byte, 60<<10), nil }

func TestALoginIsBoundedInTheBytesThatItHolds(t *testing.T) {
	s := newStage(t, 1)
	c := &porttest.Conn{}
	a := s.Delivery.Attach(202, c)
	a.Activate(nil, s.Ends())
	apply := func(n int) {
		s.Delivery.Apply(longRecord{porttest.Record{
			At: domain.Place{Offset: int64(n)}, Event: domain.Event{Body: domain.ChatMessage{From: 201, To: 202}},
		}})
	}
	for n := range 67 { // of which 68 are more than 4 MiB
		apply(n)
	}
	if got := c.All(); len(got) != 0 {
		t.Fatalf("got %v while nothing was exceeded", got[0])
	}
	apply(67)
	if got := porttest.Of[porttest.Closed](c); len(got) != 1 || got[0].Reason != port.CloseSlow {
		t.Fatalf("got %v, want it closed as slow", got)
	}
}

func TestNobodyHidesFromItself(t *testing.T) {
	s := newStage(t, 1)
	s.Block(201, 201) // no request makes such a change: somebody else wrote it to the log
	c, _ := s.Login(201)
	at := s.Chat(201, 202)
	to := s.Chat(201, 201)
	s.Tail()
	s.Shown("the user", c, at, to)
}

func TestRecordsThatAreNotOursAreSkipped(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.Login(202)
	bad := domain.Event{Body: domain.ChatMessage{From: 201, To: 202}}
	s.Delivery.Apply(porttest.Record{Event: bad, Err: errors.New("hostile")})
	s.Shown("the target", c)
	at := s.Chat(201, 202)
	s.Tail()
	s.Shown("the target, afterwards", c, at)
}

func TestAfterAHoleEveryConnectionIsClosed(t *testing.T) {
	s := newStage(t, 1)
	a, _ := s.Login(201)
	b, _ := s.Login(202)
	s.Delivery.CloseAll(port.CloseHole)
	for _, c := range []*porttest.Conn{a, b} {
		if got := porttest.Of[porttest.Closed](c); len(got) != 1 || got[0].Reason != port.CloseHole {
			t.Errorf("got %v, want it closed for the hole", got)
		}
	}
}

// A relay may publish a change again long after a newer one. What such a record says must not count for a login that has
// not loaded the table yet.
func TestALateRepetitionOfABlockDoesNotMisleadALogin(t *testing.T) {
	s := newStage(t, 1)
	first := s.Commit(202, 201, true)
	s.Append(first)
	second := s.Commit(202, 201, false)
	s.Append(second)
	s.Tail()

	visible := &porttest.Conn{}
	a := s.Delivery.Attach(202, visible)
	s.Append(first) // again
	ends := s.Ends()
	at := s.Chat(201, 202)
	s.Tail()
	a.Activate(s.Load(202), ends)
	a.Release()
	s.Shown("unblocked in truth", visible, at)
	a.Detach()

	s.Block(202, 201)
	s.Tail()
	hidden := &porttest.Conn{}
	b := s.Delivery.Attach(202, hidden)
	s.Append(second) // again
	ends = s.Ends()
	s.Chat(201, 202)
	s.Tail()
	b.Activate(s.Load(202), ends)
	b.Release()
	s.Shown("blocked in truth", hidden)
}

// Two logins of one user, while the tail is behind: the second's newer list says nothing about what the first must see.
func TestALaterLoginDoesNotChangeWhatAnEarlierOneSees(t *testing.T) {
	s := newStage(t, 1)
	s.Block(202, 201)
	s.Tail()
	early := &porttest.Conn{}
	a := s.Delivery.Attach(202, early)
	blocks, ends := s.Load(202), s.Ends()
	s.Chat(201, 202) // while 202 blocks 201
	s.Unblock(202, 201)
	_, b := s.Login(202)
	s.Tail()
	a.Activate(blocks, ends)
	a.Release()
	at := s.Chat(201, 202)
	s.Tail()
	s.Shown("the earlier login", early, at)
	b.Detach()
}

func TestALaterLoginsBlockDoesNotHideWhatStoodBeforeIt(t *testing.T) {
	s := newStage(t, 1)
	early := &porttest.Conn{}
	a := s.Delivery.Attach(202, early)
	blocks, ends := s.Load(202), s.Ends()
	at := s.Chat(201, 202)
	s.Block(202, 201)
	s.Login(202)
	s.Tail()
	a.Activate(blocks, ends)
	a.Release()
	s.Shown("the earlier login", early, at)
}

// login steps of the property test.
type watched struct {
	user   domain.UserID
	conn   *porttest.Conn
	at     *delivery.Attachment
	blocks []blocks.Entry
	from   []int64
	until  []int // where the tail was when it detached; nil while attached
	stage  int   // 0 attached, 1 loaded, 2 ends noted, 3 active, 4 answered, 5 released, 6 detached
}

// A block takes effect exactly at its record, for every connection, whatever happens in whatever order: chats, blocks,
// their repetitions, logins in progress, and a tail that is behind.
//
// A login publishes what is committed of its user's changes and not in the log before it notes the ends, as Login does.
func TestABlockTakesEffectExactlyAtItsRecord(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 7))
		everythingInItsPlace(t, seed, random, newStage(t, 2))
	}
}

// The same where each change waits for the database to confirm it, and others write changes into the log that it does not.
func TestAChangeThatWaitsForTheDatabaseTakesEffectExactlyAtItsRecordAndAForgedOneNever(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 8))
			coin := rand.New(rand.NewPCG(seed, 9))
			s := newStage(t, 2).checks(&porttest.StageVersions{
				Gate: make(chan struct{}), Early: func() bool { return coin.IntN(2) == 0 },
			})
			everythingInItsPlace(t, seed, random, s)
		})
	}
}

// The same where what may be said again is asked about, in a history that is anywhere behind the log.
func TestWhatABlockHidIsNotShownWhenItIsSaidAgain(t *testing.T) {
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 10))
			s := newStage(t, 1).checks(&porttest.StageVersions{Gate: make(chan struct{})})
			s.few = true
			behind := rand.New(rand.NewPCG(seed, 11))
			var projected [1]int64
			s.asks(&porttest.FirstPlaces{Log: s.Log, Projected: func(p int) int64 {
				projected[p] += behind.Int64N(int64(len(s.Log.All(p))) - projected[p] + 1)
				return projected[p]
			}})
			everythingInItsPlace(t, seed, random, s)
		})
	}
}

func everythingInItsPlace(t *testing.T, seed uint64, random *rand.Rand, s *stage) {
	partitions := len(s.Next)
	users, steps, stays := []domain.UserID{1, 2, 3}, 150, 10
	if s.few {
		users, steps, stays = users[:2], 300, 4
	}
	pick := func() domain.UserID { return users[random.IntN(len(users))] }
	pending := s.pending
	published := make(map[porttest.Pair][]domain.Event)
	var conns []*watched

	for range steps {
		switch random.IntN(14) {
		case 0, 1, 2:
			from, to := pick(), pick()
			if s.few || random.IntN(2) == 0 {
				s.Named(from, to, domain.ClientMessageID(fmt.Sprintf("%d-%d", to, random.IntN(6))))
			} else {
				s.Chat(from, to)
			}
		case 3: // a request commits
			a, b := pick(), pick()
			if a != b {
				p := porttest.Pair{Blocker: a, Target: b}
				pending[p] = append(pending[p], s.Commit(a, b, !s.Blocks[a][b].Blocked))
			}
		case 4, 5: // a request or the relay publishes
			for p, events := range pending {
				s.Append(events[0])
				published[p] = append(published[p], events[0])
				if pending[p] = events[1:]; len(pending[p]) == 0 {
					delete(pending, p)
				}
				break
			}
		case 6: // the relay repeats
			for _, events := range published {
				s.Append(events[random.IntN(len(events))])
				break
			}
		case 7:
			user := pick()
			if s.few && len(slices.DeleteFunc(slices.Clone(conns), func(w *watched) bool { return w.user != user || w.stage > 5 })) > 1 {
				continue
			}
			c := &porttest.Conn{}
			conns = append(conns, &watched{user: user, conn: c, at: s.Delivery.Attach(user, c)})
		case 8, 9, 10:
			if len(conns) > 0 {
				w := conns[random.IntN(len(conns))]
				if w.stage < 5 {
					s.proceed(w)
				} else if w.stage == 5 && random.IntN(stays) == 0 {
					s.proceed(w)
				}
			}
		default:
			s.Step(random.IntN(partitions))
		}
		if s.Versions == nil {
			continue
		}
		switch a, b := pick(), pick(); random.IntN(6) {
		case 0:
			if version := 1<<62 + random.Int64N(1<<61); a != b {
				s.Forge(a, b, version%2 == 1, version)
			}
		case 1, 2:
			s.confirm()
		}
	}
	for _, w := range conns {
		for w.stage < 5 {
			s.proceed(w)
		}
	}
	s.Tail()
	for s.Versions != nil && s.confirm() {
	}

	for i, w := range conns {
		if msg := s.judge(w); msg != "" {
			t.Fatalf("seed %d, connection %d of user %d, from %v: %s\nlog %v\ngot %v",
				seed, i, w.user, w.from, msg, s.Log.Records, w.conn.All())
		}
	}
}

// confirm lets the database answer one question; false where it was asked none.
func (s *stage) confirm() bool {
	synctest.Wait()
	select {
	case s.Versions.Gate <- struct{}{}:
		synctest.Wait()
		return true
	default:
		return false
	}
}

// proceed takes the next step of a login, or ends the connection.
func (s *stage) proceed(w *watched) {
	switch w.stage {
	case 0:
		w.blocks = s.Load(w.user)
	case 1:
		for p, events := range s.pending {
			if p.Blocker == w.user {
				for _, event := range events {
					s.Append(event)
				}
				delete(s.pending, p)
			}
		}
		w.from = s.Ends()
	case 2:
		w.at.Activate(w.blocks, w.from)
	case 3:
		w.conn.LoggedIn(w.user, nil, porttest.SomeTime)
	case 4:
		w.at.Release()
	case 5:
		for s.Versions != nil && s.confirm() { // what was read and waits is delivered
		}
		w.until = slices.Clone(s.Next)
		w.at.Detach()
	}
	w.stage++
}

// judge compares what a connection got with what the log alone says.
func (s *stage) judge(w *watched) string {
	got := make(map[domain.Conversation][]string)
	for _, d := range porttest.Of[porttest.Delivered](w.conn) {
		at := porttest.PositionOf(d.Frame)
		conversation := s.Log.Records[at.Partition][at.Offset].Body.Conversation()
		got[conversation] = append(got[conversation], d.Frame)
	}
	for partition, events := range s.Log.Records {
		var blocks domain.BlockList
		seen, said := make(map[domain.EventID]bool), make(map[domain.EventID]bool)
		for offset, event := range events {
			if w.until != nil && offset >= w.until[partition] {
				break
			}
			if change, ok := event.Body.(domain.BlockChanged); ok {
				if change.Blocker == w.user && !s.Forged[event.ID] {
					blocks.Apply(change.Target, change.Blocked, change.Version)
				}
				continue
			}
			sender := event.Body.Actor()
			again := said[event.ID] && sender != w.user && blocks.Unblocked(sender)
			said[event.ID] = true
			if !event.Body.Conversation().Has(w.user) || int64(offset) < w.from[partition] {
				continue
			}
			repeated := seen[event.ID]
			seen[event.ID] = true
			at := domain.Place{Partition: partition, Offset: int64(offset)}
			frames := got[event.Body.Conversation()]
			isNext := len(frames) > 0 && frames[0] == string(porttest.FrameOf(at))
			visible := !repeated && (sender == w.user || !blocks.Hides(sender)) && !again
			switch {
			case again && s.Delivery.Repeats == nil && !repeated: // whether it is shown depends on what this node has seen
				if isNext {
					got[event.Body.Conversation()] = frames[1:]
				}
			case isNext && !visible:
				return fmt.Sprintf("%s must not be shown", frames[0])
			case !isNext && visible:
				return fmt.Sprintf("a hole at %s", porttest.FrameOf(at))
			case isNext:
				got[event.Body.Conversation()] = frames[1:]
			}
		}
	}
	for _, frames := range got {
		if len(frames) > 0 {
			return "too much, or out of order: " + strings.Join(frames, " ")
		}
	}
	return ""
}

func TestDeliveryByManyGoroutinesLosesAndDoublesNothing(t *testing.T) {
	const users, messages = 50, 200
	log := porttest.NewConversations(8)
	delivery := delivery.NewDelivery(&porttest.Readings{}, invites.NewRegister(), porttest.QuietNotices())
	stop := log.Follow(func(partition, offset int, event domain.Event) {
		delivery.Apply(porttest.Record{At: domain.Place{Partition: partition, Offset: int64(offset)}, Event: event})
	})
	defer stop()
	var conns [users + 1]*porttest.Conn
	for user := 1; user <= users; user++ {
		conns[user] = &porttest.Conn{}
		a := delivery.Attach(domain.UserID(user), conns[user])
		ends, err := log.EndOffsets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.Activate(nil, ends)
		a.Release()
	}
	done := make(chan struct{})
	for user := 1; user <= users; user++ {
		go func() {
			defer func() { done <- struct{}{} }()
			from, to := domain.UserID(user), domain.UserID(user%users+1)
			for n := range messages {
				name := domain.ClientMessageID(fmt.Sprintf("%d", n))
				log.Append(domain.Event{
					ID: domain.MessageID(from, to, name), ClientMessageID: name, Body: domain.ChatMessage{From: from, To: to},
				}, func(error) {})
				// Others come and go on the same user all the while.
				if n%20 == 0 {
					extra := delivery.Attach(to, &porttest.Conn{})
					extra.Activate(nil, make([]int64, 8))
					extra.Release()
					extra.Detach()
				}
			}
		}()
	}
	for range users {
		<-done
	}
	porttest.Eventually(t, func() bool {
		for user := 1; user <= users; user++ {
			if len(porttest.Of[porttest.Delivered](conns[user])) < 2*messages {
				return false
			}
		}
		return true
	})
	for user := 1; user <= users; user++ {
		var echoes []string
		for _, d := range porttest.Of[porttest.Delivered](conns[user]) {
			if d.EchoOf != "" {
				echoes = append(echoes, string(d.EchoOf))
			}
		}
		for n := range messages {
			if n >= len(echoes) || echoes[n] != fmt.Sprint(n) {
				t.Fatalf("user %d got the echoes %v", user, echoes)
			}
		}
		if got := len(porttest.Of[porttest.Delivered](conns[user])); got != 2*messages {
			t.Fatalf("user %d got %d frames, want %d", user, got, 2*messages)
		}
	}
}

func TestHowAnInviteEndsIsShownToThoseWhoAskedForIt(t *testing.T) {
	s := newStage(t, 1)
	old, _ := s.Login(202)
	asked, attachment := s.Login(202)
	asked.Feature = port.FeatureInvites
	_ = attachment
	room := domain.EventID{7}
	say := func(id byte, from, to domain.UserID, status domain.InviteStatus) {
		s.Append(domain.Event{ID: domain.EventID{id}, Time: porttest.SomeTime, Body: domain.GameInvite{
			From: from, To: to, Status: status, Room: domain.RoomID(room.String()),
		}})
	}
	say(1, 201, 202, domain.InviteOpened)
	say(2, 202, 201, domain.InviteAccepted)
	say(3, 201, 202, domain.InviteCancelled) // too late: nobody sees it
	s.Tail()
	if got := len(porttest.Of[porttest.Delivered](old)); got != 1 {
		t.Errorf("a client of the original server got %d frames, not only the invite", got)
	}
	if got := len(porttest.Of[porttest.Delivered](asked)); got != 2 {
		t.Errorf("a client that asked for it got %d frames, not the invite and its answer", got)
	}
}
