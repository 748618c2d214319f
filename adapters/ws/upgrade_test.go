package ws

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/gofiber/fiber/v2"

	"chatting/adapters/limits"
	"chatting/adapters/problem"
	"chatting/adapters/ws/socket"
	"chatting/adapters/ws/throttle"
	"chatting/domain"
)

func TestUpgradeHasNoSubprotocolAndNeedsNoLastSlash(t *testing.T) {
	f := serve(t, Options{}, newChat())
	dialer := websocket.Dialer{Subprotocols: []string{"chat"}}
	for _, path := range []string{"/ws/chatting/", "/ws/chatting"} {
		conn, response, err := dialer.Dial("ws://"+f.addr+path, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if _, chosen := response.Header["Sec-Websocket-Protocol"]; chosen {
			t.Errorf("%s: chose %v", path, response.Header)
		}
		_ = conn.Close()
	}
}

func TestOrigins(t *testing.T) {
	options := Options{AllowedOrigins: []string{
		"https://Play.example", "http://dev.example:3000", "https://other.example:443", "capacitor://localhost", "file://", "https://*.sub.example",
	}}
	for _, test := range []struct {
		host, origin string
		want         int
	}{
		{"chat.example", "", 101},
		{"chat.example", "http://chat.example", 101},
		{"chat.example:80", "http://CHAT.example", 101},
		{"chat.example", "https://chat.example:443", 101},
		{"chat.example:8000", "http://chat.example:8000", 101},
		{"chat.example:8000", "http://chat.example", 403},
		{"chat.example", "http://chat.example.evil", 403},
		{"chat.example", "http://evil", 403},
		{"chat.example", "null", 403},
		{"chat.example", "chat.example", 403},
		{"chat.example", "http://user@chat.example", 403},
		{"chat.example", "http://chat.example\r\nOrigin: http://chat.example", 403},
		{"chat.example", "https://play.example", 101},
		{"chat.example", "http://play.example", 403},
		{"chat.example", "http://dev.example:3000", 101},
		{"chat.example", "http://dev.example", 403},
		{"chat.example", "https://other.example", 101},
		{"chat.example", "https://other.example/", 101},
		{"chat.example", "capacitor://localhost", 101},
		{"chat.example", "ionic://localhost", 403},
		{"localhost", "ionic://localhost", 403},
		{"chat.example", "file://", 101},
		{"chat.example", "https://a.sub.example", 101},
		{"chat.example", "https://sub.example", 403},
	} {
		f := serve(t, options, newChat())
		head := strings.Replace(upgradeHead, "Host: x", "Host: "+test.host, 1)
		if test.origin != "" {
			head += "Origin: " + test.origin + "\r\n"
		}
		if got := statusOfRequest(t, f, head+"\r\n"); got != test.want {
			t.Errorf("origin %q of %s: %d, want %d", test.origin, test.host, got, test.want)
		}
	}
	f := serve(t, Options{AllowedOrigins: []string{"*"}}, newChat())
	if got := statusOfRequest(t, f, upgradeHead+"Origin: null\r\n\r\n"); got != 101 {
		t.Errorf("any origin: %d", got)
	}
}

func TestWhatIsNoOriginIsRefusedAtStart(t *testing.T) {
	for _, entry := range []string{"", "example.com", "http://", "http://a/b", "http://*", "://x"} {
		deps := partsOf(newChat(), slog.Default())
		if _, err := New(Options{AllowedOrigins: []string{entry}}, deps); err == nil {
			t.Errorf("%q was accepted", entry)
		}
	}
}

// statusOfRequest sends a request and returns the status of the first reply.
func statusOfRequest(t *testing.T, f *fixture, request string) int {
	t.Helper()
	conn := f.raw(t)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 12)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatalf("reading the reply to %q: %v", request, err)
	}
	_ = conn.Close()
	return int(head[9]-'0')*100 + int(head[10]-'0')*10 + int(head[11]-'0')
}

