package domain_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"chatting/domain"
)

const (
	roomA = domain.RoomID("4f4cbd2e-8a07-4e1c-9d53-3f1d2a0f7b11")
	roomB = domain.RoomID("4f4cbd2e-8a07-4e1c-9d53-3f1d2a0f7b12")
)

// inviteRecord is an event with the time of its record.
type inviteRecord struct {
	event domain.Event
	at    time.Time
}

// says makes a record of an event about an invite, its id derived from name.
func says(name string, from, to domain.UserID, status domain.InviteStatus, room domain.RoomID, after time.Duration) inviteRecord {
	at := someTime.Add(after)
	invite := domain.GameInvite{From: from, To: to, Status: status, Room: room}
	if status == domain.InviteOpened {
		invite.Expires = at.Add(time.Minute)
	}
	return inviteRecord{domain.Event{ID: domain.DerivedID("test", name), Time: at, Body: invite}, at}
}

// blocks makes a record of a change of a block.
func blocks(blocker, target domain.UserID, blocked bool, after time.Duration) inviteRecord {
	at := someTime.Add(after)
	change := domain.BlockChanged{Blocker: blocker, Target: target, Blocked: blocked}
	return inviteRecord{domain.Event{ID: domain.DerivedID("test", fmt.Sprint(change, after)), Time: at, Body: change}, at}
}

// judged is a record and the verdict that it must get.
type judged struct {
	record inviteRecord
	want   domain.InviteVerdict
}

func judgeAll(t *testing.T, records ...judged) *domain.InviteRegister {
	t.Helper()
	invites := domain.NewInviteRegister()
	for i, r := range records {
		if got := invites.Apply(r.record.event, r.record.at); got != r.want {
			t.Fatalf("record %d, %+v: verdict %d, want %d", i, r.record.event.Body, got, r.want)
		}
	}
	return invites
}

const (
	stands = domain.InviteStands
	void   = domain.InviteVoid
	unseen = domain.InviteUnseen
)

func TestTheFirstThatEndsAnInviteWins(t *testing.T) {
	ends := []inviteRecord{
		says("cancel", 1, 2, domain.InviteCancelled, roomA, 1*time.Second),
		says("accept", 2, 1, domain.InviteAccepted, roomA, 1*time.Second),
		says("decline", 2, 1, domain.InviteDeclined, roomA, 1*time.Second),
		says("expired", 1, 2, domain.InviteExpired, roomA, 1*time.Second),
	}
	for _, first := range ends {
		for _, second := range ends {
			if first != second {
				judgeAll(t, judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands}, judged{first, stands}, judged{second, void})
			}
		}
	}
}

func TestOnlyTheInvitedAnswersAndOnlyTheInviterCancels(t *testing.T) {
	opened := judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands}
	judgeAll(t, opened,
		judged{says("a", 1, 2, domain.InviteAccepted, roomA, 0), void},
		judged{says("b", 1, 2, domain.InviteDeclined, roomA, 0), void},
		judged{says("c", 2, 1, domain.InviteCancelled, roomA, 0), void},
		judged{says("d", 2, 1, domain.InviteExpired, roomA, 0), void},
		judged{says("e", 3, 1, domain.InviteAccepted, roomA, 0), void}, // the room of another conversation
		judged{says("f", 2, 1, domain.InviteAccepted, roomA, 0), stands},
	)
}

func TestSeveralInvitesOfAPairAreToldApartByTheirRooms(t *testing.T) {
	invites := judgeAll(t,
		judged{says("a", 1, 2, domain.InviteOpened, roomA, 0), stands},
		judged{says("b", 1, 2, domain.InviteOpened, roomB, 0), stands},
		judged{says("c", 2, 1, domain.InviteDeclined, roomB, 0), stands},
		judged{says("d", 1, 2, domain.InviteCancelled, roomB, 0), void},
	)
	if pending := invites.Pending(domain.Between(1, 2)); len(pending) != 1 || domain.RoomID(pending[0].Room.String()) != roomA {
		t.Errorf("pending %+v, want room A alone", pending)
	}
}

func TestACancelWithoutRoomStandsAndEndsNothing(t *testing.T) {
	judgeAll(t,
		judged{says("a", 1, 2, domain.InviteCancelled, "", 0), stands},
		judged{says("b", 1, 2, domain.InviteOpened, roomA, 0), stands},
		judged{says("c", 1, 2, domain.InviteCancelled, "", 0), stands},
		judged{says("d", 2, 1, domain.InviteAccepted, roomA, 0), stands},
	)
}

func TestARoomThatIsNoneIsShownAndCannotBeAnswered(t *testing.T) {
	judgeAll(t,
		judged{says("a", 1, 2, domain.InviteOpened, "room", 0), stands},
		judged{says("b", 2, 1, domain.InviteAccepted, "room", 0), void},
		judged{says("c", 1, 2, domain.InviteCancelled, "room", 0), void},
		judged{says("d", 2, 1, domain.InviteAccepted, "", 0), void},
	)
}

