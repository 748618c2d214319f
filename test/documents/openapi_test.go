package documents

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"chatting/adapters/problem"
)

// rest is the document beside a server that it describes.
type rest struct {
	t      *testing.T
	server *server
	doc    *openapi3.T
	router routers.Router
	seen   []string // "POST /healthz 200"
}

func openREST(t *testing.T, environ ...string) *rest {
	t.Helper()
	return openDocument(t, openAPI, environ...)
}

// openAPI is the document, stringIDs the one that is made of it.
const (
	openAPI   = "../../docs/openapi.yaml"
	stringIDs = "../../docs/openapi-string-ids.yaml"
)

func openDocument(t *testing.T, path string, environ ...string) *rest {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	// Clients have to ignore fields that they do not know. The server has none that the document does not know.
	for _, schema := range doc.Components.Schemas {
		if len(schema.Value.Properties) > 0 {
			schema.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: new(false)}
		}
	}
	s := startServer(t, environ...)
	doc.Servers = openapi3.Servers{{URL: "http://" + s.HTTP}}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &rest{t: t, server: s, doc: doc, router: router}
}

// ask makes a request ("POST /path/ {body}") and checks the answer against the document; a good request, too, has to be as
// the document says.
func (r *rest) ask(want int, line string, headers ...string) {
	r.t.Helper()
	if status, content := r.exchange(want < 300, line, headers...); status != want {
		r.t.Errorf("%s: %d %s, want %d", line, status, content, want)
	}
}

// untilLimited makes a request, which needs a token and bears a bad one, until it is refused for their number.
func (r *rest) untilLimited(line string) {
	r.t.Helper()
	for range 100 {
		switch status, content := r.exchange(false, line, "Authorization: Bearer x"); status {
		case 429:
			return
		case 401:
		default:
			r.t.Fatalf("%s: %d %s", line, status, content)
		}
	}
	r.t.Errorf("%s: not limited", line)
}

// exchange makes a request and checks the answer against the document, and the request, too, if it is a good one.
func (r *rest) exchange(good bool, line string, headers ...string) (status int, content []byte) {
	r.t.Helper()
	method, rest, _ := strings.Cut(line, " ")
	path, body, _ := strings.Cut(rest, " ")
	request, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.server.HTTP+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	route, params, err := r.router.FindRoute(request)
	if err != nil {
		r.t.Fatalf("%s: %v", line, err)
	}
	input := &openapi3filter.RequestValidationInput{
		Request: request, Route: route, PathParams: params,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if good {
		if err := openapi3filter.ValidateRequest(r.t.Context(), input); err != nil {
			r.t.Errorf("%s: the document has another request: %v", line, err)
		}
		request.Body = io.NopCloser(strings.NewReader(body))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	if content, err = io.ReadAll(response.Body); err != nil {
		r.t.Fatal(err)
	}
	err = openapi3filter.ValidateResponse(r.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: response.StatusCode, Header: response.Header,
		Body: io.NopCloser(bytes.NewReader(content)), Options: input.Options,
	})
	if err != nil {
		r.t.Errorf("%s: %d %s: %v", line, response.StatusCode, content, err)
	}
	if listed := route.Operation.Responses.Status(response.StatusCode); listed != nil {
		r.checkCode(line, route.Operation, response.Header.Get("Content-Type"), content)
	}
	r.seen = append(r.seen, fmt.Sprintf("%s %s %d", method, route.Path, response.StatusCode))
	return response.StatusCode, content
}

// checkCode fails the test for a problem whose code the operation does not list.
func (r *rest) checkCode(line string, operation *openapi3.Operation, kind string, content []byte) {
	r.t.Helper()
	if kind != problem.MediaType {
		return
	}
	var refusal struct{ Code string }
	if err := json.Unmarshal(content, &refusal); err != nil {
		r.t.Fatal(err)
	}
	if codes, _ := operation.Extensions["x-codes"].([]any); !slices.Contains(codes, any(refusal.Code)) {
		r.t.Errorf("%s: x-codes has %v, and the answer %s", line, codes, content)
	}
}

// TestEveryCodeOfProblemsIsExplainedOnce holds the tables of codes in the documents against each other.
func TestEveryCodeOfProblemsIsExplainedOnce(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	explained, _ := doc.Extensions["x-problem-codes"].(map[string]any)
	_, table, _ := strings.Cut(markdown(t)["docs/operations.md"], "\n| `code` | Status | When |\n")
	inOperations := map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			break
		}
		for _, code := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
			inOperations[code[1]] = strings.TrimSpace(cells[2])
		}
	}
	if len(inOperations) < 15 {
		t.Fatalf("docs/operations.md has the codes %v", inOperations)
	}
	for code, meaning := range explained {
		about, _ := meaning.(map[string]any)
		if status := fmt.Sprint(about["status"]); status != inOperations[code] || about["when"] == "" {
			t.Errorf("%s has the status %s in docs/openapi.yaml, and %q in docs/operations.md", code, status, inOperations[code])
		}
	}
	for code := range inOperations {
		if explained[code] == nil {
			t.Errorf("x-problem-codes lacks %s", code)
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			codes, _ := operation.Extensions["x-codes"].([]any)
			for _, code := range codes {
				if explained[fmt.Sprint(code)] == nil {
					t.Errorf("%s %s: x-problem-codes lacks %s", method, path, code)
				}
			}
			if len(codes) == 0 && operation.Responses.Status(http.StatusServiceUnavailable) != nil {
				t.Errorf("%s %s has no x-codes", method, path)
			}
		}
	}
}

