package invites

import (
	"fmt"
	"testing"
	"time"

	"chatting/domain"
)

func inviteEvent(name string, at time.Time, from, to domain.UserID, status domain.InviteStatus, room domain.EventID) domain.Event {
	body := domain.GameInvite{From: from, To: to, Status: status, Room: domain.RoomID(room.String())}
	if status == domain.InviteOpened {
		body.Expires = at.Add(time.Minute)
	}
	return domain.Event{ID: domain.DerivedID("test", name), Time: at, Body: body}
}

func TestTheNewestInviteIsTheOneThatExpiresLastThenTheOneOpenedLast(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	way := direction{1, 2}
	room := func(n byte) domain.EventID { return domain.EventID{n} }
	for what, test := range map[string]struct {
		expires []int // seconds, in the order of opening
		want    byte  // which one, from 1 on
	}{
		"the last one":                {[]int{10, 20, 30}, 3},
		"an earlier one with more":    {[]int{10, 30, 20}, 2},
		"the first one":               {[]int{30, 10, 20}, 1},
		"of two alike the later one":  {[]int{30, 30, 20}, 2},
		"of many alike the last one":  {[]int{30, 30, 30, 30, 30, 30, 30, 30}, 8},
		"one alone":                   {[]int{30}, 1},
		"none that has expired":       {[]int{-1, 0}, 0},
		"one that has not, of others": {[]int{-1, 0, 1}, 3},
	} {
		for range 20 { // they are kept without order
			invites, read := NewRegister(), NewRegister()
			for i, seconds := range test.expires {
				n := byte(i + 1)
				expires := at.Add(time.Duration(seconds) * time.Second)
				for _, known := range []*Register{invites, read} {
					if _, isNew, ok := known.opening(way, ownInvite{room: room(n), expires: expires}, at); !isNew || !ok {
						t.Fatalf("%s: invite %d is not opened", what, n)
					}
				}
				if seconds <= 0 {
					continue // in the log an invite is pending until something ends it
				}
				event := inviteEvent(fmt.Sprint(n), at, 1, 2, domain.InviteOpened, room(n))
				body, _ := event.Body.(domain.GameInvite)
				body.Expires = expires
				event.Body = body
				read.Judge(0, event, at)
			}
			// A newer one the other way, and one to somebody else, are none of these.
			for _, other := range []direction{{2, 1}, {1, 3}} {
				event := inviteEvent(fmt.Sprint(other), at, other.from, other.to, domain.InviteOpened, room(99))
				read.Judge(0, event, at)
				invites.opening(other, ownInvite{room: room(99), expires: at.Add(time.Hour)}, at)
			}
			for name, known := range map[string]*Register{"on their way": invites, "read": read} {
				got, ok := known.newest(1, 2, at)
				if ok != (test.want > 0) || ok && got != room(test.want) {
					t.Fatalf("%s, %s: %v, %v; want number %d", what, name, got, ok, test.want)
				}
			}
		}
	}
}

func TestWhatHasEndedIsNoLongerOneOfTheOwnInvites(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	room := domain.EventID{7}
	way := direction{1, 2}
	for what, test := range map[string]struct {
		end  domain.Event
		left int
	}{
		"a cancel":               {inviteEvent("end", at, 1, 2, domain.InviteCancelled, room), 0},
		"an answer":              {inviteEvent("end", at, 2, 1, domain.InviteAccepted, room), 0},
		"an expiry":              {inviteEvent("end", at, 1, 2, domain.InviteExpired, room), 0},
		"a cancel by the other":  {inviteEvent("end", at, 2, 1, domain.InviteCancelled, room), 1},
		"an end of another room": {inviteEvent("end", at, 1, 2, domain.InviteCancelled, domain.EventID{8}), 1},
		"the invite, once more":  {inviteEvent("open", at, 1, 2, domain.InviteOpened, room), 1},
		"a block":                {domain.Event{Time: at, Body: domain.BlockChanged{Blocker: 2, Target: 1, Blocked: true, Version: 1}}, 1},
	} {
		invites := NewRegister()
		invites.opening(way, ownInvite{room: room, expires: at.Add(time.Minute)}, at)
		invites.Judge(0, inviteEvent("open", at, 1, 2, domain.InviteOpened, room), at)
		if len(invites.own[way]) != 1 {
			t.Fatal("an invite that was read is not an own one")
		}
		invites.Judge(0, test.end, at)
		if len(invites.own[way]) != test.left || len(invites.own) != test.left {
			t.Errorf("after %s the own ones are %v", what, invites.own)
		}
	}
}

