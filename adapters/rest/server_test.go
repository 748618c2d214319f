package rest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/application/notice"
	"chatting/domain"
)

func TestUnknownPathsAreProblems(t *testing.T) {
	w := newWorld(t, onPlainListener)
	for _, path := range []string{"/", "/api/chatting/", "/API/chatting/blockedusers/", "/S2SAPI/system-message/", "/api/chatting/blockedusers/7", "/x<script>", "/api//chatting/blockedusers/"} {
		for _, method := range []string{"GET", "POST", "FOO"} {
			got := w.call(t, method, path, "", asUser1)
			got.mustBe(t, 404, `{"type":"about:blank","title":"Not Found","status":404,"detail":"Not found.","code":"not_found"}`)
			if got.header.Get("Content-Type") != problemType {
				t.Errorf("media type is %s", got.header.Get("Content-Type"))
			}
		}
	}
}

func TestEveryCodeOfTheDomainHasAStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../domain/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Code") || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		code, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		if statuses[domain.Code(code)] == 0 {
			t.Errorf("%s has no status", spec.Names[0].Name)
		}
		return true
	})
	if found != len(statuses) {
		t.Errorf("%d codes, %d statuses", found, len(statuses))
	}
}

func TestErrorsBecomeTheirStatus(t *testing.T) {
	for code, status := range statuses {
		w := newWorld(t, func(w *world, _ *Options, _ *Deps) {
			w.tokensErr = fmt.Errorf("outside: %w", domain.WrapError(code, "For the caller.", errors.New("for the log")))
		})
		got := w.call(t, "GET", blockedPath, "", asUser1)
		if got.status != status || strings.Contains(got.body, "for the log") || strings.Contains(got.body, "outside") {
			t.Errorf("%s: answer is %d %s", code, got.status, got.body)
		}
		if code == domain.CodeInternal == strings.Contains(got.body, "For the caller.") {
			t.Errorf("%s: answer is %d %s", code, got.status, got.body)
		}
		if logs := w.logs.String(); strings.Count(logs, "level=ERROR") != map[bool]int{true: 1}[status >= 500] || strings.Contains(logs, "token-1") {
			t.Errorf("%s: log is %s", code, logs)
		}
		if retry := got.header.Get("Retry-After"); (retry != "") != (status == 503 || status == 429 || status == 409) {
			t.Errorf("%s: Retry-After is %q", code, retry)
		}
	}
}

func TestUnclassifiedErrorsSayNothing(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Options, _ *Deps) { w.storeErr = errors.New("password=x") })
	got := w.call(t, "GET", blockedPath, "", asUser1)
	got.mustBe(t, 500, `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"Something went wrong here.","code":"internal"}`)
	if logs := w.logs.String(); strings.Count(logs, "password=x") != 1 {
		t.Errorf("log is %s", logs)
	}
}

func TestPanicsAreAnsweredAndLogged(t *testing.T) {
	for _, value := range []any{"secret", errors.New("secret"), domain.NewError(domain.CodeSelf, "secret"), fiber.NewError(418, "secret"), &exchange.Answer{Status: 200, Body: "secret"}} {
		w := newWorld(t, func(w *world, _ *Options, _ *Deps) { w.panicWith = value })
		got := w.call(t, "GET", blockedPath, "", asUser1)
		got.mustBe(t, 500, `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"Something went wrong here.","code":"internal"}`)
		if logs := w.logs.String(); strings.Count(logs, "level=ERROR") != 1 || !strings.Contains(logs, "user_gate.go") || strings.Contains(logs, "secret") {
			t.Errorf("log is %s", logs)
		}
		if got := w.call(t, "GET", "/healthz", ""); got.status != 200 {
			t.Errorf("afterwards: %d %s", got.status, got.body)
		}
	}
}

func TestOtherAdaptersRoutesAreRefusedAsProblems(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Options, _ *Deps) {
		w.mount = func(app *fiber.App) {
			app.Get("/ws/chatting/", func(*fiber.Ctx) error { return fiber.NewError(http.StatusForbidden, "The origin may not.") })
		}
	})
	got := w.call(t, "GET", "/ws/chatting", "")
	got.mustBe(t, 403, `{"type":"about:blank","title":"Forbidden","status":403,"detail":"The origin may not.","code":"forbidden"}`)
}

