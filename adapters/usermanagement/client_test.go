package usermanagement

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatting/adapters/questions"
	"chatting/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const goodToken = "eyJhbGciOi.eyJ1c2VyX2lkIj.c2lnbmF0dXJl-_~+/=="

// patient is a timeout that only a broken test reaches; short is one that a test waits for.
const (
	patient = time.Minute
	short   = 50 * time.Millisecond
)

func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	o.Timeout, o.Concurrency = cmp.Or(o.Timeout, patient), cmp.Or(o.Concurrency, 64)
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// serve returns the base URL of a service.
func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// hang answers nothing until the client goes away.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// stall begins an answer and does not end it.
func stall(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, `{"id":`)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// truncate ends an answer before its announced length.
func truncate(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	io.WriteString(w, `{"id":201}`)
}

// drop closes the connection without an answer.
func drop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// endless answers without end.
func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, strings.Repeat(" ", 64<<10)); err != nil {
			return
		}
	}
}

// raw serves one canned answer, which need not be HTTP, to each connection.
func raw(t *testing.T, text func(request string) string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 16<<10)
			n, _ := conn.Read(request)
			io.WriteString(conn, text(string(request[:n])))
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return "http://" + listener.Addr().String()
}

// nobody is a URL where no connection is accepted.
func nobody(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return "http://" + listener.Addr().String()
}

func mustFail(t *testing.T, err error, code domain.Code) {
	t.Helper()
	if err == nil || domain.CodeOf(err) != code {
		t.Fatalf("code %q (%v), want %s", domain.CodeOf(err), err, code)
	}
	if strings.Contains(err.Error(), goodToken) {
		t.Fatalf("the error holds the token: %v", err)
	}
}

// until polls for a condition that other goroutines bring about.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patient); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

func TestTheServiceIsAskedAsTheOriginalAsked(t *testing.T) {
	for _, base := range []string{"", "/", "/users", "/users/", "/a/b/"} {
		t.Run(base, func(t *testing.T) {
			asked := make(chan *http.Request, 2)
			address := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked <- r
				if strings.Contains(r.URL.Path, "verify") {
					io.WriteString(w, `{"id":201}`)
				} else {
					io.WriteString(w, `[{"id":202}]`)
				}
			})
			c := newClient(t, Options{URL: address + base})
			identity, err := c.Verify(t.Context(), goodToken)
			if err != nil || identity.User != 201 || !identity.Expires.IsZero() {
				t.Fatalf("%+v, %v", identity, err)
			}
			r := <-asked
			prefix := strings.TrimSuffix(base, "/")
			if want := prefix + "/s2sapi/user-management/user-api/verify/"; r.Method != "GET" || r.RequestURI != want {
				t.Fatalf("%s %s, want GET %s", r.Method, r.RequestURI, want)
			}
			if got := r.Header.Get("Authorization"); got != "Bearer "+goodToken {
				t.Fatalf("Authorization: %s", got)
			}
			if _, err := c.Friends(t.Context(), 201); err != nil {
				t.Fatal(err)
			}
			r = <-asked
			if want := prefix + "/s2sapi/user-management/friends/?id=201"; r.Method != "GET" || r.RequestURI != want {
				t.Fatalf("%s %s, want GET %s", r.Method, r.RequestURI, want)
			}
			if got := r.Header.Get("Authorization"); got != "" {
				t.Fatalf("friends are asked for with Authorization: %s", got)
			}
		})
	}
}

func TestAnyAnswerButAGoodOneIsNoAuthentication(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"401":         answer(401, ""),
		"401 with id": answer(401, `{"id":201}`),
		"201 with id": answer(201, `{"id":201}`),
		"204":         answer(204, ""),
		"301":         answer(301, `{"id":201}`),
		"400":         answer(400, ""),
		"403":         answer(403, ""),
		"404":         answer(404, ""),
		"429":         answer(429, ""),
		"500":         answer(500, ""),
		"503 with id": answer(503, `{"id":201}`),
		"empty":       answer(200, ""),
		"no JSON":     answer(200, "<html>"),
		"list":        answer(200, `[{"id":201}]`),
		"number":      answer(200, `201`),
		"null":        answer(200, `null`),
		"no id":       answer(200, `{"pk":201}`),
		"other case":  answer(200, `{"ID":201}`),
		"null id":     answer(200, `{"id":null}`),
		"zero":        answer(200, `{"id":0}`),
		"negative":    answer(200, `{"id":-1}`),
		"fraction":    answer(200, `{"id":1.5}`),
		"too large":   answer(200, `{"id":9223372036854775808}`),
		"no decimal":  answer(200, `{"id":"0x7"}`),
		"blanks":      answer(200, `{"id":" 7 "}`),
		"two values":  answer(200, `{"id":201}{"id":202}`),
		"cut off":     answer(200, `{"id":201`),
		"huge":        answer(200, `{"id":201}`+strings.Repeat(" ", maxVerifyBytes)),
		"endless":     endless,
		"endless 401": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401); endless(w, r) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, Options{URL: serve(t, handler)})
			_, err := c.Verify(t.Context(), goodToken)
			mustFail(t, err, domain.CodeUnauthenticated)
		})
	}
}

