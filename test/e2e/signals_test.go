package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// piped is a server whose standard error is a pipe, with the test at its other end.
type piped struct {
	*exec.Cmd

	t      *testing.T
	addr   string
	reader *os.File
	ended  chan error
}

// startPiped starts a server by a shell that first does as it is told, and waits until it is ready.
func startPiped(t *testing.T, first string, settings ...string) *piped {
	t.Helper()
	harness.TrackSources(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &piped{
		Cmd: exec.Command("/bin/sh", "-c", first+`exec "$0"`, harness.Binary), t: t, reader: reader, ended: make(chan error, 1),
	}
	harness.DiesWithTests(s.Cmd)
	s.Dir, s.Env, s.Stderr = t.TempDir(), harness.Environ(embedded(settings...)...), writer
	// A signal that is handled here is not ignored by the server, though the tests themselves may run under nohup.
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	err = s.Start()
	signal.Stop(heard)
	if err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	go func() { s.ended <- s.Wait() }()
	t.Cleanup(func() {
		_ = s.Process.Kill()
		s.ended <- <-s.ended
		_ = reader.Close()
	})
	for lines := bufio.NewScanner(reader); s.addr == "" && lines.Scan(); {
		var line struct {
			HTTP string `json:"http"`
		}
		_ = json.Unmarshal(lines.Bytes(), &line)
		s.addr = strings.TrimPrefix(line.HTTP, "http://")
	}
	if s.addr == "" {
		t.Fatal("the server ended before it was ready")
	}
	return s
}

// token asks the binary for one.
func (s *piped) token(user string) string {
	s.t.Helper()
	command := exec.Command(harness.Binary, "token", "--user", user)
	command.Dir, command.Env, command.Stderr = s.Dir, s.Env, s.t.Output()
	out, err := command.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// signal sends a signal to the server.
func (s *piped) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

// leaves waits until the server has ended, as it does when it was told to leave.
func (s *piped) leaves() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		if s.ended <- err; err != nil {
			s.t.Errorf("it ended with %v", err)
		}
	case <-waiting(s.t).Done():
		s.t.Fatal("it was told to leave, and does not")
	}
}

// hears has the other one say something to this client, which has to get it next.
func (c *client) hears(t *testing.T, other *client) {
	t.Helper()
	if err := other.Send(c.User, "is anybody there?"); err != nil {
		t.Fatal(err)
	}
	if f, err := c.next(); err != nil || f.Message != "is anybody there?" {
		t.Fatalf("%+v %v", f, err)
	}
}

// complain has the server write a warning.
func (s *piped) complain() {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "malformed\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		s.t.Fatalf("answered with %q, %v", answer, err)
	}
}

func TestTheServerGoesOnWhenNobodyReadsItsLog(t *testing.T) {
	for name, first := range map[string]string{"SIGPIPE by default": "", "SIGPIPE ignored": "trap '' PIPE; "} {
		t.Run(name, func(t *testing.T) {
			s := startPiped(t, first)
			one, two := mustConnect(t, s.addr, s.token("1")), mustConnect(t, s.addr, s.token("2"))
			if err := s.reader.Close(); err != nil {
				t.Fatal(err)
			}
			s.complain()
			two.hears(t, one)
			s.signal(syscall.SIGTERM)
			s.leaves()
			if err := one.closed(t); !websocket.IsCloseError(err, 1012) {
				t.Errorf("its sockets ended with %v", err)
			}
		})
	}
}

// A reader of the log that stays, and does not read, is no better than none.
func TestTheServerGoesOnWhenItsLogIsNotRead(t *testing.T) {
	s := startPiped(t, "", "CHATTING_LOG_LEVEL=debug")
	one, two := mustConnect(t, s.addr, s.token("1")), mustConnect(t, s.addr, s.token("2"))
	client := http.Client{Timeout: harness.FrameWait}
	for range 1000 { // each is a line: several times what a pipe holds
		response, err := client.Get("http://" + s.addr + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	two.hears(t, one)
	s.signal(syscall.SIGTERM)
	s.leaves()
}

// closed waits until the connection has ended, and returns how.
func (c *client) closed(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
	defer cancel()
	harness.Until(ctx, t, "the connection has ended", func() bool { return c.Err() != nil })
	return c.Err()
}

func TestSIGHUPIsLikeSIGTERM(t *testing.T) {
	s := startPiped(t, "")
	go func() { _, _ = io.Copy(io.Discard, s.reader) }()
	one := mustConnect(t, s.addr, s.token("1"))
	for range 3 { // the end of a terminal sends several
		s.signal(syscall.SIGHUP)
	}
	s.leaves()
	if err := one.closed(t); !websocket.IsCloseError(err, 1012) {
		t.Errorf("its sockets ended with %v", err)
	}
}

func TestSIGHUPIsIgnoredUnderNohup(t *testing.T) {
	s := startPiped(t, "trap '' HUP; ")
	go func() { _, _ = io.Copy(io.Discard, s.reader) }()
	one := mustConnect(t, s.addr, s.token("1"))
	s.signal(syscall.SIGHUP)
	for range 10 { // a signal is heard before a frame that comes later is echoed
		if err := one.Send(1, "still here"); err != nil {
			t.Fatal(err)
		}
		if f, err := one.next(); err != nil || f.Message != "still here" {
			t.Fatalf("%+v %v", f, err)
		}
	}
	s.signal(syscall.SIGTERM)
	s.leaves()
}

// A command that prints ends as cat does when nobody reads: at once, and without a word.
func TestACommandEndsQuietlyWhenNobodyReads(t *testing.T) {
	s := startServer(t, t.TempDir())
	one := mustConnect(t, s.HTTP, s.token(1))
	for range 50 {
		if err := one.Send(1, strings.Repeat("x", 2000)); err != nil {
			t.Fatal(err)
		}
		if _, err := one.next(); err != nil {
			t.Fatal(err)
		}
	}
	for _, arguments := range [][]string{
		{"events", "tail", "--since", "1h"}, {"config"}, {"token", "--user", "1"}, {"connect", "--user", "2", "--url", "ws://" + s.HTTP + "/ws/chatting/"},
	} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(waiting(t), harness.Binary, arguments...)
		command.Dir, command.Env = s.dir, harness.Environ("CHATTING_EMBEDDED_KAFKA_ADDR="+s.Kafka)
		var said strings.Builder
		command.Stdout, command.Stderr = writer, &said
		in, err := command.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = reader.Close()
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		_ = writer.Close()
		err = command.Wait()
		_ = in.Close()
		var ended *exec.ExitError
		if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE || said.Len() > 0 {
			t.Errorf("%q ended with %v and said %q", arguments, err, said.String())
		}
	}
}
