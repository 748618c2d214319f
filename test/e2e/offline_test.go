package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// startStoring starts a server that stores messages to users who are offline.
func startStoring(t *testing.T, dir string, more ...string) *server {
	t.Helper()
	settings := embedded(append([]string{
		"CHATTING_CHAT_OFFLINE=store", "CHATTING_S2S_TOKEN=service-token-of-16", "CHATTING_LIMIT_FRAMES_PER_SECOND=0",
	}, more...)...)
	return &server{Node: harness.StartNode(t, dir, settings...), t: t, dir: dir}
}

// say sends texts, some at a time, and waits for their echoes.
func (c *client) say(t *testing.T, target int, texts ...string) {
	t.Helper()
	for some := range slices.Chunk(texts, 20) {
		for _, text := range some {
			if err := c.Send(target, text); err != nil {
				t.Fatal(err)
			}
		}
		for _, text := range some {
			if f, err := c.next(); err != nil || f.Message != text || f.To != target {
				t.Fatalf("the echo of %q is %+v, %v", text, f, err)
			}
		}
	}
}

// nextMillisecond waits until what is said has another time than what was said before: only that orders what is replayed of
// several conversations.
func nextMillisecond(t *testing.T) {
	t.Helper()
	before := time.Now().UnixMilli()
	harness.Until(t.Context(), t, "a later time", func() bool { return time.Now().UnixMilli() > before })
}

// replays expects texts as the next frames, marked.
func (c *client) replays(t *testing.T, texts ...string) (ids []string) {
	t.Helper()
	for i, text := range texts {
		f, err := c.next()
		if err != nil || f.Message != text || !f.Replayed {
			t.Fatalf("number %d is %+v, %v; want %q replayed", i, f, err, text)
		}
		ids = append(ids, f.ID)
	}
	return ids
}

// isLive expects that the next frame is one that is sent now.
func (c *client) isLive(t *testing.T, from *client) {
	t.Helper()
	if err := from.Send(c.User, "live"); err != nil {
		t.Fatal(err)
	}
	if f, err := c.next(); err != nil || f.Message != "live" || f.Replayed {
		t.Fatalf("got %+v, %v; want the live one", f, err)
	}
	if f, err := from.next(); err != nil || f.Message != "live" {
		t.Fatalf("the echo is %+v, %v", f, err)
	}
}

// leave closes the connection as browsers do.
func (c *client) leave(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
	defer cancel()
	if err := c.Leave(ctx); err != nil {
		t.Fatalf("closing: %v", err)
	}
}

// system sends a system message over HTTP and returns the status of the answer.
func (s *server) system(target int, text string) int {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.HTTP+"/s2sapi/system-message/",
		strings.NewReader(fmt.Sprintf(`{"target_id": %d, "message": %q}`, target, text)))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer service-token-of-16")
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode
}

func TestWhatIsSentToAnOfflineUserIsStoredEchoedAndReplayedOnceAtTheNextLogin(t *testing.T) {
	s := startStoring(t, t.TempDir())
	one, three := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(3))
	mustConnect(t, s.HTTP, s.token(2)).leave(t) // known from now on
	harness.Until(t.Context(), t, "2 is offline", func() bool { return s.system(2, "first") == 200 && !s.online(2) })

	nextMillisecond(t)
	one.say(t, 2, "a", "b")
	nextMillisecond(t)
	three.say(t, 2, "c")
	nextMillisecond(t)
	one.say(t, 2, "d")
	nextMillisecond(t)
	if status := s.system(2, "e"); status != http.StatusOK {
		t.Fatalf("a system message was answered with %d", status)
	}
	if status := s.system(99, "nobody"); status != http.StatusNotFound {
		t.Fatalf("a system message to an unknown user was answered with %d", status)
	}
	for _, frame := range []any{
		map[string]any{"target_id": 99, "message": "nobody"},
		map[string]any{"target_id": 2, "type": "invite_game", "status": "invite"},
	} {
		if err := one.SendFrame(frame); err != nil {
			t.Fatal(err)
		}
		if f, err := one.next(); err != nil || f.Error != "No User or Offline" {
			t.Fatalf("%v was answered with %+v, %v", frame, f, err)
		}
	}

	two := mustConnect(t, s.HTTP, s.token(2))
	first := 0
	for f, err := two.next(); ; f, err = two.next() {
		if err != nil {
			t.Fatal(err)
		}
		if f.Message != "first" {
			two.seen--
			break
		}
		first++
	}
	if first == 0 {
		t.Fatal("the first system message is missing")
	}
	two.replays(t, "a", "b", "c", "d", "e")
	two.isLive(t, one)
	two.leave(t)

	again := mustConnect(t, s.HTTP, s.token(2))
	again.isLive(t, one)
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}
	// What the server's own close confirmed is not replayed by the next one either.
	next := startStoring(t, s.dir)
	once := mustConnect(t, next.HTTP, next.token(2))
	once.isLive(t, mustConnect(t, next.HTTP, next.token(1)))
}

// online asks the REST API.
func (s *server) online(user int) bool {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet,
		fmt.Sprintf("http://%s/api/chatting/is-online/?id=%d", s.HTTP, user), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token(1))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Contains(string(body), `"is_online":true`)
}

