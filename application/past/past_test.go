package past_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/blocks"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// pastStage is a porttest.PastStage, of which can be asked what somebody saw.
type pastStage struct{ *porttest.PastStage }

func newPastStage(t testing.TB, partitions int) *pastStage {
	return &pastStage{porttest.NewPastStage(t, partitions)}
}

// entries returns what user saw in a stretch. The tail has read everything.
func (s *pastStage) entries(user domain.UserID, from, to []int64, list []blocks.Entry) *past.Entries {
	s.T.Helper()
	entries, err := s.Past.Entries(s.T.Context(), past.Stretch{User: user, From: from, To: to}, list, func() {})
	if err != nil {
		s.T.Fatal(err)
	}
	return entries
}

// saw expects exactly these records of a stage with one partition, from an offset on.
func (s *pastStage) saw(what string, user domain.UserID, from int64, want ...domain.Place) *past.Entries {
	s.T.Helper()
	entries := s.entries(user, []int64{from}, s.Ends(), s.Load(user))
	if got := placesOf(user, entries); !slices.Equal(got, want) {
		s.T.Errorf("%s: saw %v, want %v", what, got, want)
	}
	entries.Close()
	if s.Read.Open != 0 {
		s.T.Errorf("%s: what was read is not given back", what)
	}
	return entries
}

func placesOf(user domain.UserID, entries *past.Entries) (places []domain.Place) {
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
	before := s.Chat(202, 201)
	to := s.Chat(202, 201)
	own := s.Named(201, 202, "m1")
	s.Chat(202, 203)
	self := s.Chat(201, 201)
	system := s.Append(domain.Event{Body: domain.SystemMessage{To: 201}})
	s.Append(domain.Event{Body: domain.SystemMessage{To: 202}})
	last := s.Named(203, 201, "m2")
	s.Tail()
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
	if s.saw("nothing", 201, last.Offset+1); s.Given.Asked != 0 {
		t.Error("the database was asked about blocks, though none changed")
	}
}

func TestThePastIsJudgedByTheBlocksAtItsPlaces(t *testing.T) {
	s := newPastStage(t, 1)
	first := s.Chat(201, 202)
	s.Append(s.Changes(202, 201, true))
	s.Chat(201, 202)
	own := s.Chat(202, 201)
	s.Append(s.Changes(202, 201, false))
	between := s.Chat(201, 202)
	s.Append(s.Changes(202, 201, true))
	s.Chat(201, 202)
	s.Tail()
	s.saw("everything", 202, 0, first, own, between)
	s.saw("from the first block on", 202, 1, own, between)
	s.saw("from within the first block", 202, 2, own, between)
	s.saw("from the unblock on", 202, 4, between)
	s.saw("behind it", 202, 5, between)
	s.saw("from the last block on", 202, 6)
	s.saw("behind it", 202, 7)
	if s.Given.Asked != 6 {
		t.Errorf("the database was asked %d times about 6 stretches with changes", s.Given.Asked)
	}
	// The blocked user sees its own messages, and those of the blocker.
	if got := len(s.entries(201, []int64{0}, s.Ends(), nil).Entries); got != 5 {
		t.Errorf("the blocked user saw %d events, want 5", got)
	}
}

func TestABlockWhileTheListIsLoadedHidesFromItsPlaceOn(t *testing.T) {
	s := newPastStage(t, 1)
	list := s.Load(202)
	before := s.Chat(201, 202)
	s.Append(s.Changes(202, 201, true))
	s.Chat(201, 202)
	s.Tail()
	if got := placesOf(202, s.entries(202, []int64{0}, s.Ends(), list)); !slices.Equal(got, []domain.Place{before}) {
		t.Errorf("saw %v, want %v", got, before)
	}
}