func TestOwnInvitesThatNeverCameIntoTheLogAreForgottenAWhileAfterTheirEnd(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	invites := NewRegister()
	for n := range byte(3) {
		invites.opening(direction{1, 2}, ownInvite{room: domain.EventID{n}, expires: at}, at.Add(-time.Minute))
	}
	invites.opening(direction{1, 2}, ownInvite{room: domain.EventID{9}, expires: at.Add(time.Millisecond)}, at)
	invites.forgetOwn(at.Add(domain.MaxInviteLife))
	if got := len(invites.own[direction{1, 2}]); got != 4 {
		t.Errorf("%d are left, want all", got)
	}
	invites.forgetOwn(at.Add(domain.MaxInviteLife + time.Millisecond))
	if got := len(invites.own[direction{1, 2}]); got != 1 {
		t.Errorf("%d are left, want one", got)
	}
	invites.forgetOwn(at.Add(domain.MaxInviteLife + time.Second))
	if len(invites.own) != 0 {
		t.Errorf("left are %v", invites.own)
	}
}

func TestTheLatestNamedEndingsAreRemembered(t *testing.T) {
	invites := NewRegister()
	room := domain.EventID{7}
	event := func(n int) (domain.Event, domain.GameInvite) {
		event := inviteEvent(fmt.Sprint(n), time.Time{}, 1, 2, domain.InviteCancelled, room)
		event.ClientMessageID = domain.ClientMessageID(fmt.Sprint(n))
		body, _ := event.Body.(domain.GameInvite)
		return event, body
	}
	find := func(n int) (namedEnd, bool) {
		return invites.firstOf(Command{
			Sender: 1, Target: 2, Status: domain.InviteCancelled, ClientMessageID: domain.ClientMessageID(fmt.Sprint(n)),
		})
	}
	const more = 5
	for n := range 2*maxNamedEnds + more {
		invites.noteEnd(event(n))
		if n%4 == 0 { // sent again it is the first one still
			again, body := event(n)
			again.ID, body.Room = domain.EventID{1}, ""
			invites.noteEnd(again, body)
		}
		if got, known := find(n); !known || got.id != domain.DerivedID("test", fmt.Sprint(n)) || got.room != domain.RoomID(room.String()) {
			t.Fatalf("ending %d is remembered as %+v, %v", n, got, known)
		}
		if _, known := find(n - maxNamedEnds); known {
			t.Fatalf("ending %d is remembered beside number %d", n-maxNamedEnds, n)
		}
		if n >= maxNamedEnds {
			if _, known := find(n - maxNamedEnds + 1); !known {
				t.Fatalf("ending %d is forgotten with number %d", n-maxNamedEnds+1, n)
			}
		}
	}
	if len(invites.ends) != maxNamedEnds || len(invites.endNames) != maxNamedEnds {
		t.Errorf("%d endings and %d names are remembered", len(invites.ends), len(invites.endNames))
	}
	unnamed, body := event(0)
	unnamed.ClientMessageID = ""
	if invites.noteEnd(unnamed, body); len(invites.endNames) != maxNamedEnds {
		t.Error("an ending without a name is remembered")
	}
}

func TestEachPartitionHasItsOwnInvites(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	invites := NewRegister()
	for partition := range 4 {
		room := domain.EventID{byte(7 + partition)}
		one, other := domain.UserID(10+partition), domain.UserID(20+partition)
		invites.Judge(partition, inviteEvent(fmt.Sprint("open", partition), at, one, other, domain.InviteOpened, room), at)
	}
	invites.Restart(2)
	for partition := range 4 {
		room := domain.EventID{byte(7 + partition)}
		one, other := domain.UserID(10+partition), domain.UserID(20+partition)
		want := domain.InviteStands
		if partition == 2 {
			want = domain.InviteVoid
		}
		if _, known := invites.find(domain.Between(one, other), room); known != (partition != 2) {
			t.Errorf("the invite of partition %d is known: %v", partition, known)
		}
		// In another partition nobody was invited.
		answer := inviteEvent(fmt.Sprint("accept", partition), at, other, one, domain.InviteAccepted, room)
		if got := invites.Judge((partition+1)%4, answer, at); got != domain.InviteVoid {
			t.Errorf("an answer in partition %d gets verdict %d", (partition+1)%4, got)
		}
		if got := invites.Judge(partition, answer, at); got != want {
			t.Errorf("the answer in partition %d gets verdict %d, want %d", partition, got, want)
		}
	}
}
