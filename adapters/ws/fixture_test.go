package ws

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/gofiber/fiber/v2"
	"go.uber.org/goleak"

	"chatting/adapters/httpconn"
	"chatting/adapters/wire"
	"chatting/adapters/ws/throttle"
	"chatting/application"
	"chatting/application/invites"
	"chatting/application/ledger"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/domain"
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

// chat is the application as the tests need it: a token "user-7" logs user 7 in, and what a user sends goes at once to
// the connections of both.
type chat struct {
	mu       sync.Mutex
	online   map[domain.UserID]map[application.Connection]bool
	sessions map[*session]bool
	ended    int // sessions that were closed
	sent     []domain.Body

	// What tests set before they connect.
	expires func() time.Time
	renewed func(token string) (application.Identity, error)
	logIn   func(ctx context.Context, token string) error
	// append decides what becomes of a message: it must call done. nil delivers.
	append func(deliver func(), done func(error))
	// check is asked before a message is sent; nil if nobody is.
	check checkOf
	// bytes bounds what the connections hold; nil for no bound.
	bytes *ledger.ByteLedger
}

type session struct {
	chat   *chat
	user   domain.UserID
	conn   application.Connection
	closes int
	// received is what the client confirmed, latest last.
	received [][]domain.Place
	pong     func() // answers a ping; nil if the server does
}

func newChat() *chat {
	return &chat{online: map[domain.UserID]map[application.Connection]bool{}, sessions: map[*session]bool{}}
}

func (c *chat) login(ctx context.Context, token string, conn application.Connection) (Session, application.Identity, error) {
	if c.logIn != nil {
		if err := c.logIn(ctx, token); err != nil {
			return nil, application.Identity{}, err
		}
	}
	digits, ok := strings.CutPrefix(token, "user-")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil {
		return nil, application.Identity{}, domain.NewError(domain.CodeUnauthenticated, "The token is bad.")
	}
	s := &session{chat: c, user: domain.UserID(n), conn: conn}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.online[s.user] == nil {
		c.online[s.user] = map[application.Connection]bool{}
	}
	c.online[s.user][conn] = true
	c.sessions[s] = true
	identity := application.Identity{User: s.user}
	if c.expires != nil {
		identity.Expires = c.expires()
	}
	conn.TokenExpires(identity.Expires)
	conn.LoggedIn(s.user, nil, time.Now())
	return s, identity, nil
}

func (s *session) Renew(_ context.Context, token string) (application.Identity, error) {
	return s.chat.renewed(token)
}

func (s *session) Received(upTo []domain.Place) {
	s.chat.mu.Lock()
	defer s.chat.mu.Unlock()
	s.received = append(s.received, slices.Clone(upTo))
}

func (s *session) Pong() bool {
	if s.pong != nil {
		s.pong()
	}
	return s.pong != nil
}

func (s *session) Close() {
	s.chat.mu.Lock()
	defer s.chat.mu.Unlock()
	s.closes++
	s.chat.ended++
	delete(s.chat.online[s.user], s.conn)
	if len(s.chat.online[s.user]) == 0 {
		delete(s.chat.online, s.user)
	}
}

// checkOf is a TextChecks.
type checkOf func(ctx context.Context, command messaging.ChatCommand) (messaging.ChatCommand, error)

func (c checkOf) Execute(ctx context.Context, command messaging.ChatCommand) (messaging.ChatCommand, error) {
	return c(ctx, command)
}

type messagesOf struct{ *chat }

func (m messagesOf) Execute(command messaging.ChatCommand, done func(error)) {
	m.take(domain.Event{
		ID: domain.DerivedID("test", command.Text.String()), Time: time.Now(), ClientMessageID: command.ClientMessageID,
		Body: domain.ChatMessage{From: command.Sender, To: command.Target, Text: command.Text},
	}, command.Sender, command.Target, done)
}

type invitesOf struct{ *chat }

func (i invitesOf) Execute(command invites.Command, done func(error)) {
	i.take(domain.Event{
		Time: time.Now(), ClientMessageID: command.ClientMessageID,
		Body: domain.GameInvite{From: command.Sender, To: command.Target, Status: command.Status},
	}, command.Sender, command.Target, done)
}