func TestAnAbsoluteFormWithoutAPathIsForTheRoot(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Options, _ *Deps) {
		w.mount = func(app *fiber.App) {
			app.Get("/", func(c *fiber.Ctx) error { return c.SendString(c.Query("x")) })
		}
	})
	for target, want := range map[string]string{"http://a?x=1": "1", "http://a?x=/healthz": "/healthz", "http://a/?x=1": "1", "/?x=1": "1", "https://a": "", "HTTP://A?": ""} {
		got, _ := w.raw(t, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if got.status != 200 || got.body != want {
			t.Errorf("%s: %d %s, want %s", target, got.status, got.body, want)
		}
	}
}

func TestTheLimitOfAHeadIsThatOfTheHeadThatWasSent(t *testing.T) {
	const limit = 4000 // more than the smallest buffer of a reader
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) { o.HeaderLimit = limit })
	for _, target := range []string{"http://a?/", "/healthz"} {
		for length, want := range map[int]int{limit: 404, limit + 1: 431} {
			if target == "/healthz" && want == 404 {
				want = 200
			}
			line := "GET " + target + " HTTP/1.1\r\nHost: a\r\nX-Long: "
			got, _ := w.raw(t, line+strings.Repeat("x", length-len(line)-4)+"\r\n\r\n")
			if got.status != want || want != 200 && got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s with %d bytes: %d %s", target, length, got.status, got.body)
			}
		}
	}
}

func TestAppIsWhatTheWebSocketAdapterNeeds(t *testing.T) {
	api, err := New(Options{}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if !api.App().Config().ReduceMemoryUsage || !api.App().Server().ReduceMemoryUsage {
		t.Error("without ReduceMemoryUsage the bytes behind an upgrade reach another connection's reader")
	}
}

func TestNoServerHeaderIsSent(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/healthz", "/nowhere"} {
		if server := w.call(t, "GET", path, "").header.Values("Server"); len(server) > 0 {
			t.Errorf("Server is %q", server)
		}
	}
}

func TestRequestsAreLoggedWithoutSecrets(t *testing.T) {
	w := newWorld(t)
	w.call(t, "POST", blockedPath+"?token=in-query", `{"target_id":"in-body"}`, asUser1, asJSON, "Cookie: in-cookie")
	logs := w.logs.String()
	if !strings.Contains(logs, "path="+blockedPath) || !strings.Contains(logs, "status=400") {
		t.Errorf("log is %s", logs)
	}
	for _, secret := range []string{"token-1", "in-query", "in-body", "in-cookie"} {
		if strings.Contains(logs, secret) {
			t.Errorf("log is %s", logs)
		}
	}
}