func TestGoodAnswersAreAccepted(t *testing.T) {
	for body, user := range map[string]domain.UserID{
		`{"id":201}`:                       201,
		`{"id":"201"}`:                     201,
		` {"name":"x","id":201,"ID":7} `:   201,
		`{"id":9223372036854775807}`:       9223372036854775807,
		`{"id":"9223372036854775807"}`:     9223372036854775807,
		`{"id":9007199254740993,"x":[{}]}`: 9007199254740993,
	} {
		t.Run(body, func(t *testing.T) {
			c := newClient(t, Options{URL: serve(t, answer(200, body))})
			if identity, err := c.Verify(t.Context(), goodToken); err != nil || identity.User != user {
				t.Fatalf("%v, %v", identity.User, err)
			}
		})
	}
}

func TestNoAnswerIsUnavailable(t *testing.T) {
	for name, c := range map[string]struct {
		url     string
		timeout time.Duration
	}{
		"refused": {nobody(t), patient},
		"never":   {serve(t, hang), short},
		"stalled": {serve(t, stall), short},
		"cut off": {serve(t, truncate), patient},
		"dropped": {serve(t, drop), patient},
		"no HTTP": {raw(t, func(string) string { return "SSH-2.0-x\r\n" }), patient},
		"token sent back": {raw(t, func(request string) string {
			_, after, _ := strings.Cut(request, "Authorization: ")
			line, _, _ := strings.Cut(after, "\r\n")
			return "HTTP/1.1 200 OK\r\nA: b\r\n" + line + "\r\n\r\n"
		}), patient},
		"huge header": {raw(t, func(string) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX: " + strings.Repeat("x", 2*questions.MaxHeaderBytes) + "\r\n\r\n{\"id\":201}"
		}), patient},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, Options{URL: c.url, Timeout: c.timeout})
			_, err := client.Verify(t.Context(), goodToken)
			mustFail(t, err, domain.CodeUnavailable)
			friends, err := client.Friends(t.Context(), 201)
			mustFail(t, err, domain.CodeUnavailable)
			if friends != nil {
				t.Fatalf("friends %v beside an error", friends)
			}
		})
	}
}

func TestATokenDoesNotTravelAlongARedirect(t *testing.T) {
	var reached atomic.Int64
	elsewhere := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		io.WriteString(w, `{"id":201}`)
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, target := range []string{elsewhere, "/s2sapi/elsewhere"} {
			c := newClient(t, Options{URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "elsewhere") {
					reached.Add(1)
				}
				http.Redirect(w, r, target, status)
			})})
			_, err := c.Verify(t.Context(), goodToken)
			mustFail(t, err, domain.CodeUnauthenticated)
			_, err = c.Friends(t.Context(), 201)
			mustFail(t, err, domain.CodeUnavailable)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Fatalf("%d redirects were followed", n)
	}
}

