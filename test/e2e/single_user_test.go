package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// socket is a connection of a client that keeps no frames.
type socket struct{ *websocket.Conn }

// logIn connects and logs in; the error is a *websocket.CloseError for a refused login.
func logIn(addr, token string) (socket, error) {
	dialer := websocket.Dialer{HandshakeTimeout: harness.FrameWait}
	conn, response, err := dialer.Dial("ws://"+addr+"/ws/chatting/", nil)
	if err != nil {
		return socket{}, err
	}
	_ = response.Body.Close()
	_ = conn.SetReadDeadline(time.Now().Add(harness.FrameWait))
	if err = conn.WriteJSON(map[string]string{"token": token}); err == nil {
		_, _, err = conn.ReadMessage()
	}
	if err != nil {
		_ = conn.Close()
		return socket{}, err
	}
	return socket{conn}, nil
}

// codeOf returns the code that a connection was closed with; 0 for another error.
func codeOf(err error) int {
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		return closed.Code
	}
	return 0
}

// One user sends as fast as it can over all the connections that it may have. It is held to its rate, its connections are
// closed, and others do not notice.
func TestOneUserOverAllItsConnectionsIsHeldToItsRate(t *testing.T) {
	const connections, perSecond = 32, 50
	s := &server{t: t, dir: t.TempDir()}
	s.Node = harness.StartNode(t, s.dir, embedded(fmt.Sprint("CHATTING_LIMIT_USER_FRAMES_PER_SECOND=", perSecond))...)
	canaries := harness.StartCanaries(t, s.HTTP, s.token(1), s.token(2))
	before := harness.ResidentMemory(t, s.PID)
	began := time.Now()
	var refused, ended atomic.Int64
	var flooding sync.WaitGroup
	token := s.token(7)
	for range connections {
		c, err := logIn(s.HTTP, token)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		flooding.Go(func() {
			for c.WriteMessage(websocket.TextMessage, []byte(`{"target_id":7,"message":"flood"}`)) == nil {
			}
		})
		flooding.Go(func() {
			for {
				_, data, err := c.ReadMessage()
				switch {
				case err != nil:
					// A client that never stops sending may see the reset of its connection instead of the close frame.
					if code := codeOf(err); code == 1008 || code == 0 {
						ended.Add(1)
					} else {
						t.Errorf("closed with %d", code)
					}
					return
				case strings.Contains(string(data), `"code":"rate_limited"`):
					if refused.Add(1); !strings.Contains(string(data), `"retry_after_ms":`) {
						t.Errorf("the refusal is %s", data)
					}
				}
			}
		})
	}
	flooding.Wait()
	lasted := time.Since(began)
	// Echoes may come too late for connections that are closed so soon. What was taken is in the log, in front of what the user
	// says next.
	ctx, after := waiting(t), mustConnect(t, s.HTTP, token)
	harness.Until(ctx, t, "the user may speak again", func() bool {
		if err := after.Send(7, "again"); err != nil {
			t.Fatal(err)
		}
		f, err := after.next()
		if err != nil {
			t.Fatal(err)
		}
		return f.Message == "again"
	})
	taken := 0
	for _, event := range harness.ReadEvents(ctx, t, s.Kafka, "chatting.conversations") {
		if event.Data.Message == "flood" {
			taken++
		}
	}
	if most := 2*perSecond + int(lasted.Seconds()*perSecond) + 1; taken > most {
		t.Errorf("%d messages were taken in %s, want at most %d", taken, lasted, most)
	}
	if taken == 0 || refused.Load() == 0 || ended.Load() != connections {
		t.Errorf("%d messages were taken, %d frames refused and %d connections closed, want %d closed", taken, refused.Load(),
			ended.Load(), connections)
	}
	if grown := harness.ResidentMemory(t, s.PID) - before; grown > 256<<20 {
		t.Errorf("the server holds %d MiB more", grown>>20)
	}
	canaries.End(t, "one user at full speed")
	t.Logf("%d messages taken, %d refused in %s", taken, refused.Load(), lasted.Round(time.Millisecond))
}

