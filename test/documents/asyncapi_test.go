package documents

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"chatting/adapters/wire"
	"chatting/domain"
	"chatting/test/harness"
)

// asyncAPI is the document.
type asyncAPI struct{ *harness.AsyncAPI }

func readAsyncAPI(t *testing.T) *asyncAPI {
	t.Helper()
	d, err := harness.ReadAsyncAPI()
	if err != nil {
		t.Fatal(err)
	}
	return &asyncAPI{d}
}

// examples returns those of a message as JSON.
func (d *asyncAPI) examples(t *testing.T, message string) [][]byte {
	t.Helper()
	var all [][]byte
	for _, example := range d.Components.Messages[message].Examples {
		encoded, err := json.Marshal(example.Payload)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, encoded)
	}
	if len(all) == 0 {
		t.Errorf("%s has no example", message)
	}
	return all
}

func TestEveryExampleOfAsyncAPIFitsItsMessageAndNoOther(t *testing.T) {
	d := readAsyncAPI(t)
	for channel, c := range d.Channels {
		for message, ref := range c.Messages {
			if ref.Name() != message {
				t.Errorf("%s has %s under the name %s", channel, ref.Name(), message)
			}
		}
	}
	for name := range d.Components.Messages {
		for _, example := range d.examples(t, name) {
			for other := range d.Components.Messages {
				// A session may be anything, and so may a dead letter. What programs say looks like what users say, elsewhere. An
				// act or an announcement is in the audit what it is among the conversations.
				if other == "session" || other == "deadLetter" || name == "producedMessage" && other == "say" ||
					(name == "say" || name == "deadLetter") && other == "producedMessage" || (name == "act" || name == "announcement") && other == "event" {
					continue
				}
				if err := d.Check(other, example); (err == nil) != (other == name) {
					t.Errorf("an example of %s as %s: %v: %s", name, other, err, example)
				}
			}
		}
	}
}

// Generators make the names of types of the titles, and of payloads without one AnonymousSchema_11.
func TestEveryPayloadHasATitleThatIsTheNameOfAType(t *testing.T) {
	d := readAsyncAPI(t)
	name, seen := regexp.MustCompile(`^[A-Z][A-Za-z]+$`), map[string]string{}
	var check func(place string, schema *jsonschema.Schema)
	check = func(place string, schema *jsonschema.Schema) {
		for schema.Ref != nil && schema.Title == "" {
			schema = schema.Ref
		}
		if !name.MatchString(schema.Title) {
			t.Errorf("the title of %s is %q", place, schema.Title)
		}
		if other, twice := seen[schema.Title]; twice && other != schema.Location {
			t.Errorf("%s is the title of %s and of %s", schema.Title, other, schema.Location)
		}
		seen[schema.Title] = schema.Location
		for i, one := range schema.OneOf {
			check(fmt.Sprint(place, " ", i), one)
		}
		for name, property := range schema.Properties {
			if part := property; part.Types != nil && slices.Contains(part.Types.ToStrings(), "object") || part.Enum != nil {
				check(place+" "+name, part)
			}
		}
	}
	for message, schema := range d.Payloads {
		check(message, schema)
	}
}

