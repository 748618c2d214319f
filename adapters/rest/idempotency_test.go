package rest

import "testing"

func TestEveryFieldOfAMessageTellsRequestsUnderOneKeyApart(t *testing.T) {
	w := newWorld(t)
	const key = "Idempotency-Key: k"
	first := w.system(t, `{"target_id":7,"message":"m","type":"invite_game","room_id":"r","opponent_id":8}`, key)
	for name, other := range map[string]string{
		"another opponent": `{"target_id":7,"message":"m","type":"invite_game","room_id":"r","opponent_id":9}`,
		"no opponent":      `{"target_id":7,"message":"m","type":"invite_game","room_id":"r"}`,
		"another room":     `{"target_id":7,"message":"m","type":"invite_game","room_id":"s","opponent_id":8}`,
		"no room":          `{"target_id":7,"message":"m","type":"invite_game","opponent_id":8}`,
		"no invite":        `{"target_id":7,"message":"m","room_id":"r","opponent_id":8}`,
		"another text":     `{"target_id":7,"message":"M","type":"invite_game","room_id":"r","opponent_id":8}`,
		"another target":   `{"target_id":9,"message":"m","type":"invite_game","room_id":"r","opponent_id":8}`,
	} {
		if got := w.system(t, other, key); got.status != 422 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	w.system(t, `{"opponent_id":"8","room_id":" r ","type":"invite_game","message":"m ","target_id":7.0}`, key).mustBe(t, 200, first.body)
	if events := w.appended(); len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
}