func TestForgedAndRepeatedChangesOfBlocksChangeNothing(t *testing.T) {
	s := newPastStage(t, 1)
	block := s.Changes(202, 201, true)
	s.Append(block)
	s.Append(s.Changes(202, 201, false))
	from := s.Chat(201, 202)
	s.Append(block) // again, by the relay
	again := s.Chat(201, 202)
	s.Append(domain.Event{Body: domain.BlockChanged{Blocker: 202, Target: 201, Blocked: true, Version: 3}})
	forged := s.Chat(201, 202)
	s.Tail()
	s.saw("repeated and forged", 202, from.Offset, from, again, forged)
}

// The record of a block stands twice: a kill came before it was known that it stands. The node was started since, so it does not
// know the first. What the block hid is not shown for that.
func TestABlockThatMayBeRepeatedShowsNothingOfBefore(t *testing.T) {
	s := newPastStage(t, 1)
	change := s.Changes(201, 202, true)
	s.Append(change)
	s.Chat(202, 201)
	s.Append(change)
	behind := s.Chat(203, 201)
	s.Tail()
	s.saw("with the node that has read it", 201, 1, behind)
	s.Delivery.Begin(0, behind.Offset, s.Ends()[0])
	if e := s.saw("after a start", 201, 1, behind); e.IsWhole() || e.From[0] != behind.Offset {
		t.Errorf("after a start it is whole: %v, from %v on", e.IsWhole(), e.From)
	}
	s.Read.AtOnce = 1
	if e := s.entries(201, []int64{1}, s.Ends(), s.Load(201)); e.IsWhole() || len(e.Entries) > 1 {
		t.Errorf("a part has %v and is whole: %v", e.Entries, e.IsWhole())
	}
}

func TestWhatBecameOfInvitesIsAsItWasForThoseWhoWereThere(t *testing.T) {
	s := newPastStage(t, 1)
	room := domain.DerivedID("test", "room")
	invite := func(from, to domain.UserID, status domain.InviteStatus) domain.Place {
		body := domain.GameInvite{From: from, To: to, Status: status, Room: domain.RoomID(room.String())}
		if status == domain.InviteOpened {
			body.Expires = porttest.SomeTime.Add(time.Minute)
		}
		return s.Append(domain.Event{Time: porttest.SomeTime, Body: body})
	}
	opened := invite(201, 202, domain.InviteOpened)
	cancelled := invite(201, 202, domain.InviteCancelled)
	late := invite(202, 201, domain.InviteAccepted) // void
	room = domain.DerivedID("test", "another room")
	second := invite(201, 202, domain.InviteOpened)
	s.Append(s.Changes(202, 201, true))
	s.Append(s.Changes(202, 201, false))
	expired := invite(201, 202, domain.InviteExpired) // unseen by 202
	s.Tail()
	if got := s.saw("the inviter", 201, 0, opened, cancelled, second, expired).Entries; got[0].IsKept() {
		t.Error("an invite is kept")
	}
	s.saw("the invited", 202, 0, opened, cancelled, second)
	s.saw("from the middle", 202, late.Offset, second)
	s.saw("from the end", 201, expired.Offset, expired)

	// Below what the node knows of invites nobody can tell.
	s.Delivery.Begin(0, expired.Offset+1, 0)
	s.Delivery.Passed(0, s.Ends()[0])
	chat := s.Chat(201, 202)
	s.Tail()
	entries := s.entries(202, []int64{0}, s.Ends(), s.Load(202))
	if !entries.InvitesUnknown || entries.IsWhole() {
		t.Error("it is whole, though what became of the first invite is not known")
	}
	if got := placesOf(202, s.entries(202, []int64{expired.Offset + 1}, s.Ends(), s.Load(202))); !slices.Equal(got, []domain.Place{chat}) {
		t.Errorf("behind that: %v", got)
	}
}

func TestThePastWaitsUntilThisNodeHasJudgedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPastStage(t, 1)
		s.Append(domain.Event{Body: domain.GameInvite{From: 201, To: 202, Status: domain.InviteAccepted, Room: domain.RoomID(domain.EventID{1}.String())}})
		wanted := past.Stretch{User: 202, From: []int64{0}, To: s.Ends()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Past.Entries(ctx, wanted, nil, func() {})
		porttest.WantCode(t, "behind the log", err, domain.CodeUnavailable)
		time.AfterFunc(time.Second, s.Tail)
		entries, err := s.Past.Entries(t.Context(), wanted, nil, func() {})
		if err != nil || len(entries.Entries) != 0 {
			t.Fatalf("%v, %v: the void answer is shown", entries, err)
		}
		if s.Read.Open != 1 {
			t.Errorf("%d readers are open, want one", s.Read.Open)
		}
	})
}