func TestWhatCannotBeATokenIsRefusedWithoutAsking(t *testing.T) {
	var asked atomic.Int64
	c := newClient(t, Options{URL: serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		io.WriteString(w, `{"id":201}`)
	})})
	for _, token := range []string{
		"", "=", "===", " ", "a b", "a\r\nX-Admin: 1", "a\n", "a\x00", "토큰", "a,b", `a"b`, "a=b", "Bearer a", strings.Repeat("a", maxTokenBytes+1),
	} {
		_, err := c.Verify(t.Context(), token)
		if domain.CodeOf(err) != domain.CodeUnauthenticated {
			t.Errorf("%.20q: %v", token, err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Fatalf("the service was asked %d times", n)
	}
	if _, err := c.Verify(t.Context(), strings.Repeat("a", maxTokenBytes)); err != nil {
		t.Fatalf("a token of the greatest length: %v", err)
	}
}

func TestAListOfFriendsKeepsItsOrder(t *testing.T) {
	many := func(n int) string {
		entries := make([]string, n)
		for i := range entries {
			entries[i] = fmt.Sprintf(`{"id":%d}`, i%7+1)
		}
		return "[" + strings.Join(entries, ",") + "]"
	}
	for name, c := range map[string]struct {
		body string
		want []domain.UserID // nil: an error
	}{
		"none":           {`[]`, []domain.UserID{}},
		"order":          {`[{"id":205},{"id":202},{"id":203}]`, []domain.UserID{205, 202, 203}},
		"repeated":       {`[{"id":205},{"id":202},{"id":"205"},{"id":202}]`, []domain.UserID{205, 202}},
		"further fields": {` [ {"ID":1,"id":"202","name":"x"} ] `, []domain.UserID{202}},
		"the most":       {many(maxFriends), []domain.UserID{1, 2, 3, 4, 5, 6, 7}},
		"one too many":   {many(maxFriends + 1), nil},
		"empty":          {``, nil},
		"null":           {`null`, nil},
		"object":         {`{"id":202}`, nil},
		"string":         {`"[]"`, nil},
		"ids alone":      {`[202]`, nil},
		"null entry":     {`[null]`, nil},
		"no id":          {`[{"id":202},{}]`, nil},
		"other case":     {`[{"ID":202}]`, nil},
		"zero":           {`[{"id":0}]`, nil},
		"negative":       {`[{"id":-202}]`, nil},
		"fraction":       {`[{"id":202.0}]`, nil},
		"no decimal":     {`[{"id":"two"}]`, nil},
		"not complete":   {`[{"id":202}`, nil},
		"no commas":      {`[{"id":202} {"id":203}]`, nil},
		"comma at end":   {`[{"id":202},]`, nil},
		"more behind":    {`[{"id":202}] []`, nil},
		"wrong bracket":  {`[{"id":202}}`, nil},
		"huge":           {`[]` + strings.Repeat(" ", maxFriendsBytes), nil},
	} {
		t.Run(name, func(t *testing.T) {
			friends, err := newClient(t, Options{URL: serve(t, answer(200, c.body))}).Friends(t.Context(), 201)
			if c.want == nil {
				mustFail(t, err, domain.CodeUnavailable)
				return
			}
			if err != nil || !slices.Equal(friends, c.want) {
				t.Fatalf("%v (%v), want %v", friends, err, c.want)
			}
		})
	}
	for _, handler := range []http.HandlerFunc{answer(404, `[]`), answer(500, `[]`), answer(201, `[]`), answer(204, ""), endless} {
		_, err := newClient(t, Options{URL: serve(t, handler)}).Friends(t.Context(), 201)
		mustFail(t, err, domain.CodeUnavailable)
	}
}

func TestACallerThatGivesUpIsNotHeldUp(t *testing.T) {
	c := newClient(t, Options{URL: serve(t, hang)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Verify(ctx, goodToken)
	mustFail(t, err, domain.CodeUnavailable)
	_, err = c.Friends(ctx, 201)
	mustFail(t, err, domain.CodeUnavailable)
}

func TestUnusableOptionsAreRefused(t *testing.T) {
	for _, o := range []Options{
		{}, {URL: "example.com"}, {URL: "/path"}, {URL: "ftp://127.0.0.1"}, {URL: "http://"}, {URL: "http://x\x7f:s3cret@"},
		{URL: "http://u:s3cret@127.0.0.1"}, {URL: "http://127.0.0.1/?key=s3cret"}, {URL: "http://127.0.0.1/#s3cret"}, {URL: "http://127.0.0.1/?"},
		{URL: "http://127.0.0.1", Timeout: -1}, {URL: "http://127.0.0.1", Concurrency: -1}, {URL: "http://127.0.0.1", CacheFor: -1},
	} {
		o.Timeout, o.Concurrency = cmp.Or(o.Timeout, patient), cmp.Or(o.Concurrency, 64)
		c, err := New(o)
		if err == nil {
			c.Close()
			t.Errorf("%+v: accepted", o)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error holds a secret: %v", err)
		}
	}
	for _, o := range []Options{{Concurrency: 1}, {Timeout: 1}} {
		o.URL = "http://127.0.0.1"
		if c, err := New(o); err == nil {
			c.Close()
			t.Errorf("%+v: accepted without a limit", o)
		}
	}
}
