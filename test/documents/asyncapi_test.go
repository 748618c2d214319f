package documents

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yamlv3 "go.yaml.in/yaml/v3"

	"chatting/adapters/frame"
	"chatting/domain"
	"chatting/test/harness"
)

// asyncAPI is the document.
type asyncAPI struct {
	Operations map[string]struct {
		Messages []reference `yaml:"messages"`
	} `yaml:"operations"`
	Channels map[string]struct {
		Address  string               `yaml:"address"`
		Messages map[string]reference `yaml:"messages"`
	} `yaml:"channels"`
	Components struct {
		Messages map[string]struct {
			Examples []struct {
				Payload map[string]any `yaml:"payload"`
			} `yaml:"examples"`
		} `yaml:"messages"`
	} `yaml:"components"`

	schemas map[string]*jsonschema.Schema // of the payloads, by the name of the message
	letter  *jsonschema.Schema            // of the headers of a dead letter
	whole   any
}

type reference struct {
	Ref string `yaml:"$ref"`
}

// name returns the last part.
func (r reference) name() string { return r.Ref[strings.LastIndex(r.Ref, "/")+1:] }

func readAsyncAPI(t *testing.T) *asyncAPI {
	t.Helper()
	content, err := os.ReadFile("../../docs/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := &asyncAPI{schemas: map[string]*jsonschema.Schema{}}
	if err := yamlv3.Unmarshal(content, d); err != nil {
		t.Fatal(err)
	}
	if err := yamlv3.Unmarshal(content, &d.whole); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(d.whole)
	if err != nil {
		t.Fatal(err)
	}
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	compiler := harness.NewSchemaCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // whose superset AsyncAPI's schemas are
	// Beside the schemas that it refers to.
	location := strings.TrimSuffix(harness.SchemaURL(""), "schemas/.json") + "asyncapi.json"
	if err := compiler.AddResource(location, resource); err != nil {
		t.Fatal(err)
	}
	for name := range d.Components.Messages {
		if d.schemas[name], err = compiler.Compile(location + "#/components/messages/" + name + "/payload"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if d.letter, err = compiler.Compile(location + "#/components/messages/deadLetter/headers"); err != nil {
		t.Fatal(err)
	}
	return d
}

// check validates a payload against a message.
func (d *asyncAPI) check(message string, payload []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	return d.schemas[message].Validate(value)
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
			if ref.name() != message {
				t.Errorf("%s has %s under the name %s", channel, ref.name(), message)
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
				if err := d.check(other, example); (err == nil) != (other == name) {
					t.Errorf("an example of %s as %s: %v: %s", name, other, err, example)
				}
			}
		}
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
		if err := d.check("error", frame.Error(1, code, "x", nil, "", time.Now())); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
	for _, code := range []domain.Code{domain.CodeInternal, domain.CodeUnauthenticated} {
		if err := d.check("error", frame.Error(1, code, "x", nil, "", time.Now())); err == nil {
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
		var fits []string
		for _, name := range names {
			if d.check(name, payload) == nil {
				fits = append(fits, name)
			}
		}
		if len(fits) != 1 {
			t.Errorf("%s is %v of %v", payload, fits, names)
			return
		}
		seen[fits[0]] = true
		if unknown := d.undocumented(fits[0], payload); len(unknown) > 0 {
			t.Errorf("%s: the document lacks %v: %s", fits[0], unknown, payload)
		}
	}
	messages := func(operation string) []string {
		var names []string
		for _, ref := range d.Operations[operation].Messages {
			names = append(names, ref.name())
		}
		return names
	}
	toClients := messages("toClients")

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

// undocumented returns the fields of a payload, those of its data included, that the message's schema does not name.
func (d *asyncAPI) undocumented(message string, payload []byte) []string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(payload, &fields) != nil {
		return []string{"it is no object"}
	}
	known := named(d.schemas[message])
	var unknown []string
	for name, value := range fields {
		sub, there := known[name]
		if !there {
			unknown = append(unknown, name)
			continue
		}
		var inner map[string]json.RawMessage
		if name == "data" && json.Unmarshal(value, &inner) == nil {
			for field := range inner {
				if !slices.ContainsFunc(sub, func(s *jsonschema.Schema) bool { _, there := named(s)[field]; return there }) {
					unknown = append(unknown, fmt.Sprint("data.", field))
				}
			}
		}
	}
	return unknown
}

// named returns the properties that a schema names, wherever it does.
func named(s *jsonschema.Schema) map[string][]*jsonschema.Schema {
	found := map[string][]*jsonschema.Schema{}
	for s.Ref != nil {
		s = s.Ref
	}
	for name, sub := range s.Properties {
		found[name] = append(found[name], sub)
	}
	for _, part := range append(slices.Clone(s.AllOf), s.OneOf...) {
		for name, subs := range named(part) {
			found[name] = append(found[name], subs...)
		}
	}
	return found
}
