package e2e

import (
	"testing"

	"chatting/test/harness"
)

// A cancel that names no room and comes right behind the answer to its invite is appended twice: with the room, which is too
// late, and without. The promise of the events, which is checked at the end, is that the two have ids of their own.
func TestACancelThatLosesItsRaceIsShownUnderAnIDOfItsOwn(t *testing.T) {
	s := startServer(t, t.TempDir())
	ctx := waiting(t)
	with := func(user int) *harness.Client {
		c, err := harness.ConnectWith(s.HTTP, map[string]any{"token": s.token(user), "features": []string{"invites"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	inviter, invited := with(1), with(2)
	from, lost, rounds := 1, 0, 0
	for ; lost < 3 || rounds < 20; rounds++ { // until ctx ends
		if err := inviter.SendFrame(map[string]any{"target_id": 2, "type": "invite_game", "status": "invite"}); err != nil {
			t.Fatal(err)
		}
		opened, err := invited.Find(ctx, from, func(f harness.Frame) bool { return f.Type == "invite_game" && f.Status == "invite" })
		if err != nil {
			t.Fatal(err)
		}
		room := invited.Frames()[opened].Room
		seen := len(inviter.Frames())
		if err := invited.SendFrame(map[string]any{
			"target_id": 1, "type": "invite_game", "status": "accept", "room_id": room,
		}); err != nil {
			t.Fatal(err)
		}
		if err := inviter.SendFrame(map[string]any{
			"target_id": 2, "type": "invite_game", "status": "cancel", "client_msg_id": room,
		}); err != nil {
			t.Fatal(err)
		}
		cancelled, err := inviter.Find(ctx, max(seen-1, 1), func(f harness.Frame) bool { return f.Status == "cancel" && f.Name == room })
		if err != nil {
			t.Fatal(err)
		}
		if inviter.Frames()[cancelled].Room == "" {
			lost++
		}
		from = len(invited.Frames())
	}
	t.Logf("%d of %d cancels came too late", lost, rounds)
}
