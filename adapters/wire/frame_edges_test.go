package wire_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"chatting/adapters/wire"
	"chatting/domain"
)

// inviteFrame is the frame of an invite with some status and further fields.
func inviteFrame(status, fields string) string {
	return chat(`"type":"invite_game","from_id":201,"to_id":202,"status":"` + status + `"` + fields)
}

func TestAnInviteSaysWhenItExpires(t *testing.T) {
	expires := time.Date(2026, 1, 2, 12, 5, 5, 60_999_999, time.FixedZone("KST", 9*3600))
	got, err := wire.EncodeEvent(event(domain.GameInvite{From: 201, To: 202, Status: domain.InviteOpened, Room: room, Expires: expires}))
	if want := `{"type":"invite_game","from_id":201,"to_id":202,"status":"invite","room_id":"` + room +
		`","expires_at":"2026-01-02T03:05:05.060Z","time":"` + timeText + `","id":"` + idText + `"}`; err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	for expiresAt, want := range map[string]time.Time{
		"2026-01-02T12:05:05.060999999+09:00": time.Date(2026, 1, 2, 3, 5, 5, 60_000_000, time.UTC), "": {},
	} {
		got, err := wire.DecodeEvent([]byte(inviteFrame("invite", `,"room_id":"`+room+`","expires_at":"`+expiresAt+`"`)))
		if invite, _ := got.Body.(domain.GameInvite); err != nil || invite.Expires != want || invite.Room != room {
			t.Errorf("%q is %+v, %v", expiresAt, got, err)
		}
	}
	if got, err := wire.DecodeEvent([]byte(inviteFrame("invite", `,"expires_at":"soon"`))); err == nil {
		t.Errorf("what is no time became %+v", got)
	}
}

func TestAnAnswerNamesItsInviteAndHasNoEndOfItsOwn(t *testing.T) {
	for status, needsRoom := range map[domain.InviteStatus]bool{
		domain.InviteCancelled: false, domain.InviteAccepted: true, domain.InviteDeclined: true, domain.InviteExpired: true,
	} {
		want := event(domain.GameInvite{From: 201, To: 202, Status: status, Room: room})
		for _, fields := range []string{"", `,"expires_at":"` + timeText + `"`, `,"expires_at":"soon"`} {
			got, err := wire.DecodeEvent([]byte(inviteFrame(string(status), `,"room_id":"`+room+`"`+fields)))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s with %q: %+v, %v", status, fields, got, err)
			}
		}
		for _, fields := range []string{"", `,"room_id":""`, `,"room_id":"mine"`} {
			if _, err := wire.DecodeEvent([]byte(inviteFrame(string(status), fields))); (err != nil) != needsRoom {
				t.Errorf("%s with %q: %v", status, fields, err)
			}
		}
	}
}

func TestTimesOfTheLogHaveFourDigitsForTheYear(t *testing.T) {
	at := func(text string) string {
		return strings.Replace(chat(`"type":"chat_message","message":"x","from_id":1,"to_id":2`), timeText, text, 1)
	}
	for text, good := range map[string]bool{
		"0000-01-01T00:00:00Z": true, "9999-12-31T23:59:59.999999Z": true, "0000-01-01T00:00:00+00:01": false, "9999-12-31T23:59:59-00:01": false,
	} {
		got, err := wire.DecodeEvent([]byte(at(text)))
		if (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
		if data, err := wire.EncodeEvent(got); good && (err != nil || !strings.Contains(string(data), text[:19])) {
			t.Errorf("%s goes out as %s, %v", text, data, err)
		}
	}
}

func TestFramesOfTheLogAreUTF8OfAMebibyteAtMost(t *testing.T) {
	for _, fields := range []string{"\"message\":\"\xff\"", "\"message\":\"m\",\"x\":\"\xff\"", "\"message\":\"m\",\"\xff\":1"} {
		if _, err := wire.DecodeEvent([]byte(chat(`"type":"chat_message","from_id":201,"to_id":202,` + fields))); err == nil {
			t.Errorf("what is no UTF-8 is accepted: %q", fields)
		}
	}
	data := chat(`"type":"chat_message","message":"x","from_id":201,"to_id":202`)
	data += strings.Repeat(" ", 1<<20-len(data))
	if _, err := wire.DecodeEvent([]byte(data)); err != nil {
		t.Errorf("%d bytes are refused: %v", len(data), err)
	}
	if _, err := wire.DecodeEvent([]byte(data + " ")); err == nil {
		t.Error("one more is accepted")
	}
}

func TestTheTimeToWaitIsInMillisecondsRoundedUp(t *testing.T) {
	original := []byte(`{"error":"}"}`)
	for after, want := range map[time.Duration]string{
		time.Nanosecond: "1", time.Millisecond: "1", time.Millisecond + 1: "2", 1999 * time.Microsecond: "2", 2 * time.Second: "2000", time.Hour: "3600000",
	} {
		if got := string(wire.WithRetryAfter(original, after)); got != `{"error":"}","retry_after_ms":`+want+`}` {
			t.Errorf("%v: %s", after, got)
		}
	}
	if string(original) != `{"error":"}"}` {
		t.Error("the original was changed")
	}
}

func TestAPongHasTheTimeOfTheServer(t *testing.T) {
	if got, want := string(wire.PongFrame(someTime)), `{"type":"pong","time":"`+timeText+`"}`; got != want {
		t.Errorf("got %s", got)
	}
}
