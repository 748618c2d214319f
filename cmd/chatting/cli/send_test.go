package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatting/adapters/auth"
	"chatting/cmd/chatting/exit"
)

// sitting is somebody who chats in a terminal: lines has what is shown there.
type sitting struct {
	t      *testing.T
	typing *io.PipeWriter
	lines  chan string
	ended  chan int
}

// sit runs connect until end.
func sit(t *testing.T, environ []string, user string) *sitting {
	t.Helper()
	in, typing := io.Pipe()
	shown, out := io.Pipe()
	s := &sitting{t, typing, make(chan string, 100), make(chan int, 1)}
	go func() {
		code := Run(t.Context(), []string{"connect", "--user", user, "--linger", "1h"}, Process{In: in, Out: out, Err: out, Environ: environ})
		_ = out.Close()
		s.ended <- code
	}()
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(shown); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
	}()
	return s
}

// sees returns the next line that is shown. It must have the words.
func (s *sitting) sees(words ...string) string {
	s.t.Helper()
	select {
	case line := <-s.lines:
		for _, want := range words {
			if !strings.Contains(line, want) {
				s.t.Errorf("it shows %s, without %s", line, want)
			}
		}
		return line
	case <-time.After(time.Minute):
		s.t.Fatalf("nothing is shown, not even %s", words)
		return ""
	}
}

func (s *sitting) types(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.typing, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sitting) end() {
	s.t.Helper()
	s.types("/quit")
	for range s.lines { // nothing of it matters
	}
	if code := <-s.ended; code != 0 {
		s.t.Errorf("connect ended with %d", code)
	}
}

func TestSendTellsWhatCameOfIt(t *testing.T) {
	const s2s = "CHATTING_S2S_TOKEN=0123456789abcdef"
	server := serveInProcess(t, s2s)
	environ := []string{"CHATTING_JWT_SECRET=" + serverSecret, "CHATTING_HTTP_ADDR=" + server.addr, s2s}
	sent := func(args ...string) outcome {
		t.Helper()
		return command(t, environ, append([]string{"send"}, args...)...)
	}
	for _, args := range [][]string{{"--user", "7", "--to", "8", "hello"}, {"--platform", "--to", "8", "hello"}} {
		if o := sent(args...); o.code != int(exit.Refused) || o.out != "" || !strings.HasPrefix(o.err, "chatting: ") {
			t.Errorf("%v to nobody: %+v", args, o)
		}
	}
	if o := sent("--token", "nonsense", "--to", "8", "hello"); o.code != int(exit.Refused) || !strings.Contains(o.err, "3401") {
		t.Errorf("with no token: %+v", o)
	}
	eight := sit(t, environ, "8")
	eight.sees(`"online_friends":[]`)
	o := sent("--user", "7", "--to", "8", "hello <there>")
	id, found := strings.CutPrefix(strings.TrimSpace(o.out), "sent to user 8: ")
	if o.code != 0 || o.err != "" || !found {
		t.Fatalf("%+v", o)
	}
	eight.sees(`"message":"hello <there>"`, `"id":"`+id+`"`)

	o = command(t, environ, "send", "--user", "7", "--to", "8", "--client-msg-id", "m1", "--json", "once")
	var echo struct{ ID, Message string }
	if err := json.Unmarshal([]byte(o.out), &echo); err != nil || o.code != 0 || echo.Message != "once" {
		t.Fatalf("%v: %+v", err, o)
	}
	eight.sees(`"message":"once"`)
	if o := sent("--user", "7", "--to", "8", "--client-msg-id", "m1", "once"); o.code != 0 || strings.TrimSpace(o.out) != "sent to user 8: "+echo.ID {
		t.Errorf("sent again: %+v, want the id %s", o, echo.ID)
	}
	if o := sent("--platform", "--to", "8", "round 2"); o.code != 0 {
		t.Errorf("%+v", o)
	}
	eight.sees(`"message":"round 2"`) // and not the second copy of the one before
	if o := sent("--user", "7", "--to", "8", strings.Repeat("x", 100_000)); o.code != int(exit.Refused) || !strings.Contains(o.err, "1009") {
		t.Errorf("%d %.200s", o.code, o.err)
	}
	eight.end()
}

// TestAChatInATerminalAnswersInvitesAndShowsThePast is what docs/cli.md says of connect.
func TestAChatInATerminalAnswersInvitesAndShowsThePast(t *testing.T) {
	server := serveInProcess(t)
	environ := []string{"CHATTING_JWT_SECRET=" + serverSecret, "CHATTING_HTTP_ADDR=" + server.addr}
	seven, eight := sit(t, environ, "7"), sit(t, environ, "8")
	seven.sees("logged")
	eight.sees("logged")
	seven.types("8 hello")
	seven.sees(`"message":"hello"`)
	eight.sees(`"message":"hello"`)
	for _, answer := range []string{"accept", "decline"} {
		seven.types("/invite 8")
		seven.sees(`"status":"invite"`)
		eight.sees(`"status":"invite"`)
		eight.types("/" + answer + " 7")
		eight.sees(`"status":"` + answer + `"`)
		seven.sees(`"status":"` + answer + `"`)
	}
	eight.types("/conversations")
	eight.sees("GET /api/chatting/conversations/: 200 OK, 1 conversations")
	eight.sees(`"unread":1`)
	eight.types("/history 7")
	eight.sees("200 OK")
	eight.sees(`"message":"hello"`)
	seven.end()
	for line := eight.sees(); !strings.Contains(line, `"decline"`); line = eight.sees() {
	}
	eight.types("/read 7")
	eight.sees("PUT /api/chatting/conversations/7/read/: 200 OK", `"unread":0`)
	eight.end()
}

func TestThePlatformIsKnownByTheTokenThatTheServerMade(t *testing.T) {
	dir := t.TempDir()
	environ := []string{"CHATTING_DATA_DIR=" + dir, "CHATTING_S2S_TRUST_LOOPBACK=false", "CHATTING_HTTP_ADDR=" + away}
	o := command(t, environ, "send", "--platform", "--to", "8", "x")
	o.complains(t, "no server has made its token for other servers in "+dir)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it made %v, %v", entries, err)
	}
	if _, err := auth.LoadOrCreateS2SToken(dir); err != nil {
		t.Fatal(err)
	}
	if o := command(t, environ, "send", "--platform", "--to", "8", "x"); o.code != int(exit.Unavailable) {
		t.Errorf("%+v", o)
	}
	if _, err := os.Stat(filepath.Join(dir, "jwt-secret")); err == nil {
		t.Error("it made a secret")
	}
}