func TestAPastThatReachesTooFarSaysFromWhereOnItIsComplete(t *testing.T) {
	s := newPastStage(t, 1)
	for range 5 {
		s.Chat(201, 202)
	}
	s.Tail()
	s.Read.Records = 3
	entries := s.entries(202, []int64{0}, s.Ends(), nil)
	if entries.IsWhole() || !slices.Equal(entries.From, []int64{2}) || len(entries.Entries) != 3 {
		t.Errorf("from %v on there are %v", entries.From, placesOf(202, entries))
	}
	if entries = s.entries(202, []int64{2}, s.Ends(), nil); !entries.IsWhole() {
		t.Error("it is not whole, though it is short enough")
	}
	if s.Past.Reaches(past.Stretch{From: []int64{1}, To: s.Ends()}) || !s.Past.Reaches(past.Stretch{From: []int64{2}, To: s.Ends()}) {
		t.Error("it is not told how far the log reaches")
	}
}

func TestAPastThatIsOfNoUseAsksForNothing(t *testing.T) {
	s := newPastStage(t, 1)
	s.Chat(201, 202)
	s.Append(s.Changes(202, 201, true))
	s.Chat(202, 201)
	s.Read.Records = 2 // the tail is behind: to wait for it would be in vain
	s.Past.Erasures = erasedBefore{err: errors.New("asked")}
	entries, err := s.Past.Entries(t.Context(), past.Stretch{User: 202, From: []int64{0}, To: s.Ends(), AllOrNothing: true}, nil, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if entries.IsWhole() || entries.From[0] != 1 || len(entries.Entries) > 0 || s.Given.Asked != 0 {
		t.Errorf("%+v, and the database was asked %d times", entries, s.Given.Asked)
	}
	entries.Close()
	if s.Read.Open != 0 {
		t.Error("what was read is not given back")
	}
}

// erasedBefore is a past.Erasures.
type erasedBefore struct {
	users map[domain.UserID]map[int]int64
	err   error
}

func (e erasedBefore) ErasedBefore(context.Context, []domain.UserID) (map[domain.UserID]map[int]int64, error) {
	return e.users, e.err
}

func TestWhatWasErasedIsNoPast(t *testing.T) {
	s := newPastStage(t, 1)
	s.Chat(201, 202)
	s.Chat(202, 201)
	other := s.Chat(203, 202)
	since := s.Chat(201, 202)
	s.Tail()
	s.Past.Erasures = erasedBefore{users: map[domain.UserID]map[int]int64{201: {0: since.Offset}}}
	s.saw("with one who was erased", 202, 0, other, since)
	s.saw("who comes again after it was erased", 201, 0, since)
}

// keptBack keeps back what a user says from an offset on.
type keptBack struct {
	user domain.UserID
	from int64
}

// Judge implements past.Acts.
func (k keptBack) Judge(event domain.Event, at domain.Place, _ time.Time) error {
	if event.Body.Actor() == k.user && at.Offset >= k.from {
		return domain.NewError(domain.CodeMuted, "muted")
	}
	return nil
}

func TestWhatThePlatformKeepsBackIsNoPast(t *testing.T) {
	s := newPastStage(t, 1)
	before := s.Chat(201, 202)
	muted := s.Chat(201, 202)
	answer := s.Chat(202, 201)
	s.Tail()
	s.Past.Acts = keptBack{user: 201, from: muted.Offset}
	s.saw("the one who is muted", 201, 0, before, answer)
	s.saw("the other one", 202, 0, before, answer)
}

// An act that stands before a text may not have been read yet.
func TestThePastWaitsUntilThisNodeHasReadTheActsBeforeATextOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPastStage(t, 1)
		s.Chat(201, 202)
		wanted := past.Stretch{User: 202, From: []int64{0}, To: s.Ends()}
		if entries, err := s.Past.Entries(t.Context(), wanted, nil, func() {}); err != nil || len(entries.Entries) != 1 {
			t.Fatalf("without acts: %v, %v", entries, err)
		}
		s.Past.Acts = keptBack{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Past.Entries(ctx, wanted, nil, func() {})
		porttest.WantCode(t, "behind the log", err, domain.CodeUnavailable)
		time.AfterFunc(time.Second, s.Tail)
		if entries, err := s.Past.Entries(t.Context(), wanted, nil, func() {}); err != nil || len(entries.Entries) != 1 {
			t.Errorf("%v, %v", entries, err)
		}
	})
}