func TestNothingThatNoRouteKnowsIsLogged(t *testing.T) {
	w := newWorld(t, onPlainListener, withHistory(newHistory()))
	const secret = "eyJhbGciOiJIUzI1NiJ9"
	for method, path := range map[string]string{
		"GET":        "/" + secret,
		"POST":       "/api/chatting/" + secret,
		"DELETE":     "/s2sapi/" + secret,
		"PATCH":      "/api/chatting/conversations/" + secret + "/read/",
		"PUT":        "/api/chatting/conversations/" + secret + "/read/", // a route, with what the client wrote in it
		secret:       "/healthz",
		"X" + secret: "//" + secret,
	} {
		w.raw(t, method+" "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer token-1\r\nContent-Length: 0\r\n\r\n")
	}
	logs := w.logs.String()
	if n := strings.Count(logs, "msg=request ") - strings.Count(logs, "method=GET path=/healthz"); n != 7 {
		t.Errorf("%d requests are logged:\n%s", n, logs)
	}
	if strings.Contains(logs, secret) {
		t.Errorf("what the client wrote is logged:\n%s", logs)
	}
	if !strings.Contains(logs, "path=/api/chatting/conversations/:partner/read/") || !strings.Contains(logs, "method=unknown") {
		t.Errorf("log is %s", logs)
	}
}

// A line may be written a second after its request, of which nothing is left by then.
func TestALineThatWaitsNamesItsOwnMethod(t *testing.T) {
	w := newWorld(t, func(_ *world, _ *Options, d *Deps) {
		d.Writes = onceIn[domain.UserID](time.Hour, 1)
		at := time.Now()
		d.Notices = notice.NewLog(d.Logger, func() time.Time { return at })
	})
	for range 3 {
		w.call(t, "DELETE", blockedPath, "", asUser1) // the first is carried out, the second is logged, the third waits
	}
	for range 10 {
		w.call(t, "GET", blockedPath, "", asUser1)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	w.api.edge.log.Run(ended)
	lines := 0
	for line := range strings.Lines(w.logs.String()) {
		if strings.Contains(line, "over the rate") {
			lines++
			if !strings.Contains(line, " method=DELETE ") {
				t.Errorf("log is %s", line)
			}
		}
	}
	if lines != 2 {
		t.Errorf("%d lines", lines)
	}
}

// raw writes bytes to a connection of its own and returns the first answer, and whether the connection is closed then.
func (w *world) raw(t *testing.T, request string) (got reply, closed bool) {
	t.Helper()
	return w.rawFor(t, request, "")
}

// answerTo returns the answer to a request as it is written, which to a HEAD request has no body.
func (w *world) answerTo(t *testing.T, request string, toHead bool) reply {
	t.Helper()
	method := ""
	if toHead {
		method = http.MethodHead
	}
	got, _ := w.rawFor(t, request, method)
	return got
}

func (w *world) rawFor(t *testing.T, request, method string) (got reply, closed bool) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.Close {
		_, err = reader.ReadByte()
		closed = err != nil && !errors.Is(err, context.DeadlineExceeded)
		if method == http.MethodHead && !closed {
			t.Errorf("%.60q: the answer has a body", request)
		}
	}
	return reply{response.StatusCode, response.Header, string(body)}, closed
}

func TestRequestsThatCannotBeReadAreProblemsAndEndTheConnection(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) {
		o.BodyLimit, o.HeaderLimit = 1000, 2000
	})
	const post = "POST /api/chatting/blockedusers/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-1\r\nContent-Type: application/json\r\n"
	for request, want := range map[string]int{
		"\r\n\r\nGARBAGE\r\n\r\n":                                                                        400,
		"GET /healthz HTTP/1.1\r\nA: " + strings.Repeat("x", 3000):                                       431,
		"GET /" + strings.Repeat("x", 3000) + " HTTP/1.1\r\n\r\n":                                        431,
		post + "Content-Length: 1001\r\n\r\n":                                                            413,
		post + "Content-Length: 99999999999\r\n\r\n":                                                     413,
		post + "Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + strings.Repeat(" ", 2000) + "\r\n0\r\n\r\n": 413,
		post + "Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n":                                    100,
		post + "Content-Length: x\r\n\r\n":                                                               400,
		post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n":                                                400,
	} {
		got, closed := w.raw(t, request)
		if got.status != want {
			t.Errorf("%.200q: answer is %d %s, want %d", request, got.status, got.body, want)
		}
		if want == 100 {
			continue
		}
		if !closed || got.header.Get("Content-Type") != problemType || !strings.HasPrefix(got.body, `{"type":"about:blank",`) {
			t.Errorf("%.200q: closed: %v, answer is %v %s", request, closed, got.header, got.body)
		}
	}
	if logs := w.logs.String(); strings.Contains(logs, "level=ERROR") {
		t.Errorf("log is %s", logs)
	}
}

func TestTheLogNamesTheRouteOfARequestWhoseChunksAreTooLong(t *testing.T) {
	for method, want := range map[string]string{"DELETE": "DELETE", "PURGE": "unknown"} {
		w := newWorld(t, func(_ *world, o *Options, _ *Deps) { o.BodyLimit = 1000 })
		got, _ := w.raw(t, method+" "+blockedPath+" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n"+
			strings.Repeat(" ", 2000)+"\r\n0\r\n\r\n")
		w.mustHaveLoggedUnread(t, 413)
		if line := "method=" + want + " path=" + blockedPath + " status=413"; got.status != 413 || !strings.Contains(w.logs.String(), line) {
			t.Errorf("%s: %d %s, and no %q in %s", method, got.status, got.body, line, w.logs.String())
		}
	}
}

