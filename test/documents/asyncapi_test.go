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

	"chatting/adapters/frame"
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
				// A session may be anything, and so may a dead letter. What programs say looks like what users say, elsewhere.
				if other == "session" || other == "deadLetter" || name == "producedMessage" && other == "say" ||
					(name == "say" || name == "deadLetter") && other == "producedMessage" {
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
		delete(a, "replayed") // spliced in for who was offline
		delete(b, "replayed")
		if !reflect.DeepEqual(a, b) {
			t.Errorf("the document has %s, the server writes %s", example, written)
		}
	}
	event := func(data []byte) domain.Event {
		t.Helper()
		decoded, err := frame.Decode(data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		written, err := frame.Encode(decoded)
		if err != nil {
			t.Fatal(err)
		}
		same(data, written)
		return decoded
	}
	for _, message := range []string{"chatMessage", "inviteGame", "systemMessage"} {
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
		RetryAfter    int `json:"retry_after_ms"`
	}
	for message, write := range map[string]func() []byte{
		"pong":     func() []byte { return frame.Pong(f.Time) },
		"loggedIn": func() []byte { return frame.Login(f.ToID, f.OnlineFriends, f.Time) },
		"error": func() []byte {
			data := frame.Error(f.ToID, domain.Code(f.Code), f.Error, f.FromID, "", f.Time)
			if f.RetryAfter > 0 {
				data = frame.WithRetryAfter(data, time.Duration(f.RetryAfter)*time.Millisecond)
			}
			return data
		},
		"sendStatus": func() []byte {
			var from domain.UserID
			if err := json.Unmarshal(f.FromID, &from); err != nil {
				t.Fatal(err)
			}
			return frame.Status(f.ToID, domain.Transition{User: from, Online: f.Status == "online", At: f.Time})
		},
	} {
		for _, example := range d.examples(t, message) {
			f.FromID, f.RetryAfter = nil, 0
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
		if err := d.Check("error", frame.Error(1, code, "x", nil, "", time.Now())); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
	for _, code := range []domain.Code{domain.CodeInternal, domain.CodeUnauthenticated} {
		if err := d.Check("error", frame.Error(1, code, "x", nil, "", time.Now())); err == nil {
			t.Errorf("%s is no code of frames", code)
		}
	}
}

func TestWhatTheServerSendsAndLogsIsAsAsyncAPISays(t *testing.T) {
	d := readAsyncAPI(t)
	s := startServer(t)
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

	ann, answer := s.login(201)
	classify(answer, toClients)
	s.post("/api/chatting/friends/", `{"target_id":202}`, s.token(201), 201)
	bob, answer := s.login(202)
	classify(answer, toClients)
	classify(s.next(ann), toClients) // bob is online
	// The document's own examples, which are from 201 to 202.
	for _, message := range []string{"say", "invite"} {
		for _, example := range d.examples(t, message) {
			if err := ann.WriteMessage(1, example); err != nil {
				t.Fatal(err)
			}
			classify(s.next(ann), toClients)
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
	s.post("/s2sapi/system-message/", `{"target_id":202,"message":"join","type":"invite_game","room_id":"room 7","opponent_id":201}`, "", 200)
	classify(s.next(bob), toClients)
	s.post("/api/chatting/blockedusers/", `{"target_id":201}`, s.token(202), 201)
	_ = bob.Close()
	classify(s.next(ann), toClients)

	for _, channel := range []string{"conversations", "presence", "sessions"} {
		names := slices.Collect(maps.Keys(d.Channels[channel].Messages))
		ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
		harness.Until(ctx, t, "records in "+channel, func() bool {
			records := harness.ReadTopic(ctx, t, s.Kafka, d.Channels[channel].Address)
			for _, record := range records {
				classify(record.Value, names)
			}
			return len(records) > 0
		})
		cancel()
	}
	for _, name := range append(toClients, "event", "presenceChanged", "session") {
		if !seen[name] {
			t.Errorf("no %s was seen", name)
		}
	}
}

// post makes a request of the REST API.
func (s *server) post(path, body, token string, want int) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.HTTP+path, strings.NewReader(body))
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
	if response.StatusCode != want {
		s.t.Fatalf("%s: %d", path, response.StatusCode)
	}
}
