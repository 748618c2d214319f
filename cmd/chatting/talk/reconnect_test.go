package talk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"go.uber.org/goleak"

	"chatting/cmd/chatting/exit"
)

// patience only ends a test that hangs.
const patience = time.Minute

// scripted is a server whose connections are each talked to by the next of its scripts. A further one is refused.
type scripted struct {
	*httptest.Server

	mu     sync.Mutex
	next   int
	logins []string
	calls  []string
}

// serve starts a server. A script has the socket after the login frame has come; after it the server reads until the client leaves.
func serve(t *testing.T, scripts ...func(conn *websocket.Conn)) *scripted {
	t.Helper()
	before := goleak.IgnoreCurrent()
	s := &scripted{}
	mux := http.NewServeMux()
	mux.HandleFunc(SocketPath, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := s.next
		s.next++
		s.mu.Unlock()
		if n >= len(scripts) {
			http.Error(w, "no more", http.StatusForbidden)
			return
		}
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, login, err := conn.ReadMessage()
		if err != nil {
			t.Error(err)
			return
		}
		s.mu.Lock()
		s.logins = append(s.logins, string(login))
		s.mu.Unlock()
		scripts[n](conn)
		for err == nil {
			_, _, err = conn.ReadMessage()
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.calls = append(s.calls, r.Method+" "+r.URL.String()+" "+string(body))
		s.mu.Unlock()
		_, _ = io.WriteString(w, `{"messages":[{"id":"b"},{"id":"a"}],"next":null}`)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.Close()
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before)
	})
	return s
}

func (s *scripted) socket(t *testing.T) *url.URL {
	t.Helper()
	socket, err := ParseSocket("ws" + strings.TrimPrefix(s.URL, "http") + SocketPath)
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

// chat returns a chat that connects again without waiting.
func (s *scripted) chat(t *testing.T, in io.Reader) (c *Chat, out *screen, notes *bytes.Buffer) {
	out, notes = newScreen(), &bytes.Buffer{}
	return &Chat{
		In: in, Out: out, Notes: notes, Interactive: true, Reconnect: true, Linger: time.Hour, Socket: s.socket(t),
		Token: func() (string, error) { return "tok", nil }, again: &again{failures: map[int]int{}, random: func() float64 { return 0 }},
	}, out, notes
}

// withinPatience returns a context that ends a test which hangs.
func withinPatience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// screen keeps what is written to it.
type screen struct {
	mu      sync.Mutex
	text    strings.Builder
	written *sync.Cond
}

func newScreen() *screen {
	s := &screen{}
	s.written = sync.NewCond(&s.mu)
	return s
}

// Write implements io.Writer.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written.Broadcast()
	return s.text.Write(p)
}

// String returns all of it.
func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await returns once the words stand on the screen. What the client does with a frame is done before it is shown.
func (s *screen) await(words string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !strings.Contains(s.text.String(), words) {
		s.written.Wait()
	}
}

// next returns the next text frame of a client.
func next(t *testing.T, conn *websocket.Conn) (fields map[string]any) {
	t.Helper()
	_, frame, err := conn.ReadMessage()
	if err == nil {
		err = json.Unmarshal(frame, &fields)
	}
	if err != nil {
		t.Errorf("reading a frame: %v", err)
	}
	return fields
}

func closeWith(conn *websocket.Conn, code int, reason string) {
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(patience))
}

const answered = `{"type":"system_message","message":"You have successfully logged","online_friends":[],"to_id":7,"resume":"%"}`

func loggedIn(resume string) string { return strings.ReplaceAll(answered, "%", resume) }

