package httpconn

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/notice"
)

// TestEachByteOfAHeadIsJudged: names, hosts and targets take the characters that RFC 9110 and RFC 3986 give them, and no neighbours of those.
func TestEachByteOfAHeadIsJudged(t *testing.T) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const digits = "0123456789"
	for c := range 256 {
		b := string([]byte{byte(c)})
		inToken := strings.Contains(letters+digits+"!#$%&'*+-.^_`|~", b)
		if isToken([]byte("a"+b)) != inToken {
			t.Errorf("%q in a name: %v", b, !inToken)
		}
		inHost := strings.Contains(letters+digits+"-._~", b)
		if b != ":" && validAuthority([]byte("a"+b)) != inHost { // a colon begins the port, which may be empty
			t.Errorf("%q in a host: %v", b, !inHost)
		}
		inQuery := c > ' ' && c < 0x7f && c != '#'
		if _, _, refusal := parseTarget([]byte("/?a" + b)); (refusal == nil) != inQuery {
			t.Errorf("%q in a query: %v", b, refusal)
		}
		var s scanned
		inValue := c >= ' ' && c != 0x7f || c == '\t'
		if _, refusal := s.scan([]byte("A: b" + b + "c")); (refusal == nil) != inValue {
			t.Errorf("%q in a value: %v", b, refusal)
		}
		chunk := newBody(head{chunked: true})
		if _, refusal := chunk.advance([]byte("5;a" + b + "b\r\n")); (refusal == nil) != inValue {
			t.Errorf("%q in a chunk's extension: %v", b, refusal)
		}
		chunk = newBody(head{chunked: true})
		if _, refusal := chunk.advance([]byte("5" + b + "\r\n")); (refusal == nil) != strings.Contains("0123456789abcdefABCDEF;", b) {
			t.Errorf("%q in a chunk's size: %v", b, refusal)
		}
	}
	if isToken(nil) || validAuthority(nil) {
		t.Error("nothing is a name")
	}
}

func TestTargetsAtTheirBounds(t *testing.T) {
	for target, want := range map[string]struct {
		path, authority string
		good            bool
	}{
		"/":                  {"/", "", true},
		"/a/":                {"/a/", "", true},
		"/a?b?c/..//":        {"/a", "", true},
		"/a/...":             {"/a/...", "", true},
		"/.a/a./..a":         {"/.a/a./..a", "", true},
		"/a%20":              {"/a%20", "", true}, // ends with an encoding
		"/%":                 {"", "", false},
		"/%2":                {"", "", false},
		"/%2e":               {"", "", false},
		"/%2E":               {"", "", false},
		"/%2f":               {"", "", false},
		"/%5c":               {"", "", false},
		"/%5d":               {"/%5d", "", true},
		"/%-1":               {"", "", false},
		"/.":                 {"", "", false},
		"/..":                {"", "", false},
		"//":                 {"", "", false},
		"/a//":               {"", "", false},
		"http://x":           {"", "x", true},
		"http://x?":          {"", "x", true},
		"HTTPS://x:1/a?b":    {"/a", "x:1", true},
		"http:/x/":           {"", "", false},
		"http:///a":          {"", "", false},
		"http://?a":          {"", "", false},
		"xhttp://x/":         {"", "", false},
		"http://[::1]:8/a":   {"/a", "[::1]:8", true},
		"http://[::1%25a]/a": {"", "", false},
		"x/a":                {"", "", false},
		"":                   {"", "", false},
	} {
		path, authority, refusal := parseTarget([]byte(target))
		if (refusal == nil) != want.good || string(path) != want.path || string(authority) != want.authority {
			t.Errorf("%q: path %q of %q, %v", target, path, authority, refusal)
		}
	}
	for authority, good := range map[string]bool{
		"x": true, "x:": true, "x:0": true, "x:65535": true, "x:65536": false, "x:-1": false, "x:+1": false, "x:1:2": false, "x:1a": false, ":1": false, ":": false,
		"127.0.0.1:1": true, "[::1]": true, "[::1]:": true, "[::1]:1": true, "[::1]1": false, "[::1]x:1": false, "[::1": false, "[": false, "[]": false, "[]:1": false,
		"[1.2.3.4]": false, "[fe80::1%eth0]": false, "[::ffff:1.2.3.4]": true, "::1": false,
	} {
		if validAuthority([]byte(authority)) != good {
			t.Errorf("%q: %v", authority, !good)
		}
	}
}

