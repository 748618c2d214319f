package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"chatting/test/harness"
)

func TestWhatARunningServerLogsCanBeLookedAt(t *testing.T) {
	s := startServer(t, t.TempDir())
	one, two := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(2))
	for _, send := range []func() error{
		func() error { return one.Send(2, "hello \x1b[2J") },
		func() error { return two.Send(1, "hi") },
	} {
		if err := send(); err != nil {
			t.Fatal(err)
		}
		if f, err := two.next(); err != nil || f.Type != "chat_message" {
			t.Fatalf("%+v %v", f, err)
		}
	}
	command := exec.CommandContext(t.Context(), harness.Binary, "events", "tail", "--user", "1", "--type", "chat_message", "--end")
	command.Env = harness.Environ("CHATTING_EMBEDDED_KAFKA_ADDR=" + s.Kafka)
	command.Stderr = t.Output()
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	want := []string{` chat_message 1 -> 2 hello \u001b[2J`, " chat_message 2 -> 1 hi"}
	if len(lines) != len(want) {
		t.Fatalf("%s", out)
	}
	for i, line := range lines {
		if !strings.HasSuffix(line, want[i]) {
			t.Errorf("%s; want %s", line, want[i])
		}
	}
}
