package ws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"chatting/domain"
)

func TestFramesOfClients(t *testing.T) {
	deep := strings.Repeat("[", 20000)
	for _, test := range []struct {
		sent   string
		kind   requestKind
		target domain.UserID
		text   string
		code   domain.Code
	}{
		{sent: `{"target_id":202,"message":"hello"}`, kind: message, target: 202, text: "hello"},
		{sent: ` { "message" : "a\"}\\" , "target_id" : 1 } `, kind: message, target: 1, text: `a"}\`},
		{sent: `{"target_id":202,"message":""}`, kind: message, target: 202},
		{sent: "{\"target_id\":202,\"message\":\" \n\"}", code: domain.CodeBadJSON},
		{sent: `{"target_id":202,"message":"  "}`, kind: message, target: 202, text: "  "},
		{sent: `{"target_id":"202","message":"x"}`, kind: message, target: 202, text: "x"},
		{sent: `{"target_id":" 202\t","message":"x"}`, kind: message, target: 202, text: "x"},
		{sent: `{"target_id":" 202\n ","message":"x"}`, kind: message, target: 202, text: "x"},
		{sent: `{"target_id":"+0202","message":"x"}`, kind: message, target: 202, text: "x"},
		{sent: `{"target_id":202.0,"message":"x"}`, kind: message, target: 202, text: "x"},
		{sent: `{"target_id":2.02e2,"message":"x"}`, kind: message, target: 202, text: "x"},
		{sent: `{"target_id":20200e-2,"message":"x"}`, kind: message, target: 202, text: "x"},
		{sent: `{"target_id":9223372036854775807,"message":"x"}`, kind: message, target: 9223372036854775807, text: "x"},
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
		{sent: `{"target_id":7,"message":null}`, code: domain.CodeBadMessage},
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
		{sent: `{"target_id":7,"\u006dessage":"x"}`, kind: message, target: 7, text: "x"},
		{sent: `{"target_id":7,"message":"\ud83d\ude00\\ud800"}`, kind: message, target: 7, text: "😀" + `\ud800`},
		{sent: `{"target_id":7,"message":"\ud800"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"\ude00\ud83d"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"\ud83dx"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"\ud83d\n"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"\ud83d\ud83d\ude00"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"x","y":"\uDBFF"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"message":"x","type":"invite_game","from_id":1,"to_id":[{"message":1,"message":2}],"status":0}`, kind: message, target: 7, text: "x"},
		{sent: `{"target_id":7,"message":"x","token":5}`, kind: message, target: 7, text: "x"},
		{sent: `{"target_id":7,"message":"x","client_msg_id":"a b~"}`, kind: message, target: 7, text: "x"},
		{sent: `{"target_id":7,"message":"x","client_msg_id":""}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"x","client_msg_id":null}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"x","client_msg_id":"é"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"message":"x","client_msg_id":"` + strings.Repeat("x", 65) + `"}`, code: domain.CodeBadMessage},
		{sent: `{"target_id":7,"type":"invite_game","status":"invite","room_id":"mine"}`, kind: invite, target: 7},
		{sent: `{"target_id":"7","type":"invite_game","status":"cancel"}`, kind: invite, target: 7},
		{sent: `{"target_id":7,"type":"invite_game","status":"accept"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":7,"type":"invite_game"}`, code: domain.CodeBadFrame},
		{sent: `{"target_id":null,"type":"invite_game","status":"invite"}`, code: domain.CodeNoUserOrOffline},
		{sent: `{"type":"invite_game","status":"invite"}`, code: domain.CodeBadTarget},
		{sent: `{"token":"x"}`, kind: renewal},
		{sent: `{"token":5,"features":[]}`, kind: renewal},
		{sent: `{"token":"x","message":"x"}`, code: domain.CodeBadTarget},
	} {
		name := test.sent[:min(len(test.sent), 120)]
		got, err := parseFrame([]byte(test.sent), nil)
		if code := domain.CodeOf(err); code != test.code {
			t.Errorf("%s: code %q, want %q", name, code, test.code)
			continue
		}
		if err == nil && (got.kind != test.kind || got.target != test.target || got.text.String() != test.text) {
			t.Errorf("%s: %+v", name, got)
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
		if token, _, ok := parseLogin([]byte(sent)); ok != want || (ok && token != "x") {
			t.Errorf("%s: %q %t", sent, token, ok)
		}
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
		_, named, ok := parseLogin([]byte(login))
		if !ok {
			t.Fatalf("%s is no login", login)
		}
		for status, known := range map[string]bool{"invite": true, "cancel": true, "accept": asked, "decline": asked, "expired": false} {
			got, err := parseFrame(fmt.Appendf(nil, `{"target_id":7,"type":"invite_game","status":%q,"room_id":%q}`, status, room), named)
			want := domain.RoomID("")
			if asked {
				want = room
			}
			switch {
			case known && (err != nil || got.room != want || string(got.status) != status):
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
		req, err := parseFrame(data, nil)
		if _, _, ok := parseLogin(data); ok && !json.Valid(data) {
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
		if req.sentTarget != nil && !bytes.Equal(req.sentTarget, object["target_id"]) {
			t.Fatalf("target %q, sent %q", req.sentTarget, object["target_id"])
		}
		if err != nil {
			if req.kind != 0 {
				t.Fatal("a refused frame with a kind")
			}
			return
		}
		switch req.kind {
		case message:
			var sent string
			if json.Unmarshal(object["message"], &sent) != nil || sent != req.text.String() {
				t.Fatalf("text %q, sent %s", req.text, object["message"])
			}
		case invite, renewal:
			if _, there := object["message"]; there {
				t.Fatal("a message was not taken for one")
			}
		default:
			t.Fatalf("kind %d", req.kind)
		}
		if (req.kind == renewal) != (req.target == 0) || req.target < 0 {
			t.Fatalf("kind %d with target %d", req.kind, req.target)
		}
		// A number in plain notation must be read as encoding/json reads it.
		var plain int64
		if json.Unmarshal(object["target_id"], &plain) == nil && int64(req.target) != plain {
			t.Fatalf("target %d, sent %s", req.target, object["target_id"])
		}
	})
}
