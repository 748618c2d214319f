// Package e2e runs the built binary as its users do: in an empty directory, through the README's tour, through SIGKILL.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"chatting/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// server is a running server on embedded parts.
type server struct {
	*harness.Node

	t   *testing.T
	dir string
}

// startServer starts a server on the data in dir and waits until it is ready.
func startServer(t *testing.T, dir string) *server {
	t.Helper()
	return &server{Node: harness.StartNode(t, dir, embedded()...), t: t, dir: dir}
}

// embedded are the settings of a server on embedded parts that many of can run side by side.
func embedded(more ...string) []string {
	return append([]string{"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0"}, more...)
}

// token asks the binary for one, in the server's directory.
func (s *server) token(user int) string {
	s.t.Helper()
	command := exec.Command(harness.Binary, "token", "--user", fmt.Sprint(user))
	command.Dir, command.Env, command.Stderr = s.dir, harness.Environ(embedded()...), s.t.Output()
	out, err := command.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// client is a logged-in connection, whose frames are looked at one after the other.
type client struct {
	*harness.Client

	seen int
}

// connect logs in. The error is for connections that are cut on purpose.
func connect(addr, token string) (*client, error) {
	c, err := harness.Connect(addr, token)
	if err != nil {
		return nil, err
	}
	return &client{Client: c, seen: 1}, nil // what the login was answered with has been looked at
}

func mustConnect(t *testing.T, addr, token string) *client {
	t.Helper()
	c, err := connect(addr, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (c *client) next() (harness.Frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), harness.FrameWait)
	defer cancel()
	f, err := c.At(ctx, c.seen)
	c.seen++
	return f, err
}
