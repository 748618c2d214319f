package ws

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/adapters/limits"
	"chatting/adapters/ws/throttle"
	"chatting/application"
	"chatting/application/port"
	"chatting/domain"
)

// rareRefills is a rate at which no test gets anything but what may be taken at once.
const rareRefills = 1e-3

func usersAt(perSecond float64, burst int) *limits.Rate[domain.UserID] {
	return limits.New[domain.UserID](perSecond, burst, time.Now)
}

// refusalsOf is the bound on refused frames that the server has.
func refusalsOf() *limits.Rate[domain.UserID] {
	return usersAt(throttle.RefusalsPerSecond, throttle.MaxRefusals)
}

func TestAUserHasOneRateOverAllItsConnections(t *testing.T) {
	const connections, each, burst = 8, 20, 50
	f := serveAtRates(t, Options{FramesPerSecond: 1000}, newChat(), throttle.Rates{Frames: usersAt(rareRefills, burst)})
	var taken, refused atomic.Int32
	other := f.login(t, 8)
	clients := make([]*client, connections)
	for i := range clients {
		clients[i] = f.login(t, 7)
	}
	var running sync.WaitGroup
	for _, c := range clients {
		for range each {
			c.send(`{"target_id":9,"message":"x"}`)
		}
		running.Go(func() {
			for range each {
				switch got := c.next(); got["code"] {
				case "no_user_or_offline":
					taken.Add(1)
				case "rate_limited":
					refused.Add(1)
					if after, _ := got["retry_after_ms"].(float64); after < 1 || after != float64(int64(after)) {
						t.Errorf("retry_after_ms is %v", got["retry_after_ms"])
					}
				default:
					t.Errorf("got %v", got)
				}
			}
		})
	}
	running.Wait()
	if taken.Load() != burst || refused.Load() != connections*each-burst {
		t.Errorf("%d were taken and %d refused, want %d taken", taken.Load(), refused.Load(), burst)
	}
	other.send(`{"target_id":8,"message":"x"}`)
	if got := other.next(); got["code"] != nil {
		t.Errorf("another user is refused: %v", got)
	}
}

func TestTheBytesOfAFrameCountForItsUser(t *testing.T) {
	f := serveAtRates(t, Options{}, newChat(), throttle.Rates{Frames: usersAt(rareRefills, 20)})
	f.login(t, 7).send(`{"target_id":9,"message":"` + strings.Repeat("x", 40<<10) + `"}`) // counts as 11
	c := f.login(t, 7)
	for range 9 {
		c.send(`{"target_id":9,"message":"x"}`)
	}
	eventually(t, "the long one is taken", func() bool {
		f.chat.mu.Lock()
		defer f.chat.mu.Unlock()
		return len(f.chat.sent) == 10
	})
	c.send(`{"target_id":9,"message":"x"}`)
	for i := range 10 {
		if got := c.next(); (got["code"] == "rate_limited") != (i == 9) {
			t.Errorf("frame %d is answered by %v", i, got)
		}
	}
}

// A connection that has some of its frames taken and many more refused is closed, as all like it are; one of the same user
// that sends little stays.
func TestAcceptedFramesDoNotMakeUpForRefusedOnes(t *testing.T) {
	const offenders = 4
	f := serveAtRates(t, Options{FramesPerSecond: 50, QueueBytes: 16 << 20}, newChat(), throttle.Rates{Refusals: refusalsOf()})
	honest := f.login(t, 7)
	var running sync.WaitGroup
	for range offenders {
		c := f.login(t, 7)
		running.Go(func() { // the accepted ones come between the refused ones, as the bucket fills
			for range 400 * throttle.MaxRefusals {
				if c.WriteMessage(websocket.TextMessage, []byte(`{"target_id":9,"message":"x"}`)) != nil {
					return
				}
			}
			t.Error("it may send for ever")
		})
		running.Go(func() {
			if end := c.ended(); end != "1008 rate_limited" {
				t.Errorf("closed with %s", end)
			}
		})
	}
	running.Wait()
	honest.send(`{"target_id":9,"message":"x"}`)
	if got := honest.next(); got["code"] != "no_user_or_offline" {
		t.Errorf("the connection that sends little got %v", got)
	}
	if logs := f.logs.text(); !strings.Contains(logs, "it kept sending over the rate") || !strings.Contains(logs, "user=7 address=127.0.0.1") {
		t.Errorf("logged: %s", logs)
	}
}

