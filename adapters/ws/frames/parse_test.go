package frames

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"chatting/application/port"
	"chatting/domain"
)

func TestFramesOfClients(t *testing.T) {
	deep := strings.Repeat("[", 20000)
	for _, test := range []struct {
		sent   string
		kind   Kind
		target domain.UserID
		text   string
		code   domain.Code
	}{
		{sent: `{"target_id":202,"message":"hello"}`, kind: Message, target: 202, text: "hello"},
		{sent: ` { "message" : "a\"}\\" , "target_id" : 1 } `, kind: Message, target: 1, text: `a"}\`},
		{sent: `{"target_id":202,"message":""}`, kind: Message, target: 202},
		{sent: "{\"target_id\":202,\"message\":\" \n\"}", code: domain.CodeBadJSON},
		{sent: `{"target_id":202,"message":"  "}`, kind: Message, target: 202, text: "  "},
		{sent: `{"target_id":"202","message":"x"}`, kind: Message, target: 202, text: "x"},
		{sent: `{"target_id":" 202\t","message":"x"}`, kind: Message, target: 202, text: "x"},
		{sent: `{"target_id":" 202\n ","message":"x"}`, kind: Message, target: 202, text: "x"},
		{sent: `{"target_id":"+0202","message":"x"}`, kind: Message, target: 202, text: "x"},
		{sent: `{"target_id":202.0,"message":"x"}`, kind: Message, target: 202, text: "x"},
		{sent: `{"target_id":2.02e2,"message":"x"}`, kind: Message, target: 202, text: "x"},
		{sent: `{"target_id":20200e-2,"message":"x"}`, kind: Message, target: 202, text: "x"},
		{sent: `{"target_id":9223372036854775807,"message":"x"}`, kind: Message, target: 9223372036854775807, text: "x"},
		{sent: `{"target_id":9223372036854775808,"message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":"99999999999999999999","message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":1e999999999999,"message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":1e-999999999999,"message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":0e999999999999,"message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":null,"message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":0,"message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":-0.0,"message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":"0","message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":-5,"message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":"-5","message":"x"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"target_id":1.5,"message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":-1.5,"message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":"1.5","message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":"202.0","message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":"","message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":"2 2","message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":"abc","message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":"٢","message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":true,"message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":[7],"message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":{"a":[]},"message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"Target_id":7,"message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"target_id":7,"Message":"x"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"message":5}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":null}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"message":true}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":{"a":"b"}}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"type":"dance"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"type":5}`, code: domain.CodeBadFrame},
		{sent: `{}`, code: domain.CodeBadFrame},
		{sent: `[]`, code: domain.CodeBadFrame},
		{sent: `null`, code: domain.CodeBadFrame},
		{sent: `"x"`, code: domain.CodeBadFrame},
		{sent: ` 5`, code: domain.CodeBadFrame},
		{sent: ``, code: domain.CodeBadJSON},
		{sent: `{"target_id":7,"message":"x"`, code: domain.CodeBadJSON},
		{sent: `{"target_id":7,"message":"x"}{}`, code: domain.CodeBadJSON},
		{sent: `{"target_id":07,"message":"x"}`, code: domain.CodeBadJSON},
		{sent: `{"target_id":7,"message":"x","y":` + deep + `}`, code: domain.CodeBadJSON},
		{sent: `{"target_id":7,"target_id":7,"message":"x"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"message":"x","z":1,"z":1}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"message":"x","\u006dessage":"y"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"\u006dessage":"x"}`, kind: Message, target: 7, text: "x"},
		{sent: `{"target_id":7,"message":"\ud83d\ude00\\ud800"}`, kind: Message, target: 7, text: "😀" + `\ud800`},
		{sent: `{"target_id":7,"message":"\ud800"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"\ude00\ud83d"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"\ud83dx"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"\ud83d\n"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"\ud83d\ud83d\ude00"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"x","y":"\uDBFF"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"message":"x","type":"invite_game","from_id":1,"to_id":[{"message":1,"message":2}],"status":0}`, kind: Message, target: 7, text: "x"},
		{sent: `{"target_id":7,"message":"x","token":5}`, kind: Message, target: 7, text: "x"},
		{sent: `{"target_id":7,"message":"x","client_msg_id":"a b~"}`, kind: Message, target: 7, text: "x"},
		{sent: `{"target_id":7,"message":"x","client_msg_id":""}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"x","client_msg_id":"é"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"x","client_msg_id":"` + strings.Repeat("x", 65) + `"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"type":"invite_game","status":"invite","room_id":"mine"}`, kind: Invite, target: 7},
		{sent: `{"target_id":"7","type":"invite_game","status":"cancel"}`, kind: Invite, target: 7},
		{sent: `{"target_id":7,"type":"invite_game","status":"accept"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"type":"invite_game"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":null,"type":"invite_game","status":"invite"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"type":"invite_game","status":"invite"}`, code: domain.CodeBadTarget},
		{sent: `{"token":"x"}`, kind: Renewal},
		{sent: `{"token":5,"features":[]}`, kind: Renewal},
		{sent: `{"token":"x","message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"type":"ping"}`, kind: Ping},
		{sent: `{"type":"ping","target_id":"x","token":"x","status":5,"client_msg_id":5}`, kind: Ping},
		{sent: `{"type":"ping","message":"x"}`, code: domain.CodeBadTarget},
		{sent: `{"type":"ping","target_id":7,"message":"x"}`, kind: Message, target: 7, text: "x"},
		{sent: `{"type":"Ping"}`, code: domain.CodeBadFrame},
		{sent: `{"type":["ping"]}`, code: domain.CodeBadFrame},
		{sent: `{"type":"pong"}`, code: domain.CodeBadFrame},
	} {
		name := test.sent[:min(len(test.sent), 120)]
		got, err := Parse([]byte(test.sent), nil)
		if code := domain.CodeOf(err); code != test.code {
			t.Errorf("%s: code %q, want %q", name, code, test.code)
			continue
		}
		if err == nil && (got.Kind != test.kind || got.Target != test.target || got.Text.String() != test.text) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestAFieldThatIsNullIsAbsent has each field of each frame null, one at a time and all that the frame has no use for.
func TestAFieldThatIsNullIsAbsent(t *testing.T) {
	const room = "4f4cbd2e-8a07-4e1c-9d53-3f1d2a0f7b11"
	all := []string{"token", "features", "target_id", "message", "type", "status", "room_id", "client_msg_id", "x"}
	parse := func(fields map[string]any) string {
		data, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		req, err := Parse(data, Features{port.FeatureInvites: {}})
		req.SentTarget = nil
		return fmt.Sprintf("%+v, %v", req, err)
	}
	for name, frame := range map[string]map[string]any{
		"message": {"target_id": 7, "message": "m", "client_msg_id": "n", "type": "chat_message", "token": "t", "status": "s", "room_id": "r"},
		"invite":  {"target_id": 7, "type": "invite_game", "status": "invite", "client_msg_id": "n"},
		"cancel":  {"target_id": 7, "type": "invite_game", "status": "cancel", "client_msg_id": "n", "room_id": room},
		"accept":  {"target_id": 7, "type": "invite_game", "status": "accept", "client_msg_id": "n", "room_id": room},
		"renewal": {"token": "t", "features": []string{"invites"}},
		"ping":    {"type": "ping", "client_msg_id": "n"},
	} {
		full := maps.Clone(frame)
		for _, field := range all {
			if _, used := full[field]; !used {
				full[field] = nil
			}
		}
		if got, want := parse(full), parse(frame); got != want {
			t.Errorf("%s with every other field null: %s; without them: %s", name, got, want)
		}
		for _, field := range all {
			without, null := maps.Clone(frame), maps.Clone(frame)
			delete(without, field)
			null[field] = nil
			got, want := parse(null), parse(without)
			switch {
			case field == "target_id" && name != "ping" && name != "renewal":
				without["target_id"] = -1 // nobody, as for the original server
				want = parse(without)
			case field == "token" && name == "renewal":
				want = parse(map[string]any{"token": ""}) // a bad token
			}
			if got != want {
				t.Errorf("%s with %s null: %s, want %s", name, field, got, want)
			}
		}
	}
	for _, first := range []string{`{"token":"t","features":null,"target_id":null,"message":null}`, `{"token":"t"}`} {
		if got, ok := ParseLogin([]byte(first)); got.Token != "t" || got.Features != nil || got.Resume != nil || !ok {
			t.Errorf("%s is the login %+v, %t", first, got, ok)
		}
	}
	if _, ok := ParseLogin([]byte(`{"token":null}`)); ok {
		t.Error("a null token is a login")
	}
}

func TestWhatNeedsAFeatureNamesIt(t *testing.T) {
	for _, status := range []string{"accept", "decline"} {
		_, err := Parse(fmt.Appendf(nil, `{"target_id":7,"type":"invite_game","status":%q}`, status), nil)
		if domain.CodeOf(err) != domain.CodeBadFrame || !strings.Contains(err.Error(), status+" needs the feature invites") {
			t.Errorf("%s: %v", status, err)
		}
	}
	// A feature would not help these.
	for _, status := range []string{"expired", "dance", ""} {
		_, err := Parse(fmt.Appendf(nil, `{"target_id":7,"type":"invite_game","status":%q}`, status), nil)
		if domain.CodeOf(err) != domain.CodeBadFrame || strings.Contains(err.Error(), "feature") {
			t.Errorf("%s: %v", status, err)
		}
	}
}

func TestALoginNeedsATokenAndNothingElse(t *testing.T) {
	for sent, want := range map[string]bool{
		`{"token":"x"}`:                           true,
		`{"token":"x","features":["resume"]}`:     true,
		`{"token":"x","features":5,"z":null}`:     true,
		`{"token":"x","target_id":7,"message":5}`: true,
		`{"token":""}`:                            false,
		`{"token":5}`:                             false,
		`{"Token":"x"}`:                           false,
		`["x"]`:                                   false,
	} {
		if first, ok := ParseLogin([]byte(sent)); ok != want || (ok && first.Token != "x") {
			t.Errorf("%s: %q %t", sent, first.Token, ok)
		}
	}
}

func TestALoginNamesWhereItsClientStopped(t *testing.T) {
	text := func(s string) *string { return &s }
	for sent, want := range map[string]*string{
		`{"token":"x"}`:                            nil,
		`{"token":"x","resume":null}`:              nil,
		`{"token":"x","resume":"a\u0062-_"}`:       text("ab-_"),
		`{"token":"x","resume":""}`:                text(""),
		`{"token":"x","resume":7}`:                 text(""),
		`{"token":"x","resume":["AAAA"]}`:          text(""),
		`{"token":"x","resume":"a","features":[]}`: text("a"),
	} {
		first, ok := ParseLogin([]byte(sent))
		if !ok || (first.Resume == nil) != (want == nil) || want != nil && *first.Resume != *want {
			t.Errorf("%s: %+v, %t", sent, first, ok)
		}
	}
}

func TestALoginNamesTheFeaturesThatAreKnown(t *testing.T) {
	first, _ := ParseLogin([]byte(`{"token":"x","features":["string_ids","read_marks","x","receipts","resume","invites","read_marks"]}`))
	want := Features{
		port.FeatureInvites: {}, port.FeatureResume: {}, port.FeatureReadMarks: {}, port.FeatureReceipts: {}, port.FeatureStringIDs: {},
	}
	if !maps.Equal(first.Features, want) {
		t.Errorf("%v", first.Features)
	}
}

func TestARoomAndAnAnswerAreHeededOnConnectionsThatAskedForThem(t *testing.T) {
	const room = "4f4cbd2e-8a07-4e1c-9d53-3f1d2a0f7b11"
	for login, asked := range map[string]bool{
		`{"token":"x","features":["resume","invites"]}`: true,
		`{"token":"x","features":["invites",5]}`:        false, // no list of strings
		`{"token":"x","features":["resume"]}`:           false,
		`{"token":"x","features":"invites"}`:            false,
		`{"token":"x"}`:                                 false,
	} {
		first, ok := ParseLogin([]byte(login))
		if !ok {
			t.Fatalf("%s is no login", login)
		}
		for status, known := range map[string]bool{"invite": true, "cancel": true, "accept": asked, "decline": asked, "expired": false} {
			got, err := Parse(fmt.Appendf(nil, `{"target_id":7,"type":"invite_game","status":%q,"room_id":%q}`, status, room), first.Features)
			want := domain.RoomID("")
			if asked {
				want = room
			}
			switch {
			case known && (err != nil || got.Room != want || string(got.Status) != status):
				t.Errorf("%s, then %s: %+v, %v", login, status, got, err)
			case !known && domain.CodeOf(err) != domain.CodeBadFrame:
				t.Errorf("%s, then %s: %v", login, status, err)
			}
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, seed := range []string{
		`{"target_id":202,"message":"hello","client_msg_id":"a"}`, `{"target_id":" 2 ","type":"invite_game","status":"invite"}`,
		`{"token":"x","features":["resume"]}`, `{"target_id":2.02e2,"message":"\ud83d\ude00"}`, `{"a":[{"b":"]}"}],"a":1}`,
		`{"target_id":-1.50E+07,"message":null}`, `[]`, ` null `, `{"\u0061":"\ud800"}`, `{"target_id":1e99999999999999999999,"message":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) {
			return // refused before
		}
		before := bytes.Clone(data)
		req, err := Parse(data, nil)
		if _, ok := ParseLogin(data); ok && !json.Valid(data) {
			t.Fatal("a login that is no JSON")
		}
		if !bytes.Equal(before, data) {
			t.Fatal("the input was changed")
		}
		if bad := domain.CodeOf(err) == domain.CodeBadJSON; bad == json.Valid(data) {
			t.Fatalf("valid JSON: %t, error: %v", json.Valid(data), err)
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(data, &object) != nil || object == nil {
			if err == nil {
				t.Fatal("accepted what is no object")
			}
			return
		}
		if req.SentTarget != nil && !bytes.Equal(req.SentTarget, object["target_id"]) {
			t.Fatalf("target %q, sent %q", req.SentTarget, object["target_id"])
		}
		if err != nil {
			if req.Kind != 0 {
				t.Fatal("a refused frame with a kind")
			}
			return
		}
		switch req.Kind {
		case Message:
			var sent string
			if json.Unmarshal(object["message"], &sent) != nil || sent != req.Text.String() {
				t.Fatalf("text %q, sent %s", req.Text, object["message"])
			}
		case Invite, Renewal, Ping:
			if isPresent(object["message"]) {
				t.Fatal("a message was not taken for one")
			}
		default:
			t.Fatalf("kind %d", req.Kind)
		}
		if (req.Kind == Renewal || req.Kind == Ping) != (req.Target == 0) || req.Target < 0 {
			t.Fatalf("kind %d with target %d", req.Kind, req.Target)
		}
		if req.Kind == Ping {
			return // its target_id is not looked at
		}
		// A number in plain notation must be read as encoding/json reads it.
		var plain int64
		if json.Unmarshal(object["target_id"], &plain) == nil && int64(req.Target) != plain {
			t.Fatalf("target %d, sent %s", req.Target, object["target_id"])
		}
	})
}
