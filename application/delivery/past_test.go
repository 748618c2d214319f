package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// givenChanges is a delivery.BlockVersions and a delivery.GivenBlocks: it knows every change that a stage committed.
type givenChanges struct {
	mu    sync.Mutex
	ids   map[blocks.Pair][]domain.EventID // by version, from 1 on
	asked int
	err   error
}

func (g *givenChanges) gave(event domain.Event) domain.Event {
	change, _ := event.Body.(domain.BlockChanged)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ids == nil {
		g.ids = make(map[blocks.Pair][]domain.EventID)
	}
	g.ids[blocks.PairOf(change)] = append(g.ids[blocks.PairOf(change)], event.ID)
	return event
}

func (g *givenChanges) VersionsOf(_ context.Context, pairs []blocks.Pair) (map[blocks.Pair]blocks.GivenVersions, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	given := make(map[blocks.Pair]blocks.GivenVersions)
	for _, pair := range pairs {
		ids := slices.Clone(g.ids[pair])
		given[pair] = blocks.GivenVersions{Newest: int64(len(ids)), EventOf: func(version int64) domain.EventID { return ids[version-1] }}
	}
	return given, g.err
}

func (g *givenChanges) Versions(ctx context.Context, pair blocks.Pair) (blocks.GivenVersions, error) {
	given, err := g.VersionsOf(ctx, []blocks.Pair{pair})
	return given[pair], err
}

// pastStage is a stage with a past.
type pastStage struct {
	*stage
	past  *delivery.Past
	read  *porttest.PastLog
	given *givenChanges
}

func newPastStage(t testing.TB, partitions int) *pastStage {
	s := &pastStage{stage: newStage(t, partitions), given: &givenChanges{}}
	s.read = &porttest.PastLog{Log: s.log}
	s.past = &delivery.Past{Log: s.read, Versions: s.given, Delivery: s.delivery}
	for partition := range partitions {
		s.delivery.Begin(partition, 0, 0)
	}
	return s
}

func (s *pastStage) tail() {
	s.stage.tail()
	for partition, end := range s.ends() {
		s.delivery.Passed(partition, end)
	}
}

func (s *pastStage) changes(blocker, target domain.UserID, blocked bool) domain.Event {
	return s.given.gave(s.commit(blocker, target, blocked))
}

// entries returns what user saw in a stretch. The tail has read everything.
func (s *pastStage) entries(user domain.UserID, from, to []int64, list []blocks.Entry) *delivery.PastEntries {
	s.t.Helper()
	entries, err := s.past.Entries(s.t.Context(), delivery.PastStretch{User: user, From: from, To: to}, list, func() {})
	if err != nil {
		s.t.Fatal(err)
	}
	return entries
}

// saw expects exactly these records of a stage with one partition, from an offset on.
func (s *pastStage) saw(what string, user domain.UserID, from int64, want ...domain.Place) *delivery.PastEntries {
	s.t.Helper()
	entries := s.entries(user, []int64{from}, s.ends(), s.load(user))
	if got := placesOf(user, entries); !slices.Equal(got, want) {
		s.t.Errorf("%s: saw %v, want %v", what, got, want)
	}
	entries.Close()
	if s.read.Open != 0 {
		s.t.Errorf("%s: what was read is not given back", what)
	}
	return entries
}

func placesOf(user domain.UserID, entries *delivery.PastEntries) (places []domain.Place) {
	for _, e := range entries.Entries {
		// A mark that its partner may not see is left to whoever shows the entries.
		if mark, ok := e.Event.Body.(domain.ReadMark); !ok || mark.ShownTo(user) {
			places = append(places, e.Place)
		}
	}
	return places
}

