package rest

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"

	"chatting/adapters/wire"
	"chatting/application/history"
	"chatting/application/ledger"
	"chatting/domain"
)

func TestEveryCodeHasTheStatusThatIsDocumented(t *testing.T) {
	want := map[domain.Code]int{
		"bad_json": 400, "bad_frame": 400, "bad_target": 400, "bad_message": 400, "too_long": 400, "self": 400, "not_blocked": 400, "not_watched": 400, "limit": 400,
		"bad_act": 400, "not_in_force": 400, "muted": 403, "banned": 403, "text_refused": 403,
		"unauthenticated": 401, "not_invited": 403, "no_user_or_offline": 404, "unknown_user": 404, "unknown_message": 404, "invite_ended": 409,
		"idempotency_key_in_progress": 409, "idempotency_key_reused": 422, "mailbox_full": 429, "rate_limited": 429, "internal": 500, "unavailable": 503, "unconfirmed": 503,
	}
	if !maps.Equal(statuses, want) {
		t.Errorf("the statuses are %v, want %v", statuses, want)
	}
}

func TestRetryAfterIsInSecondsRoundedUp(t *testing.T) {
	api := newWorld(t).api
	of := func(err error) string {
		c := request(t, api)
		if err := api.edge.refuse(c, err); err != nil {
			t.Fatal(err)
		}
		return c.GetRespHeader("Retry-After")
	}
	for after, want := range map[time.Duration]string{
		time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2", 1999 * time.Millisecond: "2", time.Hour: "3600", 0: "5", -time.Second: "5",
	} {
		if got := of(domain.NewRateLimited("Later.", after)); got != want {
			t.Errorf("after %v: %q, want %q", after, got, want)
		}
	}
	if got := of(domain.NewError(domain.CodeRateLimited, "Later.")); got != "5" {
		t.Errorf("of an error that does not know: %q", got)
	}
	w := newWorld(t, func(w *world, _ *Options, _ *Deps) { w.tokensErr = domain.NewError(domain.CodeUnavailable, "Away.") })
	if got := w.call(t, "GET", blockedPath, "", asUser1); got.header.Get("Retry-After") != "5" {
		t.Errorf("of an unavailable part: %v", got.header)
	}
}

func TestAPageHasFiftyEntriesUnlessItsLimitSaysOtherwise(t *testing.T) {
	h := newHistory()
	w := newWorld(t, withHistory(h))
	for query, want := range map[string]int{"": 50, "&limit=1": 1, "&limit=100": 100, "&limit=7&limit=8": 8} {
		for _, path := range []string{"/api/chatting/messages/?target_id=7", "/api/chatting/conversations/?x=1"} {
			if got := w.call(t, "GET", path+query, "", asUser1); got.status != 200 {
				t.Errorf("%s%s: %d %s", path, query, got.status, got.body)
			}
			if got := h.bounds.Swap(nil); got == nil || *got != (history.PageBounds{Entries: want, Bytes: 512 << 10}) {
				t.Errorf("%s%s asks for %+v", path, query, got)
			}
		}
	}
	for _, query := range []string{"limit=0", "limit=101", "limit=-1", "limit=1.5", "limit="} {
		w.call(t, "GET", "/api/chatting/conversations/?"+query, "", asUser1).mustBe(t, 400, `{"limit":["Must be a number from 1 to 100."]}`)
	}
}

func TestTheOtherSideOfAConversationIsAUserOrThePlatform(t *testing.T) {
	for named, want := range map[string]domain.UserID{"7": 7, " 7 ": 7, "+7": 7, "7.0": 7, "0": 0, "00": 0, " 0 ": 0, "9223372036854775807": 1<<63 - 1} {
		if got, complaint := partnerOf(wire.TextValue(named)); got != want || complaint != "" {
			t.Errorf("%q is %d, %q", named, got, complaint)
		}
	}
	for named, want := range map[string]string{
		"-1": wire.SentenceNever, "9223372036854775808": wire.SentenceNever, "-9223372036854775809": wire.SentenceNever, "": wire.SentenceInteger, "x": wire.SentenceInteger, "7.5": wire.SentenceInteger,
	} {
		if got, complaint := partnerOf(wire.TextValue(named)); got != wire.Nobody || complaint != want {
			t.Errorf("%q is %d, %q, want %q", named, got, complaint, want)
		}
	}
}

