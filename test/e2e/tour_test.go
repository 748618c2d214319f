package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// tour returns the README's tour, which is a shell script but for what stands in its way here: it runs on another port, the program
// is built already, and user 2 comes when user 1 is there, which on a busy machine may be later than a second after its start.
func tour(t *testing.T, addr string) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## Two minutes\n")
	if !found {
		t.Fatal("the README has no section Two minutes")
	}
	_, script, _ := strings.Cut(section, "```sh\n")
	script, _, found = strings.Cut(script, "```")
	if !found || !strings.Contains(script, "go build -o bin/chatting ./cmd/chatting\n") || !strings.Contains(script, "127.0.0.1:8000") ||
		!strings.Contains(script, "\nsleep 1\n") {
		t.Fatalf("the tour is not as it was:\n%s", script)
	}
	script = strings.Replace(script, "go build -o bin/chatting ./cmd/chatting\n", "", 1)
	script = strings.Replace(script, "\nsleep 1\n", "\nuntil grep -q 'successfully logged' bin/one.log; do sleep 0.1; done\n", 1)
	return strings.ReplaceAll(script, "127.0.0.1:8000", addr)
}

func TestTheTourOfTheREADMEWorksWhenPasted(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	dir := t.TempDir()
	s := startServer(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(harness.Binary, filepath.Join(dir, "bin", "chatting")); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("bash", "-e")
	shell.Dir, shell.Env = dir, harness.Environ(embedded("CHATTING_HTTP_ADDR="+s.HTTP)...)
	shell.Stdin, shell.Stderr = strings.NewReader(tour(t, s.HTTP)), t.Output()
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("the tour ended with %v:\n%s", err, out)
	}
	t.Logf("%s", out)
	one, err := os.ReadFile(filepath.Join(dir, "bin", "one.log"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(one)) {
		var f harness.Frame
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, f.Type+" "+f.Status+f.Message)
	}
	want := []string{
		"system_message You have successfully logged", "send_status online", "chat_message hello", "invite_game invite",
		"send_status offline", "system_message round 2 starts",
	}
	// The end of user 2 and the system message are in two topics, which have no order.
	if len(got) == len(want) && got[4] == want[5] {
		got[4], got[5] = got[5], got[4]
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("user 1 saw\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var logged []string
	for _, event := range harness.ReadEvents(waiting(t), t, s.Kafka, "chatting.conversations") {
		if event.Data.From != 0 { // what the platform says is in another partition
			logged = append(logged, strings.TrimSuffix(strings.TrimPrefix(event.Type, "chatting."), ".v1"))
		}
	}
	if got, want := strings.Join(logged, " "), "chat_message invite_game user_blocked user_unblocked"; got != want {
		t.Errorf("the log holds %s, not %s", got, want)
	}
	s.chatByHand()
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}
}

// chatByHand does what the README says after its tour: 1 and 2 talk with each other, in both directions.
func (s *server) chatByHand() {
	s.t.Helper()
	one, two := mustConnect(s.t, s.HTTP, s.token(1)), mustConnect(s.t, s.HTTP, s.token(2))
	ctx, cancel := context.WithTimeout(s.t.Context(), harness.FrameWait)
	defer cancel()
	for _, say := range []struct {
		from, to *client
		target   int
	}{{one, two, 2}, {two, one, 1}} {
		text := fmt.Sprint("by hand to ", say.target)
		if err := say.from.Send(say.target, text); err != nil {
			s.t.Fatal(err)
		}
		if _, err := say.to.Find(ctx, 0, func(f harness.Frame) bool { return f.Type == "chat_message" && f.Message == text }); err != nil {
			s.t.Errorf("after the tour nothing of %q comes: %v", text, err)
		}
	}
}

// The README's kcat prints what the server logs.
func TestKcatReadsTheLog(t *testing.T) {
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Skip("kcat is not installed")
	}
	s := startServer(t, t.TempDir())
	mustConnect(t, s.HTTP, s.token(1)).say(t, 1, "hello")
	command := exec.Command("kcat", "-b", s.Kafka, "-t", "chatting.conversations", "-C", "-e", "-q")
	command.Stderr = t.Output()
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var event struct {
		Version string `json:"specversion"`
		Data    harness.Frame
	}
	if err := json.Unmarshal(out, &event); err != nil || event.Version != "1.0" || event.Data.Message != "hello" {
		t.Errorf("kcat prints %s (%v)", out, err)
	}
}

func TestAServerThatCannotStartSaysWhyInOneLine(t *testing.T) {
	running := startServer(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir, environ, says string
		code               int
	}{
		"port in use":        {t.TempDir(), "CHATTING_HTTP_ADDR=" + running.HTTP, running.HTTP + " is in use", 1},
		"broker port in use": {t.TempDir(), "CHATTING_EMBEDDED_KAFKA_ADDR=" + running.Kafka, running.Kafka + " is in use", 1},
		"locked data":        {running.dir, "CHATTING_LOG_LEVEL=info", "in use by another", 1},
		"data is a file":     {t.TempDir(), "CHATTING_DATA_DIR=" + file, file, 1},
		"short secret":       {t.TempDir(), "CHATTING_JWT_SECRET=short", "32", 3},
		"unknown variable":   {t.TempDir(), "CHATTING_HTTP_ADRR=:1", "CHATTING_HTTP_ADDR", 3},
		"bad public key":     {t.TempDir(), "CHATTING_JWT_PUBLIC_KEY_FILE=" + file, "PEM", 3},
		"unreadable secret":  {t.TempDir(), "CHATTING_JWT_SECRET_FILE=/nowhere/secret", "/nowhere/secret", 3},
	} {
		t.Run(name, func(t *testing.T) { cannotStart(t, c.dir, c.code, c.says, c.environ) })
	}
}

func TestSIGTERMClosesSocketsWith1012AndEndsSessions(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	c := mustConnect(t, s.HTTP, s.token(1))
	if err := c.Send(1, "to myself"); err != nil {
		t.Fatal(err)
	}
	if f, err := c.next(); err != nil || f.Message != "to myself" {
		t.Errorf("got %+v, %v", f, err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}
	if _, err := c.next(); !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
		t.Errorf("the socket ended with %v", err)
	}
	again := startServer(t, dir)
	ctx := waiting(t)
	var audited []string
	harness.Until(ctx, t, "the audit holds the login and its end", func() bool {
		audited = nil
		for _, event := range harness.ReadEvents(ctx, t, again.Kafka, "chatting.presence") {
			audited = append(audited, fmt.Sprint(event.Data.User, " ", event.Data.Status))
		}
		return len(audited) >= 2
	})
	if got := strings.Join(audited, ", "); got != "1 online, 1 offline" {
		t.Errorf("the audit holds %s", got)
	}
	if err := again.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}
}
