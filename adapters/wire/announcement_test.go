package wire

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatting/domain"
)

func TestAListOfUsersIsReadOrRefused(t *testing.T) {
	for body, want := range map[string]string{
		`{"user_ids":[7,"8",9.0]}`:         "[7 8 9]",
		`{"user_ids":[]}`:                  "[]",
		`{"user_ids":[0,-1]}`:              "[0 0]",
		`{}`:                               "This field is required.",
		`{"user_ids":null}`:                "This field may not be null.",
		`{"user_ids":7}`:                   "Expected a list of items.",
		`{"user_ids":"[7]"}`:               "Expected a list of items.",
		`{"user_ids":{"0":7}}`:             "Expected a list of items.",
		`{"user_ids":[7,"x"]}`:             SentenceInteger,
		`{"user_ids":[7,null]}`:            "This field may not be null.",
		`{"user_ids":[[7]]}`:               SentenceInteger,
		`{"user_ids":[1,2,3,4]}`:           "Ensure this field has no more than 3 elements.",
		`{"user_ids":[` + nest(500) + `]}`: SentenceInteger,
	} {
		fields, err := ParseBody([]byte(body))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		users, complaint := fields["user_ids"].AsUsers(3)
		if got := fmt.Sprint(users); complaint != want && (complaint != "" || got != want) {
			t.Errorf("%s: %s %q, want %s", body, got, complaint, want)
		}
	}
}

// nest is a list in lists.
func nest(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestAFrameWithoutItsTextSaysTheRest(t *testing.T) {
	text, err := domain.NewText("secret")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, body := range map[string]domain.Body{
		`{"type":"chat_message","from_id":7,"to_id":8,"time":"2026-01-02T03:04:05.000Z","id":"01000000-0000-0000-0000-000000000000"}`:                  domain.ChatMessage{From: 7, To: 8, Text: text},
		`{"type":"invite_game","from_id":7,"to_id":8,"status":"cancel","time":"2026-01-02T03:04:05.000Z","id":"01000000-0000-0000-0000-000000000000"}`: domain.GameInvite{From: 7, To: 8, Status: domain.InviteCancelled},
	} {
		frame, err := EncodeEvent(domain.Event{ID: domain.EventID{1}, Time: at, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := WithoutText(frame); err != nil || string(got) != want {
			t.Errorf("%s without its text is %s, %v; want %s", frame, got, err, want)
		}
	}
	if got, err := WithoutText([]byte(`{"type":"chat_message"}`)); err == nil {
		t.Errorf("what is no frame is %s", got)
	}
}

func TestWhatThePlatformIsAnsweredOfAnAnnouncement(t *testing.T) {
	a, err := domain.NewAnnouncement(domain.EventID{1}, "noon", false, []domain.UserID{8, 7}, "", "alice", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"announcement","user_ids":[7,8],"message":"noon","actor":"alice","time":"2026-01-02T03:04:05.000Z",` +
		`"id":"01000000-0000-0000-0000-000000000000","offline_ids":[7]}`
	if got := AppendAnnounced(nil, a, []domain.UserID{7}); string(got) != want {
		t.Errorf("it is %s, want %s", got, want)
	}
	a.Users = nil
	if got := string(AppendAnnounced(nil, a, nil)); !strings.Contains(got, `"to":"online"`) || strings.Contains(got, "offline") {
		t.Errorf("of one to all it is %s", got)
	}
}