func TestLengthsAndVersionsAtTheirBounds(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "007": 7, "1234567890": 1234567890, "999999999999999999": 999999999999999999,
		"000000000000000001": 1, "1000000000000000000": -1, "": -1, "1a": -1, "a": -1, "/": -1, ":": -1, "-1": -1, " 1": -1,
		strings.Repeat("9", 18) + "a": -1,
	} {
		got, refusal := parseLength([]byte(text))
		if refusal != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for version, status := range map[string]int{
		"HTTP/1.1": 0, "HTTP/1.0": 0, "HTTP/1.2": 505, "HTTP/2.0": 505, "HTTP/0.9": 505, "HTTP/a.1": 400, "HTTP/1.a": 400, "HTTP/1x1": 400, "HTTP/11.": 400,
		"HTTX/2.0": 400, "HTTP/1": 400, "HTTP/1.1 ": 400, "": 400,
	} {
		_, _, minor, refusal := parseRequestLine([]byte("GET / " + version))
		got := 0
		if refusal != nil {
			got = refusal.Status
		}
		if got != status || (version == "HTTP/1.1") != (minor == 1) {
			t.Errorf("%q: %d, minor %d", version, got, minor)
		}
	}
	for line, good := range map[string]bool{"A:": true, "A: b": true, "A": false, "": false, ":": false, " A: b": false, "\tA: b": false, "A : b": false} {
		if _, _, refusal := parseField([]byte(line)); (refusal == nil) != good {
			t.Errorf("%q: %v", line, refusal)
		}
	}
}

