package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"chatting/adapters/problem"
	"chatting/application"
	"chatting/application/history"
	"chatting/application/ledger"
	"chatting/application/notice"
	"chatting/domain"
)

func TestAFaultOfAnotherAdapterOrAnUnknownCodeSaysNothing(t *testing.T) {
	const want = `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"Something went wrong here.","code":"internal"}`
	w := newWorld(t, func(w *world, _ *Options, _ *Deps) {
		w.mount = func(app *fiber.App) {
			app.Get("/other", func(*fiber.Ctx) error { return fiber.NewError(500, "secret") })
			app.Get("/more", func(*fiber.Ctx) error { return fiber.NewError(503, "secret") })
		}
	})
	w.call(t, "GET", "/other", "").mustBe(t, 500, want)
	w.call(t, "GET", "/more", "").mustBe(t, 500, want)
	unheard := newWorld(t, func(w *world, _ *Options, _ *Deps) { w.tokensErr = domain.NewError("unheard", "secret") })
	if got := unheard.call(t, "GET", blockedPath, "", asUser1); got.status != 500 || strings.Contains(got.body, "secret") {
		t.Errorf("an unknown code: %d %s", got.status, got.body)
	}
}

func TestALogTellsAPartThatIsAwayFromAFault(t *testing.T) {
	for code, away := range map[domain.Code]bool{domain.CodeUnavailable: true, domain.CodeInternal: false} {
		w := newWorld(t, func(w *world, _ *Options, _ *Deps) { w.tokensErr = domain.NewError(code, "x") })
		w.call(t, "GET", blockedPath, "", asUser1)
		if logs := w.logs.String(); strings.Contains(logs, "a part is away") != away || !strings.Contains(logs, "code="+string(code)) {
			t.Errorf("%s: log is %s", code, logs)
		}
	}
}

func TestAnAnswerWithoutABodyHasNoMediaType(t *testing.T) {
	w := newWorld(t)
	w.call(t, "POST", blockedPath, `{"target_id":7}`, asUser1, asJSON)
	got := w.call(t, "DELETE", blockedPath, `{"target_id":7}`, asUser1, asJSON)
	if _, typed := got.header["Content-Type"]; got.status != 200 || typed {
		t.Errorf("%d %v", got.status, got.header)
	}
}

// request returns a context of a request that did not come over a connection.
func request(t *testing.T, a *API) *fiber.Ctx {
	t.Helper()
	c := a.App().AcquireCtx(&fasthttp.RequestCtx{})
	t.Cleanup(func() { a.App().ReleaseCtx(c) })
	return c
}

func TestWhyARequestWasNotReadIsSaidWithItsStatus(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) { o.BodyLimit, o.HeaderLimit = 1000, 2000 })
	for err, want := range map[error]problem.Details{
		fiber.ErrRequestEntityTooLarge:       problem.New(413, "body_too_long", "The body is longer than 1000 bytes."),
		fiber.ErrRequestHeaderFieldsTooLarge: problem.New(431, "head_too_long", "The head is longer than 2000 bytes."),
		fiber.ErrRequestTimeout:              problem.New(408, "request_timeout", "The request did not arrive in time."),
		fiber.ErrTeapot:                      problem.New(400, "bad_request", "The request is malformed."),
		errors.New("the insides"):            problem.New(400, "bad_request", "The request is malformed."),
	} {
		c := request(t, w.api)
		var got problem.Details
		if err := errors.Join(w.api.edge.refuseUnread(c, err), json.Unmarshal(c.Response().Body(), &got)); err != nil || got != want || c.Response().StatusCode() != want.Status {
			t.Errorf("%v: %d %s (%v)", err, c.Response().StatusCode(), c.Response().Body(), err)
		}
		if c.Response().SkipBody {
			t.Errorf("%v: the body is left out", err)
		}
	}
	c := request(t, w.api)
	c.Request().Header.SetMethod("HEAD")
	if err := w.api.edge.refuseUnread(c, fiber.ErrRequestTimeout); err != nil || !c.Response().SkipBody {
		t.Errorf("the answer to HEAD has a body: %v", err)
	}
}

func TestARefusedTokenIsLoggedWithTheClientsAddress(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Options, d *Deps) {
		w.tokensErr = domain.WrapError(domain.CodeUnauthenticated, "No.", &application.RefusedToken{Reason: "expired"})
		d.Authenticate = &application.Authenticate{Tokens: w, Users: w, Notices: notice.NewLog(d.Logger, time.Now)}
	})
	w.call(t, "GET", blockedPath, "", asUser1)
	for line := range strings.Lines(w.logs.String()) {
		if strings.Contains(line, "expired") && strings.Contains(line, "address=127.0.0.1") {
			return
		}
	}
	t.Errorf("log is %s", w.logs.String())
}

