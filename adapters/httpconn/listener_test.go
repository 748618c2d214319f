package httpconn

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatting/application/notice"
)

// places are few, so that tests can fill them.
var places = Options{Requests: 4, Reserve: 2, ReadTimeout: time.Minute, IdleTimeout: time.Minute}

func TestWhoIsSilentMakesRoomOldestFirst(t *testing.T) {
	for name, said := range map[string]string{
		"silent": "", "idle": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "half a head": "GET /", "half a body": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel",
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(t, places)
			defer close(w.hang)
			busy := w.dial(t, "127.0.0.1").send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
			eventually(t, "a request is served", func() bool { return w.calls.Load() == 1 })
			var crowd []*client
			for i := range 5 {
				crowd = append(crowd, w.dial(t, "127.0.0.1").send(said))
				if name == "idle" {
					crowd[i].answer()
				}
				w.mustWait(t, i+1)
				if strings.HasPrefix(name, "half") {
					// Until it is read, a connection counts as one that has just said something.
					w.mustHaveBegun(t, i+1)
				}
			}
			// Each newcomer is served, in the place of the oldest.
			for i := range 5 {
				w.dial(t, "127.0.0.2").mustGet("/", 200)
				crowd[i].mustEnd()
			}
			w.hang <- struct{}{}
			if status, _, _ := busy.answer(); status != 200 {
				t.Errorf("the request under way: %d", status)
			}
			if !strings.Contains(w.logs.String(), "to make room") {
				t.Error("nothing was logged")
			}
		})
	}
}

func TestHealthIsAnsweredWhenAllPlacesAreTaken(t *testing.T) {
	w := serve(t, places)
	var busy []*client
	for range 4 {
		busy = append(busy, w.dial(t, "127.0.0.1").send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n"))
	}
	eventually(t, "all places are taken", func() bool { return w.calls.Load() == 4 })
	for range 5 { // more than the reserve: they are idle afterwards
		c := w.dial(t, "127.0.0.1")
		c.mustGet("/healthz", 200)
		c.mustGet("/healthz/?a=b", 200)
	}
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET /healthzz HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
	} {
		c := w.dial(t, "127.0.0.1").send(request)
		if status, header, _ := c.answer(); status != 503 || header.Get("Retry-After") == "" {
			t.Errorf("%q: %d %v", request, status, header)
		}
		c.mustEnd()
	}
	close(w.hang)
	for _, c := range busy {
		if status, _, _ := c.answer(); status != 200 {
			t.Errorf("a request under way: %d", status)
		}
	}
	w.dial(t, "127.0.0.1").mustGet("/", 200)
}

func TestAnAddressHasSoManyConnections(t *testing.T) {
	options := places
	options.Requests, options.PerAddress = 100, 2
	w := serve(t, options)
	first := w.dial(t, "127.0.0.1")
	w.mustWait(t, 1)
	second := w.dial(t, "127.0.0.1")
	w.mustWait(t, 2)
	elsewhere := w.dial(t, "127.0.0.2")
	w.mustWait(t, 3)
	second.mustGet("/", 200) // and so the first is the oldest
	w.since(time.Time{})
	third := w.dial(t, "127.0.0.1")
	first.mustEnd()
	second.mustGet("/", 200)
	elsewhere.mustGet("/", 200)
	second.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
	third.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "both are served", func() bool {
		w.books.mu.Lock()
		defer w.books.mu.Unlock()
		return w.books.load.requests == 2
	})
	fourth := w.dial(t, "127.0.0.1").send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if status, header, _ := fourth.answer(); status != 429 || header.Get("Retry-After") == "" {
		t.Errorf("a third request at a time: %d %v", status, header)
	}
	fourth.mustEnd()
	w.dial(t, "127.0.0.1").mustGet("/healthz", 200)
	w.dial(t, "127.0.0.3").mustGet("/", 200)
	close(w.hang)
	second.answer()
	third.answer()
	if logs := w.logs.String(); !strings.Contains(logs, "address=127.0.0.1") {
		t.Error(logs)
	}
}

