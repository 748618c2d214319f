package e2e

import (
	"context"
	"encoding/json"
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

// rest makes a REST request and returns the status and the body.
func (s *server) rest(method, path, token, body string, headers ...string) (int, []byte) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), harness.FrameWait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.HTTP+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, content
}

// page is what the history says of a conversation, once it has so many messages.
func (s *server) page(token string, partner, count int) []harness.Frame {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), harness.FrameWait)
	defer cancel()
	var said struct{ Messages []harness.Frame }
	harness.Until(ctx, s.t, fmt.Sprintf("the history has %d messages", count), func() bool {
		status, body := s.rest("GET", fmt.Sprintf("/api/chatting/messages/?target_id=%d&limit=100", partner), token, "")
		if status != http.StatusOK || json.Unmarshal(body, &said) != nil {
			s.t.Fatalf("%d %s", status, body)
		}
		return len(said.Messages) >= count
	})
	return said.Messages
}

// What was said is read back as the frames that clients got, each side sees what it saw, and the platform can erase it.
func TestTheHistoryIsWhatClientsGot(t *testing.T) {
	s := startServer(t, t.TempDir())
	ann, bob := s.token(1), s.token(2)
	one, two := mustConnect(t, s.HTTP, ann), mustConnect(t, s.HTTP, bob)
	say := func(c *client, to int, text string) harness.Frame {
		t.Helper()
		if err := c.Send(to, text); err != nil {
			t.Fatal(err)
		}
		for {
			f, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if f.Message == text {
				return f
			}
			if c == two {
				t.Fatalf("bob got %+v before %q", f, text)
			}
		}
	}
	hears := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if f, err := two.next(); err != nil || f.Message != text {
				t.Fatalf("bob got %+v, %v; want %q", f, err, text)
			}
		}
	}
	first := say(one, 2, "<hello> & good day")
	if status, body := s.rest("POST", "/api/chatting/blockedusers/", bob, `{"target_id":1}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	hidden := say(one, 2, "into the void")
	if status, body := s.rest("DELETE", "/api/chatting/blockedusers/", bob, `{"target_id":1}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	last := say(one, 2, "again")
	hears("<hello> & good day", "again")
	back := say(two, 1, "and back")

	mustBe := func(got []harness.Frame, want ...harness.Frame) {
		t.Helper()
		var ids, wanted []string
		for _, f := range got {
			ids = append(ids, f.ID+" "+f.Message)
		}
		for _, f := range want {
			wanted = append(wanted, f.ID+" "+f.Message)
		}
		if fmt.Sprint(ids) != fmt.Sprint(wanted) {
			t.Errorf("the history says %v, not %v", ids, wanted)
		}
	}
	mustBe(s.page(ann, 2, 4), back, last, hidden, first)
	mustBe(s.page(bob, 1, 3), back, last, first)
	if status, body := s.rest("PUT", "/api/chatting/conversations/1/read/", bob, `{"message_id":"`+first.ID+`"}`); status != http.StatusOK ||
		string(body) != `{"id":1,"unread":1}` {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.rest("PUT", "/api/chatting/conversations/1/read/", bob, `{"message_id":"`+hidden.ID+`"}`); status != http.StatusNotFound {
		t.Errorf("a message that bob must not know of is answered with %d %s", status, body)
	}

	if status, body := s.rest("DELETE", "/s2sapi/users/?user_id=1", "", ""); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if got := s.page(bob, 1, 0); len(got) != 0 {
		t.Errorf("%d messages are left", len(got))
	}
}

// bytesOf logs a user in and returns what sends a frame, and what waits for the next ones and returns their bytes.
func (s *server) bytesOf(token string) (send func(string), next func(count int) []string) {
	s.t.Helper()
	conn, response, err := websocket.DefaultDialer.DialContext(s.t.Context(), "ws://"+s.HTTP+"/ws/chatting/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	s.t.Cleanup(func() { _ = conn.Close() })
	send = func(frame string) {
		s.t.Helper()
		if err := conn.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
			s.t.Fatal(err)
		}
	}
	next = func(count int) (frames []string) {
		s.t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(harness.FrameWait))
		for range count {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				s.t.Fatal(err)
			}
			frames = append(frames, string(frame))
		}
		return frames
	}
	send(`{"token":"` + token + `"}`)
	next(1)
	return send, next
}

// What an encoder might write in another way comes out as it went to the clients: a client that compares or signs frames
// finds them equal.
func TestTheHistoryHasTheBytesThatClientsGot(t *testing.T) {
	s := startServer(t, t.TempDir())
	ann, bob := s.token(1), s.token(2)
	sayAnn, nextAnn := s.bytesOf(ann)
	_, nextBob := s.bytesOf(bob)
	for i, text := range []string{
		`<b>&amp; 'x' \"y\" \\ \/`, `\u2028\u2029\u0000\u0001\u007f\t\r\n`, `안녕 \uc548 😀 \ud83d\ude00`, ``, ` `, `\u003c\u0026`,
	} {
		sayAnn(fmt.Sprintf(`{"target_id":2,"message":"%s","client_msg_id":"n%d"}`, text, i))
	}
	sayAnn(`{"target_id":2,"type":"invite_game","status":"invite","client_msg_id":"i"}`)
	frames := nextBob(7)
	for i, echo := range nextAnn(7) { // the sender's own differ by its name of them
		name := fmt.Sprintf(`"n%d"`, i)
		if i == 6 {
			name = `"i"`
		}
		if want := strings.TrimSuffix(frames[i], "}") + `,"client_msg_id":` + name + "}"; echo != want {
			t.Errorf("the echo is %s, not %s", echo, want)
		}
	}
	if status, body := s.rest("POST", "/s2sapi/system-message/", "", `{"target_id":1,"message":"<round> & 2"}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	system := nextAnn(1)

	is := func(path, token, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
		defer cancel()
		var got []byte
		harness.Until(ctx, t, path+" is "+want, func() bool {
			_, got = s.rest("GET", path, token, "")
			return string(got) == want
		})
	}
	newest := slices.Clone(frames)
	slices.Reverse(newest)
	page := `{"messages":[` + strings.Join(newest, ",") + `],"next":null}`
	is("/api/chatting/messages/?target_id=1", bob, page)
	is("/api/chatting/messages/?target_id=2", ann, page)
	is("/api/chatting/messages/?target_id=0", ann, `{"messages":[`+system[0]+`],"next":null}`)
	var last struct{ Time string }
	if err := json.Unmarshal([]byte(frames[6]), &last); err != nil {
		t.Fatal(err)
	}
	is("/api/chatting/conversations/", bob,
		`{"conversations":[{"id":1,"last_message":`+frames[6]+`,"time":"`+last.Time+`","unread":6}],"next":null}`)
}