// TestEachFieldThatCountsIsThereOnce, and others as often as they like.
func TestEachFieldThatCountsIsThereOnce(t *testing.T) {
	value := map[string]string{"content-length": "5", "transfer-encoding": "chunked", "host": "x"}
	for _, name := range append([]string{"accept", "cookie", "x-forwarded-for", "connection", "upgrade"}, once...) {
		v := value[name]
		if v == "" {
			v = "a"
		}
		line := name + ": " + v + "\r\n" + strings.ToUpper(name) + ": " + v + "\r\n"
		if name != "host" {
			line += "Host: x\r\n"
		}
		_, refusal := parseHead([]byte("POST / HTTP/1.1\r\n" + line + "\r\n"))
		isOnce := indexOf(once, []byte(name)) >= 0
		if (refusal != nil) != isOnce || isOnce && refusal.Sentence != "The header "+name+" is there twice." {
			t.Errorf("%s: %v", name, refusal)
		}
	}
	h, refusal := parseHead([]byte("POST /a?b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n"))
	if refusal != nil || string(h.method) != "POST" || string(h.path) != "/a" || h.length != 12 || h.chunked || !h.expects {
		t.Errorf("%+v, %v", h, refusal)
	}
	h, refusal = parseHead([]byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n"))
	if refusal != nil || !h.chunked || h.expects || h.length != 0 {
		t.Errorf("%+v, %v", h, refusal)
	}
}

func TestChunksAtTheirBounds(t *testing.T) {
	for _, c := range []struct {
		sent string
		good bool
	}{
		{"5;" + strings.Repeat("a", maxChunkLine-3) + "\r\n", true}, // the carriage return counts
		{"5;" + strings.Repeat("a", maxChunkLine-2) + "\r\n", false},
		{strings.Repeat("0", maxChunkLine-1) + "\r\n\r\n", true},
		{strings.Repeat("0", maxChunkLine) + "\r\n\r\n", false},
		{"7fffffffffffff\r\n", true}, // of 56 bits
		{"80000000000000000\r\n", false},
		{";a\r\n", false},
		{"\r\n", false},
		{"5;\r\n", true},
		// The bounds are of each line.
		{"5;" + strings.Repeat("a", 200) + "\r\nhello\r\n5;" + strings.Repeat("a", 200) + "\r\nhello\r\n0\r\n\r\n", true},
		{"1\r\na\r\n\r\n", false},
		{"ffffffff\r\n" + strings.Repeat("a", 100), true},
	} {
		b := newBody(head{chunked: true})
		if n, refusal := b.advance([]byte(c.sent)); (refusal == nil) != c.good || c.good && n != len(c.sent) {
			t.Errorf("%.40q: %d of %d bytes, %v", c.sent, n, len(c.sent), refusal)
		}
	}
	for _, c := range []struct {
		digit byte
		value int64
	}{{'0', 0}, {'9', 9}, {'a', 10}, {'f', 15}, {'A', 10}, {'F', 15}, {'g', -1}, {'G', -1}, {'`', -1}, {'@', -1}, {'/', -1}, {':', -1}} {
		if value, ok := hexDigit(c.digit); ok != (c.value >= 0) || ok && value != c.value {
			t.Errorf("%c: %d, %v", c.digit, value, ok)
		}
	}
	b := newBody(head{chunked: true})
	if n, _ := b.advance([]byte("1A\r\n" + strings.Repeat("x", 26) + "\r\n0\r\n\r\nnext")); n != 4+26+2+5 || !b.done() {
		t.Errorf("a chunk of 26 bytes ends at %d", n)
	}
}

// pipe is a connection to a listener without a network, so that a test's clock may be a bubble's.
type pipe struct {
	net.Conn
	from net.Addr
}

func (p pipe) RemoteAddr() net.Addr { return p.from }

// quiet is a listener that nobody connects to by itself.
func quiet(t *testing.T, options Options) *Listener {
	t.Helper()
	options.Health = []string{"/healthz"}
	options.Notices = notice.NewLog(slog.New(slog.DiscardHandler), time.Now)
	return Listen(noListener{}, options)
}

type noListener struct{ net.Listener }

func (noListener) Close() error { return nil }

func (l *Listener) connect(t *testing.T, from string) (c *Conn, client net.Conn) {
	t.Helper()
	server, client := net.Pipe()
	c = l.enter(pipe{server, &net.TCPAddr{IP: net.ParseIP(from), Port: 1}})
	t.Cleanup(func() { _, _ = c.Close(), client.Close() })
	return c, client
}

// TestTimesOfAConnection: the first request has as long as any request, a further one may be waited for longer.
func TestTimesOfAConnection(t *testing.T) {
	for name, c := range map[string]struct {
		talk func(*Conn, net.Conn)
		want time.Duration
	}{
		"new": {func(*Conn, net.Conn) {}, 10 * time.Second},
		"half a request": {func(_ *Conn, client net.Conn) {
			time.Sleep(9 * time.Second)
			_, _ = io.WriteString(client, "GET /")
		}, 19 * time.Second},
		"answered once": {func(c *Conn, client net.Conn) {
			go func() { _, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }()
			_, _ = c.Read(make([]byte, 100))
		}, 60 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := quiet(t, Options{})
			conn, client := l.connect(t, "127.0.0.1")
			begin := time.Now()
			go func() { _, _ = io.Copy(io.Discard, client) }()
			if name == "half a request" {
				go c.talk(conn, client)
			} else {
				c.talk(conn, client)
			}
			if _, err := conn.Read(make([]byte, 100)); !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(begin); took != c.want {
				t.Errorf("%s: it ends after %v, want %v", name, took, c.want)
			}
			_ = client.Close()
		})
	}
}