// unhurried is a timeout that tests wait for. It leaves a client of a busy machine the time to say what it has to say first.
const unhurried = 2 * time.Second

func TestSlowRequestsTimeOut(t *testing.T) {
	w := newWorld(t, onPlainListener, func(_ *world, o *Options, _ *Deps) { o.ReadTimeout = unhurried })
	got, closed := w.raw(t, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{")
	got.mustBe(t, 408, `{"type":"about:blank","title":"Request Timeout","status":408,"detail":"The request did not arrive in time.","code":"request_timeout"}`)
	if !closed {
		t.Error("the connection stays open")
	}
	w.mustHaveLoggedUnread(t, 408)
}

// mustHaveLoggedUnread wants a log line of a request that was refused before it was read to its end.
func (w *world) mustHaveLoggedUnread(t *testing.T, status int) {
	t.Helper()
	for line := range strings.Lines(w.logs.String()) {
		if strings.Contains(line, "not read to its end") && strings.Contains(line, "address=127.0.0.1") &&
			strings.Contains(line, fmt.Sprintf("status=%d", status)) {
			return
		}
	}
	t.Errorf("the refusal with %d is not logged: %s", status, w.logs.String())
}

func TestBodiesAtTheLimitAreRead(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) { o.BodyLimit = 1000 })
	body := `{"target_id":7}` + strings.Repeat(" ", 1000-len(`{"target_id":7}`))
	w.call(t, "POST", blockedPath, body, asUser1, asJSON).mustBe(t, 201, `{"target_id":7}`)
	if got := w.call(t, "POST", blockedPath, body+" ", asUser1, asJSON); got.status != 413 {
		t.Errorf("answer is %d %s", got.status, got.body)
	}
	w.mustHaveLoggedUnread(t, 413)
}

// silence opens a connection that says no more than what is given, and waits until the server closes it.
func (w *world) silence(t *testing.T, said string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, said); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("%q: %v", said, err)
	}
}

func TestSilentConnectionsAreClosed(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) { o.ReadTimeout, o.IdleTimeout = unhurried, unhurried })
	var all sync.WaitGroup
	for _, said := range []string{"", "G", "GET /healthz HTTP/1.1\r\nHost: x\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"} {
		all.Go(func() { w.silence(t, said) })
	}
	all.Wait()
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	w := newWorld(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var requests strings.Builder
	const n = 20
	for id := 1; id <= n; id++ {
		body := fmt.Sprintf(`{"target_id":%d}`, 100+id)
		fmt.Fprintf(&requests, "DELETE /api/chatting/blockedusers/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-%d\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", 1+id%2, len(body), body)
		fmt.Fprintf(&requests, "GET /api/chatting/is-online/?id=%d HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-%d\r\n\r\n", 1000+id, 1000+id)
	}
	go func() { _, _ = io.WriteString(conn, requests.String()) }()
	reader := bufio.NewReader(conn)
	for id := 1; id <= n; id++ {
		for _, want := range []string{target("해당 id가 존재하지 않습니다."), fmt.Sprintf(`{"id":%d,"is_online":false}`, 1000+id)} {
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil || string(body) != want {
				t.Fatalf("answer is %s (%v), want %s", body, err, want)
			}
		}
	}
}

func TestManyClientsGetTheirOwnAnswers(t *testing.T) {
	w := newWorld(t)
	var clients sync.WaitGroup
	for id := 101; id <= 120; id++ {
		clients.Go(func() {
			user := fmt.Sprintf("Authorization: Bearer token-%d", id)
			for range 10 {
				w.call(t, "GET", fmt.Sprintf("%s?id=%d", onlinePath, id), "", user).mustBe(t, 200, fmt.Sprintf(`{"id":%d,"is_online":false}`, id))
			}
			w.call(t, "POST", blockedPath, `{"target_id":7}`, user, asJSON).mustBe(t, 201, `{"target_id":7}`)
			w.call(t, "GET", blockedPath, "", user).mustBe(t, 200, `[{"id":7}]`)
		})
	}
	clients.Wait()
}