func TestThePastFailsWithWhatItNeeds(t *testing.T) {
	away := errors.New("away")
	for what, test := range map[string]struct {
		broken func(*pastStage)
	}{
		"the log":      {func(s *pastStage) { s.Read.Err = away }},
		"the database": {func(s *pastStage) { s.Given.Err = away }},
		"the erasures": {func(s *pastStage) { s.Past.Erasures = erasedBefore{err: away} }},
	} {
		s := newPastStage(t, 1)
		s.Chat(201, 202)
		s.Append(s.Changes(202, 201, true))
		s.Tail()
		test.broken(s)
		_, err := s.Past.Entries(t.Context(), past.Stretch{User: 202, From: []int64{0}, To: s.Ends()}, nil, func() {})
		if !errors.Is(err, away) {
			t.Errorf("%s: %v", what, err)
		}
		if s.Read.Open != 0 {
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
		part, err := s.Past.Entries(s.T.Context(), past.Stretch{User: user, From: from, To: to, BeginningFirst: true}, list, func() {})
		if err != nil {
			s.T.Fatal(err)
		}
		places = append(places, placesOf(user, part)...)
		if part.IsWhole() {
			slices.SortStableFunc(places, func(a, b domain.Place) int { return a.Partition - b.Partition })
			return places
		}
		from, list = part.To, part.Blocks
	}
}

func TestWhatABlockHidBeforeAStretchIsNotSeenInIt(t *testing.T) {
	for what, test := range map[string]struct {
		projected int64
		alone     bool
	}{"the history has it": {projected: 9}, "the history is behind": {projected: 0}, "it is the last that the history does not have": {projected: 1}, "no history is kept": {alone: true}} {
		t.Run(what, func(t *testing.T) {
			s := newPastStage(t, 1)
			history := &porttest.FirstPlaces{Log: s.Log, Projected: func(int) int64 { return test.projected }}
			s.Past.Repeats = history.NewRepeats()
			log := &porttest.PastLog{Log: s.Log}
			s.Past.Repeats.Log, s.Past.Repeats.Verdicts = log, s.Delivery.Verdicts
			if test.alone {
				s.Past.Repeats.History = nil
			}
			s.Append(s.Changes(202, 201, true))
			hidden := s.Named(201, 202, "m")
			others := s.Named(203, 202, "m")
			s.Append(s.Changes(202, 201, false))
			again := s.Named(201, 202, "m")
			news, own := s.Named(201, 202, "n"), s.Named(202, 201, "m")
			s.Named(203, 202, "m")
			s.Tail()
			s.saw("all", 202, 0, others, news, own)
			if history.Asked != 0 || len(log.Wanted) != 0 {
				t.Error("it was asked what stands before the log")
			}
			s.saw("from the unblock on", 202, hidden.Offset+2, news, own, domain.Place{Offset: own.Offset + 1})
			for range 2 {
				s.saw("from there again", 202, again.Offset, news, own, domain.Place{Offset: own.Offset + 1})
			}
			if asked := len(log.Wanted); test.alone && asked != 2 {
				t.Errorf("the log was read %d times for one version of a block, from before it and from behind it", asked)
			}
			if log.Open != 0 {
				t.Error("what was read is not given back")
			}
		})
	}
}

// What was read for a stretch in which the block ended says nothing of what the block hid in that stretch.
func TestWhatIsKnownOfTheLogAloneReachesUpToTheEndOfTheBlock(t *testing.T) {
	s := newPastStage(t, 1)
	s.Past.Repeats = &past.Repeats{Log: &porttest.PastLog{Log: s.Log}}
	s.Append(s.Changes(202, 201, true))
	s.Named(201, 202, "m")
	from := s.Named(201, 202, "n")
	s.Append(s.Changes(202, 201, false))
	behind := s.Named(201, 202, "m")
	s.Named(201, 202, "n")
	last := s.Chat(201, 202)
	s.Tail()
	s.saw("from within the block on", 202, from.Offset, last)
	s.saw("from behind it on", 202, behind.Offset, last)
}

// What is said again may be so in many conversations, and the log is read at a rate.
func TestNoPartOfTheLogIsReadAgainForAUser(t *testing.T) {
	for what, history := range map[string]bool{"the history is behind": true, "no history is kept": false} {
		t.Run(what, func(t *testing.T) {
			s := newPastStage(t, 1)
			projected := int64(1)
			first := &porttest.FirstPlaces{Log: s.Log, Projected: func(int) int64 { return projected }}
			log := &porttest.PastLog{Log: s.Log}
			var read int64
			repeats := &past.Repeats{Log: log, MayRead: func(_ domain.UserID, records int64) bool {
				read += records
				return true
			}}
			if history {
				repeats.History, repeats.Progress = first, first
			}
			s.Chat(202, 202)
			senders := []domain.UserID{203, 204, 205, 206, 207, 208}
			var named []past.Named
			for _, sender := range senders {
				s.Append(s.Changes(202, sender, true))
				s.Named(sender, 202, "m")
				s.Append(s.Changes(202, sender, false))
			}
			before := s.Ends()[0]
			say := func() {
				for _, sender := range senders {
					for _, name := range []domain.ClientMessageID{"m", "n"} {
						at := s.Named(sender, 202, name)
						named = append(named, past.Named{
							ID: domain.MessageID(sender, 202, name), Sender: sender, At: at, Version: 2, Before: before,
						})
					}
				}
			}
			ask := func(want func(i int) bool) {
				t.Helper()
				for i, e := range named {
					repeated, err := repeats.Repeated(t.Context(), 202, []past.Named{e})
					if err != nil {
						t.Fatal(err)
					}
					if _, is := repeated[e.At]; is != want(i) {
						t.Errorf("%v is repeated: %v", e, is)
					}
				}
			}
			say()
			ask(func(i int) bool { return i%2 == 0 })
			if want := before - log.Wanted[0].From[0]; read != want || len(log.Wanted) != 1 {
				t.Errorf("%d records were read in %v, want %d", read, log.Wanted, want)
			}
			// For a login that came later only what came since.
			named, before = nil, s.Ends()[0]
			say()
			ask(func(int) bool { return true })
			if want := before - log.Wanted[0].From[0]; read != want || len(log.Wanted) != 2 {
				t.Errorf("%d records were read in %v, want %d", read, log.Wanted, want)
			}
			repeats.Restart(0)
			ask(func(int) bool { return true })
			if len(log.Wanted) != 3 || log.Open != 0 {
				t.Errorf("a topic that was made anew was read in %v", log.Wanted[2:])
			}
		})
	}
}

// An older connection asks what stands before its login, after a newer one has.
func TestWithoutAHistoryTheLogIsReadAsFarBackForAnOlderLogin(t *testing.T) {
	s := newPastStage(t, 1)
	log := &porttest.PastLog{Log: s.Log, Records: 2}
	repeats := &past.Repeats{Log: log}
	s.Append(s.Changes(202, 201, true))
	s.Named(201, 202, "m")
	s.Append(s.Changes(202, 201, false))
	older := s.Ends()[0]
	for range 5 {
		s.Chat(201, 202)
	}
	newer := s.Ends()[0]
	at := s.Named(201, 202, "m")
	for _, row := range []struct {
		before   int64
		repeated bool
		reads    int
	}{{newer, false, 1}, {newer - 1, false, 2}, {older, true, 3}, {older + 1, true, 3}, {newer, true, 3}} {
		e := past.Named{ID: domain.MessageID(201, 202, "m"), Sender: 201, At: at, Version: 2, Before: row.before}
		repeated, err := repeats.Repeated(t.Context(), 202, []past.Named{e})
		if _, is := repeated[at]; err != nil || is != row.repeated || len(log.Wanted) != row.reads {
			t.Errorf("before %d: repeated: %v, %v, after reading %v", row.before, is, err, log.Wanted)
		}
	}
}

func TestWhatMayBeRepeatedIsLeftOutOfThePastIfNobodyCanTell(t *testing.T) {
	for what, spoil := range map[string]func(*past.Repeats, *porttest.FirstPlaces, *porttest.PastLog){
		"the database is away":          func(_ *past.Repeats, h *porttest.FirstPlaces, _ *porttest.PastLog) { h.Err = porttest.ErrRefused },
		"the log is away":               func(_ *past.Repeats, _ *porttest.FirstPlaces, l *porttest.PastLog) { l.Err = porttest.ErrRefused },
		"the history is too far behind": func(_ *past.Repeats, _ *porttest.FirstPlaces, l *porttest.PastLog) { l.Records = 1 },
		"too much was read": func(r *past.Repeats, _ *porttest.FirstPlaces, _ *porttest.PastLog) {
			r.MayRead = func(user domain.UserID, records int64) bool { return user != 202 || records != 2 }
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newPastStage(t, 1)
			history := &porttest.FirstPlaces{Log: s.Log, Projected: func(int) int64 { return 0 }}
			log := &porttest.PastLog{Log: s.Log}
			s.Past.Repeats = &past.Repeats{Log: log, History: history, Progress: history}
			spoil(s.Past.Repeats, history, log)
			s.Append(s.Changes(202, 201, true))
			s.Append(s.Changes(202, 201, false))
			untold, told := s.Named(201, 202, "m"), s.Named(203, 202, "m")
			s.Tail()
			wanted := past.Stretch{User: 202, From: []int64{2}, To: s.Ends()}
			entries, err := s.Past.Entries(t.Context(), wanted, s.Load(202), func() {})
			if err != nil {
				t.Fatal(err)
			}
			if got := placesOf(202, entries); !slices.Equal(got, []domain.Place{told}) || entries.IsWhole() {
				t.Errorf("saw %v, and it is whole: %v", got, entries.IsWhole())
			}
			if len(entries.LeftOut) != 1 || entries.LeftOut[0].Place != untold || domain.CodeOf(entries.Why) != domain.CodeUnavailable {
				t.Errorf("left out is %v, for %v", entries.LeftOut, entries.Why)
			}
			entries.Close()
			wanted.AllOrNothing = true
			_, err = s.Past.Entries(t.Context(), wanted, s.Load(202), func() {})
			porttest.WantCode(t, what, err, domain.CodeUnavailable)
			if s.Read.Open != 0 || log.Open != 0 {
				t.Error("what was read is not given back")
			}
		})
	}
}