// TestRoomIsMadeByWhoHasWaitedLongEnough: not before, because clients send their request a moment after they have connected.
func TestRoomIsMadeByWhoHasWaitedLongEnough(t *testing.T) {
	for _, c := range []struct {
		options Options
		from    string
	}{
		{Options{Requests: 1, Reserve: 1}, "127.0.0.2"}, {Options{Requests: 8, Reserve: 8, PerAddress: 2}, "127.0.0.1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := quiet(t, c.options)
			if c.options.PerAddress > 0 { // another address's, which has waited longest, stays
				l.connect(t, "127.0.0.9")
				time.Sleep(time.Second)
			}
			first, _ := l.connect(t, "127.0.0.1")
			time.Sleep(courtesy - 1)
			second, _ := l.connect(t, "127.0.0.1")
			l.books.mu.Lock()
			defer l.books.mu.Unlock()
			address := netip.MustParseAddr(c.from)
			if evicted := l.books.makeRoom(address); len(evicted) != 0 || len(l.books.lines) != 0 {
				t.Errorf("%+v: %d make room at once", c.options, len(evicted))
			}
			time.Sleep(1)
			if evicted := l.books.makeRoom(address); len(evicted) != 1 || evicted[0] != first {
				t.Errorf("%+v: %v make room, not the oldest alone", c.options, evicted)
			}
			if len(l.books.lines) != 1 {
				t.Errorf("%+v: %d lines", c.options, len(l.books.lines))
			}
			time.Sleep(courtesy)
			if evicted := l.books.makeRoom(address); len(evicted) != 0 || second.place.gone {
				t.Errorf("%+v: %d make room although there is some", c.options, len(evicted))
			}
		})
	}
}

// TestWhoIsServedMakesNoRoom, unless its answer is not taken for a while.
func TestWhoIsServedMakesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quiet(t, Options{Requests: 1, Reserve: 1})
		served, client := l.connect(t, "127.0.0.1")
		go func() { _, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }()
		if _, err := served.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		second, _ := l.connect(t, "127.0.0.1")
		go func() { _, _ = served.Write([]byte("HTTP/1.1 200 OK\r\n")) }()
		synctest.Wait()
		l.books.mu.Lock()
		l.books.crowd.ready(second) // as if it were served
		address := netip.MustParseAddr("127.0.0.2")
		time.Sleep(answerPatience - 1)
		if evicted := l.books.makeRoom(address); len(evicted) != 0 {
			t.Errorf("%v make room early", evicted)
		}
		time.Sleep(1)
		evicted := l.books.makeRoom(address)
		if len(evicted) != 1 || evicted[0] != served || l.books.load.requests != 0 {
			t.Errorf("%v make room, %d requests are served", evicted, l.books.load.requests)
		}
		l.books.unlock()
		closeAll(evicted)
	})
}

// TestNewcomersWaitForRoomAndGetIt: accepting rests until somebody may be closed.
func TestNewcomersWaitForRoomAndGetIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quiet(t, Options{Requests: 1, Reserve: 1})
		first, _ := l.connect(t, "127.0.0.1")
		l.connect(t, "127.0.0.1")
		begin := time.Now()
		l.connect(t, "127.0.0.1")
		if waited := time.Since(begin); waited != courtesy || !first.place.gone || l.books.crowd.open != 2 {
			t.Errorf("it got its place after %v, %d are open", waited, l.books.crowd.open)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		late, _ := l.connect(t, "127.0.0.1")
		if _, err := late.Read(make([]byte, 1)); err == nil || l.books.crowd.open != 0 || !late.place.gone {
			t.Errorf("after Close: %v, %d are open", err, l.books.crowd.open)
		}
	})
}

