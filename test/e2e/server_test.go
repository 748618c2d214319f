// Package e2e runs the built binary as its users do: in an empty directory, through the README's tour, through SIGKILL.
package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// binary is the built server.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "chatting-e2e-")
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

// server is a running server.
type server struct {
	t       *testing.T
	dir     string
	process *exec.Cmd
	ended   chan error

	http, kafka string
}

// startServer starts a server on the data in dir and waits until it is ready.
func startServer(t *testing.T, dir string, environ ...string) *server {
	t.Helper()
	harness.TrackSources(t)
	s := &server{t: t, dir: dir, ended: make(chan error, 1)}
	s.process = exec.Command(binary)
	s.process.Dir = dir
	s.process.Env = s.environ(environ...)
	stderr, err := s.process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	ready := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			var line struct {
				Message string `json:"msg"`
				Kafka   string `json:"embedded_kafka"`
				HTTP    string `json:"http"`
			}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Kafka != "" && s.http == "" {
				s.http, s.kafka = strings.TrimPrefix(line.HTTP, "http://"), line.Kafka
				close(ready)
			}
			if testing.Verbose() || !strings.Contains(lines.Text(), `"level":"INFO"`) {
				fmt.Fprintln(t.Output(), lines.Text())
			}
		}
		s.ended <- s.process.Wait()
	}()
	select {
	case <-ready:
	case err := <-s.ended:
		s.ended <- err
		t.Fatalf("the server ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the server is not ready after a minute")
	}
	return s
}

func (s *server) environ(more ...string) []string {
	var environ []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "CHATTING_") {
			environ = append(environ, variable)
		}
	}
	environ = append(environ, "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0")
	return append(environ, more...)
}

// kill ends the server with SIGKILL and waits for its end. A server that has ended is left alone.
func (s *server) kill() {
	_ = s.process.Process.Signal(syscall.SIGKILL)
	s.ended <- <-s.ended
}

// stop ends the server with SIGTERM and returns how it ended.
func (s *server) stop() error {
	_ = s.process.Process.Signal(syscall.SIGTERM)
	err := <-s.ended
	s.ended <- err
	return err
}

// token asks the binary for one, in the server's directory.
func (s *server) token(user int) string {
	s.t.Helper()
	command := exec.Command(binary, "token", "--user", fmt.Sprint(user))
	command.Dir, command.Env, command.Stderr = s.dir, s.environ(), s.t.Output()
	out, err := command.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// frame has the fields of all frames that the tests look at.
type frame struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	From    int    `json:"from_id"`
	To      int    `json:"to_id"`
	Error   string `json:"error"`
	Code    string `json:"code"`
	Status  string `json:"status"`
	ID      string `json:"id"`
}

// client is a logged-in connection.
type client struct {
	conn *websocket.Conn
}

const frameWait = 30 * time.Second

// connect logs in. The error is for connections that are cut on purpose.
func connect(addr, token string) (*client, error) {
	dialer := websocket.Dialer{NetDial: net.Dial, HandshakeTimeout: frameWait}
	conn, response, err := dialer.Dial("ws://"+addr+"/ws/chatting/", nil)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	c := &client{conn: conn}
	if err := conn.WriteJSON(map[string]string{"token": token}); err != nil {
		return nil, err
	}
	f, err := c.next()
	if err != nil {
		return nil, err
	}
	if f.Message != "You have successfully logged" {
		return nil, fmt.Errorf("the login was answered with %+v", f)
	}
	return c, nil
}

func mustConnect(t *testing.T, addr, token string) *client {
	t.Helper()
	c, err := connect(addr, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.conn.Close() })
	return c
}

func (c *client) next() (frame, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(frameWait))
	_, data, err := c.conn.ReadMessage()
	if err != nil {
		return frame{}, err
	}
	var f frame
	return f, json.Unmarshal(data, &f)
}

func (c *client) send(target int, text string) error {
	return c.conn.WriteJSON(map[string]any{"target_id": target, "message": text})
}