func TestRequestsThatAreNotUpgraded(t *testing.T) {
	f := serve(t, Options{}, newChat())
	for _, test := range []struct {
		name, request string
		want          int
	}{
		{"no upgrade", "GET /ws/chatting/ HTTP/1.1\r\nHost: x\r\n\r\n", 426},
		{"HTTP/1.0", strings.Replace(upgradeHead, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n", 426},
		{"HTTP/1.0 that stays", strings.NewReplacer("HTTP/1.1", "HTTP/1.0", ": Upgrade", ": keep-alive, Upgrade").Replace(upgradeHead) + "\r\n", 426},
		{"connection close", upgradeHead + "Connection: close\r\n\r\n", 426},
		{"another version", strings.Replace(upgradeHead, ": 13", ": 8", 1) + "\r\n", 426},
		{"short key", strings.Replace(upgradeHead, "AAAA==", "==", 1) + "\r\n", 400},
		{"key with a rest", strings.Replace(upgradeHead, "AAAA==", "AAAA==A", 1) + "\r\n", 400},
		{"post", strings.Replace(upgradeHead, "GET", "POST", 1) + "\r\n", 405},
		{"body", upgradeHead + "Content-Length: 5\r\n\r\nhello", 400},
		{"chunks", upgradeHead + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"expect", upgradeHead + "Expect: something\r\n\r\n", 400},
		{"folded header", upgradeHead + "X-A: b\r\n c\r\n\r\n", 400},
		{"header folded with a tab", upgradeHead + "X-A: b\n\tc\r\n\r\n", 400},
		{"empty body", upgradeHead + "Content-Length: 0\r\n\r\n", 101},
	} {
		if got := statusOfRequest(t, f, test.request); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
	eventually(t, "none of them is counted", func() bool { return f.Connections() == 0 })
}

// Proxies and libraries put the elements of a list header on several lines, and others before and after them.
func TestHeadersThatAreListsAreReadOverAllTheirLines(t *testing.T) {
	f := serve(t, Options{}, newChat())
	plain := strings.NewReplacer("Connection: Upgrade\r\n", "", "Upgrade: websocket\r\n", "").Replace(upgradeHead)
	if strings.Contains(plain, "pgrade") {
		t.Fatalf("%q asks for an upgrade", plain)
	}
	for _, test := range []struct {
		headers string
		want    int
	}{
		{"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", 101},
		{"Connection: Upgrade\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n", 101},
		{"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", 101},
		{"connection: keep-alive ,\tUPGRADE,,x\r\nupgrade: WebSocket\r\n", 101},
		{"Connection:\r\nConnection: ,\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", 101},
		{"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", 101},
		{"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n", 101},
		{"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b, c\r\n", 101},
		{"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n", 101},
		{"Connection: keep-alive\r\nConnection: Upgrades\r\nUpgrade: websocket\r\n", 426},
		{"Connection: keep-alive\r\nConnection: x-Upgrade\r\nUpgrade: websocket\r\n", 426},
		{"Connection: Upgrade\r\nUpgrade: websockets\r\nUpgrade: h2c\r\n", 426},
		{"Connection: Upgrade\r\nUpgrade: web\r\nUpgrade: socket\r\n", 426},
		{"Connection: Upgrade\r\nConnection: close\r\nUpgrade: websocket\r\n", 426},
		{"Connection: close\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", 426},
		{"Connection: Upgrade, close\r\nUpgrade: websocket\r\n", 426},
		{"Connection: keep-alive, CLOSE, Upgrade\r\nUpgrade: websocket\r\n", 426},
		{"Connection: Upgrade\r\n", 426},
		{"Upgrade: websocket\r\n", 426},
		// These have one value each, and which of two counts depends on who reads them.
		{"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", 400},
		{"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", 400},
	} {
		if got := statusOfRequest(t, f, plain+test.headers+"\r\n"); got != test.want {
			t.Errorf("%q: %d, want %d", test.headers, got, test.want)
		}
	}
}

func TestEveryRefusalOfAnUpgradeIsAProblemWithACode(t *testing.T) {
	hasLeft := func(f *fixture) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := f.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
	isStarting := func(f *fixture) { f.deps.Ready = func() error { return errors.New("not yet") } }
	for name, test := range map[string]struct {
		head   string
		change func(*fixture)
		status int
		code   domain.Code
	}{
		"no upgrade":      {"GET /ws/chatting/ HTTP/1.1\r\nHost: x\r\n", nil, 426, problem.UpgradeRequired},
		"another version": {strings.Replace(upgradeHead, ": 13", ": 8", 1), nil, 426, problem.UpgradeRequired},
		"short key":       {strings.Replace(upgradeHead, "AAAA==", "==", 1), nil, 400, problem.BadRequest},
		"expect":          {upgradeHead + "Expect: something\r\n", nil, 400, problem.BadRequest},
		"origin":          {upgradeHead + "Origin: https://b.example\r\n", nil, 403, problem.OriginNotAllowed},
		"no room":         {upgradeHead, func(f *fixture) { f.login(t, 7) }, 503, domain.CodeUnavailable},
		"leaving":         {upgradeHead, hasLeft, 503, domain.CodeUnavailable},
		"starting":        {upgradeHead, isStarting, 503, domain.CodeUnavailable},
		"two versions":    {upgradeHead + "Sec-WebSocket-Version: 13\r\n", nil, 400, problem.BadRequest},
	} {
		f := serve(t, Options{MaxPerAddress: 1}, newChat())
		if test.change != nil {
			test.change(f)
		}
		mustBeRefused(t, f, name, test.head+"\r\n", test.status, test.code)
	}
	f := serveAtRates(t, Options{}, newChat(), throttle.Rates{Logins: limits.New[netip.Addr](rareRefills, 1, time.Now)})
	f.login(t, 7)
	mustBeRefused(t, f, "too many logins", upgradeHead+"\r\n", 429, domain.CodeRateLimited)
}

// RFC 6455 §4.2.2 has the version named. The reasons for 503 have different remedies.
func TestARefusalOfAnUpgradeSaysWhatWouldHelp(t *testing.T) {
	f := serve(t, Options{MaxPerAddress: 1}, newChat())
	otherVersion := strings.Replace(upgradeHead, ": 13", ": 8", 1) + "\r\n"
	response, _ := mustBeRefused(t, f, "another version", otherVersion, 426, problem.UpgradeRequired)
	if got := response.Header.Get("Sec-WebSocket-Version"); got != "13" {
		t.Errorf("the version asked for is %q", got)
	}
	response, _ = mustBeRefused(t, f, "expect", upgradeHead+"Expect: something\r\n\r\n", 400, problem.BadRequest)
	if !response.Close {
		t.Error("a connection with bytes that nobody knows the meaning of stays")
	}
	conn := f.raw(t)
	if _, err := io.WriteString(conn, strings.Replace(upgradeHead, "GET", "HEAD", 1)+"\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodHead})
	if err != nil {
		t.Fatal(err)
	}
	if _ = response.Body.Close(); response.StatusCode != 426 || response.Header.Get("Upgrade") != "websocket" {
		t.Errorf("HEAD: %d %v", response.StatusCode, response.Header)
	}
	var starting atomic.Bool
	f.deps.Ready = func() error {
		if starting.Load() {
			return errors.New("a secret")
		}
		return nil
	}
	starting.Store(true)
	_, early := mustBeRefused(t, f, "starting", upgradeHead+"\r\n", 503, domain.CodeUnavailable)
	if early.Detail != "The server is starting." {
		t.Errorf("starting: %s", early.Detail)
	}
	starting.Store(false)
	f.login(t, 7)
	_, full := mustBeRefused(t, f, "no room", upgradeHead+"\r\n", 503, domain.CodeUnavailable)
	if full.Detail != "There are too many connections." {
		t.Errorf("no room: %s", full.Detail)
	}
	if err := f.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, leaving := mustBeRefused(t, f, "leaving", upgradeHead+"\r\n", 503, domain.CodeUnavailable)
	if leaving.Detail != "The server is going away." {
		t.Errorf("leaving: %s", leaving.Detail)
	}
}

// mustBeRefused wants a request refused by problem details.
func mustBeRefused(
	t *testing.T, f *fixture, name, request string, status int, code domain.Code,
) (response *http.Response, details problem.Details) {
	t.Helper()
	conn := f.raw(t)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_, _ = response.Body.Close(), conn.Close()
	if err = errors.Join(err, json.Unmarshal(body, &details)); err != nil || response.StatusCode != status ||
		response.Header.Get("Content-Type") != problem.MediaType || details.Detail == "" || details != problem.New(status, code, details.Detail) {
		t.Errorf("%s: %d %v %s (%v)", name, response.StatusCode, response.Header, body, err)
	}
	if again := response.Header.Get("Retry-After") != ""; again != (status == 429 || status == 503) {
		t.Errorf("%s: Retry-After: %t", name, again)
	}
	if upgrade := response.Header.Get("Upgrade") == "websocket"; upgrade != (status == 426) {
		t.Errorf("%s: Upgrade: %t", name, upgrade)
	}
	if response.Header.Get("X-Content-Type-Options") != "nosniff" || response.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %v", name, response.Header)
	}
	return response, details
}

func TestARefusedOriginIsLoggedWithTheOptionThatLetsItIn(t *testing.T) {
	for origin, want := range map[string]string{
		"HTTPS://B.example:443": "origin=https://b.example option=websocket.allowed_origins",
		"capacitor://localhost": "origin=capacitor://localhost option=websocket.allowed_origins",
		"https://b/secret":      `origin="" option=websocket.allowed_origins`,
	} {
		f := serve(t, Options{}, newChat())
		if got := statusOfRequest(t, f, upgradeHead+"Origin: "+origin+"\r\n\r\n"); got != 403 {
			t.Errorf("%s: %d", origin, got)
		}
		if logs := f.logs.text(); !strings.Contains(logs, want) || strings.Contains(logs, "secret") {
			t.Errorf("%s: log is %s", origin, logs)
		}
	}
}

func TestCapsOnConnections(t *testing.T) {
	f := serve(t, Options{MaxPerAddress: 2}, newChat())
	f.dial(t) // not logged in: counted all the same
	second := f.login(t, 7)
	if got := statusOfRequest(t, f, upgradeHead+"\r\n"); got != 503 {
		t.Errorf("a third connection of one address: %d", got)
	}
	from := func(address string) int {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		ws := websocket.Dialer{NetDial: func(network, addr string) (net.Conn, error) { return dialer.Dial(network, addr) }}
		conn, response, err := ws.Dial("ws://"+f.addr+Path, http.Header{"X-Forwarded-For": {"10.0.0.1"}})
		if response == nil {
			t.Fatal(err)
		}
		if response.StatusCode == 503 && response.Header.Get("Retry-After") == "" {
			t.Error("a refusal without Retry-After")
		}
		if conn != nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
		return response.StatusCode
	}
	if got := from("127.0.0.2"); got != 101 {
		t.Errorf("another address: %d", got)
	}
	_ = second.Close()
	eventually(t, "the ended one is not counted", func() bool { return f.Connections() == 2 })
	if got := from("127.0.0.1"); got != 101 {
		t.Errorf("after one ended: %d", got)
	}
}

func TestConnectionsAreCountedUnderTheClientAddressOfTheOptions(t *testing.T) {
	f := serve(t, Options{MaxPerAddress: 1, ClientAddress: func(peer net.Addr, forwardedFor [][]byte) netip.Addr {
		if len(forwardedFor) != 1 || peer.(*net.TCPAddr).Port == 0 {
			t.Errorf("asked about %v, %q", peer, forwardedFor)
			return netip.Addr{}
		}
		return netip.MustParseAddr(string(forwardedFor[0]))
	}}, newChat())
	for _, step := range []struct {
		client string
		want   int
	}{{"192.0.2.1", 101}, {"192.0.2.1", 503}, {"192.0.2.2", 101}, {"2001:db8::1", 101}, {"2001:db8::2", 503}} {
		conn, response, err := websocket.DefaultDialer.Dial("ws://"+f.addr+Path, http.Header{"X-Forwarded-For": {step.client}})
		if response == nil {
			t.Fatal(err)
		}
		if conn != nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
		if response.StatusCode != step.want {
			t.Errorf("%s: %d, want %d", step.client, response.StatusCode, step.want)
		}
	}
}

func TestSocketsThatDoNotLogInMakeRoomForThoseThatDo(t *testing.T) {
	f := serve(t, Options{MaxConnections: 3}, newChat())
	// A client has its answer a moment before the server knows the connection as one of those that wait.
	waiting := func(n int) {
		eventually(t, "the connection waits for its login", func() bool {
			f.roster.mu.Lock()
			defer f.roster.mu.Unlock()
			return f.roster.strangers.Len() == n
		})
	}
	oldest := f.dial(t)
	waiting(1)
	younger := f.dial(t)
	waiting(2)
	logged := f.login(t, 7)
	f.login(t, 8)
	if _, _, err := oldest.ReadMessage(); err == nil || websocket.IsCloseError(err, 3401) {
		t.Errorf("the oldest was not cut: %v", err)
	}
	f.login(t, 9)
	if _, _, err := younger.ReadMessage(); err == nil {
		t.Error("the next oldest was not cut")
	}
	// Now all places are taken by users: none of them gives up its own.
	if got := statusOfRequest(t, f, upgradeHead+"\r\n"); got != 503 {
		t.Errorf("one more than all: %d", got)
	}
	logged.send(`{"target_id":7,"message":"still here"}`)
	if got := logged.next(); got["message"] != "still here" {
		t.Errorf("got %v", got)
	}
	_ = logged.Close()
	eventually(t, "the ended one is not counted", func() bool { return f.Connections() == 2 })
	f.login(t, 10)
}

func TestASocketWhoseTokenIsCheckedMakesRoomAfterSilentOnes(t *testing.T) {
	chat := newChat()
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	chat.logIn = func(_ context.Context, token string) error {
		if token == "user-7" {
			asked <- struct{}{}
			<-answer
		}
		return nil
	}
	f := serve(t, Options{MaxConnections: 2}, chat)
	checked := f.dial(t)
	checked.send(`{"token":"user-7"}`)
	<-asked
	silent := f.dial(t)
	eventually(t, "it waits for its login", func() bool {
		f.roster.mu.Lock()
		defer f.roster.mu.Unlock()
		return f.roster.strangers.Len() == 1
	})
	f.login(t, 8)
	if _, _, err := silent.ReadMessage(); err == nil || websocket.IsCloseError(err, 3401) {
		t.Errorf("the silent one was not cut: %v", err)
	}
	close(answer)
	if got := checked.next(); got["message"] != "You have successfully logged" {
		t.Errorf("got %v", got)
	}
}

// The HTTP server sees no request that can be read in two ways, and upgrades none.
func TestMalformedUpgradesAreRefused(t *testing.T) {
	f := serve(t, Options{}, newChat())
	for name, request := range map[string]string{
		"two keys":           upgradeHead + "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"two slashes":        strings.Replace(upgradeHead, "/ws/", "//ws/", 1) + "\r\n",
		"another path's end": strings.Replace(upgradeHead, "/ws/chatting/", "//x/ws/chatting/?://", 1) + "\r\n",
		"a fragment":         strings.Replace(upgradeHead, "/ws/chatting/", "/ws/chatting/#a", 1) + "\r\n",
		"no Host":            strings.Replace(upgradeHead, "Host: x\r\n", "", 1) + "\r\n",
		"two Hosts":          upgradeHead + "Host: x\r\n\r\n",
		"NUL":                upgradeHead + "A: \x00\r\n\r\n",
		"no colon":           upgradeHead + "A\r\n\r\n",
		"a line feed":        upgradeHead + "A: b\n\r\n",
	} {
		if got := statusOfRequest(t, f, request); got != 400 {
			t.Errorf("%s: %d, want 400", name, got)
		}
	}
	if got := statusOfRequest(t, f, strings.Replace(upgradeHead, "HTTP/1.1", "HTTP/9.9", 1)+"\r\n"); got != 505 {
		t.Errorf("HTTP/9.9: %d", got)
	}
	if got := statusOfRequest(t, f, strings.Replace(upgradeHead, "/ws/", "http://x/ws/", 1)+"\r\n"); got != 101 {
		t.Errorf("absolute form: %d", got)
	}
}

func TestAFloodOverTheRateEndsTheConnection(t *testing.T) {
	f := serve(t, Options{FramesPerSecond: 1, QueueBytes: 8 << 20}, newChat())
	c := f.login(t, 7)
	for range 2 * throttle.MaxRefusals {
		if c.WriteMessage(websocket.TextMessage, []byte(`{"target_id":7,"message":"x"}`)) != nil {
			break // closed already
		}
	}
	if end := c.ended(); end != "1008 rate_limited" {
		t.Errorf("closed with %s", end)
	}
}

func TestLongMessagesCountAsSeveralFrames(t *testing.T) {
	f := serve(t, Options{FramesPerSecond: 4}, newChat()) // 8 at once
	c := f.login(t, 7)
	c.send(`{"target_id":7,"message":"` + strings.Repeat("x", 60<<10) + `"}`) // takes all that may be sent at once
	c.send(`{"target_id":7,"message":"short"}`)
	if got := c.next(); got["error"] == nil && len(got["message"].(string)) != 60<<10 {
		t.Errorf("the long one: %.80v", got)
	}
	if got := c.next(); got["code"] != "rate_limited" {
		t.Errorf("the short one: %v", got)
	}
}

func TestAppsThatWouldMixConnectionsAreRefused(t *testing.T) {
	server, err := New(withDefaults(Options{}), partsOf(newChat(), slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if server.Mount(fiber.New()) == nil {
		t.Error("mounted without ReduceMemoryUsage")
	}
	app := fiber.New(fiber.Config{ReduceMemoryUsage: true, DisableStartupMessage: true})
	if err := server.Mount(app); err != nil {
		t.Fatal(err)
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// Connections that hand the HTTP server more than a request would leave bytes with it.
func TestNoConnectionIsUpgradedThatHandsOverMoreThanARequest(t *testing.T) {
	for name, wrap := range map[string]func(*Server, net.Listener) net.Listener{
		"not wrapped":       func(_ *Server, inner net.Listener) net.Listener { return inner },
		"wrapped plain TCP": (*Server).WrapListener,
	} {
		t.Run(name, func(t *testing.T) {
			chat, logs := newChat(), &logBuffer{}
			server, err := New(withDefaults(Options{}), partsOf(chat, slog.New(slog.NewTextHandler(logs, nil))))
			if err != nil {
				t.Fatal(err)
			}
			app := fiber.New(fiber.Config{ReduceMemoryUsage: true, DisableStartupMessage: true})
			if err := server.Mount(app); err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- app.Listener(wrap(server, listener)) }()
			f := &fixture{Server: server, addr: listener.Addr().String()}
			if got := statusOfRequest(t, f, upgradeHead+"\r\n"); got != 500 {
				t.Errorf("the answer is %d", got)
			}
			if !strings.Contains(logs.text(), "not served on a wrapped listener") {
				t.Errorf("log is %q", logs.text())
			}
			if err := errors.Join(server.Shutdown(t.Context()), app.Shutdown(), <-served); err != nil {
				t.Error(err)
			}
		})
	}
}

// An HTTP server that keeps its buffer could give it to another connection.
func TestASocketOfWhichTheHTTPServerKeepsTheReaderIsClosed(t *testing.T) {
	f := serveOn(t, Options{}, newChat(), throttle.Rates{}, func(app *fiber.App) { app.Server().ReduceMemoryUsage = false })
	if reply := replyTo(t, f.raw(t), upgradeHead+"\r\n"); strings.Count(reply, "\r\n\r\n") != 1 || !strings.HasSuffix(reply, "\r\n\r\n") {
		t.Errorf("the reply is %q", reply)
	}
	eventually(t, "its place is free", func() bool { return f.Connections() == 0 })
	if !strings.Contains(f.logs.text(), "the HTTP server kept bytes of it") {
		t.Errorf("log is %s", f.logs.text())
	}
}

// The library refuses what a handler before the server's has done to the answer. Its connection stays, for other requests.
func TestAnUpgradeThatTheLibraryRefusesHoldsNoPlace(t *testing.T) {
	f := serveOn(t, Options{}, newChat(), throttle.Rates{}, func(app *fiber.App) {
		app.Use(func(c *fiber.Ctx) error {
			c.Set("Sec-WebSocket-Extensions", "x")
			return c.Next()
		})
	})
	conn := f.raw(t)
	if _, err := io.WriteString(conn, upgradeHead+"\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode < 400 || f.Connections() != 0 {
		t.Errorf("the answer is %d, and %d places are taken", response.StatusCode, f.Connections())
	}
}

// closing is a rate of addresses that closes the server's end of each connection that asks for an upgrade.
type closing struct{ accepted <-chan net.Conn }

func (closing) Take(netip.Addr, int) time.Duration { return 0 }

func (c closing) Wait(netip.Addr, int) time.Duration {
	_ = (<-c.accepted).Close()
	return 0
}

func TestAConnectionThatIsClosedDuringItsUpgradeHoldsNoPlace(t *testing.T) {
	accepted := make(chan net.Conn, 1)
	f := serveOn(t, Options{}, newChat(), throttle.Rates{Logins: closing{accepted}}, func(app *fiber.App) {
		app.Use(func(c *fiber.Ctx) error {
			accepted <- c.Context().Conn()
			return c.Next()
		})
	})
	conn := f.raw(t)
	if _, err := io.WriteString(conn, upgradeHead+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if reply, err := io.ReadAll(conn); err != nil || len(reply) > 0 {
		t.Errorf("the reply is %q, %v", reply, err)
	}
	eventually(t, "no place is taken", func() bool { return f.Connections() == 0 })
}

// brittle is a connection with which no session can begin.
type brittle struct{ net.Conn }

func (b brittle) Upgraded() bool { return b.Conn.(interface{ Upgraded() bool }).Upgraded() }

func (brittle) SetWriteBuffer(int) error { panic("a secret") }

func TestASessionThatCannotBeginHoldsNoPlace(t *testing.T) {
	f := serveOn(t, Options{}, newChat(), throttle.Rates{}, func(app *fiber.App) {
		app.Use(func(c *fiber.Ctx) error {
			sock := c.Context().Conn().(*socket.Conn)
			sock.Conn = brittle{sock.Conn}
			return c.Next()
		})
	})
	if reply := replyTo(t, f.raw(t), upgradeHead+"\r\n"); !strings.HasPrefix(reply, "HTTP/1.1 101") || strings.Contains(reply, "secret") {
		t.Errorf("the reply is %q", reply)
	}
	eventually(t, "its place is free", func() bool { return f.Connections() == 0 })
	if !strings.Contains(f.logs.text(), "panic in a WebSocket connection") {
		t.Errorf("log is %s", f.logs.text())
	}
}
