package rest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"chatting/adapters/rest/exchange"
	"chatting/application/history"
	"chatting/application/ledger"
	"chatting/application/presence"
	"chatting/domain"
)

const pagePath = "/api/chatting/messages/?target_id=7&limit=100"

// withLongPages has user 1 read pages of 20 messages of 10 KiB, and lets all answers together hold so many bytes.
func withLongPages(limit, userLimit int) func(*world, *Options, *Deps) {
	h := newHistory()
	h.list[7] = nil
	for n := range 20 {
		h.list[7] = append(h.list[7], history.Entry{
			ID: entryID(n), At: time.UnixMilli(int64(n)).UTC(), Frame: fmt.Appendf(nil, `{"message":"%s"}`, strings.Repeat("x", 10<<10)),
		})
	}
	return func(w *world, o *Options, d *Deps) {
		withHistory(h)(w, o, d)
		d.Bytes = ledger.NewByteLedger(limit, userLimit, time.Now)
	}
}

// silent asks for a page, so many times, on a connection of its own that is not read.
func (w *world) silent(t *testing.T, path, token string, times int) net.Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	request := "GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	if _, err := io.WriteString(conn, strings.Repeat(request, times)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// smallSends makes the system take next to nothing of what the server writes.
type smallSends struct{ net.Listener }

func (l smallSends) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(4 << 10)
	}
	return conn, err
}