func TestWhatIsSentAgainIsWhatItWas(t *testing.T) {
	judgeAll(t,
		judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands},
		judged{says("other", 1, 2, domain.InviteOpened, roomA, 0), void},
		judged{says("accept", 2, 1, domain.InviteAccepted, roomA, 1*time.Second), stands},
		judged{says("cancel", 1, 2, domain.InviteCancelled, roomA, 1*time.Second), void},
		judged{says("invite", 1, 2, domain.InviteOpened, roomA, 2*time.Second), stands},
		judged{says("accept", 2, 1, domain.InviteAccepted, roomA, 2*time.Second), stands},
		judged{says("cancel", 1, 2, domain.InviteCancelled, roomA, 2*time.Second), void},
	)
}

func TestAnExpiryCountsOnceWhicheverNodesSaySo(t *testing.T) {
	judgeAll(t,
		judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands},
		judged{says("expired", 1, 2, domain.InviteExpired, roomA, time.Minute), stands},
		judged{says("expired", 1, 2, domain.InviteExpired, roomA, time.Minute), void},
	)
}

// ofOthers are records of other pairs, stamped a moment after each other: as many as it takes until the log's clock has come to them.
func ofOthers(after time.Duration) (records []judged) {
	for n := range 16 {
		at := after + time.Duration(n)
		records = append(records, judged{says(fmt.Sprint("other", at), 8, 9, domain.InviteCancelled, "", at), stands})
	}
	return records
}

func TestAnInviteIsPendingUntilARecordEndsIt(t *testing.T) {
	opened := judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands}
	for what, end := range map[string]inviteRecord{
		"accept":  says("end", 2, 1, domain.InviteAccepted, roomA, 0),
		"cancel":  says("end", 1, 2, domain.InviteCancelled, roomA, 0),
		"expired": says("end", 1, 2, domain.InviteExpired, roomA, 0),
	} {
		for _, leap := range []time.Duration{-time.Hour, 20 * time.Second, 626 * time.Second, 365 * 24 * time.Hour} {
			// The clock of a node leaps. Records of others that it writes, however many, end nothing.
			records := append([]judged{opened}, ofOthers(leap)...)
			invites := judgeAll(t, append(records, judged{end, stands}, judged{says("late", 1, 2, domain.InviteExpired, roomA, time.Second), void})...)
			if pending := invites.Pending(domain.Between(1, 2)); len(pending) > 0 {
				t.Errorf("%s: pending is %+v", what, pending)
			}
			// The node that ends it has the wrong clock.
			late := end
			late.at = someTime.Add(leap)
			judgeAll(t, opened, judged{late, stands}, judged{says("late", 1, 2, domain.InviteExpired, roomA, time.Second), void})
			// It was opened by a node with a wrong clock.
			wrong := says("invite", 1, 2, domain.InviteOpened, roomA, leap)
			judgeAll(t, judged{wrong, stands}, judged{end, stands})
		}
	}
}

func TestWhatIsSaidOfAnInviteAgainIsARepetitionUntilThirtySecondsAfterItsEnd(t *testing.T) {
	opened := says("invite", 1, 2, domain.InviteOpened, roomA, 0)
	accept := says("accept", 2, 1, domain.InviteAccepted, roomA, time.Second)
	ended := []judged{{opened, stands}, {accept, stands}}
	again := func(r inviteRecord, after time.Duration) inviteRecord {
		r.at = someTime.Add(after)
		return r
	}
	for what, between := range map[string][]judged{
		"nothing": nil, "a record of a leaping clock": ofOthers(time.Hour)[:1], "many": ofOthers(time.Hour)[:14], "a late clock": ofOthers(-time.Hour),
	} {
		t.Log(what)
		records := append(slices.Clone(ended), between...)
		judgeAll(t, append(records, judged{again(accept, 90*time.Second), stands}, judged{again(accept, 90*time.Second+1), void})...)
		// What names the same end is no new invite, whatever its node's clock says. What names a later one is.
		judgeAll(t, append(records, judged{again(opened, time.Hour), stands}, judged{says("a", 2, 1, domain.InviteDeclined, roomA, 0), void})...)
		judgeAll(t, append(records,
			judged{says("invite", 1, 2, domain.InviteOpened, roomA, 30*time.Second), stands}, judged{says("a", 2, 1, domain.InviteDeclined, roomA, 0), void})...)
		judgeAll(t, append(records,
			judged{says("invite", 1, 2, domain.InviteOpened, roomA, 30*time.Second+1), stands}, judged{says("a", 2, 1, domain.InviteDeclined, roomA, 0), stands})...)
		judgeAll(t, append(records, judged{says("other", 1, 2, domain.InviteOpened, roomA, 30*time.Second), void})...)
		judgeAll(t, append(records, judged{says("other", 1, 2, domain.InviteOpened, roomA, 30*time.Second+1), stands})...)
	}
	// The log has come so far, so a clock that is late makes no repetition.
	judgeAll(t, append(append(slices.Clone(ended), ofOthers(90*time.Second+1)...), judged{again(accept, time.Second), void})...)
	// An invite whose node's clock was late has its time from where the log was.
	records := append(ofOthers(0), judged{again(opened, -time.Hour), stands}, judged{accept, stands})
	judgeAll(t, append(records, judged{again(accept, 90*time.Second), stands})...)
}