// TestABookIsClosedOnce: whatever comes afterwards counts nothing again.
func TestABookIsClosedOnce(t *testing.T) {
	l := quiet(t, Options{Requests: 2, Reserve: 2, PerAddress: 8})
	other, _ := l.connect(t, "127.0.0.1")
	c, _ := l.connect(t, "127.0.0.1")
	books := func(open, requests, health, waiting int) {
		t.Helper()
		l.books.mu.Lock()
		defer l.books.mu.Unlock()
		h := l.books.crowd.hosts[other.place.address]
		if l.books.crowd.open != open || l.books.load.requests != requests || l.books.load.health != health || l.books.crowd.waiting.Len() != waiting ||
			h.open != open || h.requests != requests || h.waiting.Len() != waiting {
			t.Errorf("%d open, %d served, %d of health, %d wait; of the host %+v", l.books.crowd.open, l.books.load.requests, l.books.load.health, l.books.crowd.waiting.Len(), h)
		}
	}
	books(2, 0, 0, 2)
	for range 3 { // requests come and go
		if !l.books.began(c) {
			t.Fatal("it is gone")
		}
		if !c.place.begun {
			t.Error("it has not begun")
		}
		c.request = head{method: []byte("POST"), path: []byte("/healthz")}
		if refusal := l.books.admits(c, true); refusal != nil {
			t.Fatal(refusal)
		}
		books(2, 1, 0, 1)
		l.books.answers(c)
		if !l.books.served(c) || c.place.begun {
			t.Error("it does not go on")
		}
		books(2, 0, 0, 2)
		c.request = head{method: []byte("HEAD"), path: []byte("/healthz/")}
		l.books.began(c)
		if refusal := l.books.admits(c, true); refusal != nil {
			t.Fatal(refusal)
		}
		books(2, 0, 1, 1)
		l.books.served(c)
		books(2, 0, 0, 2)
	}
	l.books.began(c)
	c.lingers.Store(true)
	if !c.waitsForClient() || c.waitsForClient() {
		t.Error("it lingers once")
	}
	c.lingers.Store(true)
	for range 2 {
		l.books.left(c)
		books(1, 0, 0, 1)
	}
	if c.waitsForClient() || l.books.began(c) || l.books.served(c) || l.books.left(c) || l.books.completed(c) != errGone {
		t.Error("what is gone goes on")
	}
	l.books.answers(c)
	if l.books.crowd.answering.Len() != 0 {
		t.Error("what is gone is answered")
	}
	if !l.books.left(other) || l.books.left(other) {
		t.Error("upgraded once")
	}
	if l.books.crowd.open != 0 || len(l.books.crowd.hosts) != 0 || l.books.crowd.waiting.Len() != 0 {
		t.Errorf("%d are open, %d hosts", l.books.crowd.open, len(l.books.crowd.hosts))
	}
}

func TestOnlyAQuestionForHealthIsOne(t *testing.T) {
	l := quiet(t, Options{})
	for _, c := range []struct {
		h  head
		is bool
	}{
		{head{method: []byte("GET"), path: []byte("/healthz")}, true},
		{head{method: []byte("HEAD"), path: []byte("/healthz/")}, true},
		{head{method: []byte("POST"), path: []byte("/healthz")}, false},
		{head{method: []byte("GET"), path: []byte("/healthz//")}, false},
		{head{method: []byte("GET"), path: []byte("/")}, false},
		{head{method: []byte("GET")}, false},
		{head{method: []byte("GET"), path: []byte("/healthz"), length: 1}, false},
		{head{method: []byte("GET"), path: []byte("/healthz"), chunked: true}, false},
	} {
		if l.options.isHealth(c.h) != c.is {
			t.Errorf("%s %s: %v", c.h.method, c.h.path, !c.is)
		}
	}
	root := Listen(noListener{}, Options{Health: []string{"/"}})
	if !root.options.isHealth(head{method: []byte("GET"), path: []byte("/")}) {
		t.Error("/ as a question for health")
	}
}