func TestEveryAnswerIsAsOpenAPISays(t *testing.T) {
	r := openREST(t)
	one, two := "Authorization: Bearer "+r.server.token(1), "Authorization: Bearer "+r.server.token(2)
	const blocked, isBlocked, friends, online, system = "/api/chatting/blockedusers/", "/api/chatting/blockedusers", "/api/chatting/friends/", "/api/chatting/is-online/", "/s2sapi/system-message/"

	r.ask(200, "GET /healthz")
	r.ask(200, "GET /readyz")

	r.ask(401, "GET "+friends)
	r.ask(200, "GET "+friends, two)
	r.ask(200, "GET "+friends, one)
	r.ask(401, `POST `+friends+` {"target_id":2}`)
	r.ask(201, `POST `+friends+` {"target_id":2}`, one)
	r.ask(201, `POST `+friends+` {"target_id":3}`, one)
	r.ask(415, "POST "+friends+" x", one, "Content-Type: text/plain")
	r.ask(400, `POST `+friends+` {"target_id":1}`, one)
	r.ask(400, `POST `+friends+` {`, one)
	r.ask(400, `POST `+friends+` []`, one)
	r.ask(200, "GET "+friends, one)
	r.ask(401, "DELETE "+friends+"?target_id=2", "Authorization: Bearer x")
	r.ask(200, "DELETE "+friends+"?target_id=2", one)
	r.ask(400, "DELETE "+friends+"?target_id=2", one)

	r.ask(401, "GET "+blocked)
	r.ask(401, `POST `+blocked+` {"target_id":2}`)
	r.ask(201, `POST `+blocked+` {"target_id":2}`, one)
	r.ask(400, `POST `+blocked+` {"target_id":99}`, one)
	r.ask(400, `POST `+blocked+` {"target_id":[]}`, one)
	r.ask(200, "GET "+blocked, one)
	r.ask(200, "GET "+isBlocked+"?target_id=2", one)
	r.ask(400, "GET "+isBlocked+"?target_id=x", one)
	r.ask(401, "GET "+isBlocked+"?target_id=2")
	r.ask(404, "GET "+isBlocked+"?target_id=99", one)
	r.ask(401, "DELETE "+blocked+"?target_id=2")
	r.ask(200, "DELETE "+blocked+"?target_id=2", one)
	r.ask(400, "DELETE "+blocked+"?target_id=2", one)

	r.ask(401, "GET "+online+"?id=2")
	r.ask(401, "GET "+online+"?id=2", "Authorization: Bearer x")
	r.ask(200, "GET "+online+"?id=2", one)
	r.ask(400, "GET "+online, one)
	r.ask(404, "GET "+online+"?id=99", one)

	r.ask(404, `POST `+system+` {"target_id":2,"message":"x"}`)
	r.server.login(2)
	r.ask(200, `POST `+system+` {"target_id":2,"message":"x"}`)
	r.ask(200, `POST `+system+` {"target_id":2,"message":"x","type":"invite_game","room_id":"r","opponent_id":1}`, "Idempotency-Key: k")
	r.ask(200, `POST `+system+` {"target_id":2,"message":"x","type":"invite_game","room_id":"r","opponent_id":1}`, "Idempotency-Key: k")
	r.ask(422, `POST `+system+` {"target_id":2,"message":"y"}`, "Idempotency-Key: k")
	r.ask(400, `POST `+system+` {"target_id":2,"message":"y"}`, "Idempotency-Key: ")
	r.ask(400, `POST `+system+` {"message":" "}`)
	r.ask(400, `POST `+system+` {`)
	r.ask(403, `POST `+system+` {"target_id":2,"message":"x"}`, "X-Forwarded-For: 127.0.0.1")

	r.ask(401, "GET /api/chatting/invites/")
	r.ask(200, "GET /api/chatting/invites/", one)

	r.askHistory(one)
	r.askModeration(one)
	r.askTrial()

	guarded := openREST(t, "CHATTING_S2S_TOKEN=0123456789abcdef")
	guarded.ask(401, `POST `+system+` {"target_id":2,"message":"x"}`)
	guarded.ask(404, `POST `+system+` {"target_id":2,"message":"x"}`, "Authorization: Bearer 0123456789abcdef")
	guarded.ask(401, "DELETE /s2sapi/users/?user_id=2")
	guarded.ask(401, `POST /s2sapi/moderation/ {"act":"mute","user_id":2,"actor":"alice"}`)
	guarded.ask(401, "GET /s2sapi/moderation/?user_id=2")
	guarded.ask(401, "GET /s2sapi/moderation/connections/?user_id=2")
	guarded.ask(401, "GET /s2sapi/moderation/activity/?user_id=2")
	guarded.ask(401, `POST /s2sapi/moderation/announcements/ {"to":"online","message":"noon","actor":"alice"}`)

	limited := openREST(t, "CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=1")
	for path, item := range r.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if operation.Responses.Value("429") != nil && path != "/trial/users/" && path != "/s2sapi/moderation/announcements/" { // whose limits are not that of tokens
				limited.untilLimited(method + " " + strings.Replace(path, "{id}", "2", 1))
			}
		}
	}

	// What the document has beyond that would be true of nothing. Parts that are away and requests under way take more
	// than a server, and the default is of all operations alike.
	seen := slices.Concat(r.seen, guarded.seen, limited.seen)
	for path, item := range r.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if answer := method + " " + path + " " + status; !slices.Contains(seen, answer) &&
					status != "503" && status != "409" && status != "default" {
					t.Errorf("nothing is answered by %s", answer)
				}
			}
		}
	}
}

