package ws

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"chatting/adapters/ws/socket"
	"chatting/domain"
)

// heldAppends has appends wait until the test finishes them.
type heldAppends struct {
	mu      sync.Mutex
	waiting []heldAppend
}

type heldAppend struct {
	deliver func()
	done    func(error)
}

// holding returns a chat whose appends are held.
func holding() (*chat, *heldAppends) {
	chat, held := newChat(), &heldAppends{}
	chat.append = func(deliver func(), done func(error)) {
		held.mu.Lock()
		defer held.mu.Unlock()
		held.waiting = append(held.waiting, heldAppend{deliver, done})
	}
	return chat, held
}

func (h *heldAppends) all() []heldAppend {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting[:len(h.waiting):len(h.waiting)]
}

// leaving tells whether the only connection of a user is in its wave.
func (f *fixture) leaving(t testing.TB, user int) bool {
	t.Helper()
	return f.chat.connectionOf(t, domain.UserID(user)).(*connection).reading.IsLeaving()
}

// shutdown begins one, and returns where its error comes.
func (f *fixture) shutdown(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- f.Shutdown(ctx) }()
	return ended
}

func TestAConnectionThatWaitsForItsWaveChatsOn(t *testing.T) {
	f := serve(t, Options{CloseOver: time.Hour}, newChat())
	clients := map[int]*client{7: f.login(t, 7), 8: f.login(t, 8)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := f.shutdown(ctx)
	first, second := 7, 8
	eventually(t, "the first wave leaves", func() bool {
		if f.leaving(t, 8) {
			first, second = 8, 7
		}
		return f.leaving(t, first)
	})
	if code := clients[first].closed(); code != 1012 {
		t.Errorf("the first was closed with %d", code)
	}
	_ = clients[first].Close()
	for i := range 100 {
		text := fmt.Sprint(i)
		clients[second].send(fmt.Sprintf(`{"target_id":%d,"message":%q}`, second, text))
		if got := clients[second].next(); got["message"] != text {
			t.Fatalf("message %s was answered by %v", text, got)
		}
	}
	if f.leaving(t, second) {
		t.Error("the second did not wait for its wave")
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the shutdown ended with %v", err)
	}
}

func TestWhatWasSentBeforeTheWaveIsAnsweredBeforeTheCloseFrame(t *testing.T) {
	chat, held := holding()
	f := serve(t, Options{}, chat)
	c, idle := f.login(t, 7), f.dial(t)
	c.send(`{"target_id":7,"message":"echoed"}`)
	c.send(`{"target_id":7,"message":"failed","client_msg_id":"f"}`)
	eventually(t, "both are under way", func() bool { return len(held.all()) == 2 })
	ended := f.shutdown(t.Context())
	eventually(t, "the wave comes", func() bool { return f.leaving(t, 7) })
	if code := idle.closed(); code != 1012 {
		t.Errorf("the one not logged in was closed with %d", code)
	}
	_ = idle.Close()
	c.send(`{"target_id":7,"message":"too late"}`)
	held.all()[0].deliver()
	held.all()[0].done(nil)
	if got := c.next(); got["message"] != "echoed" {
		t.Errorf("got %v", got)
	}
	select {
	case err := <-ended:
		t.Fatalf("the shutdown did not wait: %v", err)
	default:
	}
	held.all()[1].done(domain.NewError(domain.CodeUnconfirmed, "Not known."))
	if got := c.next(); got["code"] != "unconfirmed" || got["client_msg_id"] != "f" {
		t.Errorf("got %v", got)
	}
	if code := c.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := len(held.all()); n != 2 {
		t.Errorf("%d appends, although the third message came after the wave", n)
	}
}

// A connection that has as much under way as it may is not read from; that it leaves is not in its way.
func TestAConnectionHeldBackByItsAppendsLeaves(t *testing.T) {
	chat, held := holding()
	f := serve(t, Options{}, chat)
	c := f.login(t, 7)
	for i := range socket.MaxUnderWay + 1 {
		c.send(fmt.Sprintf(`{"target_id":7,"message":"%d"}`, i))
	}
	eventually(t, "the bound is reached", func() bool { return len(held.all()) == socket.MaxUnderWay })
	ended := f.shutdown(t.Context())
	eventually(t, "the wave comes", func() bool { return f.leaving(t, 7) })
	finished := 0
	eventually(t, "all are answered", func() bool {
		for _, h := range held.all()[finished:] {
			h.deliver()
			h.done(nil)
			finished++
		}
		return finished == socket.MaxUnderWay+1 || !f.chat.isOnline(7)
	})
	for i := range finished {
		if got := c.next(); got["message"] != fmt.Sprint(i) {
			t.Fatalf("message %d was answered by %v", i, got)
		}
	}
	if code := c.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAPeerThatClosesWhileItsConnectionLeavesIsAnswered(t *testing.T) {
	chat, held := holding()
	f := serve(t, Options{}, chat)
	c := f.login(t, 7)
	c.send(`{"target_id":7,"message":"under way"}`)
	eventually(t, "it is under way", func() bool { return len(held.all()) == 1 })
	ended := f.shutdown(t.Context())
	eventually(t, "the wave comes", func() bool { return f.leaving(t, 7) })
	if _, err := c.NetConn().Write([]byte(masked(finalBit|opClose, "\x03\xe8"))); err != nil {
		t.Fatal(err)
	}
	if code := c.closed(); code != 1000 {
		t.Errorf("closed with %d", code)
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	held.all()[0].done(nil)
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	chat := newChat()
	outcome := make(chan func(error), 1)
	chat.append = func(_ func(), done func(error)) { outcome <- done }
	f := serve(t, Options{}, chat)
	c := f.login(t, 7)
	c.send(`{"target_id":7,"message":"never confirmed"}`)
	done := <-outcome
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.Shutdown(ctx); err == nil {
		t.Error("no error although an append had no outcome")
	}
	if n := f.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	done(nil)
}