func TestWhatWasStoredSurvivesSIGKILLAndWhatWasNotConfirmedComesAgainUnderTheSameIDs(t *testing.T) {
	s := startStoring(t, t.TempDir())
	tokens := []string{s.token(1), s.token(2)}
	mustConnect(t, s.HTTP, tokens[1]).leave(t)
	one := mustConnect(t, s.HTTP, tokens[0])
	harness.Until(t.Context(), t, "2 is offline", func() bool { return !s.online(2) })
	var texts []string
	for n := range 50 {
		texts = append(texts, fmt.Sprint("before ", n))
	}
	one.say(t, 2, texts...)
	s.Kill()

	// A device that confirms nothing gets all of them, and so does the next one. What was confirmed would have been saved: the
	// server leaves in order.
	s = startStoring(t, s.dir)
	ids := s.replaysToMute(tokens[1], texts...)
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}

	s = startStoring(t, s.dir)
	two := mustConnect(t, s.HTTP, tokens[1])
	if again := two.replays(t, texts...); !slices.Equal(again, ids) {
		t.Fatalf("repeated: %v\nnot %v", again, ids)
	}
	s.Kill() // before anything can have been saved of what this one has confirmed; or after

	s = startStoring(t, s.dir)
	one = mustConnect(t, s.HTTP, tokens[0])
	two = mustConnect(t, s.HTTP, tokens[1])
	one.say(t, 2, "after")
	var repeated []string
	for {
		f, err := two.next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Message == "after" && !f.Replayed {
			break
		}
		if !f.Replayed {
			t.Fatalf("got %+v", f)
		}
		repeated = append(repeated, f.ID)
	}
	if len(repeated) > len(ids) || !slices.Equal(repeated, ids[len(ids)-len(repeated):]) {
		t.Fatalf("repeated: %v\nof %v", repeated, ids)
	}
	two.leave(t)
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}
	s = startStoring(t, s.dir)
	mustConnect(t, s.HTTP, tokens[1]).isLive(t, mustConnect(t, s.HTTP, tokens[0]))
}

// replaysToMute logs a user in on a device that answers neither pings nor the server's close, and so confirms nothing, and
// expects texts as its next frames, marked.
func (s *server) replaysToMute(token string, texts ...string) (ids []string) {
	s.t.Helper()
	conn, response, err := websocket.DefaultDialer.DialContext(s.t.Context(), "ws://"+s.HTTP+"/ws/chatting/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	s.t.Cleanup(func() { _ = conn.Close() })
	conn.SetPingHandler(func(string) error { return nil })
	_ = conn.SetReadDeadline(time.Now().Add(harness.FrameWait))
	if err := conn.WriteJSON(map[string]string{"token": token}); err != nil {
		s.t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); err != nil {
		s.t.Fatal(err)
	}
	for i, text := range texts {
		var f harness.Frame
		if err := conn.ReadJSON(&f); err != nil || f.Message != text || !f.Replayed {
			s.t.Fatalf("number %d is %+v, %v; want %q replayed", i, f, err, text)
		}
		ids = append(ids, f.ID)
	}
	return ids
}

func TestABacklogLargerThanAConnectionsQueueIsReplayedInOrder(t *testing.T) {
	s := startStoring(t, t.TempDir(), "CHATTING_CHAT_OFFLINE_BYTES_PER_SENDER=0")
	tokens := []string{s.token(1), s.token(2)}
	mustConnect(t, s.HTTP, tokens[1]).leave(t)
	one := mustConnect(t, s.HTTP, tokens[0])
	harness.Until(t.Context(), t, "2 is offline", func() bool { return !s.online(2) })
	var texts []string
	for n := range 500 { // 7.5 MiB: the queue has 1 MiB
		texts = append(texts, fmt.Sprint(n, strings.Repeat("x", 15<<10)))
	}
	one.say(t, 2, texts...)
	two := mustConnect(t, s.HTTP, tokens[1])
	two.replays(t, texts...)
	two.isLive(t, one)
}

func TestSwitchedBackToRejectNothingIsStoredAndStoringBeginsAnew(t *testing.T) {
	dir := t.TempDir()
	s := startStoring(t, dir)
	tokens := []string{s.token(1), s.token(2)}
	mustConnect(t, s.HTTP, tokens[1]).leave(t)
	one := mustConnect(t, s.HTTP, tokens[0])
	harness.Until(t.Context(), t, "2 is offline", func() bool { return !s.online(2) })
	one.say(t, 2, "stored")
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}

	s = startServer(t, dir)
	one = mustConnect(t, s.HTTP, tokens[0])
	if err := one.Send(2, "refused"); err != nil {
		t.Fatal(err)
	}
	if f, err := one.next(); err != nil || f.Code != "no_user_or_offline" {
		t.Fatalf("got %+v, %v", f, err)
	}
	mustConnect(t, s.HTTP, tokens[1]).isLive(t, one)
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}

	s = startStoring(t, dir)
	mustConnect(t, s.HTTP, tokens[1]).isLive(t, mustConnect(t, s.HTTP, tokens[0]))
}
