package wire_test

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"chatting/adapters/wire"
	"chatting/domain"
)

var (
	someID   = domain.EventID{0x01, 0x8f, 0x2b, 0x51, 0xc0, 0x6d, 0x47, 0x34, 0xa9, 0x9b, 0x1d, 0x3c, 0x52, 0x70, 0x4e, 0xff}
	someTime = time.Date(2026, 1, 2, 3, 4, 5, 60_000_000, time.UTC)
)

const (
	idText   = "018f2b51-c06d-4734-a99b-1d3c52704eff"
	timeText = "2026-01-02T03:04:05.060Z"
	room     = "4f4cbd2e-8a07-4e1c-9d53-3f1d2a0f7b11"
)

func text(t testing.TB, s string) domain.Text {
	t.Helper()
	text, err := domain.NewText(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func event(body domain.Body) domain.Event {
	return domain.Event{ID: someID, Time: someTime, Body: body}
}

// roomID is room as an id.
func roomID(t testing.TB) domain.EventID {
	t.Helper()
	id, ok := domain.ParseEventID(room)
	if !ok {
		t.Fatal(room)
	}
	return id
}

// golden holds every event and the exact bytes of its frame.
func golden(t testing.TB) map[string]domain.Event {
	return map[string]domain.Event{
		`{"type":"chat_message","message":"hello","from_id":201,"to_id":202,"time":"` + timeText + `","id":"` + idText + `"}`:                              event(domain.ChatMessage{From: 201, To: 202, Text: text(t, "hello")}),
		`{"type":"chat_message","message":"","from_id":201,"to_id":201,"time":"` + timeText + `","id":"` + idText + `"}`:                                   event(domain.ChatMessage{From: 201, To: 201, Text: text(t, "")}),
		`{"type":"chat_message","message":"<b>&\"'\\\n안녕 \u0000","from_id":1,"to_id":9223372036854775807,"time":"` + timeText + `","id":"` + idText + `"}`: event(domain.ChatMessage{From: 1, To: math.MaxInt64, Text: text(t, "<b>&\"'\\\n안녕 \x00")}),
		`{"type":"chat_message","message":"&lt;b&gt;&#x27;","from_id":201,"to_id":202,"time":"` + timeText + `","id":"` + idText + `"}`:                    event(domain.ChatMessage{From: 201, To: 202, Text: text(t, "<b>'").EscapeHTML()}),
		`{"type":"invite_game","from_id":201,"to_id":202,"status":"invite","room_id":"` + room + `","time":"` + timeText + `","id":"` + idText + `"}`:      event(domain.GameInvite{From: 201, To: 202, Status: domain.InviteOpened, Room: room}),
		`{"type":"invite_game","from_id":201,"to_id":202,"status":"cancel","time":"` + timeText + `","id":"` + idText + `"}`:                               event(domain.GameInvite{From: 201, To: 202, Status: domain.InviteCancelled}),
		`{"type":"system_message","from":"admin","message":"round 2 starts","to_id":7,"time":"` + timeText + `","id":"` + idText + `"}`:                    event(domain.SystemMessage{To: 7, Text: text(t, "round 2 starts")}),
		`{"type":"system_message","from":"admin","message":"x","to_id":7,"room_id":"r","opponent_id":8,"time":"` + timeText + `","id":"` + idText + `"}`:   event(domain.SystemMessage{To: 7, Text: text(t, "x"), Room: "r", Opponent: 8}),
		`{"type":"system_message","from":"admin","message":"x","to_id":7,"room_id":"r","time":"` + timeText + `","id":"` + idText + `"}`:                   event(domain.SystemMessage{To: 7, Text: text(t, "x"), Room: "r"}),
		`{"type":"user_blocked","from_id":202,"to_id":201,"version":1,"time":"` + timeText + `","id":"` + idText + `"}`:                                    event(domain.BlockChanged{Blocker: 202, Target: 201, Blocked: true, Version: 1}),
		`{"type":"user_unblocked","from_id":202,"to_id":201,"version":2,"time":"` + timeText + `","id":"` + idText + `"}`:                                  event(domain.BlockChanged{Blocker: 202, Target: 201, Version: 2}),
		`{"type":"read_mark","from_id":202,"to_id":201,"message_id":"` + room + `","time":"` + timeText + `","id":"` + idText + `"}`:                       event(domain.ReadMark{Reader: 202, Partner: 201, Message: roomID(t)}),
		`{"type":"read_mark","from_id":202,"to_id":0,"message_id":"` + room + `","time":"` + timeText + `","id":"` + idText + `"}`:                         event(domain.ReadMark{Reader: 202, Message: roomID(t)}),
	}
}

func TestEveryEventHasExactlyTheFrameOfTheContract(t *testing.T) {
	for want, event := range golden(t) {
		got, err := wire.EncodeEvent(event)
		if err != nil || string(got) != want {
			t.Errorf("%#v\ngot  %s, %v\nwant %s", event.Body, got, err, want)
		}
	}
}

func TestWhatIsEncodedIsDecodedAsTheSame(t *testing.T) {
	for data, want := range golden(t) {
		got, err := wire.DecodeEvent([]byte(data))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot  %#v, %v\nwant %#v", data, got, err, want)
		}
	}
}

func TestABodyThatHasNoFrameIsAnError(t *testing.T) {
	if data, err := wire.EncodeEvent(domain.Event{}); err == nil {
		t.Errorf("an event without a body became %s", data)
	}
}

func TestTheAnswerToALoginListsTheOnlineFriendsInOrder(t *testing.T) {
	for want, friends := range map[string][]domain.UserID{
		`[205,202]`: {205, 202},
		`[]`:        nil,
	} {
		want = `{"type":"system_message","message":"You have successfully logged","online_friends":` + want +
			`,"to_id":201,"time":"` + timeText + `"}`
		if got := wire.LoginFrame(201, friends, someTime); string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestATransitionHasTheStatusFrameOfTheContract(t *testing.T) {
	for status, online := range map[string]bool{"online": true, "offline": false} {
		want := `{"type":"send_status","from_id":201,"to_id":202,"status":"` + status + `","time":"` + timeText + `"}`
		got := wire.StatusFrame(202, domain.Transition{User: 201, Online: online, At: someTime})
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestAnErrorFrameNamesTheTargetAsItWasSent(t *testing.T) {
	for target, want := range map[string]string{
		"":                     ``,
		"202":                  `"from_id":202,`,
		`" 202 "`:              `"from_id":" 202 ",`,
		"202.0":                `"from_id":202.0,`,
		"null":                 `"from_id":null,`,
		"-1":                   `"from_id":-1,`,
		"98765432109876543210": `"from_id":98765432109876543210,`,
		`"<a>"`:                `"from_id":"<a>",`,
	} {
		got := wire.ErrorFrame(201, domain.CodeNoUserOrOffline, "No User or Offline", json.RawMessage(target), "", someTime)
		want = `{"type":"system_message","error":"No User or Offline","code":"no_user_or_offline",` + want + `"to_id":201,"time":"` + timeText + `"}`
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestAnErrorFrameNamesTheMessageWhereItHasAName(t *testing.T) {
	got := string(wire.ErrorFrame(201, domain.CodeTooLong, "The message is too long.", nil, `m"1`, someTime))
	want := `{"type":"system_message","error":"The message is too long.","code":"too_long","to_id":201,"client_msg_id":"m\"1","time":"` + timeText + `"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTimesAreUTCWithMilliseconds(t *testing.T) {
	at := time.Date(2026, 1, 2, 12, 4, 5, 999_999_999, time.FixedZone("KST", 9*3600))
	if got := wire.Time(at); got != "2026-01-02T03:04:05.999Z" {
		t.Errorf("got %s", got)
	}
}

func TestTimesAreWrittenAsTheirLayoutSays(t *testing.T) {
	const layout = "2006-01-02T15:04:05.000Z"
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("KST", 9*3600), time.FixedZone("", -3600-1800)} {
		for _, at := range []time.Time{
			time.Date(0, 1, 1, 23, 59, 59, 0, zone), time.Date(999, 12, 31, 0, 0, 0, 999_999, zone), time.Date(2024, 2, 29, 12, 0, 0, 1_000_000, zone),
			time.Date(2026, 11, 30, 9, 8, 7, 98_765_432, zone), time.Date(9998, 12, 31, 23, 59, 59, 999_999_999, zone),
		} {
			if got, want := wire.Time(at), at.UTC().Format(layout); got != want {
				t.Errorf("%v is %s, want %s", at, got, want)
			}
		}
	}
}

func TestEveryNameOfAMessageIsSplicedInAsValidJSON(t *testing.T) {
	var printable strings.Builder
	for c := byte(0x20); c <= 0x7e; c++ {
		printable.WriteByte(c)
	}
	names := []string{printable.String()[:64], printable.String()[31:], `"`, `\`, `\u0041`, `"}`, "</script>", strings.Repeat(`\`, 64)}
	for _, c := range printable.String() {
		names = append(names, string(c))
	}
	for data := range golden(t) {
		for _, name := range names {
			before := data
			spliced := wire.AppendWithClientMessageID(nil, []byte(data), domain.ClientMessageID(name))
			if data != before {
				t.Fatal("the shared frame was written to")
			}
			var original, got map[string]any
			if err := json.Unmarshal(spliced, &got); err != nil {
				t.Fatalf("%q: %s: %v", name, spliced, err)
			}
			if err := json.Unmarshal([]byte(data), &original); err != nil {
				t.Fatal(err)
			}
			original["client_msg_id"] = name
			if !reflect.DeepEqual(got, original) {
				t.Fatalf("%q: got %s", name, spliced)
			}
		}
	}
}

func TestAFrameWithFurtherFieldsIsAccepted(t *testing.T) {
	data := ` {"x":{"type":"y"},"type":"chat_message","message":"hi","from_id":9,"to_id":10,"time":"` + timeText + `","id":"` + idText + `"} `
	got, err := wire.DecodeEvent([]byte(data))
	if want := event(domain.ChatMessage{From: 9, To: 10, Text: text(t, "hi")}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, %v; want %#v", got, err, want)
	}
}

// hostile holds what others might write to the log.
var hostile = []string{
	``, ` `, `null`, `1`, `"x"`, `[]`, `{}`, `{`, "\xff", "{\"type\":\"\xff\"}", `{"type":"chat_message"}`,
	strings.Repeat(`[`, 20000),
	chat(`"type":"chat_message","message":"x","from_id":0,"to_id":202`),
	chat(`"type":"chat_message","message":"x","from_id":-1,"to_id":202`),
	chat(`"type":"chat_message","message":"x","from_id":201,"to_id":0`),
	chat(`"type":"chat_message","message":"x","from_id":1.5,"to_id":202`),
	chat(`"type":"chat_message","message":"x","from_id":"201","to_id":202`),
	chat(`"type":"chat_message","message":"x","from_id":9223372036854775808,"to_id":202`),
	chat(`"type":"chat_message","message":"x","to_id":202`),
	chat(`"type":"chat_message","message":"x","from_id":201`),
	chat(`"type":"chat_message","message":null,"from_id":201,"to_id":202`),
	chat(`"type":"chat_message","message":7,"from_id":201,"to_id":202`),
	chat(`"type":"chat_message","from_id":201,"to_id":202`),
	chat(`"type":"CHAT_MESSAGE","message":"x","from_id":201,"to_id":202`),
	chat(`"type":"send_status","from_id":201,"to_id":202,"status":"online"`),
	chat(`"type":"system_message","to_id":202`),
	chat(`"type":"system_message","message":"x","to_id":7,"opponent_id":-8`),
	chat(`"type":"invite_game","from_id":201,"to_id":202,"status":"accept"`),
	chat(`"type":"invite_game","from_id":201,"to_id":202`),
	chat(`"type":"","from_id":201,"to_id":202`),
	chat(`"type":"chat_message","message":"x","from_id":201,"to_id":202`) + `x`,
	`{"type":"chat_message","message":"x","from_id":201,"to_id":202,"time":"` + timeText + `"}`,
	`{"type":"chat_message","message":"x","from_id":201,"to_id":202,"time":"` + timeText + `","id":"7"}`,
	`{"type":"chat_message","message":"x","from_id":201,"to_id":202,"id":"` + idText + `"}`,
	`{"type":"chat_message","message":"x","from_id":201,"to_id":202,"time":"now","id":"` + idText + `"}`,
	`{"type":"chat_message","message":"x","from_id":201,"to_id":202,"time":"9999-12-31T23:59:59-01:00","id":"` + idText + `"}`,
	// A browser reads the exact names only: what was checked must be what it sees.
	chat(`"type":"send_status","status":"offline","Type":"chat_message","message":"x","from_id":201,"to_id":202`),
	chat(`"type":"chat_message","message":"x","from_id":201,"to_id":202,"FROM_ID":7`),
	chat(`"type":"chat_message","message":"x","from_id":201,"to_id":202,"to_id":null`),
	chat(`"type":"chat_message","type":null,"message":"x","from_id":201,"to_id":202`),
	chat(`"type":"chat_message","meſſage":"x","from_id":201,"to_id":202`),
}

// chat completes the fields of a frame.
func chat(fields string) string {
	return `{` + fields + `,"time":"` + timeText + `","id":"` + idText + `"}`
}

func TestHostileFramesOfTheLogAreRefused(t *testing.T) {
	for _, data := range hostile {
		if got, err := wire.DecodeEvent([]byte(data)); err == nil {
			t.Errorf("%.200s\nwas accepted as %#v", data, got)
		}
	}
	long := chat(`"type":"chat_message","message":"` + strings.Repeat("x", 1<<20) + `","from_id":201,"to_id":202`)
	if _, err := wire.DecodeEvent([]byte(long)); err == nil {
		t.Errorf("%d bytes were accepted", len(long))
	}
}

func TestTheLongestTextStillFits(t *testing.T) {
	for _, s := range []string{"'", "\x01", `"`} {
		want := event(domain.ChatMessage{From: 201, To: 202, Text: text(t, strings.Repeat(s, domain.MaxTextBytes)).EscapeHTML()})
		data, err := wire.EncodeEvent(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := wire.DecodeEvent(data); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %d bytes are refused: %v", s, len(data), err)
		}
	}
}

func TestTheTimeOfAnEventIsUTCWithMillisecondsWhoeverWroteIt(t *testing.T) {
	data := `{"type":"chat_message","message":"x","from_id":1,"to_id":2,"time":"2026-01-02T12:04:05.0609999+09:00","id":"` + idText + `"}`
	got, err := wire.DecodeEvent([]byte(data))
	if err != nil || got.Time != someTime {
		t.Errorf("got %v, %v; want %v", got.Time, err, someTime)
	}
}

func FuzzDecode(f *testing.F) {
	for data := range golden(f) {
		f.Add([]byte(data))
	}
	for _, data := range hostile {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		event, err := wire.DecodeEvent(data)
		if err != nil {
			return
		}
		encoded, err := wire.EncodeEvent(event)
		if err != nil {
			t.Fatalf("%q was accepted as %#v, which has no frame: %v", data, event, err)
		}
		again, err := wire.DecodeEvent(encoded)
		if err != nil || !reflect.DeepEqual(again, event) {
			t.Fatalf("%q was accepted as\n%#v, which goes out as %s and reads as\n%#v, %v", data, event, encoded, again, err)
		}
		// What a browser reads must be what was checked.
		var fields map[string]any
		if err := json.Unmarshal(data, &fields); err != nil {
			t.Fatalf("%q was accepted and is no JSON object: %v", data, err)
		}
		var want map[string]any
		if err := json.Unmarshal(encoded, &want); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"type", "message", "status", "from_id", "to_id"} {
			if _, shown := want[name]; shown && fields[name] != want[name] {
				t.Fatalf("%q was accepted with %s %v; clients see %v", data, name, want[name], fields[name])
			}
		}
		spliced := wire.AppendWithClientMessageID(nil, data, `"m\1`)
		if err := json.Unmarshal(spliced, &fields); err != nil || fields["client_msg_id"] != `"m\1` {
			t.Fatalf("%q: spliced in: %q, %v", data, spliced, err)
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add(int64(201), int64(202), "hello", room, int64(8), int64(1), uint8(0))
	f.Add(int64(1), int64(1), "<&>\"'\u2028\x00", "", int64(0), int64(2), uint8(1))
	f.Add(int64(1), int64(math.MaxInt64), "", "\xff", int64(0), int64(0), uint8(2))
	f.Fuzz(func(t *testing.T, from, to int64, s, room string, opponent, version int64, kind uint8) {
		said, err := domain.NewText(s)
		if err != nil || from <= 0 || to <= 0 || opponent < 0 || len(room) > 1000 {
			t.Skip()
		}
		room = strings.ToValidUTF8(room, "?")
		if version = max(version&^1, 2); from == to && kind%7 >= 5 { // unblocks; the one before blocks
			t.Skip()
		}
		a, b := domain.UserID(from), domain.UserID(to)
		want := event([]domain.Body{
			domain.ChatMessage{From: a, To: b, Text: said.EscapeHTML()},
			domain.GameInvite{From: a, To: b, Status: domain.InviteOpened, Room: domain.RoomID(room)},
			domain.GameInvite{From: a, To: b, Status: domain.InviteCancelled},
			domain.SystemMessage{To: b, Text: said, Room: domain.RoomID(room), Opponent: domain.UserID(opponent)},
			domain.ReadMark{Reader: a, Partner: domain.UserID(opponent), Message: someID},
			domain.BlockChanged{Blocker: a, Target: b, Blocked: true, Version: version - 1},
			domain.BlockChanged{Blocker: a, Target: b, Version: version},
		}[kind%7])
		data, err := wire.EncodeEvent(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := wire.DecodeEvent(data); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nreads as %#v, %v\nwant     %#v", data, got, err, want)
		}
	})
}

func TestAReadMarkOfTheUsersOwnIsTheFrameWithWhatIsUnread(t *testing.T) {
	original := []byte(`{"type":"read_mark","x":"}"}`)
	if got, want := string(wire.AppendWithUnread([]byte("a"), original, 17)), `a{"type":"read_mark","x":"}","unread":17}`; got != want {
		t.Fatalf("got %s", got)
	}
	if string(original) != `{"type":"read_mark","x":"}"}` {
		t.Fatal("the original was changed")
	}
}

func TestAReadMarkNamesItsReaderAndItsMessage(t *testing.T) {
	for _, wrong := range []string{
		`"from_id":0,"to_id":2,"message_id":"` + room + `"`, `"from_id":-1,"to_id":2,"message_id":"` + room + `"`,
		`"from_id":1,"to_id":-1,"message_id":"` + room + `"`, `"from_id":1,"message_id":"` + room + `"`, `"to_id":2,"message_id":"` + room + `"`,
		`"from_id":1,"to_id":2`, `"from_id":1,"to_id":2,"message_id":"x"`, `"from_id":1,"to_id":2,"message_id":null`, `"from_id":1,"to_id":2,"message_id":5`,
	} {
		frame := `{"type":"read_mark",` + wrong + `,"time":"` + timeText + `","id":"` + idText + `"}`
		if got, err := wire.DecodeEvent([]byte(frame)); err == nil {
			t.Errorf("%s is %+v", frame, got.Body)
		}
	}
}

func TestAReplayedFrameIsTheFrameWithItsMark(t *testing.T) {
	original := []byte(`{"type":"chat_message","message":"}"}`)
	if got, want := string(wire.WithReplayed(original, "")), `{"type":"chat_message","message":"}","replayed":true}`; got != want {
		t.Fatalf("got %s", got)
	}
	if string(original) != `{"type":"chat_message","message":"}"}` {
		t.Fatal("the original was changed")
	}
	if got, want := string(wire.WithReplayed(original, `n"`)), `{"type":"chat_message","message":"}","client_msg_id":"n\"","replayed":true}`; got != want {
		t.Fatalf("got %s", got)
	}
}

func TestAFrameIsGivenAResumeToken(t *testing.T) {
	frame := []byte(`{"type":"pong"}`)
	if got := string(wire.AppendWithResume(nil, frame, "A-_")); got != `{"type":"pong","resume":"A-_"}` {
		t.Errorf("got %s", got)
	}
	if got := string(wire.WithRecovered(frame, true, time.Time{})); got != `{"type":"pong","recovered":true}` {
		t.Errorf("got %s", got)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	if got := string(wire.WithRecovered(frame, false, at)); got != `{"type":"pong","recovered":false,"recovered_from":"2026-01-02T03:04:05.678Z"}` {
		t.Errorf("got %s", got)
	}
}