func TestOnlyWhatABrowserAsksBeforehandIsAPreflight(t *testing.T) {
	w := newWorld(t, withCORS)
	const origin, method = "Origin: " + pageOrigin, "Access-Control-Request-Method: GET"
	for _, row := range []struct {
		method  string
		headers []string
		want    int
	}{
		{"OPTIONS", []string{origin, method}, 204}, {"OPTIONS", []string{method}, 405}, {"OPTIONS", []string{origin}, 405}, {"GET", []string{origin, method}, 200},
	} {
		if got := w.call(t, row.method, blockedPath, "", append(row.headers, asUser1)...); got.status != row.want {
			t.Errorf("%s with %q: %d, want %d", row.method, row.headers, got.status, row.want)
		}
	}
}

func TestPagesLearnNothingOfWhatIsForServersAndOfSockets(t *testing.T) {
	w := newWorld(t, withCORS)
	for path, want := range map[string]string{"/s2sapi": "", "/s2sapi/": "", "/s2sapi/x": "", "/s2sapis": pageOrigin, "/x/s2sapi/": pageOrigin} {
		if got := w.call(t, "GET", path, "", "Origin: "+pageOrigin); got.header.Get(allowOrigin) != want {
			t.Errorf("%s: %v", path, got.header)
		}
	}
	for status, want := range map[int]string{101: "", 200: pageOrigin} {
		c := request(t, w.api)
		c.Request().Header.Set("Origin", pageOrigin)
		c.Status(status)
		if w.api.edge.cors.setHeaders(c); c.GetRespHeader(allowOrigin) != want {
			t.Errorf("an answer with %d names %q", status, c.GetRespHeader(allowOrigin))
		}
	}
}

func TestReadinessIsLoggedWhenItChanges(t *testing.T) {
	var away error
	w := newWorld(t, func(_ *world, _ *Options, d *Deps) {
		d.Checks = []Check{{Name: "broker", Probe: func(context.Context) error { return away }}}
	})
	const passes, fails = "readiness: all checks pass", "readiness: a check fails"
	for i, step := range []struct {
		err           error
		passes, fails int
	}{{nil, 1, 0}, {nil, 1, 0}, {errors.New("x"), 1, 1}, {errors.New("y"), 1, 1}, {nil, 2, 1}} {
		away = step.err
		w.call(t, "GET", "/readyz", "")
		if logs := w.logs.String(); strings.Count(logs, passes) != step.passes || strings.Count(logs, fails) != step.fails {
			t.Errorf("step %d: log is %s", i, logs)
		}
	}
}

// withRoom lets all answers hold so many bytes, of which others hold some, who have not stalled.
func withRoom(limit, taken int, bytesHeld **ledger.ByteLedger) func(*world, *Options, *Deps) {
	return func(w *world, o *Options, d *Deps) {
		withLongPages(0, 0)(w, o, d)
		at := time.Now()
		*bytesHeld = ledger.NewByteLedger(limit, 0, func() time.Time { return at })
		d.Bytes = *bytesHeld
		if !(*bytesHeld).Open(func() {}).Hold(taken) {
			panic("no room")
		}
	}
}

func TestAnAnswerNeedsRoomForItsFramesTwice(t *testing.T) {
	const limit, frame = 1 << 20, 10<<10 + len(`{"message":""}`)
	const ours = limit - limit/8 // the rest is for those that end
	for name, row := range map[string]struct{ room, want int }{"once": {2*frame - 1, 503}, "twice": {2 * frame, 200}} {
		for _, path := range []string{"/api/chatting/messages/?target_id=7&limit=1", "/api/chatting/conversations/?limit=1"} {
			var ledger *ledger.ByteLedger
			w := newWorld(t, withRoom(limit, ours-row.room, &ledger))
			if got := w.call(t, "GET", path, "", asUser1); got.status != row.want {
				t.Errorf("%s with room for it %s: %d", path, name, got.status)
			}
			eventually(t, "nothing is held", func() bool { return ledger.Held() == ours-row.room })
		}
	}
}

func TestASmallAnswerNeedsNoRoom(t *testing.T) {
	const limit = 1 << 20
	for size, want := range map[int]int{smallAnswer: 200, smallAnswer + 1: 503} {
		var ledger *ledger.ByteLedger
		h := newHistory()
		w := newWorld(t, withRoom(limit, limit-limit/8, &ledger), withHistory(h), func(w *world, _ *Options, _ *Deps) {
			w.mount = func(app *fiber.App) {
				app.Get("/page", func(c *fiber.Ctx) error { return c.SendString(strings.Repeat("x", 10<<10)) })
			}
		})
		frame := strings.Repeat("x", size-len(`{"messages":[{"message":""}],"next":null}`))
		h.list[7] = []history.Entry{{ID: entryID(1), Frame: fmt.Appendf(nil, `{"message":"%s"}`, frame)}}
		if got := w.call(t, "GET", pagePath, "", asUser1); got.status != want || want == 200 && len(got.body) != size {
			t.Errorf("%d bytes: %d, %d bytes", size, got.status, len(got.body))
		}
		if got := w.call(t, "GET", "/page", ""); got.status != 200 { // of another adapter, the same for all
			t.Errorf("a page: %d", got.status)
		}
	}
}