func TestShortagesPassAndOtherErrorsDoNot(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if !isShortage(&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}) {
			t.Errorf("%v is no shortage", err)
		}
	}
	for _, err := range []error{syscall.EINVAL, net.ErrClosed, io.EOF} {
		if isShortage(err) {
			t.Errorf("%v is a shortage", err)
		}
	}
}

// TestDefaults are for what is not set.
func TestDefaults(t *testing.T) {
	o := Options{}.withDefaults()
	if o.Requests != 8192 || o.Reserve != 64 || o.HeaderLimit != 16<<10 || o.ReadTimeout != 10*time.Second || o.IdleTimeout != time.Minute || o.PerAddress != 0 {
		t.Errorf("%+v", o)
	}
	set := Options{Requests: 1, Reserve: 2, HeaderLimit: 3, ReadTimeout: 4, IdleTimeout: 5, PerAddress: 6}
	if o := set.withDefaults(); o.Requests != 1 || o.Reserve != 2 || o.HeaderLimit != 3 || o.ReadTimeout != 4 || o.IdleTimeout != 5 || o.PerAddress != 6 {
		t.Errorf("%+v", o)
	}
}

// TestARefusalIsAWholeAnswer that says when to come again where that helps.
func TestARefusalIsAWholeAnswer(t *testing.T) {
	for status, again := range map[int]string{400: "", 408: "", 429: "5", 431: "", 503: "5", 505: ""} {
		c, client := quiet(t, Options{}).connect(t, "127.0.0.1")
		go c.refuse(&Refusal{status, "Why."})
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != status || !response.Close || response.Header.Get("Retry-After") != again ||
			response.Header.Get("Cache-Control") != "no-store" || response.Header.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(string(body), `"detail":"Why."`) {
			t.Errorf("%d: %v %s, %v", status, response.Header, body, err)
		}
		if at, err := http.ParseTime(response.Header.Get("Date")); err != nil || time.Since(at) > time.Hour {
			t.Errorf("Date: %v, %v", at, err)
		}
	}
}

// TestAHeadMayBeAsLongAsTheLimitAndNotLonger, whether it comes at once or in parts.
func TestAHeadMayBeAsLongAsTheLimitAndNotLonger(t *testing.T) {
	const limit = 5000
	for size, status := range map[int]int{limit - 1: 200, limit: 200, limit + 1: 431, 3 * limit: 431} {
		for _, step := range []int{1 << 20, 1000} {
			w := serve(t, Options{HeaderLimit: limit})
			text := "GET / HTTP/1.1\r\nHost: x\r\nA: "
			text += strings.Repeat("a", size-len(text)-4) + "\r\n\r\n"
			c := w.dial(t, "127.0.0.1")
			for rest := text; rest != ""; {
				n := min(step, len(rest))
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					break // refused before its end
				}
				rest = rest[n:]
			}
			if got, header, _ := c.answer(); got != status || got == 431 && header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d bytes in steps of %d: %d %v, want %d", size, step, got, header, status)
			}
		}
	}
}

// TestAHeadThatCannotEndWithinTheLimitIsRefused, without a further byte of it.
func TestAHeadThatCannotEndWithinTheLimitIsRefused(t *testing.T) {
	const limit = 5000
	w := serve(t, Options{HeaderLimit: limit})
	text := "GET / HTTP/1.1\r\nHost: x\r\nA: "
	if status, _, _ := w.dial(t, "127.0.0.1").send(text + strings.Repeat("a", limit-len(text))).answer(); status != 431 {
		t.Errorf("answered with %d", status)
	}
}

// TestAShortageIsLogged, because operators have to give the process more files.
func TestAShortageIsLogged(t *testing.T) {
	var logs lockedBuffer
	l := Listen(&shortListener{errs: []error{syscall.EMFILE, net.ErrClosed}},
		Options{Notices: notice.NewLog(slog.New(slog.NewTextHandler(&logs, nil)), time.Now)})
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if !strings.Contains(logs.String(), "no more files") || !strings.Contains(logs.String(), syscall.EMFILE.Error()) {
		t.Errorf("logged: %s", logs.String())
	}
}