func TestWhatAConnectionHasSentCountsBeforeItIsRead(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(inner, Options{Notices: notice.NewLog(slog.New(slog.DiscardHandler), time.Now)})
	defer func() { _ = l.Close() }()
	accept := func(says string) *Conn {
		dialled, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = dialled.Close() })
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = accepted.Close() })
		if says != "" {
			if _, err := dialled.Write([]byte(says)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it has come", func() bool { return hasUnread(accepted.(*Conn).Conn) })
		}
		return accepted.(*Conn)
	}
	spoken, silent := accept("GET /"), accept("")
	l.books.mu.Lock()
	defer l.books.mu.Unlock()
	if evicted := l.books.evict(1, &l.books.crowd.waiting, 0); len(evicted) != 1 || evicted[0] != silent {
		t.Errorf("closed %v, not the silent one", evicted)
	}
	// Once only: a connection that is never read is no better than a silent one.
	if evicted := l.books.evict(1, &l.books.crowd.waiting, 0); len(evicted) != 1 || evicted[0] != spoken {
		t.Errorf("closed %v", evicted)
	}
}

func TestATrustedProxyHasAnyNumberOfConnections(t *testing.T) {
	options := places
	options.PerAddress, options.Proxies = 1, NewProxies(networksOf("127.0.0.9/32"))
	w := serve(t, options)
	defer close(w.hang)
	for range 3 {
		w.dial(t, "127.0.0.9").send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	eventually(t, "all are served", func() bool { return w.calls.Load() == 3 })
}

// Clients that ask and do not read hold their places until others need them, also those of health requests.
func TestWhoDoesNotReadItsAnswerMakesRoom(t *testing.T) {
	w := serve(t, places)
	long := strings.Repeat("a", 1<<20) // is sent back
	stuck := func(path string) *client {
		c := w.dial(t, "127.0.0.1")
		if err := c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		go func() { // until the server has enough of it
			for {
				if _, err := c.Write([]byte("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n" + long)); err != nil {
					return
				}
			}
		}()
		return c
	}
	for range 4 {
		stuck("/unread")
	}
	eventually(t, "all places are taken by who does not read", func() bool {
		w.books.mu.Lock()
		defer w.books.mu.Unlock()
		return w.books.crowd.answering.Len() == 4 && w.books.load.requests == 4
	})
	w.dial(t, "127.0.0.1").mustGet("/healthz", 200)
	w.since(time.Now().Add(time.Hour)) // they have not had long yet
	w.dial(t, "127.0.0.1").mustGet("/", 503)
	w.since(time.Time{})
	w.dial(t, "127.0.0.1").mustGet("/", 200)
}

func TestNoMoreHealthRequestsThanTheReserveHavePlacesOfTheirOwn(t *testing.T) {
	w := serve(t, places)
	w.books.mu.Lock()
	defer w.books.mu.Unlock()
	request := head{method: []byte("GET"), path: []byte("/healthz")}
	for range places.Reserve {
		if !w.books.load.isVital(request) {
			t.Fatal("a health request has no place")
		}
		w.books.load.health++
	}
	if w.books.load.isVital(request) {
		t.Error("a health request more than the reserve has a place of its own")
	}
	w.books.load.health = 0
}

func TestAcceptingOutlastsAShortageOfFiles(t *testing.T) {
	want := errors.New("broken for good")
	server, peer := net.Pipe()
	l := Listen(&shortListener{conn: server, errs: []error{
		&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}, syscall.ENOBUFS, want,
	}}, Options{Notices: notice.NewLog(slog.New(slog.DiscardHandler), time.Now)})
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, want) {
		t.Errorf("Accept ended with %v", err)
	}
	if _, err := peer.Read(make([]byte, 1)); err == nil || l.books.crowd.open != 0 {
		t.Errorf("the silent connection stays: %v, %d are open", err, l.books.crowd.open)
	}
}

