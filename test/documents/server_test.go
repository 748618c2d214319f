// Package documents holds the documents of the API against a running server and against the code that makes its frames.
package documents

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// server is a running server on embedded parts.
type server struct {
	*harness.Node

	t   *testing.T
	env []string
}

// startServer starts one and waits until it is ready. It is killed at the end of the test.
func startServer(t *testing.T, settings ...string) *server {
	t.Helper()
	dir := t.TempDir()
	settings = append(settings, "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR="+dir)
	return &server{harness.StartNode(t, dir, settings...), t, harness.Environ(settings...)}
}

// token returns one that the server accepts.
func (s *server) token(user int) string {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), harness.Binary, "token", "--user", fmt.Sprint(user))
	command.Env, command.Stderr = s.env, s.t.Output()
	out, err := command.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// login opens a socket with some features, which is closed at the end of the test, and returns it with the answer to its login.
func (s *server) login(user int, features ...string) (*websocket.Conn, []byte) {
	s.t.Helper()
	conn, response, err := websocket.DefaultDialer.DialContext(s.t.Context(), "ws://"+s.HTTP+"/ws/chatting/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	s.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.WriteJSON(map[string]any{"token": s.token(user), "features": features}); err != nil {
		s.t.Fatal(err)
	}
	return conn, s.next(conn)
}

// next returns the next frame.
func (s *server) next(conn *websocket.Conn) []byte {
	s.t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(harness.FrameWait))
	_, frame, err := conn.ReadMessage()
	if err != nil {
		s.t.Fatal(err)
	}
	return frame
}