// TestContinueIsNoAnswer where it is expected. Where it is not, it is one, as any other answer is.
func TestContinueIsNoAnswer(t *testing.T) {
	for _, test := range []struct {
		expects bool
		answer  string
		goesOn  bool
	}{
		{true, "HTTP/1.1 100 Continue\r\n\r\n", true}, {false, "HTTP/1.1 100 Continue\r\n\r\n", false}, {true, "HTTP/1.1 417 No\r\n\r\n", false},
	} {
		expects := test.expects
		l := quiet(t, Options{})
		c, client := l.connect(t, "127.0.0.1")
		go func() {
			request := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
			if expects {
				request += "Expect: 100-continue\r\n"
			}
			_, _ = io.WriteString(client, request+"\r\n")
			_, _ = io.CopyN(io.Discard, client, int64(len(test.answer)))
			_, _ = io.WriteString(client, "hello")
		}()
		buffer := make([]byte, 1000)
		if _, err := c.Read(buffer); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(test.answer)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buffer)
		if test.goesOn != (err == nil) || test.goesOn && string(buffer[:n]) != "hello" {
			t.Errorf("%+v: %q, %v", test, buffer[:n], err)
		}
	}
}

// TestAnAddressHasAnyNumberWithoutACap, however long they wait.
func TestAnAddressHasAnyNumberWithoutACap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quiet(t, Options{})
		for range 5 {
			l.connect(t, "127.0.0.1")
			time.Sleep(time.Second)
		}
		if l.books.crowd.open != 5 || l.books.crowd.waiting.Len() != 5 {
			t.Errorf("%d are open", l.books.crowd.open)
		}
	})
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// mustRead reads what the HTTP server would get next.
func mustRead(t *testing.T, c *Conn, buffer []byte, want string) {
	t.Helper()
	if n, err := c.Read(buffer); err != nil || string(buffer[:n]) != want {
		t.Fatalf("%q, %v; want %q", buffer[:n], err, want)
	}
}

// TestWhatFollowsARequestIsNobodyElses: neither the server's buffer nor that of another connection is it kept in.
func TestWhatFollowsARequestIsNobodyElses(t *testing.T) {
	const post, next = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", "GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
	scribble := func(buffer []byte) {
		for i := range buffer {
			buffer[i] = '#'
		}
	}
	for _, writes := range [][]string{{post, "hello" + next}, {post + "hello" + next}, {post + "hel", "lo" + next}} {
		l := quiet(t, Options{})
		c, client := l.connect(t, "127.0.0.1")
		go func() {
			for _, text := range writes {
				_, _ = io.WriteString(client, text)
			}
		}()
		buffer := make([]byte, 1000)
		var got string
		for got != post+"hello" {
			n, err := c.Read(buffer)
			if err != nil {
				t.Fatalf("%q, %v after %q", writes, err, got)
			}
			got += string(buffer[:n])
			scribble(buffer)
		}
		c.release() // as the next read does
		for range 8 {
			other := headBuffers.Get().(*[]byte)
			scribble((*other)[:cap(*other)])
		}
		mustRead(t, c, buffer, next)
	}
}