func TestAChatTakesUpWhereItStoppedAndSendsAgainWhatHadNoAnswer(t *testing.T) {
	in, typing := io.Pipe()
	defer typing.Close()
	var first, again map[string]any
	server := serve(t, func(conn *websocket.Conn) {
		write(conn, loggedIn("r1"))
		answeredFirst := next(t, conn)
		write(conn, `{"type":"chat_message","id":"e1","client_msg_id":"`+answeredFirst["client_msg_id"].(string)+`","resume":"r2"}`)
		first = next(t, conn)
		closeWith(conn, websocket.CloseServiceRestart, "")
	}, func(conn *websocket.Conn) {
		write(conn, `{"type":"system_message","online_friends":[],"to_id":7,"recovered":false,"resume":"r3"}`)
		again = next(t, conn)
		write(conn, `{"type":"chat_message","id":"e2","client_msg_id":"`+again["client_msg_id"].(string)+`","resume":"r4"}`)
		_, _ = io.WriteString(typing, "/quit\n")
	})
	go func() { _, _ = io.WriteString(typing, "8 one\n8 two\n") }()
	c, out, notes := server.chat(t, in)
	if err := c.Run(withinPatience(t)); err != nil {
		t.Error(err)
	}
	if !reflect.DeepEqual(first, again) || first["message"] != "two" || first["client_msg_id"] == "" {
		t.Errorf("sent %v and then %v", first, again)
	}
	want := []string{`{"token":"tok","features":["invites","resume"]}`, `{"token":"tok","features":["invites","resume"],"resume":"r2"}`}
	if !reflect.DeepEqual(server.logins, want) {
		t.Errorf("logins %q", server.logins)
	}
	if strings.Contains(out.String(), "resume") || !strings.Contains(out.String(), `"id":"e2"`) {
		t.Errorf("shown: %s", out)
	}
	if said := notes.String(); !strings.Contains(said, "1012") || !strings.Contains(said, "connecting again in 0s") || !strings.Contains(said, "something may be missing") {
		t.Errorf("said: %s", said)
	}
	if len(c.pending) != 0 {
		t.Errorf("%d messages still wait", len(c.pending))
	}
}

func TestAChatEndsWithTheCodesThatAskForIt(t *testing.T) {
	for _, row := range []struct {
		code   int
		reason string
		want   exit.Code
	}{
		{closeReplaced, "replaced", exit.Refused}, {closeUnauthenticated, "token_expired", exit.Refused}, {closeUnauthenticated, "user_erased", exit.Refused},
	} {
		in, typing := io.Pipe()
		server := serve(t, func(conn *websocket.Conn) {
			write(conn, loggedIn("r1"))
			closeWith(conn, row.code, row.reason)
		})
		c, _, _ := server.chat(t, in)
		if err := c.Run(withinPatience(t)); exit.CodeOf(err) != row.want || len(server.logins) != 1 {
			t.Errorf("%d %s: %v after %d logins", row.code, row.reason, err, len(server.logins))
		}
		_ = typing.Close()
	}
}

func TestTheEndOfTheInputOfATerminalLeaves(t *testing.T) {
	server := serve(t, func(conn *websocket.Conn) { write(conn, loggedIn("r1")) })
	c, _, _ := server.chat(t, strings.NewReader(""))
	if err := c.Run(withinPatience(t)); err != nil {
		t.Error(err)
	}
}

func TestInvitesAreAnsweredByWhoMadeThem(t *testing.T) {
	in, typing := io.Pipe()
	defer typing.Close()
	var sent []map[string]any
	var out *screen
	server := serve(t, func(conn *websocket.Conn) {
		write(conn, loggedIn("r1"))
		write(conn, `{"type":"invite_game","status":"invite","from_id":8,"to_id":7,"room_id":"older"}`)
		write(conn, `{"type":"invite_game","status":"invite","from_id":8,"to_id":7,"room_id":"newer"}`)
		write(conn, `{"type":"invite_game","status":"invite","from_id":7,"to_id":9,"room_id":"own"}`)
		out.await("own")
		_, _ = io.WriteString(typing, "/accept 8\n")
		sent = append(sent, next(t, conn))
		write(conn, `{"type":"invite_game","status":"accept","from_id":7,"to_id":8,"room_id":"newer"}`)
		out.await(`"status":"accept"`)
		_, _ = io.WriteString(typing, "/decline 8\n")
		sent = append(sent, next(t, conn))
		write(conn, `{"type":"invite_game","status":"expired","from_id":8,"to_id":7,"room_id":"older"}`)
		out.await(`"expired"`)
		_, _ = io.WriteString(typing, "/accept 8\n/accept 7\n/accept 9 named\n")
		sent = append(sent, next(t, conn))
		_, _ = io.WriteString(typing, "/history 8\n/quit\n")
	})
	c, shown, notes := server.chat(t, in)
	out = shown
	if err := c.Run(withinPatience(t)); err != nil {
		t.Error(err)
	}
	invite := func(target float64, status, room string) map[string]any {
		return map[string]any{"target_id": target, "type": "invite_game", "status": status, "room_id": room}
	}
	if want := []map[string]any{invite(8, "accept", "newer"), invite(8, "decline", "older"), invite(9, "accept", "named")}; !reflect.DeepEqual(sent, want) {
		t.Errorf("%v", sent)
	}
	said := notes.String()
	for _, user := range []string{"8", "7"} {
		if !strings.Contains(said, "no invite of "+user+" came on this connection: /invites lists all") {
			t.Errorf("said: %s", said)
		}
	}
	if !strings.Contains(said, "GET /api/chatting/messages/?target_id=8: 200 OK, 2 messages\n  {\"id\":\"a\"}\n  {\"id\":\"b\"}\n") {
		t.Errorf("said: %s", said)
	}
}