func TestWhatIsHeldForAnAnswerThatFailsIsGivenBack(t *testing.T) {
	var ledger *ledger.ByteLedger
	w := newWorld(t, withRoom(1<<20, 1, &ledger), func(w *world, _ *Options, _ *Deps) {
		w.mount = func(app *fiber.App) {
			app.Get("/api/failing", func(c *fiber.Ctx) error {
				if err := w.api.edge.held.hold(c, 5000); err != nil || ledger.Held() != 5001 {
					t.Errorf("%d bytes are held, %v", ledger.Held(), err)
				}
				return errors.New("x")
			})
		}
	})
	if got := w.call(t, "GET", "/api/failing", ""); got.status != 500 || ledger.Held() != 1 {
		t.Errorf("%d, %d bytes are held", got.status, ledger.Held())
	}
}

// A client that takes its answer piece by piece is not among the slowest.
func TestEachPieceThatAClientTakesIsProgress(t *testing.T) {
	const size = 4 * pieceOfAnswer
	at, cut := time.Now(), false
	ledger := ledger.NewByteLedger(2*size, 0, func() time.Time { return at })
	holding := ledger.Open(func() { cut = true })
	if !holding.Hold(size) {
		t.Fatal("no room")
	}
	h := &heldAnswer{left: make([]byte, size), holding: holding}
	defer func() { _ = h.Close() }()
	other := ledger.Open(func() {})
	defer other.Close()
	if _, err := h.WriteTo(writer(func(p []byte) (int, error) {
		at = at.Add(900 * time.Millisecond)
		if other.TryHold(2*size) || cut {
			t.Error("the client is cut off")
		}
		return len(p), nil
	})); err != nil {
		t.Error(err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestAnyListenerServesThePathThatWasSent(t *testing.T) {
	w := newWorld(t, onPlainListener, func(w *world, o *Options, _ *Deps) {
		o.ReadTimeout = unhurried
		w.mount = func(app *fiber.App) {
			app.Get("/", func(c *fiber.Ctx) error { return c.SendString(c.Query("x")) })
		}
	})
	for target, want := range map[string]string{"/": "", "/?x=1": "1", "http://a/?x=1": "1", "http://a": "", "/?x=http://b/": "http://b/"} {
		if got, _ := w.raw(t, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n"); got.status != 200 || got.body != want {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		}
	}
	if got, _ := w.raw(t, "GET http://a?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"); got.status != 400 { // fasthttp takes it for another host
		t.Errorf("no path: %d %s", got.status, got.body)
	}
	for _, fold := range []string{" b", "\tb"} {
		if got, closed := w.raw(t, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Folded: a\r\n"+fold+"\r\nX-Pad: "+strings.Repeat("p", 64)+"\r\n\r\n"); got.status != 400 || !closed {
			t.Errorf("%q: %d, closed: %t", fold, got.status, closed)
		}
	}
	w.silence(t, "") // is closed, although it sends no first byte
}

// noAddresses is a rate that no client without an address may be counted in.
type noAddresses struct{ t *testing.T }

func (n noAddresses) Take(netip.Addr, int) time.Duration {
	n.t.Error("it is counted")
	return time.Hour
}

func (n noAddresses) Wait(netip.Addr, int) time.Duration {
	n.t.Error("it is asked for")
	return time.Hour
}

func TestAClientWithoutAnAddressIsInNoRateOfAddresses(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Options, d *Deps) {
		w.peer = &net.UnixAddr{Name: "/tmp/x", Net: "unix"}
		d.Logins = noAddresses{t}
	})
	w.call(t, "GET", blockedPath, "", asUser1).mustBe(t, 200, "[]")
	w.call(t, "GET", blockedPath, "", "Authorization: Bearer x").mustBe(t, 401, `{"detail":"The token is not valid."}`)
}

func TestAKeyThatIsGivenTwiceIsRefused(t *testing.T) {
	w := newWorld(t, onPlainListener)
	body := `{"target_id":7,"message":"m"}`
	got, _ := w.raw(t, "POST "+systemPath+" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nIdempotency-Key: a\r\nIdempotency-Key: a\r\n"+
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
	if got.status != 400 || !strings.Contains(got.body, "one string") || len(w.appended()) != 0 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestEveryMethodThatMayChangeSomethingIsAWrite(t *testing.T) {
	for method, path := range map[string]string{"POST": friendsPath, "DELETE": blockedPath, "PUT": "/api/chatting/conversations/7/read/"} {
		w := newWorld(t, withHistory(newHistory()), func(_ *world, _ *Options, d *Deps) { d.Writes = onceIn[domain.UserID](time.Hour, 1) })
		for i, limited := range []bool{false, true} {
			if got := w.call(t, method, path, `{"target_id":9}`, asUser1, asJSON); (got.status == 429) != limited {
				t.Errorf("%s number %d: %d %s", method, i, got.status, got.body)
			}
		}
		for _, read := range []string{"GET", "HEAD"} {
			if got := w.call(t, read, blockedPath, "", asUser1); got.status != 200 {
				t.Errorf("after it, %s: %d", read, got.status)
			}
		}
	}
}
