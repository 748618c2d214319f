package ws

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"golang.org/x/time/rate"

	"chatting/adapters/ws/throttle"
	"chatting/application/port"
	"chatting/domain"
)

// seen notes what an Observer is told, without the durations.
type seen struct {
	mu   sync.Mutex
	told []string
}

func (s *seen) LoginEnded(outcome string, took time.Duration) { s.note("login "+outcome, took) }
func (s *seen) FrameReceived(kind string, bytes int)          { s.note(fmt.Sprint("in ", kind, " ", bytes), 0) }
func (s *seen) FrameSent(kind string, bytes int)              { s.note("out "+kind, time.Duration(bytes-1)) }
func (s *seen) Answered(echoed bool, took time.Duration)      { s.note(fmt.Sprint("echoed ", echoed), took) }

func (s *seen) note(what string, atLeastZero time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if atLeastZero < 0 || atLeastZero > time.Hour {
		what += " with a wrong measure"
	}
	s.told = append(s.told, what)
}

// take returns what the observer was told since the last call, once it is as much as wanted.
func (s *seen) take(t *testing.T, n int) (told []string) {
	t.Helper()
	eventually(t, "what the observer is told", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.told) >= n
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	told, s.told = s.told, nil
	return told
}

func TestAnObserverIsToldOfLoginsFramesAndAnswers(t *testing.T) {
	f := serve(t, Options{}, newChat())
	observer := &seen{}
	f.deps.Observer = observer
	want := func(told ...string) {
		t.Helper()
		if got := observer.take(t, len(told)); !slices.Equal(got, told) {
			t.Errorf("it was told %q, want %q", got, told)
		}
	}
	c := f.login(t, 7)
	want("in login 18", "out login", "login accepted")
	say := func(frame string) {
		c.send(frame)
		c.next()
	}
	say(`{"target_id":7,"message":"x"}`)
	want("in chat_message 29", "out chat_message", "echoed true")
	say(`{"target_id":7,"type":"invite_game","status":"invite"}`)
	want("in invite_game 54", "out invite_game", "echoed true")
	say(`{"target_id":8,"message":"x"}`)
	want("in chat_message 29", "out error", "echoed false")
	say(`{"type":"ping"}`)
	want("in ping 15", "out pong")
	say(`{`)
	want("in refused 1", "out error")

	f.chat.renewed = nil
	for frame, outcome := range map[string]string{`{}`: "no_token", `{"token":"bad"}`: "unauthenticated"} {
		c := f.dial(t)
		c.send(frame)
		c.closed()
		want(fmt.Sprint("in login ", len(frame)), "login "+outcome)
	}
	f.chat.logIn = func(context.Context, string) error { return domain.NewError(domain.CodeUnavailable, "away") }
	c = f.dial(t)
	c.send(`{"token":"x"}`)
	c.closed()
	want("in login 13", "login unavailable")
}

func TestConnectionsAreCountedWhileTheyAreOpenAndByHowTheyEnd(t *testing.T) {
	f := serve(t, Options{MaxConnections: 3, MaxPerAddress: 2}, newChat())
	counts := f.Counts()
	are := func(login, open int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d connections in their login, %d open", login, open), func() bool {
			l, o := counts.Connections()
			return l == login && o == open
		})
	}
	ended := func(code int, reason string) uint64 {
		for _, how := range Closings() {
			if how.Code == code && how.Reason == reason {
				return counts.Closed(how)
			}
		}
		t.Errorf("connections do not end with %d %s", code, reason)
		return 0
	}
	first := f.login(t, 7)
	are(0, 1)
	second := f.dial(t)
	are(1, 1)
	if _, response, err := websocket.DefaultDialer.Dial("ws://"+f.addr+Path, nil); err == nil || response.StatusCode != 503 {
		t.Errorf("a third connection of the address: %v", err)
	}
	if got := counts.Refusals(); got != (Refusals{OfAddress: 1}) {
		t.Errorf("the refusals are %+v", got)
	}
	f.chat.connectionOf(t, 7).Close(port.CloseReplaced)
	first.closed()
	_ = second.NetConn().Close()
	are(0, 0)
	if replaced, lost := ended(3409, "replaced"), ended(1006, "connection_lost"); replaced != 1 || lost != 1 || ended(1000, "client_closed") != 0 {
		t.Errorf("%d were replaced, %d lost; want 1 and 1", replaced, lost)
	}
	if got := counts.Refusals(); got != (Refusals{OfAddress: 1, OfUser: 1}) {
		t.Errorf("the refusals are %+v", got)
	}
}

func TestASocketThatMakesRoomIsARefusal(t *testing.T) {
	r := newRoster(1, 0)
	if _, err := r.admit(netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admit(netip.Addr{}); err == nil {
		t.Error("there is room for two")
	}
	if got := r.refusals(); got != (Refusals{Connections: 1}) {
		t.Errorf("the refusals are %+v", got)
	}
}

func TestFramesOverTheRateOfTheirConnectionAreCounted(t *testing.T) {
	var counts Counts
	counts.roster = newRoster(0, 0)
	limited := throttle.Throttle{Rates: &throttle.Rates{}, OverRate: &counts.overRate, Frames: rate.NewLimiter(0, 1)}
	limited.Message(time.Now(), 7, 1)
	if got := counts.Refusals().ConnectionFrames; got != 0 {
		t.Errorf("%d are counted before there was one", got)
	}
	limited.Message(time.Now(), 7, 1)
	limited.Control(7, true)
	if got := counts.Refusals().ConnectionFrames; got != 2 {
		t.Errorf("%d are counted, want 2", got)
	}
}

// Reasons are values of a label.
func TestEachWayToEndHasACodeAndAReasonOfItsOwn(t *testing.T) {
	known := make(map[string]bool)
	for _, how := range Closings() {
		name := fmt.Sprint(how.Code, how.Reason)
		if how.Reason == "" || strings.ContainsAny(how.Reason, " -") || known[name] {
			t.Errorf("%q is no reason of its own", name)
		}
		known[name] = true
	}
}