// Somebody with a stolen token holds all connections that a user may have and comes again at once whenever it loses one. The
// owner, who stays and so makes it lose one after the other, gets in again and again, and can chat. Whoever watches the user
// sees nothing of it.
func TestAnOwnerAlwaysGetsIn(t *testing.T) {
	const connections, rounds = 32, 5
	s := startServer(t, t.TempDir())
	owner, watching := s.token(7), s.token(8)
	if status, body := s.rest("POST", "/api/chatting/friends/", watching, `{"target_id":7}`); status != 201 {
		t.Fatalf("watching: %d %s", status, body)
	}
	watcher := mustConnect(t, s.HTTP, watching)
	canaries := harness.StartCanaries(t, s.HTTP, s.token(1), s.token(2))
	ctx, cancel := context.WithCancel(t.Context())
	tired, rest := context.WithCancel(ctx) // then the attacker logs in no more, and keeps what it has
	var attacking sync.WaitGroup
	defer attacking.Wait()
	defer cancel()
	var logins, replaced, refused, trying atomic.Int64
	held := make(chan struct{}, connections)
	for range connections {
		attacking.Go(func() {
			first := true
			trying.Add(1)
			defer trying.Add(-1)
			for tired.Err() == nil {
				c, err := logIn(s.HTTP, owner)
				switch codeOf(err) {
				case 1013:
					refused.Add(1)
					continue
				case 3409: // before it had its answer
					continue
				}
				if err != nil {
					t.Errorf("a login of the attacker: %v", err)
					return
				}
				logins.Add(1)
				if first {
					first = false
					held <- struct{}{}
				}
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				_ = c.SetReadDeadline(time.Time{})
				trying.Add(-1)
				for err == nil {
					_, _, err = c.ReadMessage()
				}
				trying.Add(1)
				if codeOf(err) == 3409 {
					replaced.Add(1)
				}
				stop()
				_ = c.Close()
			}
		})
	}
	for range connections {
		<-held
	}
	said := 0
	for round := range rounds {
		for tries := 1; ; tries++ {
			c, err := logIn(s.HTTP, owner)
			if code := codeOf(err); code == 1013 || code == 3409 {
				if tries > 500 {
					t.Fatalf("round %d: the owner does not get in", round)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err = c.WriteJSON(map[string]any{"target_id": 7, "message": "mine"}); err == nil {
				var data []byte
				if _, data, err = c.ReadMessage(); strings.Contains(string(data), `"message":"mine"`) {
					said++
				}
			}
			t.Logf("round %d: the owner was in at try %d, and chatted: %v", round, tries, err)
			for err == nil { // until it is replaced
				_, _, err = c.ReadMessage()
			}
			_ = c.Close()
			if code := codeOf(err); code != 3409 {
				t.Errorf("round %d: the owner was closed by %v", round, err)
			}
			break
		}
	}
	chatted := canaries.End(t, "an owner beside an attacker")
	if said == 0 {
		t.Error("the owner never got to chat")
	}
	if replaced.Load() == 0 {
		t.Error("the attacker lost no connection")
	}
	// The watcher sees the user come, and go when the attacker gives up, and nothing between the two. A login that is under way when
	// all others end would be a second coming.
	rest()
	harness.Until(waiting(t), t, "no login of the attacker is under way", func() bool { return trying.Load() == 0 })
	cancel()
	attacking.Wait()
	if _, err := watcher.Find(waiting(t), 0, func(f harness.Frame) bool { return f.Status == "offline" }); err != nil {
		t.Errorf("the watcher does not see the end: %v", err)
	}
	var seen []string
	for _, f := range watcher.Frames()[1:] {
		seen = append(seen, f.Type+" "+f.Status)
	}
	if got := strings.Join(seen, ", "); got != "send_status online, send_status offline" {
		t.Errorf("the watcher saw %s", got)
	}
	t.Logf("the attacker logged in %d times, was refused %d times and lost %d connections; the canaries chatted %d rounds",
		logins.Load(), refused.Load(), replaced.Load(), chatted)
}

// At the limit the oldest goes, and learns why.
func TestTheOldestConnectionIsReplaced(t *testing.T) {
	const limit = 3
	s := &server{t: t, dir: t.TempDir()}
	s.Node = harness.StartNode(t, s.dir, embedded("CHATTING_LIMIT_CONNECTIONS_PER_USER=3")...)
	token := s.token(7)
	var sockets []socket
	for range 2 * limit {
		c, err := logIn(s.HTTP, token)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sockets = append(sockets, c)
	}
	for i, c := range sockets {
		if i >= limit {
			if err := c.WriteJSON(map[string]any{"target_id": 7, "message": "here"}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.ReadMessage(); err != nil {
				t.Errorf("login %d ended: %v", i, err)
			}
			continue
		}
		_, _, err := c.ReadMessage()
		var closed *websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != 3409 || closed.Text != "replaced" {
			t.Errorf("login %d ended with %v", i, err)
		}
	}
}