func TestTokensOutliveTheirRequest(t *testing.T) {
	w := newWorld(t)
	want := []string{"token-1", "token-2", "token-3"}
	for _, token := range want { // over one connection, whose buffer is used again
		w.call(t, "GET", blockedPath, "", "Authorization: Bearer "+token)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.tokens, want) {
		t.Errorf("tokens are %q", w.tokens)
	}
}

func TestOnlyHealthIsServedBeforeTheNodeIsReady(t *testing.T) {
	var ready atomic.Bool
	w := newWorld(t, func(_ *world, o *Options, d *Deps) {
		o.CORSOrigins = []string{"https://a.example"}
		d.Ready = func() error {
			if ready.Load() {
				return nil
			}
			return domain.WrapError(domain.CodeUnavailable, "It starts.", errors.New("secret"))
		}
	})
	for _, path := range []string{blockedPath, friendsPath, onlinePath, "/s2sapi/system-message"} {
		got := w.call(t, "POST", path, "", asUser1, asJSON, "Origin: https://a.example")
		if got.status != 503 || strings.Contains(got.body, "secret") || got.header.Get("Retry-After") == "" ||
			strings.HasPrefix(path, "/api") != (got.header.Get("Access-Control-Allow-Origin") != "") {
			t.Errorf("%s: answer is %d %v", path, got.status, got.header)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := w.call(t, "GET", path, ""); got.status != 200 {
			t.Errorf("%s: answer is %d %s", path, got.status, got.body)
		}
	}
	ready.Store(true)
	w.call(t, "GET", blockedPath, "", asUser1).mustBe(t, 200, "[]")
}

func TestReadinessNamesWhatIsAway(t *testing.T) {
	const probeTimeout = 100 * time.Millisecond
	var mu sync.Mutex
	errs := map[string]error{}
	check := func(name string) Check {
		return Check{Name: name, Probe: func(ctx context.Context) error {
			mu.Lock()
			err := errs[name]
			mu.Unlock()
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > probeTimeout {
				t.Errorf("%s is given until %v", name, deadline)
			}
			if errors.Is(err, context.DeadlineExceeded) {
				<-ctx.Done()
				return ctx.Err()
			}
			return err
		}}
	}
	w := newWorld(t, func(_ *world, o *Options, d *Deps) {
		o.ProbeTimeout = probeTimeout
		d.Checks = []Check{check("broker"), check("database"), check("tail")}
	})
	ready := `{"status":"ok","checks":{"broker":"ok","database":"ok","tail":"ok"}}`
	w.call(t, "GET", "/readyz", "").mustBe(t, 200, ready)
	mu.Lock()
	errs["broker"] = errors.New("dial secret")
	errs["database"] = context.DeadlineExceeded
	errs["tail"] = domain.WrapError(domain.CodeUnavailable, "It is catching up.", errors.New("secret"))
	mu.Unlock()
	for range 2 {
		got := w.call(t, "GET", "/readyz", "")
		got.mustBe(t, 503, `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"A part that the node needs is away.",`+
			`"code":"unavailable","checks":{"broker":"failing","database":"timed out","tail":"It is catching up."}}`)
		if got.header.Get("Content-Type") != problemType || got.header.Get("Retry-After") == "" {
			t.Errorf("headers are %v", got.header)
		}
	}
	if logs := w.logs.String(); strings.Count(logs, "level=WARN") != 1 || !strings.Contains(logs, "dial secret") || strings.Contains(logs, "level=ERROR") {
		t.Errorf("log is %s", logs)
	}
	w.call(t, "GET", "/healthz", "").mustBe(t, 200, `{"status":"ok"}`)
	mu.Lock()
	clear(errs)
	mu.Unlock()
	w.call(t, "GET", "/readyz", "").mustBe(t, 200, ready)
	w.api.SetDraining()
	got := w.call(t, "GET", "/readyz", "")
	if got.status != 503 || !strings.Contains(got.body, "The node is going away.") {
		t.Errorf("answer is %d %s", got.status, got.body)
	}
	w.call(t, "GET", "/healthz", "").mustBe(t, 200, `{"status":"ok"}`)
}

func TestCORSIsOffByDefault(t *testing.T) {
	w := newWorld(t)
	got := w.call(t, "GET", blockedPath, "", asUser1, "Origin: https://a.example")
	if got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("answer is %d %v", got.status, got.header)
	}
	if got := w.call(t, "OPTIONS", blockedPath, "", "Origin: https://a.example", "Access-Control-Request-Method: POST"); got.status != 405 {
		t.Errorf("preflight: answer is %d %v", got.status, got.header)
	}
}