// Generators make a type of each schema in components, and guess names for those that stand elsewhere. What they do with
// objects that have no fields, and with integers without a size, differs.
func TestOpenAPIHasNothingThatGeneratorsGuess(t *testing.T) {
	for _, path := range []string{openAPI, stringIDs} {
		t.Run(filepath.Base(path), func(t *testing.T) { hasNothingThatGeneratorsGuess(t, path) })
	}
}

func hasNothingThatGeneratorsGuess(t *testing.T, path string) {
	doc, err := openapi3.NewLoader().LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var check func(place string, ref *openapi3.SchemaRef, named bool)
	check = func(place string, ref *openapi3.SchemaRef, named bool) {
		if ref == nil || ref.Ref != "" {
			return
		}
		s := ref.Value
		switch {
		case len(s.OneOf) > 0:
			if s.Discriminator == nil || len(s.Discriminator.Mapping) != len(s.OneOf) || !named {
				t.Errorf("%s is one of several, and nothing says which", place)
				return
			}
			for _, one := range s.OneOf {
				field := one.Value.Properties[s.Discriminator.PropertyName]
				if field == nil || len(field.Value.Enum) != 1 || s.Discriminator.Mapping[fmt.Sprint(field.Value.Enum[0])].Ref != one.Ref ||
					!slices.Contains(one.Value.Required, s.Discriminator.PropertyName) {
					t.Errorf("%s: the discriminator does not lead to %s", place, one.Ref)
				}
			}
		case len(s.AllOf)+len(s.AnyOf) > 0 || s.Not != nil:
			t.Errorf("%s is composed", place)
		case s.Type == nil:
			t.Errorf("%s has no type", place)
		case s.Type.Is("object"):
			fields, others := len(s.Properties) > 0, s.AdditionalProperties.Schema != nil
			if fields == others || !named {
				t.Errorf("%s is an object without a name, or with fields of any name and such of its own", place)
			}
			if no := s.AdditionalProperties.Has; no != nil && !*no {
				t.Errorf("%s forbids the fields of later versions: some clients then fail on them", place)
			}
		case s.Type.Is("integer") && s.Format != "int64" && s.Format != "int32":
			t.Errorf("%s has no size", place)
		}
		for name, property := range s.Properties {
			check(place+" "+name, property, false)
		}
		check(place+" items", s.Items, false)
		check(place+" values", s.AdditionalProperties.Schema, false)
	}
	for name, schema := range doc.Components.Schemas {
		check(name, schema, true)
	}
	content := func(place string, content openapi3.Content) {
		for kind, media := range content {
			check(place+" "+kind, media.Schema, false)
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			place := method + " " + path
			if operation.OperationID == "" || operation.Summary == "" || len(operation.Tags) != 1 || operation.Responses.Default() == nil {
				t.Errorf("%s lacks its operationId, its summary, its one tag or its default", place)
			}
			for _, parameter := range operation.Parameters {
				check(place+" "+parameter.Value.Name, parameter.Value.Schema, false)
			}
			if body := operation.RequestBody; body != nil {
				if method == "DELETE" || method == "GET" || len(body.Value.Content) != 1 {
					t.Errorf("%s: generators leave its body out, or take one of its types", place)
				}
				content(place, body.Value.Content)
			}
			for status, response := range operation.Responses.Map() {
				content(place+" "+status, response.Value.Content)
				for name, header := range response.Value.Headers {
					check(place+" "+name, header.Value.Schema, false)
				}
			}
		}
	}
}

