package security

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// patience is how long a test waits for what should come soon.
const patience = 60 * time.Second

// node is a running server.
type node struct {
	t    *testing.T
	addr string
	env  []string

	mu  sync.Mutex
	log []string
}

// startNode starts a server with an SQLite file of its own. It is killed at the end of the test.
func startNode(t *testing.T, environ ...string) *node {
	t.Helper()
	harness.TrackSources(t)
	// The address has to be known before the server is ready: most of these never are.
	addr := harness.FreeAddress(t)
	n := &node{t: t, addr: addr, env: append(harness.Environ(environ...),
		"CHATTING_HTTP_ADDR="+addr, "CHATTING_DATA_DIR="+t.TempDir(), "CHATTING_LOG_FORMAT=json")}
	command := exec.Command(harness.Binary)
	command.Env = n.env
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			n.mu.Lock()
			n.log = append(n.log, lines.Text())
			n.mu.Unlock()
		}
		_ = command.Wait()
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGKILL)
		<-ended
		if t.Failed() {
			fmt.Fprintln(t.Output(), strings.Join(n.lines(), "\n"))
		}
	})
	return n
}

func (n *node) lines() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.log)
}

// waitForLine waits for a line of the log that has all the words.
func (n *node) waitForLine(words ...string) string {
	n.t.Helper()
	var found string
	eventually(n.t, fmt.Sprintf("a line with %q", words), func() bool {
		for _, line := range n.lines() {
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// ready returns the status of /readyz; 0 where nobody answers.
func (n *node) ready() int {
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.addr+"/readyz", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there was no %s within %s", what, patience)
		}
	}
}

// run runs a command with the node's settings and returns what it printed.
func (n *node) run(arguments ...string) string {
	n.t.Helper()
	printed, err := n.try(arguments...)
	if err != nil {
		n.t.Fatal(err)
	}
	return printed
}

// try is run for a command that may fail.
func (n *node) try(arguments ...string) (string, error) {
	command := exec.CommandContext(n.t.Context(), harness.Binary, arguments...)
	command.Env = n.env
	return output(command)
}

// refused runs a command of the program with the node's settings, which has to fail, and returns its complaint.
func (n *node) refused(arguments ...string) string {
	n.t.Helper()
	command := exec.CommandContext(n.t.Context(), harness.Binary, arguments...)
	command.Env = n.env
	printed, err := command.CombinedOutput()
	if err == nil {
		n.t.Errorf("%q did not fail: %s", arguments, printed)
	}
	return string(printed)
}

// user is a logged-in connection.
type user struct {
	t    *testing.T
	conn *websocket.Conn
}

func (n *node) login(id int) *user {
	n.t.Helper()
	command := exec.CommandContext(n.t.Context(), harness.Binary, "token", "--user", fmt.Sprint(id))
	command.Env = n.env
	token, err := output(command)
	if err != nil {
		n.t.Fatal(err)
	}
	conn, response, err := websocket.DefaultDialer.DialContext(n.t.Context(), "ws://"+n.addr+"/ws/chatting/", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	_ = response.Body.Close()
	n.t.Cleanup(func() { _ = conn.Close() })
	u := &user{n.t, conn}
	u.send(map[string]any{"token": strings.TrimSpace(token)})
	u.waitFor("You have successfully logged")
	return u
}

func (u *user) send(frame any) {
	u.t.Helper()
	if err := u.conn.WriteJSON(frame); err != nil {
		u.t.Fatal(err)
	}
}

// waitFor reads frames up to one with this message.
func (u *user) waitFor(message string) {
	u.t.Helper()
	for {
		_ = u.conn.SetReadDeadline(time.Now().Add(patience))
		var frame struct{ Message, Error string }
		if err := u.conn.ReadJSON(&frame); err != nil {
			u.t.Fatalf("waiting for %q: %v", message, err)
		}
		if frame.Error != "" {
			u.t.Fatalf("waiting for %q: %s", message, frame.Error)
		}
		if frame.Message == message {
			return
		}
	}
}
