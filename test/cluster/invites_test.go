package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"chatting/test/harness"
)

// inviteSide is a client that asked to see how invites end.
type inviteSide struct {
	*harness.Client

	node *harness.Node
}

func connectForInvites(t *testing.T, node *harness.Node, user int) inviteSide {
	t.Helper()
	c, err := harness.ConnectWith(node.HTTP, map[string]any{"token": token(t, user), "features": []string{"invites"}})
	if err != nil {
		t.Fatalf("user %d on %s: %v", user, node.HTTP, err)
	}
	t.Cleanup(c.Close)
	return inviteSide{Client: c, node: node}
}

// awaitOnline waits until each side's node knows that the other is there.
func awaitOnline(ctx context.Context, t *testing.T, one, other inviteSide) {
	t.Helper()
	for _, sides := range [][2]inviteSide{{one, other}, {other, one}} {
		awaitKnownOnline(ctx, t, sides[0].node.HTTP, token(t, sides[0].User), sides[1].User)
	}
}

// invite opens an invite and returns its room, once both sides have it.
func invite(ctx context.Context, t *testing.T, from, to inviteSide) string {
	t.Helper()
	seen := len(from.Frames())
	if err := from.SendFrame(map[string]any{"target_id": to.User, "type": "invite_game", "status": "invite"}); err != nil {
		t.Fatal(err)
	}
	at, err := from.Find(ctx, seen, func(f harness.Frame) bool { return f.Status == "invite" })
	if err != nil {
		t.Fatal(err)
	}
	room := from.Frames()[at].Room
	await(ctx, t, to, room, "invite")
	return room
}

// await waits until a side was told that the invite to a room has that status.
func await(ctx context.Context, t *testing.T, side inviteSide, room, status string) harness.Frame {
	t.Helper()
	at, err := side.Find(ctx, 0, func(f harness.Frame) bool { return f.Room == room && f.Status == status })
	if err != nil {
		t.Fatalf("user %d is not told %s of the room %s: %v", side.User, status, room, err)
	}
	return side.Frames()[at]
}

// ends returns how an invite ended, as a side was told.
func (s inviteSide) ends(room string) (ends []string) {
	for _, f := range s.Frames() {
		if f.Room == room && f.Status != "invite" {
			ends = append(ends, f.Status)
		}
	}
	return ends
}

// Two sides on two nodes end the same invite at once, in different ways: the log decides, and both see the same.
func TestOfAnAcceptAndACancelOneWinsOnBothSides(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2, "CHATTING_LIMIT_FRAMES_PER_SECOND=0")
	inviter, invited := connectForInvites(t, nodes[0], 1), connectForInvites(t, nodes[1], 2)
	awaitOnline(ctx, t, inviter, invited)
	won := map[string]int{}
	for round := range scaled(100, 1000) {
		room := invite(ctx, t, inviter, invited)
		var both sync.WaitGroup
		end := func(side inviteSide, target int, status string) {
			name := fmt.Sprintf("%s.%d", status, round)
			frame := map[string]any{
				"target_id": target, "type": "invite_game", "status": status, "room_id": room, "client_msg_id": name,
			}
			if err := side.SendFrame(frame); err != nil {
				t.Error(err)
				return
			}
			// Its own outcome: the echo, or that somebody else was first.
			if _, err := side.Find(ctx, 0, func(f harness.Frame) bool { return f.Name == name }); err != nil {
				t.Errorf("%s has no answer: %v", name, err)
			}
		}
		// By turns, each has a head start.
		cancel, accept := func() { end(inviter, 2, "cancel") }, func() { end(invited, 1, "accept") }
		if round%2 == 1 {
			cancel, accept = accept, cancel
		}
		both.Go(cancel)
		both.Go(accept)
		both.Wait()
		if t.Failed() {
			return
		}
		// Whatever is said on one side after has come behind what both saw of the invite.
		marker := fmt.Sprintf("round %d", round)
		if err := inviter.Send(2, marker); err != nil {
			t.Fatal(err)
		}
		for _, side := range []inviteSide{inviter, invited} {
			if _, err := side.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == marker }); err != nil {
				t.Fatal(err)
			}
		}
		one, other := inviter.ends(room), invited.ends(room)
		if len(one) != 1 || fmt.Sprint(one) != fmt.Sprint(other) {
			t.Fatalf("round %d: the inviter saw %v, the invited %v", round, one, other)
		}
		won[one[0]]++
		losers := 0
		for _, side := range []inviteSide{inviter, invited} {
			for _, f := range side.Frames() {
				if f.Code == "invite_ended" && (f.Name == fmt.Sprintf("cancel.%d", round) || f.Name == fmt.Sprintf("accept.%d", round)) {
					losers++
				}
			}
		}
		if losers != 1 {
			t.Errorf("round %d: %d were told that they came too late", round, losers)
		}
	}
	t.Logf("won: %v", won)
	if len(won) != 2 {
		t.Errorf("one of the two always won: %v", won)
	}
}

// An invite ends in time, also where the node that opened it is gone, and also for who connects only then.
func TestAnInviteExpiresOnBothSidesAlsoWhenItsNodeDied(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	const life = 10 * time.Second // a node starts, and somebody logs in there, before an invite expires
	settings := "CHATTING_INVITE_EXPIRES_AFTER=" + life.String()
	nodes := c.startAll(2, settings)
	inviter, invited := connectForInvites(t, nodes[0], 1), connectForInvites(t, nodes[1], 2)
	inviterElsewhere := connectForInvites(t, nodes[1], 1)
	awaitOnline(ctx, t, inviter, invited)
	began := time.Now()
	room := invite(ctx, t, inviter, invited)
	for _, side := range []inviteSide{inviter, invited, inviterElsewhere} {
		if late := await(ctx, t, side, room, "expired").At.Sub(began) - life; late < 0 {
			t.Errorf("it expired %s too early", -late)
		} else {
			t.Logf("user %d is told %s after the end", side.User, late.Round(time.Millisecond))
		}
	}

	began = time.Now()
	room = invite(ctx, t, inviter, invited)
	nodes[0].Kill()
	late := c.start(settings) // it reads of the invite
	third := connectForInvites(t, late, 2)
	for _, side := range []inviteSide{invited, inviterElsewhere, third} {
		t.Logf("its node died: user %d is told %s after the end", side.User,
			(await(ctx, t, side, room, "expired").At.Sub(began) - life).Round(time.Millisecond))
	}
	// When the next invite between the two has expired, any other node would have told of the former, too.
	next := invite(ctx, t, inviterElsewhere, invited)
	for _, side := range []inviteSide{invited, inviterElsewhere, third} {
		await(ctx, t, side, next, "expired")
		if ends := side.ends(room); len(ends) != 1 {
			t.Errorf("user %d was told %v", side.User, ends)
		}
	}
	if err := third.SendFrame(map[string]any{
		"target_id": 1, "type": "invite_game", "status": "accept", "room_id": room, "client_msg_id": "late",
	}); err != nil {
		t.Fatal(err)
	}
	if at, err := third.Find(ctx, 0, func(f harness.Frame) bool { return f.Name == "late" }); err != nil || third.Frames()[at].Code != "invite_ended" {
		t.Errorf("an answer to an invite that has expired: %v", err)
	}
}