func TestTheDefaultsAreThoseThatAreDocumented(t *testing.T) {
	if got := (Options{}).withDefaults(); got.RequestTimeout != 10*time.Second || got.ProbeTimeout != 2*time.Second ||
		got.WriteTimeout != 10*time.Second || got.HeaderLimit != 16384 {
		t.Errorf("they are %+v", got)
	}
	if got := (Options{HeaderLimit: 1, ProbeTimeout: 2}).withDefaults(); got.HeaderLimit != 1 || got.ProbeTimeout != 2 {
		t.Errorf("what was given became %+v", got)
	}
}

func TestEachUserHasItsOwnRequestsUnderWay(t *testing.T) {
	a := newAskers(2)
	enter := func(user domain.UserID) func() {
		t.Helper()
		leave, err := a.enter(user)
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	first, _ := enter(1), enter(1)
	if _, err := a.enter(1); domain.CodeOf(err) != domain.CodeRateLimited {
		t.Errorf("a third one: %v", err)
	}
	enter(2)
	first()
	enter(1)
	if _, err := a.enter(1); err == nil {
		t.Error("one that left makes room for two")
	}
	unbounded := newAskers(0)
	for range 100 {
		if _, err := unbounded.enter(1); err != nil {
			t.Fatal(err)
		}
	}
}

// newBodies returns the bound on long bodies of an API with these options.
func newBodies(o Options) *longBodies { return newLongBodies(o, newS2SToken(o.S2SToken)) }

// announced is the head of a request whose body is so long, or chunked.
func announced(path, token string, length int) *fasthttp.RequestHeader {
	header := &fasthttp.RequestHeader{}
	header.SetMethod("POST")
	header.SetRequestURI(path)
	header.SetContentLength(length)
	header.Set("Authorization", "Bearer "+token)
	return header
}

func TestRoomForLongBodiesIsSharedBetweenThePlatformAndOthers(t *testing.T) {
	const limit, share = 100 << 10, 200 << 10
	for name, row := range map[string]struct {
		path, token string
		platform    bool
	}{
		"the platform": {"/s2sapi/x", "secret", true}, "another token": {"/s2sapi/x", "Secret", false}, "no token": {"/s2sapi/x", "", false}, "another path": {"/api/x", "secret", false},
		"a path like it": {"/s2sapis/", "secret", false},
	} {
		l := newBodies(Options{S2SToken: "secret", BodyLimit: limit, InboundBytes: 2 * share, ReadTimeout: time.Hour, RequestTimeout: time.Hour, WriteTimeout: time.Hour})
		ask := func(length int) int { return l.configure(announced(row.path, row.token, length)).MaxRequestBodySize }
		for length, want := range map[int]int{0: shortBody, 5: shortBody, shortBody: shortBody, limit + 1: limit, 10 * limit: limit} {
			for range 1000 { // these take no room
				if got := ask(length); got != want {
					t.Fatalf("%s: a body of %d may be %d", name, length, got)
				}
			}
		}
		if got := []int{ask(shortBody + 1), ask(limit), ask(chunked), ask(chunked)}; got[0] != limit || got[1] != limit || got[2] != shortBody || got[3] != shortBody {
			t.Errorf("%s: bodies may be %v", name, got) // 16 KiB + 1, 100 KiB and 100 KiB are more than 200 KiB
		}
		// What one side has taken is not the other's.
		if got := l.configure(announced("/s2sapi/x", map[bool]string{false: "secret", true: "x"}[row.platform], chunked)).MaxRequestBodySize; got != limit {
			t.Errorf("%s: the other side's body may be %d", name, got)
		}
	}
	unbounded := newBodies(Options{BodyLimit: limit, ReadTimeout: time.Hour})
	for range 1000 {
		if got := unbounded.configure(announced("/", "", limit)).MaxRequestBodySize; got != limit {
			t.Fatalf("without a bound a body may be %d", got)
		}
	}
	// Without a configured token all that is for the platform's servers is theirs.
	open := newBodies(Options{BodyLimit: limit, InboundBytes: limit, ReadTimeout: time.Hour})
	for _, header := range []*fasthttp.RequestHeader{announced("/s2sapi/x", "any", limit), announced("/api/x", "any", limit)} {
		if got := open.configure(header).MaxRequestBodySize; got != limit {
			t.Errorf("without a token, a body of %s may be %d", header.RequestURI(), got)
		}
	}
	// A share comes back within the time that a body may live.
	lives := newBodies(Options{BodyLimit: limit, InboundBytes: 2 * share, ReadTimeout: time.Second, RequestTimeout: 2 * time.Second, WriteTimeout: 5 * time.Second})
	if got, want := lives.others.Limit(), rate.Limit(share/8); got != want || lives.platform.Limit() != want {
		t.Errorf("%v bytes come back in a second, want %v", got, want)
	}
	tiny := newBodies(Options{BodyLimit: 10})
	if got := tiny.configure(announced("/", "", 5)).MaxRequestBodySize; got != 10 {
		t.Errorf("with a limit of 10 a body may be %d", got)
	}
	// A bound that is less than two bodies has room for one on each side.
	small := newBodies(Options{S2SToken: "secret", BodyLimit: limit, InboundBytes: limit, ReadTimeout: time.Hour, RequestTimeout: 1, WriteTimeout: 1})
	if got := small.configure(announced("/", "", limit)).MaxRequestBodySize; got != limit {
		t.Errorf("one body may be %d", got)
	}
}

func TestABodyIsRefusedForRoomIfItsLengthIsAllowed(t *testing.T) {
	l := newBodies(Options{BodyLimit: 100 << 10})
	for length, want := range map[int]bool{chunked: false, 0: false, shortBody: false, shortBody + 1: true, 100 << 10: true, 100<<10 + 1: false} {
		if got := l.refusedForRoom(announced("/", "", length)); got != want {
			t.Errorf("%d: %t", length, got)
		}
	}
}

// pieces takes so many writes.
type pieces struct {
	bytes.Buffer

	left    int
	longest int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.longest = max(p.longest, len(b))
	if p.left--; p.left < 0 {
		return 0, http.ErrHandlerTimeout
	}
	return p.Buffer.Write(b)
}

func TestAHeldAnswerIsWrittenInPiecesAndGivenBackAtItsEnd(t *testing.T) {
	ledger := ledger.NewByteLedger(0, 0, time.Now)
	body := bytes.Repeat([]byte("0123456789"), 10_000)
	newAnswer := func() *heldAnswer {
		holding := ledger.Open(func() {})
		if !holding.Hold(len(body)) {
			t.Fatal("no room")
		}
		return &heldAnswer{left: body, holding: holding}
	}
	h, w := newAnswer(), &pieces{left: 100}
	if n, err := h.WriteTo(w); err != nil || n != int64(len(body)) || !bytes.Equal(w.Bytes(), body) || w.longest != 32<<10 {
		t.Errorf("%d bytes were written, %v, %d at once", n, err, w.longest)
	}
	if err := h.Close(); err != nil || ledger.Held() != 0 {
		t.Errorf("%v, %d bytes are held", err, ledger.Held())
	}
	h, w = newAnswer(), &pieces{left: 2}
	if n, err := h.WriteTo(w); !errors.Is(err, http.ErrHandlerTimeout) || n != 64<<10 {
		t.Errorf("%d bytes were written, %v", n, err)
	}
	if err := h.Close(); err != nil || ledger.Held() != 0 {
		t.Errorf("%v, %d bytes are held", err, ledger.Held())
	}
	h = newAnswer()
	if got, err := io.ReadAll(struct{ io.Reader }{h}); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes were read, %v", len(got), err)
	}
	_ = h.Close()
}

func TestABearerTokenIsOneWord(t *testing.T) {
	for header, want := range map[string]string{
		"Bearer t": "t", "bearer t": "t", "BEARER  t ": "t", "Bearer a.b-c_d~e+f/g==": "a.b-c_d~e+f/g==",
		"Bearer": "", "Bearer ": "", "": "", "t": "", "Basic t": "", "Bearer a b": "", "Bearer a\tb": "", "Bearer a,b": "", "Bearer\tt": "", "Bearers t": "", " Bearer t": "",
	} {
		if got, ok := bearer(header); got != want || ok != (want != "") {
			t.Errorf("%q has %q, %t", header, got, ok)
		}
	}
}