func TestALifeIsBoundedWhateverAnInviteSays(t *testing.T) {
	for named, granted := range map[time.Time]time.Duration{
		{}:                             time.Minute, // as earlier versions meant it
		someTime.Add(-time.Hour):       0,
		someTime:                       0,
		someTime.Add(time.Minute):      time.Minute,
		someTime.Add(10 * time.Minute): 10 * time.Minute,
		someTime.Add(time.Hour):        10 * time.Minute,
		someTime.AddDate(5000, 0, 0):   10 * time.Minute,
	} {
		for late, want := range map[time.Duration]domain.InviteVerdict{0: stands, time.Millisecond: void} {
			opened := says("invite", 1, 2, domain.InviteOpened, roomA, 0)
			opened.event.Body = domain.GameInvite{From: 1, To: 2, Status: domain.InviteOpened, Room: roomA, Expires: named}
			invites := judgeAll(t, judged{opened, stands})
			if invite := invites.Pending(domain.Between(1, 2))[0]; !invite.Expires.Equal(someTime.Add(granted)) {
				t.Errorf("expires_at %v: expires %v, want %v", named, invite.Expires, someTime.Add(granted))
			}
			accept := says("a", 2, 1, domain.InviteAccepted, roomA, 0)
			invites.Apply(accept.event, accept.at)
			again := granted + domain.InviteGrace + late
			if got := invites.Apply(accept.event, someTime.Add(again)); got != want {
				t.Errorf("expires_at %v, accepted again %v after the grace: verdict %d, want %d", named, late, got, want)
			}
		}
	}
}

func TestWhoBlocksOrUnblocksTheInviterNoLongerHasTheInvite(t *testing.T) {
	opened := judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands}
	for _, blocked := range []bool{true, false} {
		change := judged{blocks(2, 1, blocked, time.Second), stands}
		judgeAll(t, opened, change,
			judged{says("a", 2, 1, domain.InviteAccepted, roomA, 2*time.Second), void},
			judged{says("b", 2, 1, domain.InviteDeclined, roomA, 2*time.Second), void},
			judged{says("c", 1, 2, domain.InviteExpired, roomA, time.Minute), unseen},
		)
		judgeAll(t, opened, change, judged{says("a", 1, 2, domain.InviteCancelled, roomA, 2*time.Second), stands})
		// The other way round it concerns nobody, nor does it concern other pairs.
		judgeAll(t, opened,
			judged{blocks(1, 2, blocked, time.Second), stands}, judged{blocks(2, 3, blocked, time.Second), stands},
			judged{says("a", 2, 1, domain.InviteAccepted, roomA, 2*time.Second), stands},
		)
	}
}

func TestAChangeOfABlockThatIsWrittenAgainIsNone(t *testing.T) {
	unblocked := blocks(2, 1, false, 0)
	again, late := unblocked, unblocked
	again.at = again.at.Add(10 * time.Second)
	late.at = late.at.Add(3 * time.Minute)
	opened := func(after time.Duration) judged {
		return judged{says("invite"+after.String(), 1, 2, domain.InviteOpened, roomA, after), stands}
	}
	accept := func(after time.Duration, want domain.InviteVerdict) judged {
		return judged{says("accept", 2, 1, domain.InviteAccepted, roomA, after), want}
	}
	judgeAll(t, judged{unblocked, stands}, opened(time.Second), judged{again, stands}, accept(20*time.Second, stands))
	judgeAll(t, judged{unblocked, stands}, opened(170*time.Second), judged{late, stands}, accept(190*time.Second, void))
}

// These are the bounds of what is remembered of one user's, and of all.
const (
	rememberedOfUser = 1 << 8
	rememberedInAll  = 1 << 16
)

func roomOf(n int) domain.RoomID {
	return domain.RoomID(domain.DerivedID("room", fmt.Sprint(n)).String())
}

