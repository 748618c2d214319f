package kafka

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"chatting/domain"
)

const someNode = "a1b90ad2-b63b-4d23-9053-16d9a9e54230"

// A number that is too large must not come out as another one, whichever way a record is read.
func TestNumbersOfSessionRecordsDoNotOverflow(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "999999999999999999": 999_999_999_999_999_999, // 18 digits
		"1000000000000000000": 1_000_000_000_000_000_000, "9223372036854775807": math.MaxInt64,
		// These are refused.
		"9223372036854775808": 0, "9999999999999999999": 0, "18446744073709551617": 0, "10000000000000000000000000000000000000001": 0,
		"0": 0, "00": 0, "01": 0, "-1": 0, "+1": 0, "": 0, "1.5": 0, "1a": 0, ":": 0, "/": 0, " ": 0,
	} {
		for kind, value := range map[string]string{
			"a user":  `{"type":"up","incarnation":"` + someNode + `","user":` + text + `,"count":2}`,
			"a count": `{"type":"down","incarnation":"` + someNode + `","user":2,"count":` + text + `}`,
		} {
			r, err := decodeSession([]byte(value))
			got := r.Count
			if kind == "a user" {
				got = int64(r.User)
			}
			if (err == nil) != (want > 0) || err == nil && got != want {
				t.Errorf("%s of %s is read as %d, %v", kind, text, got, err)
			}
		}
	}
}

func TestSessionRecordsOfOtherWritersAreReadOrRefused(t *testing.T) {
	node := domain.Incarnation{0xa1, 0xb9, 0x0a, 0xd2, 0xb6, 0x3b, 0x4d, 0x23, 0x90, 0x53, 0x16, 0xd9, 0xa9, 0xe5, 0x42, 0x30}
	for value, want := range map[string]*domain.SessionRecord{ // nil: refused
		`{"type":"up","incarnation":"NODE","user":7,"count":1}`:                                 {Kind: domain.SessionUp, Incarnation: node, User: 7, Count: 1},
		`{"type":"down","incarnation":"NODE","user":7,"count":1}`:                               {Kind: domain.SessionDown, Incarnation: node, User: 7, Count: 1},
		`{"type":"away","incarnation":"NODE","user":7,"count":1}`:                               {Kind: domain.SessionAway, Incarnation: node, User: 7, Count: 1},
		`{"type":"away","incarnation":"NODE","user":7}`:                                         nil,
		`{"type":"away","user":7,"count":1}`:                                                    nil,
		`{"user":7,"count":1,"incarnation":"NODE","type":"up"}`:                                 {Kind: domain.SessionUp, Incarnation: node, User: 7, Count: 1},
		`{"type":"up","incarnation":"NODE","user":7,"count":1,"x":2}`:                           {Kind: domain.SessionUp, Incarnation: node, User: 7, Count: 1},
		`{"type":"up","incarnation":"NODE","user":7}`:                                           nil,
		`{"type":"up","incarnation":"NODE","count":1}`:                                          nil,
		`{"type":"up","user":7,"count":1}`:                                                      nil,
		`{"type":"up","incarnation":"x","user":7,"count":1}`:                                    nil,
		`{"type":"up","incarnation":"`:                                                          nil,
		`{"type":"down","incarnation":"NODE","user":-7,"count":1}`:                              nil,
		`{"type":"down","incarnation":"NODE","user":7,"count":-1}`:                              nil,
		`{"type":"beat","incarnation":"NODE"}`:                                                  {Kind: domain.SessionBeat, Incarnation: node},
		`{"type":"beat"}`:                                                                       nil,
		`{"type":"dead","incarnation":"NODE"}`:                                                  {Kind: domain.SessionDead, Incarnation: node},
		`{"type":"dead"}`:                                                                       nil,
		`{"type":"leaving","incarnation":"NODE"}`:                                               {Kind: domain.SessionLeaving, Incarnation: node},
		`{"type":"leaving"}`:                                                                    nil,
		`{"type":"leaving","incarnation":"NODE","grace_ms":1500}`:                               {Kind: domain.SessionLeaving, Incarnation: node, Grace: 1500 * time.Millisecond},
		`{"type":"leaving","incarnation":"NODE","grace_ms":3600000}`:                            {Kind: domain.SessionLeaving, Incarnation: node, Grace: time.Hour},
		`{"type":"leaving","incarnation":"NODE","grace_ms":3600001}`:                            nil,
		`{"type":"leaving","incarnation":"NODE","grace_ms":-1}`:                                 nil,
		`{"type":"` + string(domain.FriendsChanged) + `","user":7}`:                             {Kind: domain.FriendsChanged, User: 7},
		`{"type":"` + string(domain.FriendsChanged) + `"}`:                                      nil,
		`{"type":"` + string(domain.UserErased) + `","user":7}`:                                 {Kind: domain.UserErased, User: 7},
		`{"type":"` + string(domain.UserErased) + `","user":0}`:                                 nil,
		`{"type":"` + string(domain.UserForgotten) + `","user":7}`:                              {Kind: domain.UserForgotten, User: 7},
		`{"type":"` + string(domain.UserForgotten) + `","user":-1}`:                             nil,
		`{"type":"of a later version"}`:                                                         {Kind: "of a later version"},
		`{"type":"up","incarnation":"NODE","usxr":7,"count":1}`:                                 nil,
		`{"type":"up","incarnation":"NODE","user":7,"cxunt":1}`:                                 nil,
		`{"type":"up","incarnation":"NODE","user":7`:                                            nil,
		`{"type":"up","incarnation":"NODE","user":`:                                             nil,
		`{"type":"up","incarnation":"NODE`:                                                      nil,
		`{"type":"up","incarnation":"0123456789 is no name of any node!!!","user":7,"count":1}`: nil,
		`up`: nil,
	} {
		got, err := decodeSession([]byte(strings.ReplaceAll(value, "NODE", someNode)))
		if (err == nil) != (want != nil) || err == nil && got != *want {
			t.Errorf("%s is read as %+v, %v", value, got, err)
		}
	}
}