func (c *chat) take(event domain.Event, from, to domain.UserID, done func(error)) {
	c.mu.Lock()
	c.sent = append(c.sent, event.Body)
	known := len(c.online[to]) > 0
	c.mu.Unlock()
	if !known {
		done(domain.NewError(domain.CodeNoUserOrOffline, "offline"))
		return
	}
	deliver := func() {
		data, err := wire.EncodeEvent(event)
		if err != nil {
			panic(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for conn := range c.online[from] {
			conn.Deliver(data, event.ClientMessageID)
		}
		if from != to {
			for conn := range c.online[to] {
				conn.Deliver(data, "")
			}
		}
	}
	if c.append != nil {
		c.append(deliver, done)
		return
	}
	deliver()
	done(nil)
}

// connectionOf returns the only connection of a user.
func (c *chat) connectionOf(t testing.TB, user domain.UserID) application.Connection {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.online[user] {
		return conn
	}
	t.Fatalf("user %d has no connection", user)
	return nil
}

func (c *chat) isOnline(user domain.UserID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.online[user]) > 0
}

// fixture is a server on a free port.
type fixture struct {
	*Server
	chat *chat
	addr string
	logs *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

func (b *logBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

// serve starts a server that ends with the test, every session closed once.
func serve(t testing.TB, options Options, chat *chat) *fixture {
	t.Helper()
	return serveAtRates(t, options, chat, throttle.Rates{})
}

// serveAtRates is serve with rates of users and addresses.
func serveAtRates(t testing.TB, options Options, chat *chat, rates throttle.Rates) *fixture {
	t.Helper()
	return serveOn(t, options, chat, rates, func(*fiber.App) {})
}

// serveOn is serveAtRates on an app that is changed before the server is mounted on it.
func serveOn(t testing.TB, options Options, chat *chat, rates throttle.Rates, change func(*fiber.App)) *fixture {
	t.Helper()
	logs := &logBuffer{}
	if options.Times.Scan == 0 {
		options.Times.Scan = 10 * time.Millisecond
	}
	deps := partsOf(chat, slog.New(slog.NewTextHandler(logs, nil)))
	deps.Rates = rates
	server, err := New(withDefaults(options), deps)
	if err != nil {
		t.Fatal(err)
	}
	app := fiber.New(fiber.Config{ReduceMemoryUsage: true, DisableStartupMessage: true, ReadTimeout: 2 * time.Second})
	app.Get("/plain", func(c *fiber.Ctx) error { return c.SendString("plain") })
	app.Post("/plain", func(c *fiber.Ctx) error { return c.Send(c.Body()) })
	change(app)
	if err := server.Mount(app); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	connections := httpconn.Listen(listener, httpconn.Options{
		Notices: notice.NewLog(slog.New(slog.NewTextHandler(logs, nil)), time.Now),
	})
	go func() { served <- app.Listener(server.WrapListener(connections)) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := app.ShutdownWithContext(ctx); err != nil {
			t.Errorf("app shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
		if t.Failed() {
			t.Log(logs.text())
		}
		if n := server.Connections(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
		chat.mu.Lock()
		defer chat.mu.Unlock()
		for s := range chat.sessions {
			if s.closes != 1 {
				t.Errorf("a session was closed %d times", s.closes)
			}
		}
	})
	return &fixture{Server: server, chat: chat, addr: listener.Addr().String(), logs: logs}
}

// client is a WebSocket client.
type client struct {
	t testing.TB
	*websocket.Conn
}

func (f *fixture) dial(t testing.TB) *client {
	t.Helper()
	conn, response, err := websocket.DefaultDialer.Dial("ws://"+f.addr+Path, nil)
	if err != nil {
		t.Fatalf("dialing: %v (%v)", err, response)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, Conn: conn}
}

func (f *fixture) login(t testing.TB, user int) *client {
	t.Helper()
	c := f.dial(t)
	c.send(`{"token":"user-` + strconv.Itoa(user) + `"}`)
	if got := c.next(); got["message"] != "You have successfully logged" {
		t.Fatalf("login of %d was answered by %v", user, got)
	}
	return c
}

// ReadMessage reads a message, which must come soon. How long all of them take depends on the machine.
func (c *client) ReadMessage() (kind int, data []byte, err error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return c.Conn.ReadMessage()
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

// next returns the next frame.
func (c *client) next() map[string]any {
	c.t.Helper()
	_, data, err := c.ReadMessage()
	if err != nil {
		c.t.Fatalf("reading: %v", err)
	}
	return decode(c.t, data)
}

func decode(t testing.TB, data []byte) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatalf("frame %q: %v", data, err)
	}
	return fields
}

// closed returns the code with which the server closes; frames before it are skipped.
func (c *client) closed() int {
	c.t.Helper()
	return c.end().Code
}

// ended is closed with the reason behind the code.
func (c *client) ended() string {
	c.t.Helper()
	end := c.end()
	return strconv.Itoa(end.Code) + " " + end.Text
}

// end returns the code and the reason with which the server closes; frames before it are skipped.
func (c *client) end() websocket.CloseError {
	c.t.Helper()
	for {
		_, _, err := c.ReadMessage()
		var end *websocket.CloseError
		switch {
		case errors.As(err, &end):
			return *end
		case err != nil:
			c.t.Fatalf("reading: %v", err)
		}
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// raw is a TCP connection to the server.
func (f *fixture) raw(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// masked returns a client's frame.
func masked(first byte, payload string) string {
	head := appendFrame(nil, 0, []byte(payload))
	head = head[:len(head)-len(payload)]
	head[0] = first
	head[1] |= 0x80
	key := [4]byte{1, 2, 3, 4}
	head = append(head, key[:]...)
	for i := range len(payload) {
		head = append(head, payload[i]^key[i%4])
	}
	return string(head)
}

func textFrame(payload string) string { return masked(finalBit|opText, payload) }

// upgradeHead is a request head without its last empty line.
const upgradeHead = "GET /ws/chatting/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

// replyTo writes a request and returns all that comes back until the server closes or n bytes are there.
func replyTo(t testing.TB, conn net.Conn, request string) string {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(conn)
	if err != nil && len(data) == 0 {
		t.Fatalf("reading: %v", err)
	}
	return string(data)
}