func TestTheExampleFramesAreWhatTheServerWrites(t *testing.T) {
	d := readAsyncAPI(t)
	same := func(example, written []byte) {
		t.Helper()
		var a, b map[string]any
		if err := json.Unmarshal(example, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, &b); err != nil {
			t.Fatal(err)
		}
		delete(a, "client_msg_id") // spliced in for the sender
		delete(b, "client_msg_id")
		for _, spliced := range []string{"replayed", "resume", "recovered", "recovered_from", "unread"} { // for who was away, or has read
			delete(a, spliced)
			delete(b, spliced)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("the document has %s, the server writes %s", example, written)
		}
	}
	event := func(data []byte) domain.Event {
		t.Helper()
		decoded, err := wire.DecodeEvent(data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		written, err := wire.EncodeEvent(decoded)
		if err != nil {
			t.Fatal(err)
		}
		same(data, written)
		return decoded
	}
	for _, message := range []string{"chatMessage", "inviteGame", "systemMessage", "readMark"} {
		for _, example := range d.examples(t, message) {
			event(example)
		}
	}
	for _, example := range d.examples(t, "event") {
		var e struct {
			ID, Type, Subject string
			Data              json.RawMessage
		}
		if err := json.Unmarshal(example, &e); err != nil {
			t.Fatal(err)
		}
		decoded := event(e.Data)
		var data struct{ Type string }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		if e.ID != decoded.ID.String() || e.Type != "chatting."+data.Type+".v1" || e.Subject != decoded.Body.Actor().String() {
			t.Errorf("the envelope is not that of its data: %s", example)
		}
	}

	var f struct {
		Error, Code   string
		OnlineFriends []domain.UserID `json:"online_friends"`
		FromID        json.RawMessage `json:"from_id"`
		ToID          domain.UserID   `json:"to_id"`
		Status        string
		Time          time.Time
		RetryAfter    int       `json:"retry_after_ms"`
		Expires       time.Time `json:"expires_at"`
		TokenExpires  time.Time `json:"token_expires_at"`
		Until         time.Time
		Reason        string
	}
	for message, write := range map[string]func() []byte{
		"pong": func() []byte { return wire.PongFrame(f.Time) },
		"loggedIn": func() []byte {
			data := wire.LoginFrame(f.ToID, f.OnlineFriends, f.Time)
			if !f.TokenExpires.IsZero() {
				data = wire.WithTokenExpiry(data, f.TokenExpires)
			}
			return data
		},
		"tokenRenewed":  func() []byte { return wire.TokenRenewedFrame(f.ToID, f.Expires, f.Time) },
		"tokenExpiring": func() []byte { return wire.TokenExpiringFrame(f.ToID, f.Expires, f.Time) },
		"error": func() []byte {
			data := wire.ErrorFrame(f.ToID, domain.Code(f.Code), f.Error, f.FromID, "", f.Time)
			if f.RetryAfter > 0 {
				data = wire.WithRetryAfter(data, time.Duration(f.RetryAfter)*time.Millisecond)
			}
			if f.Reason != "" {
				data = wire.WithAct(data, f.Until, f.Reason)
			}
			return data
		},
		"sendStatus": func() []byte {
			var from domain.UserID
			if err := json.Unmarshal(f.FromID, &from); err != nil {
				t.Fatal(err)
			}
			return wire.StatusFrame(f.ToID, domain.Transition{User: from, Online: f.Status == "online", At: f.Time})
		},
	} {
		for _, example := range d.examples(t, message) {
			f.FromID, f.RetryAfter, f.Expires, f.TokenExpires, f.Reason = nil, 0, time.Time{}, time.Time{}, ""
			if err := json.Unmarshal(example, &f); err != nil {
				t.Fatal(err)
			}
			same(example, write())
		}
	}
}

func TestTheDocumentedCodesAreThoseOfErrorFrames(t *testing.T) {
	d := readAsyncAPI(t)
	for _, code := range []domain.Code{
		domain.CodeBadJSON, domain.CodeBadFrame, domain.CodeBadTarget, domain.CodeBadMessage, domain.CodeTooLong,
		domain.CodeNoUserOrOffline, domain.CodeRateLimited, domain.CodeInviteEnded, domain.CodeNotInvited, domain.CodeUnavailable,
		domain.CodeUnconfirmed,
	} {
		if err := d.Check("error", wire.ErrorFrame(1, code, "x", nil, "", time.Now())); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
	for _, code := range []domain.Code{domain.CodeInternal, domain.CodeUnauthenticated} {
		if err := d.Check("error", wire.ErrorFrame(1, code, "x", nil, "", time.Now())); err == nil {
			t.Errorf("%s is no code of frames", code)
		}
	}
}

func TestWhatTheServerSendsAndLogsIsAsAsyncAPISays(t *testing.T) {
	d := readAsyncAPI(t)
	s := startServer(t, "CHATTING_WEBSOCKET_TOKEN_WARNING=24h") // before any token of the command expires
	seen := map[string]bool{}
	// classify finds the one message of a list that a payload is.
	classify := func(payload []byte, names []string) {
		t.Helper()
		name, err := d.Classify(payload, names)
		if err != nil {
			t.Error(err)
		}
		seen[name] = true
	}
	toClients := d.ToClients()

	ann, answer := s.login(201, "read_marks", "receipts")
	classify(answer, toClients)
	s.post("/api/chatting/friends/", `{"target_id":202}`, s.token(201), 201)
	bob, answer := s.login(202)
	classify(answer, toClients)
	classify(s.next(ann), toClients) // bob is online
	// The document's own examples, which are from 201 to 202.
	var said []byte
	for _, message := range []string{"say", "invite"} {
		for _, example := range d.examples(t, message) {
			if err := ann.WriteMessage(1, example); err != nil {
				t.Fatal(err)
			}
			said = s.next(ann)
			classify(said, toClients)
			classify(s.next(bob), toClients)
		}
	}
	alone := append(d.examples(t, "ping"), []byte(`{"target_id":"9","message":"x","client_msg_id":"m2"}`), []byte(`{`), []byte(`{}`))
	for _, frame := range alone {
		if err := ann.WriteMessage(1, frame); err != nil {
			t.Fatal(err)
		}
		classify(s.next(ann), toClients)
	}
	s.markRead(201, 202, said)
	classify(s.next(ann), toClients)
	s.post("/s2sapi/system-message/", `{"target_id":202,"message":"join","type":"invite_game","room_id":"room 7","opponent_id":201}`, "", 200)
	classify(s.next(bob), toClients)
	s.post("/api/chatting/blockedusers/", `{"target_id":201}`, s.token(202), 201)
	_ = bob.Close()
	classify(s.next(ann), toClients)

	cat, answer := s.login(203, "token_renewal")
	classify(answer, toClients)
	classify(s.next(cat), toClients) // its token expires soon
	if err := cat.WriteJSON(map[string]string{"token": s.token(203)}); err != nil {
		t.Fatal(err)
	}
	classify(s.next(cat), toClients)

	s.post("/s2sapi/moderation/", `{"act":"end","user_id":299,"actor":"alice"}`, "", 200)
	s.post("/s2sapi/moderation/announcements/", `{"to":"online","message":"noon","actor":"alice"}`, "", 200)
	if status := s.request(http.MethodGet, "/s2sapi/moderation/activity/?user_id=201&texts=true&actor=alice&reason=why", "", ""); status != 200 {
		t.Fatalf("reading texts: %d", status)
	}
	for _, channel := range []string{"conversations", "presence", "sessions", "audit"} {
		names := slices.Collect(maps.Keys(d.Channels[channel].Messages))
		ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
		harness.Until(ctx, t, "records in "+channel, func() bool {
			records := harness.ReadTopic(ctx, t, s.Kafka, d.Channels[channel].Address)
			for _, record := range records {
				classify(record.Value, names)
			}
			return len(records) >= min(len(names), 3)
		})
		cancel()
	}
	for _, name := range append(toClients, "event", "presenceChanged", "session", "act", "announcement", "textsRead") {
		if !seen[name] {
			t.Errorf("no %s was seen", name)
		}
	}
}

// markRead marks a conversation as read up to a frame, once the history has it.
func (s *server) markRead(user, partner int, frame []byte) {
	s.t.Helper()
	var said struct{ ID string }
	if err := json.Unmarshal(frame, &said); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), harness.FrameWait)
	defer cancel()
	token := s.token(user)
	harness.Until(ctx, s.t, "the conversation is marked as read", func() bool {
		path := fmt.Sprintf("/api/chatting/conversations/%d/read/", partner)
		return s.request(http.MethodPut, path, `{"message_id":"`+said.ID+`"}`, token) == http.StatusOK
	})
}

// post makes a POST request of the REST API.
func (s *server) post(path, body, token string, want int) {
	s.t.Helper()
	if status := s.request(http.MethodPost, path, body, token); status != want {
		s.t.Fatalf("%s: %d", path, status)
	}
}

// request makes a request of the REST API and returns the status of its answer.
func (s *server) request(method, path, body, token string) int {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.HTTP+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
