package documents

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
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
	doc, err := openapi3.NewLoader().LoadFromFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
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
	r.seen = append(r.seen, fmt.Sprintf("%s %s %d", method, route.Path, response.StatusCode))
	return response.StatusCode, content
}

func TestEveryAnswerIsAsOpenAPISays(t *testing.T) {
	r := openREST(t)
	one, two := "Authorization: Bearer "+r.server.token(1), "Authorization: Bearer "+r.server.token(2)
	const blocked, friends, online, system = "/api/chatting/blockedusers/", "/api/chatting/friends/", "/api/chatting/is-online/", "/s2sapi/system-message/"

	r.ask(200, "GET /healthz")
	r.ask(200, "GET /readyz")

	r.ask(401, "GET "+friends)
	r.ask(200, "GET "+friends, two)
	r.ask(200, "GET "+friends, one)
	r.ask(401, `POST `+friends+` {"target_id":2}`)
	r.ask(201, `POST `+friends+` {"target_id":2}`, one)
	r.ask(201, "POST "+friends+" target_id=3", one, "Content-Type: application/x-www-form-urlencoded")
	r.ask(400, `POST `+friends+` {"target_id":1}`, one)
	r.ask(400, `POST `+friends+` {`, one)
	r.ask(400, `POST `+friends+` []`, one)
	r.ask(200, "GET "+friends, one)
	r.ask(401, `DELETE `+friends+` {"target_id":2}`, "Authorization: Bearer x")
	r.ask(200, `DELETE `+friends+` {"target_id":2}`, one)
	r.ask(400, `DELETE `+friends+` {"target_id":2}`, one)

	r.ask(401, "GET "+blocked)
	r.ask(401, `POST `+blocked+` {"target_id":2}`)
	r.ask(201, `POST `+blocked+` {"target_id":2}`, one)
	r.ask(400, `POST `+blocked+` {"target_id":99}`, one)
	r.ask(400, `POST `+blocked+` {"target_id":[]}`, one)
	r.ask(200, "GET "+blocked, one)
	r.ask(200, "GET "+blocked+"?target_id=2", one)
	r.ask(400, "GET "+blocked+"?target_id=x", one)
	r.ask(404, "GET "+blocked+"?target_id=99", one)
	r.ask(401, `DELETE `+blocked+` {"target_id":2}`)
	r.ask(200, `DELETE `+blocked+` {"target_id":2}`, one)
	r.ask(400, `DELETE `+blocked+` {"target_id":2}`, one)

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

	r.askHistory(one)

	guarded := openREST(t, "CHATTING_S2S_TOKEN=0123456789abcdef")
	guarded.ask(401, `POST `+system+` {"target_id":2,"message":"x"}`)
	guarded.ask(404, `POST `+system+` {"target_id":2,"message":"x"}`, "Authorization: Bearer 0123456789abcdef")
	guarded.ask(401, "DELETE /s2sapi/users/?user_id=2")

	limited := openREST(t, "CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=1")
	for path, item := range r.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if operation.Responses.Value("429") != nil {
				limited.untilLimited(method + " " + strings.Replace(path, "{id}", "2", 1))
			}
		}
	}

	// What the document has beyond that would be true of nothing. Parts that are away and requests under way take more
	// than a server.
	seen := slices.Concat(r.seen, guarded.seen, limited.seen)
	for path, item := range r.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if answer := method + " " + path + " " + status; !slices.Contains(seen, answer) &&
					status != "503" && status != "409" {
					t.Errorf("nothing is answered by %s", answer)
				}
			}
		}
	}
}

// askHistory asks for what was said, once the history has it.
func (r *rest) askHistory(one string) {
	r.t.Helper()
	const messages, conversations, read, users = "/api/chatting/messages/", "/api/chatting/conversations/", "/api/chatting/conversations/0/read/", "/s2sapi/users/"
	r.server.login(1)
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
