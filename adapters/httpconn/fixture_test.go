package httpconn

import (
	"bufio"
	"bytes"
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/goleak"

	"chatting/adapters/problem"
	"chatting/application/notice"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp starts these for the life of the process, or ends them a while after the server.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// patience bounds waits for what must happen.
const patience = 20 * time.Second

// world is an HTTP server behind a Listener.
type world struct {
	*Listener

	addr  string
	calls atomic.Int64 // of the handler
	hang  chan struct{}
	logs  lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts a server that answers with the body of a request. A request for /hang is answered once hang is closed.
func serve(t *testing.T, options Options) *world {
	t.Helper()
	w := &world{hang: make(chan struct{})}
	options.Health = []string{"/healthz"}
	options.Notices = notice.NewLog(slog.New(slog.NewTextHandler(&w.logs, nil)), time.Now)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = inner.Addr().String()
	w.Listener = Listen(inner, options)
	app := fiber.New(fiber.Config{DisableStartupMessage: true, ReduceMemoryUsage: true, ReadBufferSize: w.options.HeaderLimit, BodyLimit: 1 << 20})
	app.Use(func(c *fiber.Ctx) error {
		w.calls.Add(1)
		if c.Path() == "/unread" {
			_ = c.Context().Conn().(*Conn).SetWriteBuffer(4 << 10)
		}
		if c.Path() == "/hang" {
			<-w.hang
		}
		c.Set("Requested", string(c.Request().Header.RequestURI()))
		return c.Send(c.Body())
	})
	served := make(chan error, 1)
	go func() { served <- app.Listener(w.Listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := app.ShutdownWithContext(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		_ = w.Close() // a server that has not begun to serve does not know the listener yet
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
		eventually(t, "nothing is in the books", func() bool {
			w.books.mu.Lock()
			defer w.books.mu.Unlock()
			return w.books.crowd.open == 0 && w.books.load.requests == 0 && w.books.crowd.waiting.Len() == 0 && len(w.books.crowd.hosts) == 0
		})
	})
	return w
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Errorf("waited in vain: %s", what)
}

// client is a TCP connection to the server.
type client struct {
	t *testing.T
	net.Conn
	reader *bufio.Reader
}

// dial connects from an address of loopback.
func (w *world) dial(t *testing.T, from string) *client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) send(text string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// answer reads one response.
func (c *client) answer() (status int, header http.Header, body string) {
	c.t.Helper()
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	data, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatalf("half an answer: %v", err)
	}
	return response.StatusCode, response.Header, string(data)
}

// refused reads the answer to a refused request, which must be problem details with a code, and returns its status and headers.
func (c *client) refused() (int, http.Header) {
	c.t.Helper()
	status, header, body := c.answer()
	var details problem.Details
	if err := json.Unmarshal([]byte(body), &details); err != nil || header.Get("Content-Type") != problem.MediaType ||
		details != problem.New(status, details.Code, details.Detail) || details.Code == "" || details.Detail == "" {
		c.t.Errorf("%d %v %s is no refusal (%v)", status, header, body, err)
	}
	return status, header
}

// mustGet sends a request for a path and wants a status.
func (c *client) mustGet(path string, want int) {
	c.t.Helper()
	if got, _, body := c.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n").answer(); got != want {
		c.t.Errorf("%s: %d %s, want %d", path, got, body, want)
	}
}

// mustEnd waits until the server has closed the connection, without another answer.
func (c *client) mustEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.reader); len(rest) > 0 {
		c.t.Errorf("more came: %q", rest)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Error("the connection stays open")
	}
}

// mustWait waits until so many connections wait.
func (w *world) mustWait(t *testing.T, n int) {
	t.Helper()
	eventually(t, "connections wait", func() bool {
		w.books.mu.Lock()
		defer w.books.mu.Unlock()
		return w.books.crowd.waiting.Len() == n
	})
}

// mustHaveBegun waits until so many of the connections that wait have begun a request.
func (w *world) mustHaveBegun(t *testing.T, n int) {
	t.Helper()
	eventually(t, "requests have begun", func() bool {
		w.books.mu.Lock()
		defer w.books.mu.Unlock()
		begun := 0
		for element := w.books.crowd.waiting.Front(); element != nil; element = element.Next() {
			if element.Value.(*Conn).place.begun {
				begun++
			}
		}
		return begun == n
	})
}

func networksOf(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// since has all connections have waited since a time.
func (w *world) since(at time.Time) {
	w.books.mu.Lock()
	defer w.books.mu.Unlock()
	for _, list := range []*list.List{&w.books.crowd.waiting, &w.books.crowd.answering} {
		for element := list.Front(); element != nil; element = element.Next() {
			element.Value.(*Conn).place.since = at
		}
	}
}