func TestThePastHasBothDirectionsAndNothingOfOthers(t *testing.T) {
	s := newPastStage(t, 1)
	before := s.chat(202, 201)
	to := s.chat(202, 201)
	own := s.named(201, 202, "m1")
	s.chat(202, 203)
	self := s.chat(201, 201)
	system := s.append(domain.Event{Body: domain.SystemMessage{To: 201}})
	s.append(domain.Event{Body: domain.SystemMessage{To: 202}})
	last := s.named(203, 201, "m2")
	s.tail()
	entries := s.saw("from the second on", 201, to.Offset, to, own, self, system, last)
	if !entries.IsWhole() || entries.InvitesUnknown {
		t.Error("it is not whole")
	}
	for i, want := range []struct {
		sender domain.UserID
		echo   domain.ClientMessageID
	}{{202, ""}, {201, "m1"}, {201, ""}, {domain.System, ""}, {203, ""}} {
		e := entries.Entries[i]
		if e.Sender() != want.sender || e.EchoOf != want.echo || !e.IsKept() || string(e.Frame) != string(porttest.FrameOf(e.Place)) {
			t.Errorf("entry %d is %+v", i, e)
		}
	}
	all := s.entries(201, []int64{before.Offset}, []int64{last.Offset}, nil)
	if got := placesOf(201, all); !slices.Equal(got, []domain.Place{before, to, own, self, system}) {
		t.Errorf("from the first to before the last: %v", got)
	}
	all.Close()
	if s.saw("nothing", 201, last.Offset+1); s.given.asked != 0 {
		t.Error("the database was asked about blocks, though none changed")
	}
}

func TestThePastIsJudgedByTheBlocksAtItsPlaces(t *testing.T) {
	s := newPastStage(t, 1)
	first := s.chat(201, 202)
	s.append(s.changes(202, 201, true))
	s.chat(201, 202)
	own := s.chat(202, 201)
	s.append(s.changes(202, 201, false))
	between := s.chat(201, 202)
	s.append(s.changes(202, 201, true))
	s.chat(201, 202)
	s.tail()
	s.saw("everything", 202, 0, first, own, between)
	s.saw("from the first block on", 202, 1, own, between)
	s.saw("from within the first block", 202, 2, own, between)
	s.saw("from the unblock on", 202, 4, between)
	s.saw("behind it", 202, 5, between)
	s.saw("from the last block on", 202, 6)
	s.saw("behind it", 202, 7)
	if s.given.asked != 6 {
		t.Errorf("the database was asked %d times about 6 stretches with changes", s.given.asked)
	}
	// The blocked user sees its own messages, and those of the blocker.
	if got := len(s.entries(201, []int64{0}, s.ends(), nil).Entries); got != 5 {
		t.Errorf("the blocked user saw %d events, want 5", got)
	}
}

func TestABlockWhileTheListIsLoadedHidesFromItsPlaceOn(t *testing.T) {
	s := newPastStage(t, 1)
	list := s.load(202)
	before := s.chat(201, 202)
	s.append(s.changes(202, 201, true))
	s.chat(201, 202)
	s.tail()
	if got := placesOf(202, s.entries(202, []int64{0}, s.ends(), list)); !slices.Equal(got, []domain.Place{before}) {
		t.Errorf("saw %v, want %v", got, before)
	}
}

func TestForgedAndRepeatedChangesOfBlocksChangeNothing(t *testing.T) {
	s := newPastStage(t, 1)
	block := s.changes(202, 201, true)
	s.append(block)
	s.append(s.changes(202, 201, false))
	from := s.chat(201, 202)
	s.append(block) // again, by the relay
	again := s.chat(201, 202)
	s.append(domain.Event{Body: domain.BlockChanged{Blocker: 202, Target: 201, Blocked: true, Version: 3}})
	forged := s.chat(201, 202)
	s.tail()
	s.saw("repeated and forged", 202, from.Offset, from, again, forged)
}

// The record of a block stands twice: a kill came before it was known that it stands. The node was started since, so it does not
// know the first. What the block hid is not shown for that.
func TestABlockThatMayBeRepeatedShowsNothingOfBefore(t *testing.T) {
	s := newPastStage(t, 1)
	change := s.changes(201, 202, true)
	s.append(change)
	s.chat(202, 201)
	s.append(change)
	behind := s.chat(203, 201)
	s.tail()
	s.saw("with the node that has read it", 201, 1, behind)
	s.delivery.Begin(0, behind.Offset, s.ends()[0])
	if e := s.saw("after a start", 201, 1, behind); e.IsWhole() || e.From[0] != behind.Offset {
		t.Errorf("after a start it is whole: %v, from %v on", e.IsWhole(), e.From)
	}
	s.read.AtOnce = 1
	if e := s.entries(201, []int64{1}, s.ends(), s.load(201)); e.IsWhole() || len(e.Entries) > 1 {
		t.Errorf("a part has %v and is whole: %v", e.Entries, e.IsWhole())
	}

	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil)
		projected := map[int]int64{0: 0}
		s.stores(projected)
		change := s.changes(201, 202, true)
		s.append(change)
		projected[0] = 1
		s.chat(202, 201)
		s.append(change)
		behind := s.chat(203, 201)
		s.append(s.changes(201, 202, false)) // what the user has blocked by now does not come anyway
		s.tail()
		s.delivery.Begin(0, behind.Offset, s.ends()[0])
		d := s.device(201)
		d.connect()
		synctest.Wait()
		d.want("what was stored", behind)
		d.breakOff(-1)
	})
}