// TestAnIdleConnectionHoldsNoBuffer, and each of its answers waits for its client.
func TestAnIdleConnectionHoldsNoBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quiet(t, Options{})
		c, client := l.connect(t, "127.0.0.1")
		buffer := make([]byte, 1000)
		go func() { _, _ = io.Copy(io.Discard, client) }()
		for range 3 {
			go func() { _, _ = io.WriteString(client, get) }()
			mustRead(t, c, buffer, get)
			if c.in.buffer == nil || l.books.load.requests != 1 || l.books.crowd.answering.Len() != 0 {
				t.Errorf("%d are served, %d answered", l.books.load.requests, l.books.crowd.answering.Len())
			}
			for range 2 {
				if _, err := c.Write([]byte("HTTP/1.1 200 OK\r\n")); err != nil {
					t.Fatal(err)
				}
				if l.books.crowd.answering.Len() != 1 {
					t.Errorf("%d are answered", l.books.crowd.answering.Len())
				}
			}
			read := make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				read <- err
			}()
			synctest.Wait()
			if c.in.buffer != nil || c.in.unread != nil || l.books.crowd.waiting.Len() != 1 || l.books.crowd.answering.Len() != 0 {
				t.Errorf("idle it holds %d bytes, %d wait", cap(c.in.unread), l.books.crowd.waiting.Len())
			}
			go func() { _, _ = io.WriteString(client, get) }()
			if err := <-read; err != nil {
				t.Fatal(err)
			}
			mustRead(t, c, buffer, get[1:])
		}
		_ = client.Close()
	})
}

// TestDeadlinesAreTheConnectionsOwnUntilItIsUpgraded.
func TestDeadlinesAreTheConnectionsOwnUntilItIsUpgraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quiet(t, Options{})
		c, client := l.connect(t, "127.0.0.1")
		past := time.Now().Add(-time.Second)
		if err := c.SetReadDeadline(past); err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(past); err != nil { // for writing it counts
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(client, get) }()
		buffer := make([]byte, 1000)
		mustRead(t, c, buffer, get)
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("written after the deadline: %v", err)
		}
		if !c.Upgraded() {
			t.Fatal("it was closed")
		}
		go func() {
			time.Sleep(24 * time.Hour) // none of HTTP's deadlines counts any more
			_, _ = io.WriteString(client, "frame")
		}()
		mustRead(t, c, buffer, "frame")
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if _, err := c.Read(buffer); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(before) != time.Minute {
			t.Errorf("read after the deadline: %v after %v", err, time.Since(before))
		}
	})
}

// TestABodyThatCompletesWhenAllPlacesAreTakenIsRefused: its place is decided on when all of it is there.
func TestABodyThatCompletesWhenAllPlacesAreTakenIsRefused(t *testing.T) {
	w := serve(t, Options{Requests: 1})
	defer close(w.hang)
	c := w.dial(t, "127.0.0.1").send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
	w.mustHaveBegun(t, 1)
	w.dial(t, "127.0.0.1").send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "all places are taken", func() bool { return w.calls.Load() == 1 })
	if status, _, _ := c.send("lo").answer(); status != 503 {
		t.Errorf("answered with %d", status)
	}
	c.mustEnd()
	if n := w.calls.Load(); n != 1 {
		t.Errorf("%d requests were carried out", n)
	}
	if logs := w.logs.String(); !strings.Contains(logs, "too many are served") || strings.Contains(logs, "malformed") {
		t.Errorf("logged: %s", logs)
	}
}

// TestLookingAtWhatHasComeTakesNothing, and a listener that is closed closes who has said something nobody has read.
func TestLookingAtWhatHasComeTakesNothing(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(inner, Options{Notices: notice.NewLog(slog.New(slog.DiscardHandler), time.Now)})
	connect := func() (*Conn, net.Conn) {
		dialled, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = dialled.Close(), accepted.Close() })
		c := accepted.(*Conn)
		if hasUnread(c.Conn) {
			t.Error("something came of nobody")
		}
		if _, err := io.WriteString(dialled, get); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has come", func() bool { return hasUnread(c.Conn) })
		return c, dialled
	}
	read, _ := connect()
	mustRead(t, read, make([]byte, 1000), get)
	unread, client := connect()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_ = client.SetReadDeadline(time.Now().Add(patience))
	if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || !unread.place.gone || read.place.gone {
		t.Errorf("it stays open: %v", err)
	}
}
