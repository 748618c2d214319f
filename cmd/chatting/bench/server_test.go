package bench

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fasthttp/websocket"
	"go.uber.org/goleak"
)

// chatServer is a small server that speaks the protocol. A token is a user's number.
type chatServer struct {
	*httptest.Server

	t testing.TB
	// handle gets each message. It does with it what it likes, without waiting; no two calls overlap.
	handle func(m sent)
	// refuse is asked at each login. A code other than 0 closes the connection with it, or resets it if it is reset.
	refuse func(user int64) int
	// replay is asked what a user gets who names a resume token, of the frames of all its connections so far. recovered is false if the
	// client has to do without.
	replay func(user int64, shown []string) (again []string, recovered bool)

	mu      sync.Mutex
	shown   map[int64][]string
	sockets map[int64]*websocket.Conn
	counts  map[int64]int // messages by sender
	logins  int
	late    sent // a message that is kept back
}

// sent is a message that a user sent.
type sent struct {
	from, to int64
	number   int // of this sender, from 0
	text     string
}

// reset stands in the place of a close code for a connection that is cut.
const reset = -1

// newChatServer starts a server that delivers every message, unless handle or refuse are set before the first login.
func newChatServer(t testing.TB) *chatServer {
	t.Helper()
	before := goleak.IgnoreCurrent()
	s := &chatServer{t: t, sockets: map[int64]*websocket.Conn{}, counts: map[int64]int{}, refuse: func(int64) int { return 0 }}
	s.shown = map[int64][]string{}
	s.replay = func(_ int64, shown []string) ([]string, bool) { return shown, true }
	s.handle = s.deliver
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.Close()
		goleak.VerifyNone(t, before)
	})
	return s
}

func (s *chatServer) target() Target {
	return Target{
		URL: "ws" + strings.TrimPrefix(s.URL, "http"), Parallel: 4,
		Token: func(user int) (string, error) { return strconv.Itoa(user + 101), nil },
	}
}

func (s *chatServer) serve(w http.ResponseWriter, r *http.Request) {
	conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer conn.Close()
	var login struct{ Token, Resume string }
	if err := conn.ReadJSON(&login); err != nil {
		return // the run has ended before this login
	}
	user, _ := strconv.ParseInt(login.Token, 10, 64)
	s.mu.Lock()
	s.logins++
	switch code := s.refuse(user); code {
	case 0:
		s.sockets[user] = conn
		s.answer(user, login.Resume != "")
	case reset:
		_ = conn.NetConn().(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	default:
		s.close(conn, code)
	}
	s.mu.Unlock()
	for {
		_, frame, err := conn.ReadMessage()
		if err != nil {
			return
		}
		var m struct {
			Target  int64 `json:"target_id"`
			Message string
		}
		if err := json.Unmarshal(frame, &m); err != nil {
			s.t.Errorf("%s: %v", frame, err)
			return
		}
		s.mu.Lock()
		s.handle(sent{user, m.Target, s.counts[user], m.Message})
		s.counts[user]++
		s.mu.Unlock()
	}
}

// answer answers a login, under the lock, and replays what the client asks for.
func (s *chatServer) answer(user int64, resumes bool) {
	var again []string
	recovered := false
	if resumes {
		again, recovered = s.replay(user, s.shown[user])
	}
	s.write(user, fmt.Sprintf(`{"type":"system_message","message":"You have successfully logged","online_friends":[],"to_id":%d,`+
		`"resume":"place","recovered":%t}`, user, recovered))
	for _, frame := range again {
		s.write(user, frame)
	}
}

// write sends a frame to a user, under the lock.
func (s *chatServer) write(user int64, frame string) {
	_ = s.sockets[user].WriteMessage(websocket.TextMessage, []byte(frame)) // a client that is gone is not there to look
}

func (s *chatServer) close(conn *websocket.Conn, code int) {
	_ = conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""))
}

// show has a user see a message.
func (s *chatServer) show(user int64, m sent) {
	frame := fmt.Sprintf(`{"type":"chat_message","message":%q,"from_id":%d,"to_id":%d,"id":"…"}`, m.text, m.from, m.to)
	s.shown[user] = append(s.shown[user], frame)
	s.write(user, frame)
}

// deliver does with a message what a server should.
func (s *chatServer) deliver(m sent) {
	s.show(m.from, m)
	s.show(m.to, m)
}