func TestWhatBecameOfInvitesIsAsItWasForThoseWhoWereThere(t *testing.T) {
	s := newPastStage(t, 1)
	room := domain.DerivedID("test", "room")
	invite := func(from, to domain.UserID, status domain.InviteStatus) domain.Place {
		body := domain.GameInvite{From: from, To: to, Status: status, Room: domain.RoomID(room.String())}
		if status == domain.InviteOpened {
			body.Expires = porttest.SomeTime.Add(time.Minute)
		}
		return s.append(domain.Event{Time: porttest.SomeTime, Body: body})
	}
	opened := invite(201, 202, domain.InviteOpened)
	cancelled := invite(201, 202, domain.InviteCancelled)
	late := invite(202, 201, domain.InviteAccepted) // void
	room = domain.DerivedID("test", "another room")
	second := invite(201, 202, domain.InviteOpened)
	s.append(s.changes(202, 201, true))
	s.append(s.changes(202, 201, false))
	expired := invite(201, 202, domain.InviteExpired) // unseen by 202
	s.tail()
	if got := s.saw("the inviter", 201, 0, opened, cancelled, second, expired).Entries; got[0].IsKept() {
		t.Error("an invite is kept")
	}
	s.saw("the invited", 202, 0, opened, cancelled, second)
	s.saw("from the middle", 202, late.Offset, second)
	s.saw("from the end", 201, expired.Offset, expired)

	// Below what the node knows of invites nobody can tell.
	s.delivery.Begin(0, expired.Offset+1, 0)
	s.delivery.Passed(0, s.ends()[0])
	chat := s.chat(201, 202)
	s.tail()
	entries := s.entries(202, []int64{0}, s.ends(), s.load(202))
	if !entries.InvitesUnknown || entries.IsWhole() {
		t.Error("it is whole, though what became of the first invite is not known")
	}
	if got := placesOf(202, s.entries(202, []int64{expired.Offset + 1}, s.ends(), s.load(202))); !slices.Equal(got, []domain.Place{chat}) {
		t.Errorf("behind that: %v", got)
	}
}

func TestThePastWaitsUntilThisNodeHasJudgedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPastStage(t, 1)
		s.append(domain.Event{Body: domain.GameInvite{From: 201, To: 202, Status: domain.InviteAccepted, Room: domain.RoomID(domain.EventID{1}.String())}})
		wanted := delivery.PastStretch{User: 202, From: []int64{0}, To: s.ends()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.past.Entries(ctx, wanted, nil, func() {})
		porttest.WantCode(t, "behind the log", err, domain.CodeUnavailable)
		time.AfterFunc(time.Second, s.tail)
		entries, err := s.past.Entries(t.Context(), wanted, nil, func() {})
		if err != nil || len(entries.Entries) != 0 {
			t.Fatalf("%v, %v: the void answer is shown", entries, err)
		}
		if s.read.Open != 1 {
			t.Errorf("%d readers are open, want one", s.read.Open)
		}
	})
}

func TestAPastThatReachesTooFarSaysFromWhereOnItIsComplete(t *testing.T) {
	s := newPastStage(t, 1)
	for range 5 {
		s.chat(201, 202)
	}
	s.tail()
	s.read.Records = 3
	entries := s.entries(202, []int64{0}, s.ends(), nil)
	if entries.IsWhole() || !slices.Equal(entries.From, []int64{2}) || len(entries.Entries) != 3 {
		t.Errorf("from %v on there are %v", entries.From, placesOf(202, entries))
	}
	if entries = s.entries(202, []int64{2}, s.ends(), nil); !entries.IsWhole() {
		t.Error("it is not whole, though it is short enough")
	}
	if s.past.Reaches(delivery.PastStretch{From: []int64{1}, To: s.ends()}) || !s.past.Reaches(delivery.PastStretch{From: []int64{2}, To: s.ends()}) {
		t.Error("it is not told how far the log reaches")
	}
}