func TestAFloodOfInvitesCostsItsUserOnly(t *testing.T) {
	const flood = 2 * rememberedInAll
	invites := domain.NewInviteRegister()
	apply := func(r inviteRecord) domain.InviteVerdict { return invites.Apply(r.event, r.at) }
	apply(says("stranger", 1, 2, domain.InviteOpened, roomA, 0))
	apply(says("another", 3, 4, domain.InviteOpened, roomB, 0))
	change := blocks(4, 3, false, 0)
	apply(change)
	apply(says("after the change", 3, 4, domain.InviteOpened, roomA, 0))
	for n := range flood {
		apply(says(fmt.Sprint(n), 5, 6, domain.InviteOpened, roomOf(n), 0))
		again := blocks(5, 6, n%2 == 0, 0)
		again.event.ID = domain.DerivedID("change", fmt.Sprint(n))
		apply(again)
	}
	if n := len(invites.Pending(domain.Between(5, 6))); n != rememberedOfUser {
		t.Errorf("%d invites of the flood are pending, want %d", n, rememberedOfUser)
	}
	for _, want := range []judged{
		{says("a", 2, 1, domain.InviteAccepted, roomA, time.Second), stands},
		{says("b", 4, 3, domain.InviteAccepted, roomB, time.Second), void}, // the change of the block has hidden it
		{change, stands}, // known still, so that it hides nothing once more
		{says("c", 4, 3, domain.InviteAccepted, roomA, time.Second), stands},
		{says("d", 6, 5, domain.InviteAccepted, roomOf(flood-rememberedOfUser-1), time.Second), void},
		{says("e", 6, 5, domain.InviteAccepted, roomOf(flood-rememberedOfUser), time.Second), stands},
		{says("f", 6, 5, domain.InviteAccepted, roomOf(flood-1), time.Second), stands},
	} {
		if got := apply(want.record); got != want.want {
			t.Errorf("%+v: verdict %d, want %d", want.record.event.Body, got, want.want)
		}
	}
}

// Records that somebody forges for very many users are bounded, too.
func TestNoFloodOfManyUsersIsRemembered(t *testing.T) {
	invites := domain.NewInviteRegister()
	for n := range rememberedInAll + 1 {
		r := says(fmt.Sprint(n), domain.UserID(10+n), 2, domain.InviteOpened, roomOf(n), 0)
		invites.Apply(r.event, r.at)
	}
	pending := 0
	invites.EachPending(func(domain.Invite) { pending++ })
	if pending != rememberedInAll {
		t.Errorf("%d invites are pending, want %d", pending, rememberedInAll)
	}
	for n, want := range map[int]domain.InviteVerdict{0: void, 1: stands, rememberedInAll: stands} {
		r := says("accept", 2, domain.UserID(10+n), domain.InviteAccepted, roomOf(n), 0)
		if got := invites.Apply(r.event, r.at); got != want {
			t.Errorf("invite %d: verdict %d, want %d", n, got, want)
		}
	}
}

// A node that began to read in the middle of a flood drops what the others drop.
func TestWhoBeganLaterJudgesAFloodTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var records []inviteRecord
	at := time.Duration(0)
	for n := range 40_000 { // one minute of it is far more than is remembered of a user
		at += time.Duration(random.IntN(60)) * time.Millisecond
		from := domain.UserID(1 + random.IntN(3))
		switch back := 1 + random.IntN(3*rememberedOfUser); {
		case n%2 == 0 || back > n:
			records = append(records, says(fmt.Sprint(n), from, from+10, domain.InviteOpened, roomOf(n), at))
		default:
			opened, ok := records[n-back].event.Body.(domain.GameInvite)
			if !ok || opened.Status != domain.InviteOpened {
				opened = domain.GameInvite{From: from, To: from + 10, Room: roomOf(n - back)}
			}
			records = append(records, says(fmt.Sprint(n), opened.To, opened.From, domain.InviteAccepted, opened.Room, at))
		}
	}
	begin := slices.IndexFunc(records, func(r inviteRecord) bool {
		return !r.at.Before(records[len(records)-2000].at.Add(-domain.InviteLookback))
	})
	if begin <= 0 {
		t.Fatalf("the later one begins at %d", begin)
	}
	all, late := domain.NewInviteRegister(), domain.NewInviteRegister()
	seen := make(map[domain.InviteVerdict]int)
	for i, r := range records {
		want := all.Apply(r.event, r.at)
		if i < begin {
			continue
		}
		if got := late.Apply(r.event, r.at); i >= len(records)-2000 {
			if seen[want]++; got != want {
				t.Fatalf("record %d: verdict %d, want %d", i, got, want)
			}
		}
	}
	if len(seen) != 2 {
		t.Errorf("verdicts %v: not each was given", seen)
	}
}

// logClock is the clock of the log at each record: the latest time that 16 records in a row have reached.
func logClock(records []inviteRecord) []time.Time {
	clock := make([]time.Time, len(records))
	for i := range records {
		if i > 0 {
			clock[i] = clock[i-1]
		}
		if i >= 15 {
			if reached := slices.MinFunc(records[i-15:i+1], func(a, b inviteRecord) int { return a.at.Compare(b.at) }).at; reached.After(clock[i]) {
				clock[i] = reached
			}
		}
	}
	return clock
}