// TestTheWaitsAreThoseOfTheGuide: docs/clients.md has the table.
func TestTheWaitsAreThoseOfTheGuide(t *testing.T) {
	closed := func(code int) error { return &websocket.CloseError{Code: code} }
	most := &again{failures: map[int]int{}, random: func() float64 { return 1 }}
	for _, row := range []struct {
		err  error
		want time.Duration
	}{
		{io.EOF, 500 * time.Millisecond}, {errors.New("refused"), time.Second}, {closed(1011), 2 * time.Second},
		{closed(1012), 3 * time.Second}, {closed(1012), 6 * time.Second}, // counted apart
		{closed(1013), 2 * time.Second}, {closed(1013), 4 * time.Second},
		{io.EOF, 4 * time.Second}, {closed(1008), 30 * time.Second},
		{closed(3401), 0}, {closed(3401), time.Second},
	} {
		if got, never := most.after(row.err); got != row.want || never {
			t.Errorf("%v: %s (never: %t), want %s", row.err, got, never, row.want)
		}
	}
	for range 40 {
		if got, _ := most.after(io.EOF); got > 30*time.Second {
			t.Fatalf("%s", got)
		}
	}
	most.lived(alive - 1)
	if got, _ := most.after(io.EOF); got != 30*time.Second {
		t.Errorf("after a short life: %s", got)
	}
	most.lived(alive)
	if got, _ := most.after(io.EOF); got != 500*time.Millisecond {
		t.Errorf("after a long life: %s", got)
	}
	least := &again{failures: map[int]int{}, random: func() float64 { return 0 }}
	if got, _ := least.after(closed(1008)); got != 15*time.Second {
		t.Errorf("%s", got)
	}
	for _, code := range []int{1000, closeReplaced} {
		if _, never := least.after(closed(code)); !never {
			t.Errorf("%d is not the end", code)
		}
	}
}

