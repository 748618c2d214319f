package httpconn

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"chatting/adapters/origins"
	"chatting/application/notice"
)

// smuggled is what must never be carried out behind a request that is refused.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

func TestARefusedRequestIsAnsweredAndNothingBehindItIsCarriedOut(t *testing.T) {
	w := serve(t, Options{})
	for name, test := range refusals {
		c := w.dial(t, "127.0.0.1").send(test.head + smuggled)
		if status, _ := c.refused(); status != test.status {
			t.Errorf("%s, %q: %d", name, test.head, status)
		}
		c.mustEnd()
	}
	for _, chunks := range []string{
		"5;a\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5;a\rhello\r\n0\r\n\r\n", "0\r\nA: b\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n",
	} {
		c := w.dial(t, "127.0.0.1").send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + smuggled)
		if status, _ := c.refused(); status != 400 {
			t.Errorf("chunks %q: %d", chunks, status)
		}
		c.mustEnd()
	}
	if n := w.calls.Load(); n != 0 {
		t.Errorf("%d requests were carried out", n)
	}
	if !strings.Contains(w.logs.String(), "malformed or late") {
		t.Error("nothing was logged")
	}
}

func TestWellFormedRequestsAreServed(t *testing.T) {
	w := serve(t, Options{})
	for _, text := range wellFormed {
		body := ""
		switch {
		case strings.HasPrefix(text, "BREW"), strings.HasPrefix(text, "get"):
			continue // methods that Fiber does not know
		case strings.Contains(text, "Length"):
			body = "hello12"
		case strings.Contains(text, "Encoding"):
			body = "5;a=b\r\nhello\r\n2\r\n12\r\n0\r\n\r\n"
		}
		status, _, got := w.dial(t, "127.0.0.1").send(text + body).answer()
		if want := map[bool]string{true: "hello12"}[body != ""]; status != 200 || got != want {
			t.Errorf("%q: %d %q", text, status, got)
		}
	}
}

func TestPipelinedRequestsAreServedOneByOne(t *testing.T) {
	w := serve(t, Options{})
	const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
	c := w.dial(t, "127.0.0.1").send(post + "one" + "\r\n" + post + "two" + "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n" + post + "fo")
	for _, want := range []string{"one", "two", "three"} {
		if _, _, body := c.answer(); body != want {
			t.Errorf("got %q, want %q", body, want)
		}
	}
	if _, _, body := c.send("r" + "GET / HTTP/1.1\r\nHost: x\r\n").answer(); body != "for" {
		t.Errorf("got %q", body)
	}
	if status, _, _ := c.send("\r\n").answer(); status != 200 {
		t.Errorf("the last: %d", status)
	}
}

func TestALongHeadIsTakenUpToTheLimit(t *testing.T) {
	w := serve(t, Options{HeaderLimit: 8000})
	c := w.dial(t, "127.0.0.1")
	for range 2 {
		if status, _, _ := c.send("GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 7900) + "\r\n\r\n").answer(); status != 200 {
			t.Errorf("a long head: %d", status)
		}
	}
	if status, _, _ := c.send("GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 8000)).answer(); status != 431 {
		t.Errorf("a head too long: %d", status)
	}
	c.mustEnd()
}

func TestABodyThatIsExpectedComesAfterContinue(t *testing.T) {
	w := serve(t, Options{})
	c := w.dial(t, "127.0.0.1").send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if status, _, _ := c.answer(); status != 100 {
		t.Fatalf("answered with %d", status)
	}
	if status, _, body := c.send("hello").answer(); status != 200 || body != "hello" {
		t.Errorf("answered with %d %q", status, body)
	}
	c.mustGet("/", 200)
}

// An answer before the end of a request leaves the rest of it on the way, which would be read as the next request.
func TestAnAnswerBeforeTheEndOfTheRequestEndsTheConnection(t *testing.T) {
	w := serve(t, Options{})
	c := w.dial(t, "127.0.0.1").send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + smuggled)
	if status, _, _ := c.answer(); status != 413 {
		t.Errorf("answered with %d", status)
	}
	if n := w.calls.Load(); n != 0 {
		t.Errorf("%d requests were carried out", n)
	}
	server, peer := net.Pipe()
	defer func() { _, _ = server.Close(), peer.Close() }()
	conn := &Conn{Conn: server, listener: w.Listener, phase: bodyPhase}
	go func() { _, _ = peer.Read(make([]byte, 100)) }()
	if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 10)); err == nil {
		t.Errorf("%d bytes are read as another request", n)
	}
}

// unhurried is a timeout that tests wait for. It leaves a client of a busy machine the time to say what it has to say first.
const unhurried = time.Second

// A byte now and then does not keep a connection open: the time for a request is one for all of its bytes.
func TestASlowRequestEndsHoweverOftenAByteComes(t *testing.T) {
	w := serve(t, Options{ReadTimeout: unhurried})
	for name, said := range map[string]string{
		"head": "GET / HTTP/1.1\r\nHost: x\r\nA: ", "body": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
	} {
		c := w.dial(t, "127.0.0.1").send(said)
		ended := make(chan struct{})
		go func() { // drips until the connection ends
			defer close(ended)
			for range int(patience / (unhurried / 10)) {
				if _, err := c.Write([]byte("a")); err != nil {
					return
				}
				time.Sleep(unhurried / 10)
			}
			t.Errorf("a slow %s never ends", name)
		}()
		if status, _, _ := c.answer(); status != 408 {
			t.Errorf("a slow %s: %d", name, status)
		}
		<-ended
	}
}

func TestAConnectionThatAsksForNothingEnds(t *testing.T) {
	w := serve(t, Options{ReadTimeout: unhurried, IdleTimeout: unhurried})
	silent, served := w.dial(t, "127.0.0.1"), w.dial(t, "127.0.0.1")
	served.mustGet("/", 200)
	served.mustEnd() // it has no further request
	silent.mustEnd()
}