// shortListener accepts one connection, and then fails with one error after the other.
type shortListener struct {
	net.Listener
	conn net.Conn
	errs []error
}

func (l *shortListener) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

func TestAnUpgradedConnectionIsInNobodysWay(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(inner, places)
	defer func() { _ = l.Close() }()
	dialled, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dialled.Close() }()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	if _, err := dialled.Write([]byte(request + "behind")); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	if n, err := accepted.Read(buffer); err != nil || string(buffer[:n]) != request {
		t.Fatalf("HTTP reads %q, %v", buffer[:n], err)
	}
	if !accepted.(*Conn).Upgraded() {
		t.Fatal("not upgraded")
	}
	if n, err := accepted.Read(buffer); err != nil || string(buffer[:n]) != "behind" {
		t.Errorf("the session reads %q, %v", buffer[:n], err)
	}
	if l.books.crowd.open != 0 || l.books.load.requests != 0 || l.books.crowd.waiting.Len() != 0 {
		t.Errorf("%d are open, %d served, %d wait", l.books.crowd.open, l.books.load.requests, l.books.crowd.waiting.Len())
	}
	_, _ = accepted.Close(), accepted.Close()
	if l.books.crowd.open != 0 {
		t.Errorf("%d are open", l.books.crowd.open)
	}
}

// Nobody who leaves a request unfinished delays the end of a server.
func TestAClosedListenerClosesWhoWaitsAndLetsRequestsEnd(t *testing.T) {
	w := serve(t, places)
	busy := w.dial(t, "127.0.0.1").send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "a request is served", func() bool { return w.calls.Load() == 1 })
	waiting := []*client{w.dial(t, "127.0.0.1")}
	w.mustWait(t, 1)
	for i, said := range []string{"GET / HTTP/1.1\r\nHos", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"} {
		waiting = append(waiting, w.dial(t, "127.0.0.1").send(said))
		w.mustWait(t, i+2)
	}
	idle := w.dial(t, "127.0.0.1")
	idle.mustGet("/healthz", 200)
	w.mustWait(t, 5)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range append(waiting, idle) {
		c.mustEnd()
	}
	close(w.hang)
	if status, _, _ := busy.answer(); status != 200 {
		t.Errorf("the request under way: %d", status)
	}
	busy.mustEnd() // it has no further request
}

// A client that is answered before it has written all reads the answer, because its connection is not reset (RFC 9112 §9.6).
func TestAnAnswerReachesAClientThatStillWrites(t *testing.T) {
	w := serve(t, Options{Requests: 1})
	defer close(w.hang)
	body := strings.Repeat("x", 4<<20)
	post := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	c := w.dial(t, "127.0.0.1").send(post + body)
	if status, _, _ := c.answer(); status != 413 {
		t.Errorf("a body too long: %d", status)
	}
	c.mustEnd()
	w.dial(t, "127.0.0.1").send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "all places are taken", func() bool { return w.calls.Load() == 1 })
	c = w.dial(t, "127.0.0.1").send(post + body)
	if status, _, _ := c.answer(); status != 503 {
		t.Errorf("a body without a place: %d", status)
	}
	c.mustEnd()
}

// Who was answered and does not end its side makes room, and does not delay the end of a server.
func TestWhoLingersWaits(t *testing.T) {
	w := serve(t, Options{})
	const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"
	c := w.dial(t, "127.0.0.1").send(post)
	if status, _, _ := c.answer(); status != 413 {
		t.Errorf("a body too long: %d", status)
	}
	c.mustEnd() // the server's side
	w.mustWait(t, 1)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	w.books.mu.Lock()
	defer w.books.mu.Unlock()
	if w.books.crowd.open != 0 {
		t.Error("it stays in its place")
	}
}