// The public topic of presence is a contract with analytics.
func TestAPresenceEventSaysWhoWhatAndWhen(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 123_000_000, time.UTC)
	for online, status := range map[bool]string{true: "online", false: "offline"} {
		id := domain.DerivedID("test", status)
		value := encodePresence(id, domain.Transition{User: 7, Online: online, At: at})
		want := `{"specversion":"1.0","id":"` + id.String() + `","source":"/chatting","type":"chatting.presence_changed.v1","subject":"7",` +
			`"time":"2026-11-23T12:00:00.123Z","datacontenttype":"application/json",` +
			`"data":{"user_id":7,"status":"` + status + `","time":"2026-11-23T12:00:00.123Z"}}`
		if string(value) != want {
			t.Errorf("it is\n%s\nnot\n%s", value, want)
		}
	}
}

// The types and the envelope of events are a contract with whoever reads the topic.
func TestAnEventNamesItsTypeAndItsActor(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for kind, c := range map[string]struct {
		body    domain.Body
		subject string
	}{
		"chatting.chat_message.v1":   {domain.ChatMessage{From: 9, To: 10, Text: mustText(t, "<hi>")}, "9"},
		"chatting.invite_game.v1":    {domain.GameInvite{From: 10, To: 9, Status: domain.InviteCancelled}, "10"},
		"chatting.system_message.v1": {domain.SystemMessage{To: 9, Text: mustText(t, "m")}, "0"},
		"chatting.read_mark.v1":      {domain.ReadMark{Reader: 10, Partner: 9, Message: domain.DerivedID("test", "m"), Unread: 3, Receipt: true}, "10"},
		"chatting.user_blocked.v1":   {domain.BlockChanged{Blocker: 9, Target: 10, Blocked: true, Version: 3}, "9"},
		"chatting.user_unblocked.v1": {domain.BlockChanged{Blocker: 10, Target: 9, Version: 4}, "10"},
	} {
		event := domain.Event{ID: domain.DerivedID("test", kind), Time: at, Body: c.body, ClientMessageID: "name"}
		value, err := EncodeEvent(event)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(value, &got); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(value), `\u003c`) || strings.HasSuffix(string(value), "\n") {
			t.Errorf("it is written as %q", value)
		}
		delete(got, "data")
		for attribute, want := range map[string]string{
			"specversion": "1.0", "id": event.ID.String(), "source": "/chatting", "type": kind, "subject": c.subject,
			"time": "2026-11-23T12:00:00.000Z", "clientmsgid": "name", "datacontenttype": "application/json",
		} {
			if got[attribute] != want {
				t.Errorf("%s: its %s is %v, not %s", kind, attribute, got[attribute], want)
			}
			delete(got, attribute)
		}
		if _, isMark := c.body.(domain.ReadMark); isMark {
			if got["unread"] != 3.0 || got["receipt"] != true {
				t.Errorf("%s: it has %v", kind, got)
			}
			delete(got, "unread")
			delete(got, "receipt")
		}
		if len(got) > 0 {
			t.Errorf("%s: it also has %v", kind, got)
		}
	}
	if value, err := EncodeEvent(domain.Event{ID: domain.DerivedID("test", "x"), Time: at}); err == nil {
		t.Errorf("an event of nothing is written as %s", value)
	}
}
