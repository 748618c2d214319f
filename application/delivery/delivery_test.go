package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// stage is one node's delivery beside a log and a table of blocks, driven step by step.
type stage struct {
	t        testing.TB
	delivery *delivery.Delivery
	log      porttest.Conversations
	next     []int
	blocks   map[domain.UserID]map[domain.UserID]blocks.Entry
	events   uint64
	pending  map[porttest.Pair][]domain.Event // committed, and not in the log
	versions *stageVersions                   // nil: the log is believed
	forged   map[domain.EventID]bool          // what nobody committed
}

// stageVersions tells what was committed, when the test lets it.
type stageVersions struct {
	gate  chan struct{} // nil: at once
	early func() bool   // whether the answer is older than its permission; nil: no

	mu    sync.Mutex
	given map[porttest.Pair]blocks.GivenVersions
	asked int
	err   error
}

func (v *stageVersions) gave(change domain.BlockChanged, id domain.EventID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.given == nil {
		v.given = make(map[porttest.Pair]blocks.GivenVersions)
	}
	v.given[porttest.Pair{Blocker: change.Blocker, Target: change.Target}] = blocks.GivenVersions{
		Newest: change.Version, Events: map[int64]domain.EventID{change.Version: id},
	}
}

func (v *stageVersions) Versions(ctx context.Context, p blocks.Pair) (blocks.GivenVersions, error) {
	read := func() (blocks.GivenVersions, error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.given[porttest.Pair{Blocker: p.Blocker, Target: p.Target}], v.err
	}
	given, err := read()
	v.mu.Lock()
	v.asked++
	early := v.early != nil && v.early()
	v.mu.Unlock()
	if v.gate != nil {
		select {
		case <-v.gate:
		case <-ctx.Done():
			return given, ctx.Err()
		}
	}
	if early {
		return given, err
	}
	return read()
}

// checks has the stage's delivery ask whether changes of blocks are real, until the test ends.
func (s *stage) checks(versions *stageVersions) *stage {
	s.versions, s.forged = versions, make(map[domain.EventID]bool)
	s.delivery.Versions = versions
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.delivery.Run(ctx)
	}()
	s.t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

// forge appends a change that nobody committed.
func (s *stage) forge(blocker, target domain.UserID, blocked bool, version int64) domain.Place {
	s.events++
	id := domain.DerivedID("forged", fmt.Sprint(s.events))
	s.forged[id] = true
	return s.append(domain.Event{ID: id, Body: domain.BlockChanged{Blocker: blocker, Target: target, Blocked: blocked, Version: version}})
}

func newStage(t testing.TB, partitions int) *stage {
	return &stage{
		t: t, delivery: delivery.NewDelivery(&porttest.Readings{}, invites.NewRegister(), porttest.QuietNotices()), log: porttest.NewConversations(partitions), next: make([]int, partitions),
		blocks:  make(map[domain.UserID]map[domain.UserID]blocks.Entry),
		pending: make(map[porttest.Pair][]domain.Event),
	}
}

// append puts an event in the log and returns where it stands.
func (s *stage) append(event domain.Event) domain.Place {
	if event.ID == (domain.EventID{}) {
		s.events++
		event.ID = domain.DerivedID("test", fmt.Sprint(s.events))
	}
	partition := s.log.PartitionOf(event.Body.Conversation())
	at := domain.Place{Partition: partition, Offset: int64(len(s.log.Records[partition]))}
	s.log.Append(event, func(error) {})
	return at
}

func (s *stage) chat(from, to domain.UserID) domain.Place {
	return s.append(domain.Event{Body: domain.ChatMessage{From: from, To: to}})
}

// named appends a chat message that its sender named.
func (s *stage) named(from, to domain.UserID, name domain.ClientMessageID) domain.Place {
	return s.append(domain.Event{
		ID: domain.MessageID(from, to, name), Body: domain.ChatMessage{From: from, To: to}, ClientMessageID: name,
	})
}

// commit writes a change of a pair to the table, and returns the event that reports it.
func (s *stage) commit(blocker, target domain.UserID, blocked bool) domain.Event {
	if s.blocks[blocker] == nil {
		s.blocks[blocker] = make(map[domain.UserID]blocks.Entry)
	}
	entry := blocks.Entry{Target: target, Blocked: blocked, Version: s.blocks[blocker][target].Version + 1}
	s.blocks[blocker][target] = entry
	change := domain.BlockChanged{Blocker: blocker, Target: target, Blocked: blocked, Version: entry.Version}
	s.events++
	event := domain.Event{ID: domain.DerivedID("change", fmt.Sprint(s.events)), Body: change}
	if s.versions != nil {
		s.versions.gave(change, event.ID)
	}
	return event
}