// verdictOf judges the last record by going through those before it: the rules, said once more for one room alone.
func verdictOf(records []inviteRecord, clock []time.Time) domain.InviteVerdict {
	last := records[len(records)-1]
	about, ok := last.event.Body.(domain.GameInvite)
	if !ok || about.Room == "" {
		return stands // in these tests only cancels have no room
	}
	at := make([]time.Time, len(records))
	for i, r := range records {
		if at[i] = r.at; clock[i].After(at[i]) {
			at[i] = clock[i]
		}
	}
	var opened domain.Event // the invite that the room has, with until when it is said again
	var again time.Time
	var winner domain.Event // what ended it
	hidden, verdict := false, void
	changed := make(map[domain.EventID]time.Time)
	for i, r := range records {
		inviter, _ := opened.Body.(domain.GameInvite)
		if change, ok := r.event.Body.(domain.BlockChanged); ok {
			if first, known := changed[r.event.ID]; !known || at[i].After(first.Add(2*time.Minute)) {
				changed[r.event.ID] = at[i]
				hidden = hidden || change.Blocker == inviter.To && change.Target == inviter.From
			}
			continue
		}
		said, _ := r.event.Body.(domain.GameInvite)
		if said.Room != about.Room || said.Conversation() != about.Conversation() {
			continue
		}
		isEnded := winner.Body != nil
		verdict = void
		switch {
		case said.Status == domain.InviteOpened && (opened.Body == nil || isEnded && (clock[i].After(again) || said.Expires.After(again))):
			opened, winner, hidden, verdict = r.event, domain.Event{}, false, stands
			again = at[i].Add(said.Expires.Sub(r.event.Time)).Add(domain.InviteGrace)
		case said.Status == domain.InviteOpened:
			if opened.ID == r.event.ID {
				verdict = stands
			}
		case opened.Body == nil || isEnded && at[i].After(again):
		case isEnded:
			if said.Status != domain.InviteExpired && winner.ID == r.event.ID && winner.Body == r.event.Body {
				verdict = stands
			}
		case (said.Status == domain.InviteCancelled || said.Status == domain.InviteExpired) && said.From == inviter.From,
			(said.Status == domain.InviteAccepted || said.Status == domain.InviteDeclined) && said.From == inviter.To && !hidden:
			winner, verdict = r.event, stands
			if hidden && said.Status == domain.InviteExpired {
				verdict = unseen
			}
		}
	}
	return verdict
}

// randomRecords makes a log of what three users do, with clocks that differ by up to skew.
func randomRecords(random *rand.Rand, n int, skew time.Duration) []inviteRecord {
	rooms := []domain.RoomID{roomA, roomB}
	statuses := []domain.InviteStatus{
		domain.InviteOpened, domain.InviteOpened, domain.InviteAccepted, domain.InviteDeclined, domain.InviteCancelled,
		domain.InviteExpired,
	}
	var records []inviteRecord
	passed := time.Duration(0)
	for range n {
		passed += time.Duration(random.IntN(30)) * time.Second
		after := passed + rand.N(skew+1)
		from := domain.UserID(1 + random.IntN(3))
		to := domain.UserID(1 + random.IntN(3))
		switch random.IntN(12) {
		case 0:
			records = append(records, blocks(from, to, random.IntN(2) == 0, after))
		case 1:
			records = append(records, says(fmt.Sprint(len(records)), from, to, domain.InviteCancelled, "", after))
		case 2, 3:
			if len(records) > 0 { // something is sent again
				again := records[random.IntN(len(records))]
				again.at = someTime.Add(after)
				records = append(records, again)
			}
		default:
			status := statuses[random.IntN(len(statuses))]
			r := says(fmt.Sprint(len(records)), from, to, status, rooms[random.IntN(len(rooms))], after)
			if body := r.event.Body.(domain.GameInvite); status == domain.InviteOpened {
				body.Expires = r.event.Time.Add(time.Duration(5+random.IntN(595)) * time.Second)
				r.event.Body = body
			}
			records = append(records, r)
		}
	}
	return records
}