func TestWhatWaitsForAnAnswerIsBounded(t *testing.T) {
	var p pending
	for range maxPending {
		if _, err := p.add(message{Target: 8, Text: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.add(message{Target: 8, Text: "x"}); err == nil || len(p) != maxPending {
		t.Errorf("%v, %d", err, len(p))
	}
	p.settle(seenFrame{ClientID: p[3].id})
	if _, err := p.add(message{Target: 8, Text: "x"}); err != nil {
		t.Error(err)
	}
	var i invites
	for n := range maxInvites + 10 {
		i.note(seenFrame{Type: "invite_game", Status: "invite", From: int64(n + 1), Room: strings.Repeat("r", n+1)})
	}
	if len(i.seen) != maxInvites || i.seen[0].from != 11 {
		t.Errorf("%d are remembered, the oldest of %d", len(i.seen), i.seen[0].from)
	}
}

func TestOnlyTheTokenIsTakenOutOfAFrame(t *testing.T) {
	for frame, want := range map[string]string{
		`{"a":1,"resume":"x"}`:            `{"a":1}`,
		`{"resume":"x","a":1}`:            `{"a":1}`,
		`{"resume":"x"}`:                  `{}`,
		`{"a":1,"resume":"x","b":2}`:      `{"a":1,"b":2}`,
		`{"message":",\"resume\":\"x\""}`: `{"message":",\"resume\":\"x\""}`,
	} {
		if got := string(withoutResume([]byte(frame))); got != want {
			t.Errorf("%s: %s", frame, got)
		}
	}
}

func TestASendingTellsItsOutcomes(t *testing.T) {
	answer := func(fields string) func(conn *websocket.Conn) {
		return func(conn *websocket.Conn) {
			write(conn, loggedIn("r"))
			name := next(t, conn)["client_msg_id"].(string)
			write(conn, `{"type":"chat_message","id":"other","client_msg_id":"of another device"}`)
			write(conn, `{"client_msg_id":"`+name+`",`+fields+`}`)
		}
	}
	for _, row := range []struct {
		name   string
		script func(conn *websocket.Conn)
		want   exit.Code
		words  string
	}{
		{"stored", answer(`"type":"chat_message","id":"e1"`), exit.Done, ""},
		{"offline", answer(`"error":"Nobody.","code":"no_user_or_offline"`), exit.Refused, "Nobody. (no_user_or_offline)"},
		{"away", answer(`"error":"Later.","code":"unavailable"`), exit.Unavailable, "Later. (unavailable)"},
		{"in doubt", answer(`"error":"Who knows.","code":"unconfirmed"`), exit.Unconfirmed, "send it again with --client-msg-id m1"},
		{"a bad token", func(conn *websocket.Conn) { closeWith(conn, closeUnauthenticated, "token_expired") }, exit.Refused, "3401"},
		{"a restart at the login", func(conn *websocket.Conn) { closeWith(conn, 1012, "") }, exit.Unavailable, "1012"},
		{"a close without a word", func(conn *websocket.Conn) { closeWith(conn, 1000, "") }, exit.Unavailable, "closed the connection"},
		{"too long", func(conn *websocket.Conn) {
			write(conn, loggedIn("r"))
			next(t, conn)
			closeWith(conn, websocket.CloseMessageTooBig, "frame_too_long")
		}, exit.Refused, "1009"},
		{"replaced before the echo", func(conn *websocket.Conn) {
			write(conn, loggedIn("r"))
			next(t, conn)
			closeWith(conn, closeReplaced, "replaced")
		}, exit.Unconfirmed, "send it again with --client-msg-id m1"},
		{"a lost echo", func(conn *websocket.Conn) {
			write(conn, loggedIn("r"))
			next(t, conn)
			_ = conn.NetConn().Close()
		}, exit.Unconfirmed, "send it again with --client-msg-id m1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := serve(t, row.script)
			echo, err := Sending{Socket: server.socket(t), Token: "tok", Target: 8, Text: "hi", Name: "m1", Patience: patience}.Do(t.Context())
			if exit.CodeOf(err) != row.want || (err != nil) != (row.words != "") || err != nil && !strings.Contains(err.Error(), row.words) {
				t.Errorf("%v (%d)", err, exit.CodeOf(err))
			}
			if err == nil && ID(echo) != "e1" {
				t.Errorf("%s", echo)
			}
		})
	}
}

func TestASystemSendingTellsItsOutcomes(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		want   exit.Code
	}{
		{200, `{"type":"system_message","id":"e1"}`, exit.Done},
		{404, `{"detail":"No User or Offline"}`, exit.Refused},
		{401, `{"detail":"no"}`, exit.Refused},
		{409, `{"code":"idempotency_key_in_progress"}`, exit.Unavailable},
		{503, `{"code":"unavailable"}`, exit.Unavailable},
		{503, `{"code":"unconfirmed"}`, exit.Unconfirmed},
		{307, `{}`, exit.Failed},
	} {
		var got string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization") + " " + r.Header.Get("Idempotency-Key") + " " + string(body)
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.body)
		}))
		socket, err := ParseSocket("ws" + strings.TrimPrefix(server.URL, "http") + SocketPath)
		if err != nil {
			t.Fatal(err)
		}
		frame, err := SystemSending{Socket: socket, Token: "s2s", Target: 8, Text: "<hi>", Name: "m1", Type: "invite_game", Room: "room", Opponent: 9}.Do(t.Context())
		if exit.CodeOf(err) != row.want || err == nil && string(frame) != row.body {
			t.Errorf("%d %s: %s %v", row.status, row.body, frame, err)
		}
		if want := `POST /s2sapi/system-message/ Bearer s2s m1 {"target_id":8,"message":"<hi>","type":"invite_game","room_id":"room","opponent_id":9}`; got != want {
			t.Errorf("%s", got)
		}
		server.Close()
	}
	socket, err := ParseSocket("ws://127.0.0.1:1/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (SystemSending{Socket: socket, Target: 8}).Do(t.Context()); exit.CodeOf(err) != exit.Unavailable {
		t.Errorf("nobody is there: %v", err)
	}
}