// No connection has more frames refused than it may by itself; together they have.
func TestRefusedFramesOfAllConnectionsOfAUserCountTogether(t *testing.T) {
	const connections, each = 8, throttle.MaxRefusals / 3
	f := serveAtRates(t, Options{}, newChat(), throttle.Rates{Frames: usersAt(rareRefills, 1), Refusals: refusalsOf()})
	var ended atomic.Int32
	var running sync.WaitGroup
	for range connections {
		c := f.login(t, 7)
		running.Go(func() {
			for range each {
				if c.WriteMessage(websocket.TextMessage, []byte(`{"target_id":9,"message":"x"}`)) != nil {
					return // closed
				}
			}
		})
		running.Go(func() {
			for range each {
				if _, _, err := c.ReadMessage(); err != nil {
					ended.Add(1)
					return
				}
			}
		})
	}
	running.Wait()
	if ended.Load() == 0 {
		t.Errorf("no connection was closed for %d refused frames of their user", connections*each)
	}
}

// alternating refuses every second frame.
type alternating struct{ n atomic.Int64 }

func (a *alternating) Take(domain.UserID, int) time.Duration {
	return time.Duration(a.n.Add(1) % 2)
}

func TestOneAcceptedFrameInTwoDoesNotHelp(t *testing.T) {
	f := serveAtRates(t, Options{QueueBytes: 16 << 20}, newChat(), throttle.Rates{Frames: &alternating{}})
	c := f.login(t, 7)
	for range 4 * throttle.MaxRefusals {
		if c.WriteMessage(websocket.TextMessage, []byte(`{"target_id":9,"message":"x"}`)) != nil {
			break
		}
	}
	if end := c.ended(); end != "1008 rate_limited" {
		t.Errorf("closed with %s", end)
	}
}