// askTrial asks for users until there were too many.
func (r *rest) askTrial() {
	r.t.Helper()
	const users = "/trial/users/"
	r.ask(201, `POST `+users+` {"expires_in":60}`)
	r.ask(400, `POST `+users+` {"expires_in":0}`)
	r.ask(404, `POST `+users+` {}`, "Origin: https://play.example")
	r.ask(415, `POST `+users+` {}`, "Content-Type: text/plain")
	for range 1000 {
		switch status, content := r.exchange(true, `POST `+users+` {}`); status {
		case 429:
			return
		case 201:
		default:
			r.t.Fatalf("%d %s", status, content)
		}
	}
	r.t.Error("not limited")
}

// askHistory asks for what was said, once the history has it.
func (r *rest) askHistory(one string) {
	r.t.Helper()
	const messages, conversations, read, users = "/api/chatting/messages/", "/api/chatting/conversations/", "/api/chatting/conversations/0/read/", "/s2sapi/users/"
	ann, _ := r.server.login(1)
	for _, frame := range []string{`{"target_id":2,"message":"x","client_msg_id":"m"}`, `{"target_id":2,"type":"invite_game","status":"invite"}`, `{"target_id":2,"type":"invite_game","status":"cancel"}`} {
		if err := ann.WriteMessage(1, []byte(frame)); err != nil {
			r.t.Fatal(err)
		}
		r.waitForHistory(one, r.server.next(ann))
	}
	r.ask(200, "GET "+messages+"?target_id=2", one)
	r.ask(200, `POST /s2sapi/system-message/ {"target_id":1,"message":"x"}`)
	r.ask(404, `PUT `+read+` {"message_id":"3f0c1e9e-6a57-4f0e-9d0a-0f2b6c1d7e21"}`, one) // which is waited for: by then the other is there
	r.ask(200, "GET "+messages+"?target_id=0&limit=1", one)
	r.ask(400, "GET "+messages, one)
	r.ask(401, "GET "+messages+"?target_id=0")
	r.ask(200, "GET "+conversations, one)
	r.ask(400, "GET "+conversations+"?before=x", one)
	r.ask(401, "GET "+conversations)
	r.ask(200, `PUT `+read+` {}`, one)
	r.ask(400, `PUT `+read+` {"message_id":"x"}`, one)
	r.ask(401, `PUT `+read+` {}`)
	r.ask(400, "DELETE "+users)
	r.ask(403, "DELETE "+users+"?user_id=1", "X-Forwarded-For: 127.0.0.1")
	r.ask(404, "DELETE "+users+"?user_id=99")
	r.ask(200, "DELETE "+users+"?user_id=1")
}

