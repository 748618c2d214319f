package talk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fasthttp/websocket"
)

// TestARedirectIsShownAndNotFollowed: the token is for the server that was named.
func TestARedirectIsShownAndNotFollowed(t *testing.T) {
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	socket, err := ParseSocket("ws" + strings.TrimPrefix(server.URL, "http") + SocketPath)
	if err != nil {
		t.Fatal(err)
	}
	var notes bytes.Buffer
	c := &Chat{Notes: &notes, Socket: socket, token: "tok"}
	if leave := c.act(t.Context(), nil, "/online 7"); leave || asked || !strings.Contains(notes.String(), "307 Temporary Redirect") {
		t.Errorf("asked elsewhere: %t; %s", asked, notes.String())
	}
}

// TestEveryFrameMakesTheClientStayLonger runs on a clock of its own.
func TestEveryFrameMakesTheClientStayLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := &Chat{In: strings.NewReader(""), Out: &out, Notes: io.Discard, Linger: time.Second}
		near, far := net.Pipe()
		ended := make(chan struct{})
		go func() { // the server
			defer close(ended)
			defer far.Close()
			request, err := http.ReadRequest(bufio.NewReader(far))
			if err != nil {
				t.Error(err)
				return
			}
			conn, err := (&websocket.Upgrader{}).Upgrade(&pipeAnswer{conn: far}, request, nil)
			if err != nil {
				t.Error(err)
				return
			}
			for range 3 {
				time.Sleep(900 * time.Millisecond)
				write(conn, `{}`)
			}
			_, _, _ = conn.ReadMessage() // the close, which it answers
		}()
		dialer := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return near, nil }}
		conn, response, err := dialer.DialContext(t.Context(), "ws://server"+SocketPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		r, since := startReceiving(conn), time.Now()
		c.lines = readLines(c.In, nil)
		if err := c.talk(t.Context(), r, nil); err != nil {
			t.Error(err)
		}
		if stayed := time.Since(since); stayed != 3*900*time.Millisecond+time.Second || out.String() != strings.Repeat("{}\n", 3) {
			t.Errorf("it stayed %s and showed %q", stayed, out.String())
		}
		r.stop()
		<-ended
	})
}

// pipeAnswer lets a connection be upgraded that no HTTP server has accepted.
type pipeAnswer struct {
	http.ResponseWriter

	conn net.Conn
}

func (a *pipeAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return a.conn, bufio.NewReadWriter(bufio.NewReader(a.conn), bufio.NewWriter(a.conn)), nil
}

func TestTheRESTAPIIsBesideTheSocket(t *testing.T) {
	for socket, want := range map[string]string{
		"ws://127.0.0.1:8000/ws/chatting/":      "http://127.0.0.1:8000",
		"wss://chat.example.com/ws/chatting":    "https://chat.example.com",
		"wss://example.com/chat/ws/chatting/?x": "https://example.com/chat",
		"ws://[::1]:80":                         "http://[::1]:80",
	} {
		u, err := ParseSocket(socket)
		if err != nil {
			t.Fatal(err)
		}
		if got := RESTBase(u); got != want {
			t.Errorf("%s: %s", socket, got)
		}
	}
}

func TestLinesAreReadAsTheHelpSays(t *testing.T) {
	for line, want := range map[string]string{
		"":                       "",
		"   ":                    "",
		"202 hi":                 `{"target_id":202,"message":"hi"}`,
		"202  two  blanks ":      `{"target_id":202,"message":" two  blanks "}`,
		"202 ":                   `{"target_id":202,"message":""}`,
		"-1 hi":                  `{"target_id":-1,"message":"hi"}`,
		"202 a\tb \"q\" \u2028":  `{"target_id":202,"message":"a\tb \"q\" \u2028"}`,
		`{"a": 1}`:               `{"a": 1}`,
		"{not json":              `{not json`,
		"202":                    "error",
		"x y":                    "error",
		"99999999999999999999 x": "error",
		"/ping":                  `{"type":"ping"}`,
		"/block":                 "error",
		"/block x":               "error",
		"/block 1 2":             "error",
		"/nothing":               "error",
		"/":                      "error",
		"/accept":                "error",
		"/accept 7":              "{7 accept }",
		"/decline 7 room":        "{7 decline room}",
		"/decline 7 a b":         "error",
		"/invites":               "GET /api/chatting/invites/",
		"/conversations":         "GET /api/chatting/conversations/",
		"/friends":               "GET /api/chatting/friends/",
		"/blocks":                "GET /api/chatting/blockedusers/",
		"/history 7":             "GET /api/chatting/messages/?target_id=7",
		"/history 7 a&b":         "GET /api/chatting/messages/?target_id=7&before=a%26b",
		"/history":               "error",
		"/read 7":                "PUT /api/chatting/conversations/7/read/ {}",
		"/read 7 \"x":            `PUT /api/chatting/conversations/7/read/ {"message_id":"\"x"}`,
	} {
		asked, err := parseLine(line)
		got := string(asked.frame)
		if asked.message != nil {
			frame, err := encode(asked.message)
			if err != nil {
				t.Fatal(err)
			}
			got = string(frame)
		}
		if asked.call != nil {
			got = strings.TrimSpace(asked.call.method + " " + asked.call.path + " " + string(asked.call.body))
		}
		if asked.answer != nil {
			got = fmt.Sprint(*asked.answer)
		}
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s (%v)", line, got, want, err)
		}
	}
}

// FuzzParseLine reads arbitrary lines: one meaning at most, and frames that are one line.
func FuzzParseLine(f *testing.F) {
	for _, seed := range []string{"202 hello", "/invite 7", "/online -1", "{}", "/quit", "/help", " 1 \x80", "1", "/block 9 9", "\x00", "{\n}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		command, err := parseLine(line)
		meanings := 0
		for _, is := range []bool{
			command.frame != nil, command.message != nil, command.answer != nil, command.call != nil, command.quit, command.help, err != nil,
		} {
			if is {
				meanings++
			}
		}
		if meanings > 1 || meanings == 0 && strings.TrimSpace(line) != "" {
			t.Errorf("%q: %+v %v", line, command, err)
		}
		if command.frame != nil && command.frame[0] != '{' {
			t.Errorf("%q: %s", line, command.frame)
		}
		if command.call != nil && command.call.body != nil && !json.Valid(command.call.body) {
			t.Errorf("%q: %s", line, command.call.body)
		}
	})
}

func write(conn *websocket.Conn, frame string) {
	_ = conn.WriteMessage(websocket.TextMessage, []byte(frame))
}