func TestAnswersThatNobodyReadsAreBoundedInSumAndMakeRoom(t *testing.T) {
	const limit = 2 << 20
	var ledger *ledger.ByteLedger
	w := newWorld(t, withLongPages(limit, 0), func(w *world, _ *Options, d *Deps) {
		ledger = d.Bytes
		w.listener = func(inner net.Listener) net.Listener { return smallSends{inner} }
	})
	var stalled []net.Conn
	for range 30 {
		stalled = append(stalled, w.silent(t, pagePath, "token-1", 50))
		if held := ledger.Held(); held > limit {
			t.Fatalf("%d bytes are held", held)
		}
	}
	eventually(t, "there is no room", func() bool { return ledger.Held() > limit/2 })
	// Once they have stalled for a second, they make room for who reads.
	eventually(t, "a page is answered", func() bool {
		got := w.call(t, "GET", pagePath, "", asUser1)
		if got.status == 503 && (got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"code":"unavailable"`)) {
			t.Fatalf("refused with %v %s", got.header, got.body)
		}
		return got.status == 200 && len(got.body) > 200<<10
	})
	if held := ledger.Held(); held > limit {
		t.Fatalf("%d bytes are held", held)
	}
	// Small answers need no room.
	w.call(t, "GET", "/healthz", "").mustBe(t, 200, `{"status":"ok"}`)
	for _, conn := range stalled {
		_ = conn.Close()
	}
	eventually(t, "nothing is held", func() bool { return ledger.Held() == 0 })
}

func TestOneUsersAnswersAreBounded(t *testing.T) {
	const userLimit = 1 << 20
	var ledger *ledger.ByteLedger
	w := newWorld(t, withLongPages(0, userLimit), func(w *world, _ *Options, d *Deps) {
		ledger = d.Bytes
		w.listener = func(inner net.Listener) net.Listener { return smallSends{inner} }
	})
	for range 20 {
		w.silent(t, pagePath, "token-1", 1)
	}
	eventually(t, "the user's room is taken", func() bool { return ledger.Held() > userLimit/2 })
	for range 20 {
		if held := ledger.Held(); held > userLimit {
			t.Fatalf("%d bytes are held", held)
		}
		w.call(t, "GET", pagePath, "", asUser1)
	}
}

func TestAnAnswerThatIsHeldIsTheSame(t *testing.T) {
	var ledger *ledger.ByteLedger
	w := newWorld(t, withLongPages(8<<20, 0), func(_ *world, _ *Options, d *Deps) { ledger = d.Bytes })
	got := w.call(t, "GET", pagePath, "", asUser1)
	if got.status != 200 || !strings.HasSuffix(got.body, `"}],"next":null}`) || got.header.Get("Content-Type") != exchange.JSONType {
		t.Errorf("answer is %d with %v", got.status, got.header)
	}
	head := w.call(t, "HEAD", pagePath, "", asUser1)
	if head.status != 200 || head.header.Get("Content-Length") != fmt.Sprint(len(got.body)) || head.body != "" {
		t.Errorf("HEAD is %d with %v", head.status, head.header)
	}
	// Requests one behind the other get all their answers.
	conn := w.silent(t, pagePath, "token-1", 5)
	reader := bufio.NewReader(conn)
	for range 5 {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || string(body) != got.body {
			t.Fatalf("%d bytes: %v", len(body), err)
		}
	}
	eventually(t, "nothing is held", func() bool { return ledger.Held() == 0 })
}

func TestAPageIsBoundedByBytes(t *testing.T) {
	h := newHistory()
	w := newWorld(t, withHistory(h), func(_ *world, o *Options, _ *Deps) { o.PageBytes = 12345 })
	for _, path := range []string{pagePath, "/api/chatting/conversations/?limit=100"} {
		w.call(t, "GET", path, "", asUser1)
		if got := h.bounds.Swap(nil); got == nil || *got != (history.PageBounds{Entries: 100, Bytes: 12345}) {
			t.Errorf("%s asks for %+v", path, got)
		}
	}
}

func TestOneUserHasSoManyRequestsAtOnce(t *testing.T) {
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	w := newWorld(t, func(w *world, o *Options, d *Deps) {
		o.UserConcurrency = 2
		d.IsOnline = &presence.IsOnline{Users: slowUsers{w, entered, leave}, Presence: w}
	})
	replies := make(chan reply, 10)
	for range 2 {
		go func() { replies <- w.call(t, "GET", "/api/chatting/is-online/?id=9", "", asUser1) }()
		<-entered
	}
	got := w.call(t, "GET", blockedPath, "", asUser1)
	got.mustBe(t, 429, `{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"Too many requests at once.","code":"rate_limited"}`)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if got := w.call(t, "GET", blockedPath, "", "Authorization: Bearer token-7"); got.status != 200 {
		t.Errorf("another user: %d", got.status)
	}
	close(leave)
	for range 2 {
		if got := <-replies; got.status != 200 {
			t.Errorf("answer is %d %s", got.status, got.body)
		}
	}
	if got := w.call(t, "GET", blockedPath, "", asUser1); got.status != 200 {
		t.Errorf("afterwards: %d", got.status)
	}
	if logs := w.logs.String(); !strings.Contains(logs, `too many of its user at once" user=1 address=127.0.0.1`) {
		t.Errorf("the refusal is not logged: %s", logs)
	}
	if n := len(w.api.users.askers.underWay); n > 0 {
		t.Errorf("%d users are still counted", n)
	}
}

// slowUsers answers once it may.
type slowUsers struct {
	*world

	entered chan<- struct{}
	leave   <-chan struct{}
}

func (s slowUsers) Known(ctx context.Context, user domain.UserID) (bool, error) {
	s.entered <- struct{}{}
	<-s.leave
	return s.world.Known(ctx, user)
}

func TestLongBodiesAreBoundedInSumAndThePlatformHasItsShare(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) {
		o.S2SToken, o.BodyLimit, o.InboundBytes = "the-token-of-servers", 100<<10, 400<<10
		o.RequestTimeout = time.Hour // so that next to no room comes back while the test runs
	})
	long := `{"target_id":7,"message":"` + strings.Repeat("x", 50<<10) + `"}`
	// Announced bodies count, sent or not: a few of those that never come take the others' share.
	for range 2 {
		conn := w.silent(t, "/healthz", "token-1", 0)
		if _, err := io.WriteString(conn, "POST /api/chatting/blockedusers/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-1\r\n"+
			"Content-Type: application/json\r\nContent-Length: 102400\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "their share is taken", func() bool {
		return w.call(t, "POST", blockedPath, long, asUser1, asJSON).status == 503
	})
	got := w.call(t, "POST", "/s2sapi/system-message/", long, "Authorization: Bearer wrong", asJSON)
	if got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("without the token: %d %s", got.status, got.body)
	}
	chunks := func(bytes int) reply {
		got, _ := w.raw(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
			blockedPath, asUser1, bytes, strings.Repeat("x", bytes)))
		return got
	}
	if got := chunks(50 << 10); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("in chunks: %d %s", got.status, got.body)
	}
	if got := chunks(101 << 10); got.status != 413 {
		t.Errorf("too long in chunks: %d %s", got.status, got.body)
	}
	w.mustHaveLoggedUnread(t, 503)
	if got := w.call(t, "POST", blockedPath, `{"target_id":7}`, asUser1, asJSON); got.status != 201 {
		t.Errorf("a short body: %d %s", got.status, got.body)
	}
	if got := w.call(t, "POST", "/s2sapi/system-message/", long, "Authorization: Bearer the-token-of-servers", asJSON); got.status != 200 {
		t.Errorf("with the token: %d %s", got.status, got.body)
	}
	if got := w.call(t, "POST", blockedPath, strings.Repeat("x", 101<<10), asUser1, asJSON); got.status != 413 {
		t.Errorf("too long: %d %s", got.status, got.body)
	}
}