// askModeration bans the user of a token, and looks at it.
func (r *rest) askModeration(one string) {
	r.t.Helper()
	const path = "/s2sapi/moderation/"
	r.ask(400, "GET "+path)
	r.ask(403, "GET "+path+"?user_id=1", "X-Forwarded-For: 127.0.0.1")
	r.ask(200, "GET "+path+"?user_id=1")
	r.ask(403, "POST "+path+` {"act":"mute","user_id":1,"actor":"alice"}`, "X-Forwarded-For: 127.0.0.1")
	r.ask(400, "POST "+path+` {"act":"unmute","user_id":1,"actor":"alice"}`)
	r.ask(400, "POST "+path+` {"act":"mute","user_id":1,"actor":"alice","until":"tomorrow"}`)
	r.ask(200, "POST "+path+` {"act":"mute","user_id":1,"actor":"alice"}`)
	until := time.Now().UTC().AddDate(1, 0, 0).Format(time.RFC3339)
	r.ask(200, "POST "+path+` {"act":"ban","user_id":1,"actor":"alice","until":"`+until+`","reason":"fraud"}`)
	r.ask(200, "GET "+path+"?user_id=1")
	r.ask(403, "GET /api/chatting/friends/", one)
	r.ask(200, "POST "+path+` {"act":"unban","user_id":1,"actor":"alice"}`)
	r.askAboutUsers(path)
}

// askAboutUsers makes announcements, and asks where a user is connected and what it did.
func (r *rest) askAboutUsers(path string) {
	r.t.Helper()
	const elsewhere = "X-Forwarded-For: 127.0.0.1"
	r.ask(400, "GET "+path+"connections/")
	r.ask(403, "GET "+path+"connections/?user_id=1", elsewhere)
	r.ask(200, "GET "+path+"connections/?user_id=1")
	r.ask(400, "GET "+path+"activity/?user_id=1&texts=true")
	r.ask(403, "GET "+path+"activity/?user_id=1", elsewhere)
	r.ask(200, "GET "+path+"activity/?user_id=1&texts=true&actor=alice&reason=a+report")
	announcements := path + `announcements/ {"to":"online","message":"noon","actor":"alice"}`
	r.ask(400, "POST "+path+`announcements/ {"message":"noon","actor":"alice"}`)
	r.ask(403, "POST "+announcements, elsewhere)
	r.ask(200, "POST "+announcements, "Idempotency-Key: a1")
	r.ask(422, "POST "+path+`announcements/ {"user_ids":[1,99],"message":"noon","actor":"alice"}`, "Idempotency-Key: a1")
	r.ask(200, "POST "+path+`announcements/ {"user_ids":[1,99],"message":"noon","actor":"alice"}`)
	r.ask(400, "POST "+announcements, "Idempotency-Key: ")
	for range 100 {
		if status, _ := r.exchange(true, "POST "+announcements); status != 200 {
			break
		}
	}
	r.ask(429, "POST "+announcements)
}

// waitForHistory returns once the history has a message to user 2: it marks it as read.
func (r *rest) waitForHistory(one string, frame []byte) {
	r.t.Helper()
	var said struct{ ID string }
	if err := json.Unmarshal(frame, &said); err != nil {
		r.t.Fatal(err)
	}
	r.ask(200, `PUT /api/chatting/conversations/2/read/ {"message_id":"`+said.ID+`"}`, one)
}
