// Package documents holds the documents of the API against a running server and against the code that makes its frames.
package documents

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// patience is how long a test waits for what should come soon.
const patience = 60 * time.Second

// binary is the built server.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "chatting-documents-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "chatting")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/chatting")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the server:", err)
		return 1
	}
	return m.Run()
}

// server is a running server on embedded parts.
type server struct {
	t       *testing.T
	addr    string
	environ []string
}

// startServer starts one and waits until it is ready. It is killed at the end of the test.
func startServer(t *testing.T, environ ...string) *server {
	t.Helper()
	s := &server{t: t, environ: append(environ, "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0",
		"CHATTING_DATA_DIR="+t.TempDir(), "CHATTING_LOG_FORMAT=json")}
	process := exec.Command(binary)
	process.Env = s.environ
	stderr, err := process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	addr, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			var line struct {
				HTTP string `json:"http"`
			}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.HTTP != "" {
				addr <- strings.TrimPrefix(line.HTTP, "http://")
			}
			fmt.Fprintln(t.Output(), lines.Text())
		}
		_ = process.Wait()
	}()
	t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGKILL)
		<-ended
	})
	select {
	case s.addr = <-addr:
	case <-ended:
		t.Fatal("the server ended")
	case <-time.After(patience):
		t.Fatal("the server is not ready")
	}
	return s
}

// token returns one that the server accepts.
func (s *server) token(user int) string {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), binary, "token", "--user", fmt.Sprint(user))
	command.Env, command.Stderr = s.environ, s.t.Output()
	out, err := command.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// login opens a socket, which is closed at the end of the test, and returns after the answer to its login.
func (s *server) login(user int) *websocket.Conn {
	s.t.Helper()
	conn, response, err := websocket.DefaultDialer.DialContext(s.t.Context(), "ws://"+s.addr+"/ws/chatting/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	s.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.WriteJSON(map[string]string{"token": s.token(user)}); err != nil {
		s.t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, _, err := conn.ReadMessage(); err != nil {
		s.t.Fatal(err)
	}
	return conn
}