func TestCORSLetsTheListedOriginsIn(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) {
		o.CORSOrigins = []string{"https://a.example", "https://*.b.example"}
		o.S2SToken = "s2s-token"
	})
	const name = "Access-Control-Allow-Origin"
	for origin, allowed := range map[string]bool{
		"https://a.example": true, "https://x.b.example": true, "https://b.example": false, "http://a.example": false, "https://a.example.evil": false,
		"https://a.example:444": false, "null": false, "https://evilb.example": false,
	} {
		want := ""
		if allowed {
			want = origin
		}
		got := w.call(t, "GET", blockedPath, "", asUser1, "Origin: "+origin)
		if got.status != 200 || got.header.Get(name) != want || !strings.Contains(got.header.Get("Vary"), "Origin") {
			t.Errorf("%s: answer is %d %v", origin, got.status, got.header)
		}
		got = w.call(t, "GET", blockedPath, "", "Origin: "+origin)
		if got.status != 401 || got.header.Get(name) != want {
			t.Errorf("%s without token: answer is %d %v", origin, got.status, got.header)
		}
		got = w.call(t, "OPTIONS", blockedPath, "", "Origin: "+origin, "Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: authorization,content-type")
		if got.status != 204 || got.header.Get(name) != want || got.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: preflight is %d %v", origin, got.status, got.header)
		}
		if allowed && (got.header.Get("Access-Control-Allow-Methods") != "GET,HEAD,POST,PUT,DELETE" || !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), "Authorization")) {
			t.Errorf("%s: preflight is %d %v", origin, got.status, got.header)
		}
		for _, method := range []string{"POST", "OPTIONS"} {
			got = w.call(t, method, systemPath, `{"target_id":7,"message":"m"}`, asJSON, "Authorization: Bearer s2s-token", "Origin: "+origin, "Access-Control-Request-Method: POST")
			if got.header.Get(name) != "" {
				t.Errorf("s2sapi, %s: answer is %d %v", method, got.status, got.header)
			}
		}
	}
}

// fasthttp would read the end of such a request again, as the next one: who shares a connection to us with others, behind a
// proxy, could put words into their mouths.
func TestAnAmbiguousRequestSmugglesNoSecondOne(t *testing.T) {
	w := newWorld(t, onPlainListener)
	for name, request := range map[string]string{
		"folded": "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Folded: a\r\n b\r\n\tc\r\nX-Pad: " + strings.Repeat("p", 64) + "\r\n\r\n",
		"two lengths": "POST /api/chatting/blockedusers/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		if got, closed := w.raw(t, request); got.status != http.StatusBadRequest || !closed {
			t.Errorf("%s: answered with %d, closed: %t", name, got.status, closed)
		}
	}
}

// What stands still behind the node is told, and does not make it unready.
func TestReadinessTellsOfTheHistoryAndTheConsumerGroups(t *testing.T) {
	var unready error
	w := newWorld(t, func(_ *world, _ *Options, d *Deps) {
		d.Checks = []Check{{Name: "tail", Probe: func(context.Context) error { return unready }}}
		d.Background = func() Background {
			return Background{
				History: &HistoryLag{RecordsBehind: 12, StandingStill: 34},
				Groups:  map[string]ConsumerGroup{"chatting.history": {Foreign: 1, KeptOut: 30}},
			}
		}
	})
	told := `"history":{"records_behind":12,"standing_still_seconds":34},` +
		`"consumer_groups":{"chatting.history":{"member":false,"foreign_consumers":1,"kept_out_seconds":30}}}`
	w.call(t, "GET", "/readyz", "").mustBe(t, 200, `{"status":"ok","checks":{"tail":"ok"},`+told)
	unready = errors.New("away")
	if got := w.call(t, "GET", "/readyz", ""); got.status != 503 || !strings.HasSuffix(got.body, `"checks":{"tail":"failing"},`+told) {
		t.Errorf("of a node that is not ready, it is %d %s", got.status, got.body)
	}
}