// firstOf returns where the event at a place stands first.
func (s *pastStage) firstOf(at domain.Place) domain.Place {
	events := s.Log.Records[at.Partition]
	first := slices.IndexFunc(events, func(e domain.Event) bool { return e.ID == events[at.Offset].ID })
	return domain.Place{Partition: at.Partition, Offset: int64(first)}
}

func comparePast(t *testing.T, random *rand.Rand) {
	const partitions = 2
	s := newPastStage(t, partitions)
	s.Delivery.Versions = s.Given
	porttest.Run(t, s.Delivery.Run)
	projected := make([]int64, partitions)
	history := &porttest.FirstPlaces{Log: s.Log, Projected: func(p int) int64 {
		projected[p] += random.Int64N(s.Ends()[p] - projected[p] + 1)
		return projected[p]
	}}
	s.Past.Repeats = history.NewRepeats()
	users := []domain.UserID{201, 202, 203}
	conns := make(map[domain.UserID]*porttest.Conn)
	for _, user := range users {
		c := &porttest.Conn{Feature: port.FeatureInvites, Features: []port.Feature{port.FeatureReadMarks, port.FeatureReceipts}}
		a := s.Delivery.Attach(user, c)
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
		case n < 6:
			s.Named(from, to, domain.ClientMessageID(fmt.Sprint(random.IntN(20))))
		case n < 10:
			s.Chat(from, to)
		case n < 11:
			s.Append(domain.Event{Body: domain.SystemMessage{To: to}})
		case from == to:
		case n < 12:
			s.Append(domain.Event{Body: domain.ReadMark{Reader: from, Partner: to, Receipt: random.IntN(2) == 0}})
		case n < 14:
			blocked[pair] = !blocked[pair]
			changes = append(changes, s.Changes(from, to, blocked[pair]))
			s.Append(changes[len(changes)-1])
		case n < 15 && len(changes) > 0:
			s.Append(changes[random.IntN(len(changes))])
		case n < 16:
			version := int64(random.IntN(12) + 1)
			s.Append(domain.Event{Body: domain.BlockChanged{Blocker: from, Target: to, Blocked: version%2 == 1, Version: version}})
		case n < 18:
			rooms = append(rooms, domain.RoomID(domain.DerivedID("room", fmt.Sprint(len(rooms))).String()))
			s.Append(domain.Event{Time: porttest.SomeTime, Body: domain.GameInvite{From: from, To: to, Status: domain.InviteOpened, Room: rooms[len(rooms)-1]}})
		case len(rooms) > 0:
			status := []domain.InviteStatus{domain.InviteCancelled, domain.InviteAccepted, domain.InviteDeclined, domain.InviteExpired}[random.IntN(4)]
			s.Append(domain.Event{Time: porttest.SomeTime, Body: domain.GameInvite{From: from, To: to, Status: status, Room: rooms[random.IntN(len(rooms))]}})
		}
		for _, user := range users {
			lists[user] = append(lists[user], loaded{s.Load(user), s.Ends()})
		}
		s.Tail()
		synctest.Wait() // the versions were asked for
	}
	for _, user := range users {
		saw := shownTo(conns[user])
		for range 40 {
			list := lists[user][random.IntN(len(lists[user]))]
			from, to := make([]int64, partitions), make([]int64, partitions)
			for p, end := range s.Ends() {
				from[p] = random.Int64N(list.at[p] + 1)
				to[p] = list.at[p] + random.Int64N(end-list.at[p]+1)
			}
			var want []domain.Place
			for _, frame := range saw {
				if at := porttest.PositionOf(frame); at.Offset >= from[at.Partition] && at.Offset < to[at.Partition] {
					want = append(want, at)
				}
			}
			slices.SortStableFunc(want, func(a, b domain.Place) int { return a.Partition - b.Partition })
			// What nobody hid comes again to one who asks for the stretch, or the part, behind its first record.
			known := func(got []domain.Place) []domain.Place {
				return slices.DeleteFunc(got, func(at domain.Place) bool {
					first := s.firstOf(at)
					return first != at && slices.Contains(saw, string(porttest.FrameOf(first))) &&
						(first.Offset < from[at.Partition] || slices.Contains(got, first))
				})
			}
			if got := known(placesOf(user, s.entries(user, from, to, list.list))); !slices.Equal(got, want) {
				t.Fatalf("%d, from %v to %v, with the list of %v: saw %v, want %v", user, from, to, list.at, got, want)
			}
			s.Read.AtOnce = 1 + random.IntN(8)
			if got := known(s.inParts(user, from, to, list.list)); !slices.Equal(got, want) {
				t.Fatalf("%d, in parts of %d from %v to %v, with the list of %v: saw %v, want %v", user, s.Read.AtOnce, from, to, list.at, got, want)
			}
			s.Read.AtOnce = 0
		}
	}
}