// What the system takes for a client that does not read is bounded by whoever serves the connection.
func TestTheSystemsBufferOfAConnectionCanBeBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(inner, Options{Notices: notice.NewLog(slog.New(slog.DiscardHandler), time.Now)})
	defer func() { _ = l.Close() }()
	dialled, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(interface{ SetWriteBuffer(bytes int) error }).SetWriteBuffer(4 << 10); err != nil {
		t.Error(err)
	}
}

// Whatever the connection refuses itself, a page of an allowed origin may read.
func TestRefusalsTellWhichPagesMayReadThem(t *testing.T) {
	cors, err := origins.NewCORS([]string{"https://a.example"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, Options{CORS: cors, HeaderLimit: 1000, Requests: 1, PerAddress: 1})
	hurried := serve(t, Options{CORS: cors, ReadTimeout: 100 * time.Millisecond})
	const post = "POST / HTTP/1.1\r\nHost: x\r\n"
	rows := map[string]struct {
		before, after string // of the Origin line
		status        int
	}{
		"malformed before":         {"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n", "\r\n", 400},
		"malformed after":          {"GET / HTTP/1.1\r\nHost: x\r\n", "A b\r\n\r\n", 400},
		"bare line feed":           {"GET / HTTP/1.1\r\n", "A: b\n", 400},
		"another version":          {"GET / HTTP/1.2\r\nHost: x\r\n", "\r\n", 505},
		"long head":                {"GET / HTTP/1.1\r\nHost: x\r\n", "A: " + strings.Repeat("x", 1000), 431},
		"slow head":                {"GET / HTTP/1.1\r\nHost: x\r\n", "A: ", 408},
		"slow body":                {post + "Content-Length: 2\r\n", "\r\na", 408},
		"malformed body":           {post + "Transfer-Encoding: chunked\r\n", "\r\nzz\r\n", 400},
		"malformed body, later on": {post + "Transfer-Encoding: chunked\r\n", "\r\n1\r\na\r\nzz\r\n", 400},
	}
	for name, row := range rows {
		for origin, want := range map[string]string{
			"Origin: https://a.example\r\n": "https://a.example", "origin:https://a.example\r\n": "https://a.example", "Origin: https://b.example\r\n": "", "": "",
			"Origin: https://a.example\r\nOrigin: https://a.example\r\n": "",
		} {
			at := w
			if row.status == 408 {
				at = hurried
			}
			c := at.dial(t, "127.0.0.1").send(row.before + origin + row.after)
			status, header := c.refused()
			if status != row.status || header.Get("Access-Control-Allow-Origin") != want || header.Get("Vary") != "Origin" {
				t.Errorf("%s, %q: %d %v", name, origin, status, header)
			}
			_ = c.Close()
		}
	}
	// No page has any business with what is for the platform's servers.
	for name, request := range map[string]string{
		"malformed":      "POST /s2sapi/users/?a HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nA b\r\n\r\n",
		"malformed body": "POST /s2sapi/users/ HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"absolute form":  "POST http://x/s2sapi/users/ HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		c := w.dial(t, "127.0.0.1").send(request)
		if _, header := c.refused(); header.Get("Access-Control-Allow-Origin") != "" || header.Get("Vary") != "" {
			t.Errorf("%s of a server: %v", name, header)
		}
		_ = c.Close()
	}
	// The only place is taken, and then the only one of an address.
	hanging := w.dial(t, "127.0.0.1").send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the place is taken", func() bool { return w.calls.Load() > 0 })
	for from, want := range map[string]int{"127.0.0.2": 503, "127.0.0.1": 429} {
		c := w.dial(t, from).send("GET / HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\r\n")
		status, header := c.refused()
		if status != want || header.Get("Access-Control-Allow-Origin") != "https://a.example" || header.Get("Retry-After") == "" ||
			!strings.Contains(header.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("from %s: %d %v", from, status, header)
		}
	}
	close(w.hang)
	hanging.answer()
}

func TestTheRefusalOfAHeadRequestHasNoBody(t *testing.T) {
	w := serve(t, Options{})
	c := w.dial(t, "127.0.0.1").send("HEAD / HTTP/1.1\r\n\r\n")
	all, err := io.ReadAll(c)
	head, body, _ := strings.Cut(string(all), "\r\n\r\n")
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 400 ") || !strings.Contains(head, "Content-Length: ") || body != "" {
		t.Errorf("%q, %v", all, err)
	}
}

// The empty path stands for / (RFC 9110 §4.2.3), and the HTTP server gets that one.
func TestAnAbsoluteFormWithoutAPathIsForTheRoot(t *testing.T) {
	w := serve(t, Options{})
	for target, want := range map[string]string{
		"http://x": "http://x/", "http://x?a=/b": "http://x/?a=/b", "https://x:1?": "https://x:1/?", "HTTP://http?://x": "HTTP://http/?://x",
		"http://x/?a": "http://x/?a", "http://x/c?a": "http://x/c?a",
	} {
		host, _, _ := strings.Cut(target[strings.Index(target, "//")+2:], "?")
		host, _, _ = strings.Cut(host, "/")
		const body = "A: b\r\nContent-Length: 2\r\n\r\nhi"
		c := w.dial(t, "127.0.0.1").send("POST " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + body + "POST /2 HTTP/1.1\r\nHost: x\r\n" + body)
		for _, want := range []string{want, "/2"} {
			status, header, body := c.answer()
			if status != 200 || header.Get("Requested") != want || body != "hi" {
				t.Errorf("%s: %d %v %q, want %s", target, status, header, body, want)
			}
		}
	}
}