func (s *stage) block(blocker, target domain.UserID) { s.append(s.commit(blocker, target, true)) }

func (s *stage) unblock(blocker, target domain.UserID) { s.append(s.commit(blocker, target, false)) }

func (s *stage) load(user domain.UserID) []blocks.Entry {
	var entries []blocks.Entry
	for _, entry := range s.blocks[user] {
		entries = append(entries, entry)
	}
	return entries
}

func (s *stage) ends() []int64 {
	ends, err := s.log.EndOffsets(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return ends
}

// step applies the next record of a partition, if there is one.
func (s *stage) step(partition int) {
	if offset := s.next[partition]; offset < len(s.log.Records[partition]) {
		s.next[partition]++
		at := domain.Place{Partition: partition, Offset: int64(offset)}
		s.delivery.Apply(porttest.Record{At: at, Event: s.log.Records[partition][offset]})
	}
}

func (s *stage) tail() {
	for partition := range s.next {
		for s.next[partition] < len(s.log.Records[partition]) {
			s.step(partition)
		}
	}
}

// login attaches a connection and goes through the steps of a login.
func (s *stage) login(user domain.UserID) (*porttest.Conn, *delivery.Attachment) {
	c := &porttest.Conn{}
	a := s.delivery.Attach(user, c)
	a.Activate(s.load(user), s.ends())
	c.LoggedIn(user, nil, porttest.SomeTime)
	a.Release()
	return c, a
}

// shown expects exactly the records at these places, in this order.
func (s *stage) shown(what string, c *porttest.Conn, want ...domain.Place) {
	s.t.Helper()
	var frames []string
	for _, d := range porttest.Of[porttest.Delivered](c) {
		frames = append(frames, d.Frame)
	}
	var wanted []string
	for _, at := range want {
		wanted = append(wanted, string(porttest.FrameOf(at)))
	}
	if !slices.Equal(frames, wanted) {
		s.t.Fatalf("%s: shown %v, want %v", what, frames, wanted)
	}
}

func TestBothSidesSeeAMessageOnAllTheirConnections(t *testing.T) {
	s := newStage(t, 4)
	sender, _ := s.login(201)
	sender2, _ := s.login(201)
	target, _ := s.login(202)
	other, _ := s.login(203)
	at := s.chat(201, 202)
	s.tail()
	for what, c := range map[string]*porttest.Conn{"sender": sender, "its second connection": sender2, "target": target} {
		s.shown(what, c, at)
	}
	s.shown("a third user", other)
}

func TestTheNameOfAMessageIsForItsSendersConnectionsOnly(t *testing.T) {
	s := newStage(t, 4)
	sender, _ := s.login(201)
	sender2, _ := s.login(201)
	target, _ := s.login(202)
	s.named(201, 202, "m1")
	s.tail()
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
	c, _ := s.login(201)
	at := s.named(201, 201, "m1")
	s.tail()
	s.shown("the user", c, at)
	if got := porttest.Of[porttest.Delivered](c); got[0].EchoOf != "m1" {
		t.Errorf("got %v, want the echo of m1", got)
	}
}

func TestBlockedSenderStillGetsItsEchoAndTheBlockerNothing(t *testing.T) {
	s := newStage(t, 4)
	blocker, _ := s.login(202)
	sender, _ := s.login(201)
	before := s.chat(201, 202)
	s.block(202, 201)
	hidden := s.chat(201, 202)
	invite := s.append(domain.Event{Body: domain.GameInvite{From: 201, To: 202, Status: domain.InviteOpened, Room: "r"}})
	own := s.chat(202, 201)
	system := s.append(domain.Event{Body: domain.SystemMessage{To: 202}})
	s.unblock(202, 201)
	after := s.chat(201, 202)
	s.tail()
	s.shown("blocked sender", sender, before, hidden, invite, own, after)
	// Partitions are read one after the other here: 0:202 is another than 201:202.
	if s.log.PartitionOf(domain.Between(0, 202)) > s.log.PartitionOf(domain.Between(201, 202)) {
		s.shown("blocker", blocker, before, own, after, system)
	} else {
		s.shown("blocker", blocker, system, before, own, after)
	}
}

func TestABlockOfTheOtherSideHidesNothingFromItsTarget(t *testing.T) {
	s := newStage(t, 1)
	target, _ := s.login(201)
	s.block(202, 201)
	at := s.chat(202, 201)
	s.tail()
	s.shown("the blocked user", target, at)
}

func TestAConnectionIsServedFromTheEndsNotedAtItsLogin(t *testing.T) {
	s := newStage(t, 1)
	old, _ := s.login(202)
	s.chat(201, 202) // in the log, but not yet read
	c := &porttest.Conn{}
	a := s.delivery.Attach(202, c)
	a.Activate(s.load(202), s.ends())
	second := s.chat(201, 202)
	s.tail()
	if len(c.All()) != 0 {
		t.Fatalf("got %v before the login was answered", c.All())
	}
	c.LoggedIn(202, nil, porttest.SomeTime)
	a.Release()
	third := s.chat(201, 202)
	s.tail()
	s.shown("the new connection", c, second, third)
	if _, first := c.All()[0].(porttest.LoggedIn); !first {
		t.Errorf("got %v first, want the answer to the login", c.All()[0])
	}
	s.shown("the old one", old, domain.Place{}, second, third)
}

func TestADetachedConnectionGetsNothing(t *testing.T) {
	s := newStage(t, 1)
	c, a := s.login(202)
	other, b := s.login(202)
	a.Detach()
	at := s.chat(201, 202)
	s.tail()
	a.Detach()
	s.shown("detached", c)
	s.shown("the other connection", other, at)
	b.Detach()
	b.Activate(nil, s.ends())
	b.Release()
	s.chat(201, 202)
	s.tail()
	s.shown("the other connection, detached", other, at)
}

func TestTheSameMessageAgainReachesOnlyWhoDidNotHaveIt(t *testing.T) {
	s := newStage(t, 1)
	sender, a := s.login(201)
	target, _ := s.login(202)
	first := s.named(201, 202, "m1")
	s.tail()
	s.named(201, 202, "m1")
	s.tail()
	s.shown("sender", sender, first)
	s.shown("target", target, first)
	// The sender lost its connection before it read the echo: on the next one it sends m1 again, and again.
	a.Detach()
	sender, _ = s.login(201)
	target2, _ := s.login(202)
	again := s.named(201, 202, "m1")
	s.named(201, 202, "m1")
	other := s.named(201, 202, "m2")
	s.tail()
	s.named(201, 202, "m1")
	s.tail()
	s.shown("sender's new connection", sender, again, other)
	s.shown("target", target, first, other)
	s.shown("target's new connection", target2, again, other)
}

func TestTheSameMessageAgainDuringALoginIsShownOnce(t *testing.T) {
	s := newStage(t, 1)
	keeper, _ := s.login(202)
	first := s.named(201, 202, "m1")
	c := &porttest.Conn{}
	a := s.delivery.Attach(202, c)
	s.tail() // held: the ends are not noted
	ends := s.ends()
	second := s.named(201, 202, "m1")
	s.tail()
	a.Activate(nil, ends)
	s.named(201, 202, "m1")
	s.tail()
	a.Release()
	s.named(201, 202, "m1")
	s.tail()
	s.shown("the new connection", c, second)
	s.shown("the one that was there", keeper, first)
}

func TestASystemMessageRepeatedUnderItsIDIsShownOnce(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.login(7)
	event := domain.Event{ID: domain.DerivedID("idempotency key", "k"), Body: domain.SystemMessage{To: 7}}
	at := s.append(event)
	s.append(event)
	s.tail()
	s.shown("the user", c, at)
}

func TestTheNodeForgetsOldNamesAndNotMoreThanItMust(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.login(202)
	var want []domain.Place
	for i := range 1024 {
		want = append(want, s.named(201, 202, domain.ClientMessageID(fmt.Sprint(i))))
	}
	s.named(201, 202, "0") // the oldest of those remembered
	s.named(201, 202, "1023")
	want = append(want, s.named(201, 202, "new")) // "0" is forgotten for it
	s.named(201, 202, "1")
	want = append(want, s.named(201, 202, "0"))
	s.tail()
	s.shown("the target", c, want...)
}

func TestALoginIsBoundedInWhatItHolds(t *testing.T) {
	s := newStage(t, 1)
	c := &porttest.Conn{}
	a := s.delivery.Attach(202, c)
	a.Activate(nil, s.ends())
	for range 1024 {
		s.chat(201, 202)
	}
	s.tail()
	if got := c.All(); len(got) != 0 {
		t.Fatalf("got %v while nothing was exceeded", got[0])
	}
	s.chat(201, 202)
	s.tail()
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
	a := s.delivery.Attach(202, c)
	a.Activate(nil, s.ends())
	apply := func(n int) {
		s.delivery.Apply(longRecord{porttest.Record{
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
	s.block(201, 201) // no request makes such a change: somebody else wrote it to the log
	c, _ := s.login(201)
	at := s.chat(201, 202)
	to := s.chat(201, 201)
	s.tail()
	s.shown("the user", c, at, to)
}

func TestRecordsThatAreNotOursAreSkipped(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.login(202)
	bad := domain.Event{Body: domain.ChatMessage{From: 201, To: 202}}
	s.delivery.Apply(porttest.Record{Event: bad, Err: errors.New("hostile")})
	s.shown("the target", c)
	at := s.chat(201, 202)
	s.tail()
	s.shown("the target, afterwards", c, at)
}

func TestAfterAHoleEveryConnectionIsClosed(t *testing.T) {
	s := newStage(t, 1)
	a, _ := s.login(201)
	b, _ := s.login(202)
	s.delivery.CloseAll(port.CloseHole)
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
	first := s.commit(202, 201, true)
	s.append(first)
	second := s.commit(202, 201, false)
	s.append(second)
	s.tail()

	visible := &porttest.Conn{}
	a := s.delivery.Attach(202, visible)
	s.append(first) // again
	ends := s.ends()
	at := s.chat(201, 202)
	s.tail()
	a.Activate(s.load(202), ends)
	a.Release()
	s.shown("unblocked in truth", visible, at)
	a.Detach()

	s.block(202, 201)
	s.tail()
	hidden := &porttest.Conn{}
	b := s.delivery.Attach(202, hidden)
	s.append(second) // again
	ends = s.ends()
	s.chat(201, 202)
	s.tail()
	b.Activate(s.load(202), ends)
	b.Release()
	s.shown("blocked in truth", hidden)
}

// Two logins of one user, while the tail is behind: the second's newer list says nothing about what the first must see.
func TestALaterLoginDoesNotChangeWhatAnEarlierOneSees(t *testing.T) {
	s := newStage(t, 1)
	s.block(202, 201)
	s.tail()
	early := &porttest.Conn{}
	a := s.delivery.Attach(202, early)
	blocks, ends := s.load(202), s.ends()
	s.chat(201, 202) // while 202 blocks 201
	s.unblock(202, 201)
	_, b := s.login(202)
	s.tail()
	a.Activate(blocks, ends)
	a.Release()
	at := s.chat(201, 202)
	s.tail()
	s.shown("the earlier login", early, at)
	b.Detach()
}

func TestALaterLoginsBlockDoesNotHideWhatStoodBeforeIt(t *testing.T) {
	s := newStage(t, 1)
	early := &porttest.Conn{}
	a := s.delivery.Attach(202, early)
	blocks, ends := s.load(202), s.ends()
	at := s.chat(201, 202)
	s.block(202, 201)
	s.login(202)
	s.tail()
	a.Activate(blocks, ends)
	a.Release()
	s.shown("the earlier login", early, at)
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
			s := newStage(t, 2).checks(&stageVersions{
				gate: make(chan struct{}), early: func() bool { return coin.IntN(2) == 0 },
			})
			everythingInItsPlace(t, seed, random, s)
		})
	}
}

func everythingInItsPlace(t *testing.T, seed uint64, random *rand.Rand, s *stage) {
	partitions := len(s.next)
	users := []domain.UserID{1, 2, 3}
	pick := func() domain.UserID { return users[random.IntN(len(users))] }
	pending := s.pending
	published := make(map[porttest.Pair][]domain.Event)
	var conns []*watched

	for range 150 {
		switch random.IntN(14) {
		case 0, 1, 2:
			from, to := pick(), pick()
			if random.IntN(2) == 0 {
				s.named(from, to, domain.ClientMessageID(fmt.Sprintf("%d-%d", to, random.IntN(6))))
			} else {
				s.chat(from, to)
			}
		case 3: // a request commits
			a, b := pick(), pick()
			if a != b {
				p := porttest.Pair{Blocker: a, Target: b}
				pending[p] = append(pending[p], s.commit(a, b, !s.blocks[a][b].Blocked))
			}
		case 4, 5: // a request or the relay publishes
			for p, events := range pending {
				s.append(events[0])
				published[p] = append(published[p], events[0])
				if pending[p] = events[1:]; len(pending[p]) == 0 {
					delete(pending, p)
				}
				break
			}
		case 6: // the relay repeats
			for _, events := range published {
				s.append(events[random.IntN(len(events))])
				break
			}
		case 7:
			user := pick()
			c := &porttest.Conn{}
			conns = append(conns, &watched{user: user, conn: c, at: s.delivery.Attach(user, c)})
		case 8, 9, 10:
			if len(conns) > 0 {
				w := conns[random.IntN(len(conns))]
				if w.stage < 5 {
					s.proceed(w)
				} else if w.stage == 5 && random.IntN(10) == 0 {
					s.proceed(w)
				}
			}
		default:
			s.step(random.IntN(partitions))
		}
		if s.versions == nil {
			continue
		}
		switch a, b := pick(), pick(); random.IntN(6) {
		case 0:
			if version := 1<<62 + random.Int64N(1<<61); a != b {
				s.forge(a, b, version%2 == 1, version)
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
	s.tail()
	for s.versions != nil && s.confirm() {
	}

	for i, w := range conns {
		if msg := s.judge(w); msg != "" {
			t.Fatalf("seed %d, connection %d of user %d, from %v: %s\nlog %v\ngot %v",
				seed, i, w.user, w.from, msg, s.log.Records, w.conn.All())
		}
	}
}

// confirm lets the database answer one question; false where it was asked none.
func (s *stage) confirm() bool {
	synctest.Wait()
	select {
	case s.versions.gate <- struct{}{}:
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
		w.blocks = s.load(w.user)
	case 1:
		for p, events := range s.pending {
			if p.Blocker == w.user {
				for _, event := range events {
					s.append(event)
				}
				delete(s.pending, p)
			}
		}
		w.from = s.ends()
	case 2:
		w.at.Activate(w.blocks, w.from)
	case 3:
		w.conn.LoggedIn(w.user, nil, porttest.SomeTime)
	case 4:
		w.at.Release()
	case 5:
		for s.versions != nil && s.confirm() { // what was read and waits is delivered
		}
		w.until = slices.Clone(s.next)
		w.at.Detach()
	}
	w.stage++
}

// judge compares what a connection got with what the log alone says.
func (s *stage) judge(w *watched) string {
	got := make(map[domain.Conversation][]string)
	for _, d := range porttest.Of[porttest.Delivered](w.conn) {
		at := porttest.PositionOf(d.Frame)
		conversation := s.log.Records[at.Partition][at.Offset].Body.Conversation()
		got[conversation] = append(got[conversation], d.Frame)
	}
	for partition, events := range s.log.Records {
		var blocks domain.BlockList
		seen := make(map[domain.EventID]bool)
		for offset, event := range events {
			if w.until != nil && offset >= w.until[partition] {
				break
			}
			if change, ok := event.Body.(domain.BlockChanged); ok {
				if change.Blocker == w.user && !s.forged[event.ID] {
					blocks.Apply(change.Target, change.Blocked, change.Version)
				}
				continue
			}
			if !event.Body.Conversation().Has(w.user) || int64(offset) < w.from[partition] {
				continue
			}
			repeated := seen[event.ID]
			seen[event.ID] = true
			at := domain.Place{Partition: partition, Offset: int64(offset)}
			frames := got[event.Body.Conversation()]
			isNext := len(frames) > 0 && frames[0] == string(porttest.FrameOf(at))
			sender := event.Body.Actor()
			visible := !repeated && (sender == w.user || !blocks.Hides(sender))
			switch {
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
	old, _ := s.login(202)
	asked, attachment := s.login(202)
	asked.Feature = port.FeatureInvites
	_ = attachment
	room := domain.EventID{7}
	say := func(id byte, from, to domain.UserID, status domain.InviteStatus) {
		s.append(domain.Event{ID: domain.EventID{id}, Time: porttest.SomeTime, Body: domain.GameInvite{
			From: from, To: to, Status: status, Room: domain.RoomID(room.String()),
		}})
	}
	say(1, 201, 202, domain.InviteOpened)
	say(2, 202, 201, domain.InviteAccepted)
	say(3, 201, 202, domain.InviteCancelled) // too late: nobody sees it
	s.tail()
	if got := len(porttest.Of[porttest.Delivered](old)); got != 1 {
		t.Errorf("a client of the original server got %d frames, not only the invite", got)
	}
	if got := len(porttest.Of[porttest.Delivered](asked)); got != 2 {
		t.Errorf("a client that asked for it got %d frames, not the invite and its answer", got)
	}
}