func TestTheVerdictsAreThoseOfTheRulesSaidOnceMore(t *testing.T) {
	seen := make(map[domain.InviteVerdict]int)
	for seed := range uint64(300) {
		records := randomRecords(rand.New(rand.NewPCG(seed, 0)), 150, 20*time.Second)
		invites := domain.NewInviteRegister()
		if seed%2 == 1 { // now and then a node has a wrong clock
			for i := range records {
				if random := rand.New(rand.NewPCG(seed, uint64(i/40))); i%40 > 20 && random.IntN(2) == 0 {
					records[i].at = records[i].at.Add(time.Duration(i%3-1) * time.Hour)
				}
			}
		}
		clock := logClock(records)
		for i, r := range records {
			got, want := invites.Apply(r.event, r.at), verdictOf(records[:i+1], clock)
			if got != want {
				t.Fatalf("seed %d, record %d, %+v: verdict %d, want %d", seed, i, r, got, want)
			}
			seen[got]++
		}
	}
	if len(seen) != 3 {
		t.Errorf("verdicts %v: not each was given", seen)
	}
}

// nodesRecords makes a log as nodes write it: a room is opened by one event alone, and an invite that is sent again while
// the log has it names the same end. It returns the verdicts of who reads all of it, too.
func nodesRecords(random *rand.Rand, n int) (records []inviteRecord, verdicts []domain.InviteVerdict) {
	all := domain.NewInviteRegister()
	var openings []domain.Event
	write := func(r inviteRecord) {
		records = append(records, r)
		verdicts = append(verdicts, all.Apply(r.event, r.at))
	}
	for i, r := range randomRecords(random, n, 20*time.Second) {
		// What nobody has ended in time, a node ends.
		for _, opening := range openings[max(0, len(openings)-40):] {
			invite, _ := opening.Body.(domain.GameInvite)
			room, _ := domain.ParseEventID(string(invite.Room))
			if known, ok := all.Find(invite.Conversation(), room); ok && known.Ended == "" && known.Expires.Before(r.at) {
				invite.Status, invite.Expires = domain.InviteExpired, time.Time{}
				write(inviteRecord{domain.Event{ID: domain.ExpiredInviteID(invite.Conversation(), room), Time: r.at, Body: invite}, r.at})
			}
		}
		body, invite := r.event.Body.(domain.GameInvite)
		switch {
		case !invite || body.Room == "":
		case body.Status == domain.InviteOpened && (len(openings) == 0 || random.IntN(3) > 0):
			body.Room = domain.RoomID(domain.DerivedID("room", fmt.Sprint(i)).String())
			body.Expires = r.at.Add(body.Expires.Sub(r.event.Time))
			r.event = domain.Event{ID: domain.DerivedID("opening", fmt.Sprint(i)), Time: r.at, Body: body}
			openings = append(openings, r.event)
		case body.Status == domain.InviteOpened:
			first := openings[len(openings)-1-random.IntN(min(len(openings), 5))]
			opened := first.Body.(domain.GameInvite)
			room, _ := domain.ParseEventID(string(opened.Room))
			// As a node that knows that it has ended long ago gives it another end.
			if known, ok := all.Find(opened.Conversation(), room); ok && (known.Ended == "" || r.at.Before(known.Expires.Add(2*time.Minute))) {
				opened.Expires = known.Expires
			} else {
				opened.Expires = r.at.Add(opened.Expires.Sub(first.Time))
			}
			r.event = domain.Event{ID: first.ID, Time: r.at, Body: opened}
		case len(openings) > 0:
			opened := openings[len(openings)-1-random.IntN(min(len(openings), 5))].Body.(domain.GameInvite)
			body.Room, body.From, body.To = opened.Room, opened.From, opened.To
			if body.Status == domain.InviteAccepted || body.Status == domain.InviteDeclined {
				body.From, body.To = body.To, body.From
			}
			r.event.Body = body
		}
		write(r)
	}
	return records, verdicts
}

func TestWhoBeganLaterJudgesTheSame(t *testing.T) {
	given := make(map[domain.InviteVerdict]int)
	for seed := range uint64(100) {
		records, verdicts := nodesRecords(rand.New(rand.NewPCG(seed, 1)), 300)
		for judging := 60; judging < len(records); judging += 10 {
			// As a node finds its beginning: the first record stamped at or after a time.
			since := records[judging].at.Add(-domain.InviteLookback)
			begin := slices.IndexFunc(records, func(r inviteRecord) bool { return !r.at.Before(since) })
			late := domain.NewInviteRegister()
			for i, r := range records[begin:] {
				got := late.Apply(r.event, r.at)
				if begin+i < judging {
					continue
				}
				if got != verdicts[begin+i] {
					t.Fatalf("seed %d: begun at %d, record %d gets %d, not %d", seed, begin, begin+i, got, verdicts[begin+i])
				}
				given[got]++
			}
		}
	}
	if len(given) != 3 {
		t.Errorf("verdicts %v: not each was given", given)
	}
}

func TestFindSaysHowAnInviteEnded(t *testing.T) {
	invites := judgeAll(t,
		judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands},
		judged{says("accept", 2, 1, domain.InviteAccepted, roomA, time.Second), stands},
	)
	room, _ := domain.ParseEventID(string(roomA))
	invite, known := invites.Find(domain.Between(2, 1), room)
	if !known || invite.From != 1 || invite.To != 2 || invite.Ended != domain.InviteAccepted || invite.EndedBy != domain.DerivedID("test", "accept") {
		t.Errorf("found %+v, %v", invite, known)
	}
	if _, known := invites.Find(domain.Between(1, 3), room); known {
		t.Error("found in another conversation")
	}
}

