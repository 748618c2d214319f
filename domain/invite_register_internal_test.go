package domain

import (
	"fmt"
	"testing"
	"time"
)

// Every node keeps the invites of the whole log: what it has forgotten must not stay in memory.
func TestWhatIsForgottenTakesNoMemory(t *testing.T) {
	invites := NewInviteRegister()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	room := func(n int) RoomID { return RoomID(DerivedID("room", fmt.Sprint(n)).String()) }
	apply := func(name string, body Body) InviteVerdict {
		return invites.Apply(Event{ID: DerivedID("test", name), Time: at, Body: body}, at)
	}
	for n := range 3 * maxInvitesOfUser {
		from := UserID(1 + n%3)
		// Those with the longer lives stand before the others.
		expires := at.Add(time.Duration(3-n%3) * time.Minute)
		apply(fmt.Sprint("invite", n), GameInvite{From: from, To: 9, Status: InviteOpened, Room: room(n), Expires: expires})
		apply(fmt.Sprint("block", n), BlockChanged{Blocker: from, Target: 9})
		if n%4 == 0 {
			apply(fmt.Sprint("accept", n), GameInvite{From: 9, To: from, Status: InviteAccepted, Room: room(n)})
		}
	}
	if len(invites.rooms) != 3*maxInvitesOfUser || len(invites.known) != 3*maxInvitesOfUser {
		t.Fatalf("%d invites and %d changes are remembered", len(invites.rooms), len(invites.known))
	}
	var pending []Invite
	invites.EachPending(func(invite Invite) { pending = append(pending, invite) })
	for _, invite := range pending {
		apply("end"+invite.Room.String(), GameInvite{From: invite.From, To: 9, Status: InviteExpired, Room: RoomID(invite.Room.String())})
	}
	at = at.Add(time.Hour)
	for n := range clockRecords {
		apply(fmt.Sprint("later", n), GameInvite{From: 1, To: 2, Status: InviteCancelled})
	}
	for what, left := range map[string]int{
		"rooms": len(invites.rooms), "pending": len(invites.pending), "users with pending ones": len(invites.pendingWith), "known": len(invites.known),
		"order": invites.order.order.Len(), "users": len(invites.order.ofUser),
		"changes": invites.changes.order.Len(), "users of changes": len(invites.changes.ofUser),
	} {
		if left != 0 {
			t.Errorf("%d %s are left", left, what)
		}
	}
}