func TestAPastThatIsOfNoUseAsksForNothing(t *testing.T) {
	s := newPastStage(t, 1)
	s.chat(201, 202)
	s.append(s.changes(202, 201, true))
	s.chat(202, 201)
	s.read.Records = 2 // the tail is behind: to wait for it would be in vain
	s.past.Erasures = erasedBefore{err: errors.New("asked")}
	entries, err := s.past.Entries(t.Context(), delivery.PastStretch{User: 202, From: []int64{0}, To: s.ends(), AllOrNothing: true}, nil, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if entries.IsWhole() || entries.From[0] != 1 || len(entries.Entries) > 0 || s.given.asked != 0 {
		t.Errorf("%+v, and the database was asked %d times", entries, s.given.asked)
	}
	entries.Close()
	if s.read.Open != 0 {
		t.Error("what was read is not given back")
	}
}

// erasedBefore is a delivery.Erasures.
type erasedBefore struct {
	users map[domain.UserID]map[int]int64
	err   error
}

func (e erasedBefore) ErasedBefore(context.Context, []domain.UserID) (map[domain.UserID]map[int]int64, error) {
	return e.users, e.err
}

func TestWhatWasErasedIsNoPast(t *testing.T) {
	s := newPastStage(t, 1)
	s.chat(201, 202)
	s.chat(202, 201)
	other := s.chat(203, 202)
	since := s.chat(201, 202)
	s.tail()
	s.past.Erasures = erasedBefore{users: map[domain.UserID]map[int]int64{201: {0: since.Offset}}}
	s.saw("with one who was erased", 202, 0, other, since)
	s.saw("who comes again after it was erased", 201, 0, since)
}

func TestThePastFailsWithWhatItNeeds(t *testing.T) {
	away := errors.New("away")
	for what, test := range map[string]struct {
		broken func(*pastStage)
	}{
		"the log":      {func(s *pastStage) { s.read.Err = away }},
		"the database": {func(s *pastStage) { s.given.err = away }},
		"the erasures": {func(s *pastStage) { s.past.Erasures = erasedBefore{err: away} }},
	} {
		s := newPastStage(t, 1)
		s.chat(201, 202)
		s.append(s.changes(202, 201, true))
		s.tail()
		test.broken(s)
		_, err := s.past.Entries(t.Context(), delivery.PastStretch{User: 202, From: []int64{0}, To: s.ends()}, nil, func() {})
		if !errors.Is(err, away) {
			t.Errorf("%s: %v", what, err)
		}
		if s.read.Open != 0 {
			t.Errorf("%s: what was read is not given back", what)
		}
	}
}

// TestThePastIsWhatAConnectionSawThatWasThere lets users chat, block and invite each other at random, with changes of blocks that are forged or written
// again. Whatever stretch somebody asks for, and whenever its list was loaded, it gets what its connection saw there.
func TestThePastIsWhatAConnectionSawThatWasThere(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { comparePast(t, rand.New(rand.NewPCG(seed, 14))) })
		})
	}
}

// shownTo returns the frames that a connection got.
func shownTo(c *porttest.Conn) (frames []string) {
	for _, what := range c.All() {
		switch w := what.(type) {
		case porttest.Delivered:
			frames = append(frames, w.Frame)
		case porttest.OwnMark:
			frames = append(frames, w.Frame)
		}
	}
	return frames
}

// inParts returns what user saw in a stretch, read in parts.
func (s *pastStage) inParts(user domain.UserID, from, to []int64, list []blocks.Entry) (places []domain.Place) {
	for {
		part, err := s.past.Entries(s.t.Context(), delivery.PastStretch{User: user, From: from, To: to, BeginningFirst: true}, list, func() {})
		if err != nil {
			s.t.Fatal(err)
		}
		places = append(places, placesOf(user, part)...)
		if part.IsWhole() {
			slices.SortStableFunc(places, func(a, b domain.Place) int { return a.Partition - b.Partition })
			return places
		}
		from, list = part.To, part.Blocks
	}
}