func TestPingsCountForTheUserButDoNotEndAnHonestConnection(t *testing.T) {
	f := serveAtRates(t, Options{}, newChat(), throttle.Rates{Frames: usersAt(rareRefills, 1), Refusals: refusalsOf()})
	c := f.login(t, 7)
	pongs := 0
	c.SetPongHandler(func(string) error { pongs++; return nil })
	for range 5 {
		if err := c.WriteControl(websocket.PingMessage, nil, time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	c.send(`{"target_id":9,"message":"x"}`)
	if got := c.next(); got["code"] != "rate_limited" || pongs == 0 {
		t.Errorf("after %d pongs: %v", pongs, got)
	}
	for range 4 * throttle.MaxRefusals {
		if c.WriteControl(websocket.PingMessage, nil, time.Now().Add(patience)) != nil {
			break
		}
	}
	if end := c.ended(); end != "1008 control_frames" {
		t.Errorf("closed with %s", end)
	}
}

func TestLoginsOfAnAddressAreBoundedBeforeTheirTokensAreChecked(t *testing.T) {
	const burst = 5
	chat := newChat()
	var checked atomic.Int32
	chat.logIn = func(context.Context, string) error {
		checked.Add(1)
		return domain.NewError(domain.CodeUnauthenticated, "Bad.")
	}
	f := serveAtRates(t, Options{}, chat, throttle.Rates{Logins: limits.New[netip.Addr](rareRefills, burst, time.Now)})
	logins := &logBuffer{}
	f.deps.Logins = application.NewLoginLog(slog.New(slog.NewTextHandler(logins, &slog.HandlerOptions{Level: slog.LevelDebug})))
	clients := make([]*client, 2*burst)
	for i := range clients {
		clients[i] = f.dial(t)
	}
	for i, c := range clients {
		c.send(`{"token":"bad"}`)
		want := "3401 bad_token"
		if i >= burst {
			want = "1013 login_rate"
		}
		if end := c.ended(); end != want {
			t.Errorf("attempt %d is closed with %s, want %s", i, end, want)
		}
	}
	if checked.Load() != burst {
		t.Errorf("%d tokens were checked, want %d", checked.Load(), burst)
	}
	_, response, err := websocket.DefaultDialer.Dial("ws://"+f.addr+Path, nil)
	if err == nil || response == nil || response.StatusCode != 429 {
		t.Fatalf("the next upgrade: %v, %v", response, err)
	}
	if after, err := strconv.Atoi(response.Header.Get("Retry-After")); err != nil || after < 1 {
		t.Errorf("Retry-After is %q", response.Header.Get("Retry-After"))
	}
	if logs := f.logs.text(); !strings.Contains(logs, "login refused: too many from its address") ||
		!strings.Contains(logs, "WebSocket upgrade refused: too many logins from its address") || !strings.Contains(logs, "address=127.0.0.1") {
		t.Errorf("logged: %s", logs)
	}
	if refused := `msg="login refused" address=127.0.0.1 reason="too many logins from its address"`; !strings.Contains(logins.text(), refused) {
		t.Errorf("the log of logins says %s", logins.text())
	}
}

func TestALoginOverTheRateOfItsUserIsClosedAndLoggedOnce(t *testing.T) {
	chat := newChat()
	chat.logIn = func(context.Context, string) error {
		return &application.LoginError{User: 7, Err: domain.NewRateLimited("Too often.", time.Millisecond)}
	}
	f := serve(t, Options{}, chat)
	const attempts = 50
	began := time.Now()
	for range attempts {
		c := f.dial(t)
		c.send(`{"token":"user-7"}`)
		if end := c.ended(); end != "1013 login_rate" {
			t.Fatalf("closed with %s", end)
		}
	}
	most := 1 + int(time.Since(began)/time.Second)
	logs := f.logs.text()
	if got := strings.Count(logs, "login refused: too many of its user"); got < 1 || got > most ||
		!strings.Contains(logs, "user=7 address=127.0.0.1 count=1 total=1") {
		t.Errorf("%d lines for %d refusals, want 1 to %d:\n%s", got, attempts, most, logs)
	}
}

func TestRefusedConnectionsAreLoggedOnceASecondWithTheirAddress(t *testing.T) {
	f := serve(t, Options{MaxPerAddress: 1}, newChat())
	f.login(t, 7)
	const attempts = 300
	began := time.Now()
	for range attempts {
		if _, _, err := websocket.DefaultDialer.Dial("ws://"+f.addr+Path, nil); err == nil {
			t.Fatal("upgraded beyond the cap of an address")
		}
	}
	logs := f.logs.text()
	most := 1 + int(time.Since(began)/time.Second)
	if got := strings.Count(logs, "WebSocket connection refused: too many"); got < 1 || got > most || !strings.Contains(logs, "address=127.0.0.1") {
		t.Errorf("%d lines for %d refusals, want 1 to %d:\n%s", got, attempts, most, logs)
	}
}

func TestAReplacedConnectionLearnsWhy(t *testing.T) {
	f := serve(t, Options{}, newChat())
	c := f.login(t, 7)
	f.chat.connectionOf(t, 7).Close(port.CloseReplaced)
	_, _, err := c.ReadMessage()
	var end *websocket.CloseError
	if !errors.As(err, &end) || end.Code != 3409 || end.Text != "replaced" {
		t.Errorf("closed with %v", err)
	}
	if logs := f.logs.text(); !strings.Contains(logs, "replaced by a newer one of its user") || !strings.Contains(logs, "user=7 address=127.0.0.1") {
		t.Errorf("logged: %s", logs)
	}
}