func FuzzInvitesKeepNothingForEver(f *testing.F) {
	f.Add(uint64(1), int64(0), int64(60_000))
	f.Add(uint64(2), int64(-1), int64(1<<60))
	f.Fuzz(func(t *testing.T, seed uint64, atMillis, expiresMillis int64) {
		random := rand.New(rand.NewPCG(seed, 0))
		invites := domain.NewInviteRegister()
		for _, r := range randomRecords(random, 20, time.Minute) {
			invites.Apply(r.event, r.at)
		}
		wild := says("wild", 1, 2, domain.InviteOpened, roomA, 0)
		wild.event.Time = time.UnixMilli(atMillis)
		wild.event.Body = domain.GameInvite{From: 1, To: 2, Status: domain.InviteOpened, Room: roomA, Expires: time.UnixMilli(expiresMillis)}
		invites.Apply(wild.event, wild.at)
		// Whatever it named: once it has ended, and the log is a longest life and the grace further, nothing is left.
		var pending []domain.Invite
		invites.EachPending(func(invite domain.Invite) { pending = append(pending, invite) })
		for _, invite := range pending {
			end := says("end", invite.From, invite.To, domain.InviteExpired, domain.RoomID(invite.Room.String()), 0)
			invites.Apply(end.event, end.at)
		}
		for _, last := range ofOthers(24 * time.Hour) {
			invites.Apply(last.record.event, last.record.at)
		}
		for _, pair := range [][2]domain.UserID{{1, 1}, {1, 2}, {1, 3}, {2, 2}, {2, 3}, {3, 3}} {
			for _, room := range []domain.RoomID{roomA, roomB} {
				id, _ := domain.ParseEventID(string(room))
				if left, known := invites.Find(domain.Between(pair[0], pair[1]), id); known {
					t.Fatalf("still known: %+v", left)
				}
			}
		}
	})
}

func TestAStatusOfTheLogIsNotForEveryClientToAsk(t *testing.T) {
	for _, status := range []string{"", "Invite", "accepted", " cancel"} {
		if got, err := domain.NewInviteStatus(status); domain.CodeOf(err) != domain.CodeBadFrame {
			t.Errorf("NewInviteStatus(%q) = %q, %v; want %s", status, got, err, domain.CodeBadFrame)
		}
	}
	if got, err := domain.NewInviteStatus("expired"); err != nil || got != domain.InviteExpired {
		t.Errorf("the log's expired is %q, %v", got, err)
	}
	for status, asks := range map[string]struct{ old, answers bool }{
		"invite": {true, true}, "cancel": {true, true}, "accept": {false, true}, "decline": {false, true},
		"expired": {false, false}, "": {false, false}, "Invite": {false, false},
	} {
		for answers, want := range map[bool]bool{false: asks.old, true: asks.answers} {
			got, err := domain.NewAskedStatus(status, answers)
			if (err == nil) != want || err == nil && string(got) != status || err != nil && domain.CodeOf(err) != domain.CodeBadFrame {
				t.Errorf("%q with answers %v: %q, %v", status, answers, got, err)
			}
		}
	}
}

func TestAnIDThatWasUsedForAnInviteIsForNothingElse(t *testing.T) {
	opened := judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands}
	judgeAll(t, opened,
		judged{says("invite", 2, 1, domain.InviteOpened, roomA, 0), void}, // not the same event: the other one says so
		judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands},
	)
	judgeAll(t, opened,
		judged{says("end", 2, 1, domain.InviteAccepted, roomA, 0), stands},
		judged{says("end", 2, 1, domain.InviteDeclined, roomA, 0), void},
		judged{says("end", 1, 2, domain.InviteCancelled, roomA, 0), void},
		judged{says("end", 2, 1, domain.InviteAccepted, roomA, 0), stands},
	)
}

func TestAnInviteToOneselfIsAnsweredByOneself(t *testing.T) {
	judgeAll(t,
		judged{says("a", 1, 1, domain.InviteOpened, roomA, 0), stands},
		judged{says("b", 1, 1, domain.InviteAccepted, roomA, 0), stands},
		judged{says("c", 1, 1, domain.InviteOpened, roomB, 0), stands},
		judged{says("d", 1, 1, domain.InviteCancelled, roomB, 0), stands},
	)
}