func comparePast(t *testing.T, random *rand.Rand) {
	const partitions = 2
	s := newPastStage(t, partitions)
	s.delivery.Versions = s.given
	porttest.Run(t, s.delivery.Run)
	users := []domain.UserID{201, 202, 203}
	conns := make(map[domain.UserID]*porttest.Conn)
	for _, user := range users {
		c := &porttest.Conn{Feature: port.FeatureInvites, Features: []port.Feature{port.FeatureReadMarks, port.FeatureReceipts}}
		a := s.delivery.Attach(user, c)
		a.Activate(nil, make([]int64, partitions))
		a.Release()
		conns[user] = c
	}
	type loaded struct {
		list []blocks.Entry
		at   []int64
	}
	lists := make(map[domain.UserID][]loaded)
	var changes []domain.Event
	var rooms []domain.RoomID
	blocked := make(map[porttest.Pair]bool)
	for range 200 {
		from, to := users[random.IntN(3)], users[random.IntN(3)]
		pair := porttest.Pair{Blocker: from, Target: to}
		switch n := random.IntN(20); {
		case n < 10:
			s.chat(from, to)
		case n < 11:
			s.append(domain.Event{Body: domain.SystemMessage{To: to}})
		case from == to:
		case n < 12:
			s.append(domain.Event{Body: domain.ReadMark{Reader: from, Partner: to, Receipt: random.IntN(2) == 0}})
		case n < 14:
			blocked[pair] = !blocked[pair]
			changes = append(changes, s.changes(from, to, blocked[pair]))
			s.append(changes[len(changes)-1])
		case n < 15 && len(changes) > 0:
			s.append(changes[random.IntN(len(changes))])
		case n < 16:
			version := int64(random.IntN(12) + 1)
			s.append(domain.Event{Body: domain.BlockChanged{Blocker: from, Target: to, Blocked: version%2 == 1, Version: version}})
		case n < 18:
			rooms = append(rooms, domain.RoomID(domain.DerivedID("room", fmt.Sprint(len(rooms))).String()))
			s.append(domain.Event{Time: porttest.SomeTime, Body: domain.GameInvite{From: from, To: to, Status: domain.InviteOpened, Room: rooms[len(rooms)-1]}})
		case len(rooms) > 0:
			status := []domain.InviteStatus{domain.InviteCancelled, domain.InviteAccepted, domain.InviteDeclined, domain.InviteExpired}[random.IntN(4)]
			s.append(domain.Event{Time: porttest.SomeTime, Body: domain.GameInvite{From: from, To: to, Status: status, Room: rooms[random.IntN(len(rooms))]}})
		}
		for _, user := range users {
			lists[user] = append(lists[user], loaded{s.load(user), s.ends()})
		}
		s.tail()
		synctest.Wait() // the versions were asked for
	}
	for _, user := range users {
		for range 40 {
			list := lists[user][random.IntN(len(lists[user]))]
			from, to := make([]int64, partitions), make([]int64, partitions)
			for p, end := range s.ends() {
				from[p] = random.Int64N(list.at[p] + 1)
				to[p] = list.at[p] + random.Int64N(end-list.at[p]+1)
			}
			var want []domain.Place
			for _, frame := range shownTo(conns[user]) {
				if at := porttest.PositionOf(frame); at.Offset >= from[at.Partition] && at.Offset < to[at.Partition] {
					want = append(want, at)
				}
			}
			slices.SortStableFunc(want, func(a, b domain.Place) int { return a.Partition - b.Partition })
			if got := placesOf(user, s.entries(user, from, to, list.list)); !slices.Equal(got, want) {
				t.Fatalf("%d, from %v to %v, with the list of %v: saw %v, want %v", user, from, to, list.at, got, want)
			}
			s.read.AtOnce = 1 + random.IntN(8)
			if got := s.inParts(user, from, to, list.list); !slices.Equal(got, want) {
				t.Fatalf("%d, in parts of %d from %v to %v, with the list of %v: saw %v, want %v", user, s.read.AtOnce, from, to, list.at, got, want)
			}
			s.read.AtOnce = 0
		}
	}
}