func TestAChangeOfABlockIsForgottenWithTooManyOfTheSameUser(t *testing.T) {
	invites := domain.NewInviteRegister()
	apply := func(r inviteRecord) domain.InviteVerdict { return invites.Apply(r.event, r.at) }
	change := blocks(5, 6, false, 0)
	for n, again := range []domain.InviteVerdict{void, stands} {
		// The first time the change is forgotten by then, and hides the invite once more; the second time it is known still.
		invites = domain.NewInviteRegister()
		apply(change)
		for i := range rememberedOfUser - n {
			other := blocks(5, 7, true, 0)
			other.event.ID = domain.DerivedID("change", fmt.Sprint(i))
			apply(other)
		}
		apply(says("invite", 6, 5, domain.InviteOpened, roomA, 0))
		apply(change)
		if got := apply(says("accept", 5, 6, domain.InviteAccepted, roomA, 0)); got != again {
			t.Errorf("after %d other changes: verdict %d, want %d", rememberedOfUser-n, got, again)
		}
	}
}

func TestWhoseInvitesAreAllForgottenMayMakeAsManyAgain(t *testing.T) {
	invites := domain.NewInviteRegister()
	for round := range 3 {
		after := time.Duration(round) * time.Hour
		for n := range rememberedOfUser {
			r := says(fmt.Sprint(round, n), 1, 2, domain.InviteOpened, roomOf(round*rememberedOfUser+n), after)
			invites.Apply(r.event, r.at)
		}
		if n := len(invites.Pending(domain.Between(1, 2))); n != rememberedOfUser {
			t.Fatalf("round %d: %d invites are pending, want %d", round, n, rememberedOfUser)
		}
	}
}

func TestAnInviteExpiresByTheClockOfItsEventAndIsSaidAgainByTheLogs(t *testing.T) {
	opened := says("invite", 1, 2, domain.InviteOpened, roomA, 0)
	opened.at = someTime.Add(20 * time.Second) // it was on its way for so long
	invites := judgeAll(t, judged{opened, stands})
	if invite := invites.Pending(domain.Between(1, 2))[0]; !invite.Expires.Equal(someTime.Add(time.Minute)) {
		t.Errorf("it expires %v after its event", invite.Expires.Sub(someTime))
	}
	accept := says("a", 2, 1, domain.InviteAccepted, roomA, 30*time.Second)
	for after, want := range map[time.Duration]domain.InviteVerdict{110 * time.Second: stands, 110*time.Second + 1: void} {
		again := accept
		again.at = someTime.Add(after)
		judgeAll(t, judged{opened, stands}, judged{accept, stands}, judged{again, want})
	}
}

func TestWhenAReaderLearnedOfAnInviteIsItsOwnAffair(t *testing.T) {
	room, _ := domain.ParseEventID(string(roomA))
	invites := judgeAll(t, judged{says("invite", 1, 2, domain.InviteOpened, roomA, 0), stands})
	learned := func(now time.Time) time.Time {
		invites.Learn(domain.Between(1, 2), room, now)
		known, _ := invites.Find(domain.Between(1, 2), room)
		return known.Learned
	}
	first, second := someTime.Add(time.Hour), someTime.Add(2*time.Hour)
	if a, b := learned(first), learned(second); !a.Equal(first) || !b.Equal(first) {
		t.Errorf("it learned of the opening at %s and %s", a, b)
	}
	accept := says("accept", 2, 1, domain.InviteAccepted, roomA, 0)
	invites.Apply(accept.event, accept.at)
	if a, b := learned(second), learned(first); !a.Equal(second) || !b.Equal(second) {
		t.Errorf("it learned of the end at %s and %s", a, b)
	}
	invites.Learn(domain.Between(1, 3), room, first) // there is none
}

// The longest past that a verdict can hang on, read by a node whose own clock is 90 s ahead of the log's.
func TestTheLookbackIsEnoughForTheLongestPast(t *testing.T) {
	change := blocks(2, 1, false, 0)
	again := change
	again.at = someTime.Add(2 * time.Minute)
	opened := says("invite", 1, 2, domain.InviteOpened, roomA, 2*time.Minute)
	opened.event.Body = domain.GameInvite{From: 1, To: 2, Status: domain.InviteOpened, Room: roomA, Expires: opened.at.Add(10 * time.Minute)}
	accept := says("accept", 2, 1, domain.InviteAccepted, roomA, 12*time.Minute+30*time.Second)
	records := []inviteRecord{change, opened, again, accept}
	since := accept.at.Add(90 * time.Second).Add(-domain.InviteLookback)
	begin := slices.IndexFunc(records, func(r inviteRecord) bool { return !r.at.Before(since) })
	invites := domain.NewInviteRegister()
	var verdict domain.InviteVerdict
	for _, r := range records[begin:] {
		verdict = invites.Apply(r.event, r.at)
	}
	if verdict != stands {
		t.Errorf("begun at record %d of %d the answer gets verdict %d, and by who reads all of them it stands", begin, len(records), verdict)
	}
}
