package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

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

func TestPoisonInTheLogIsShownAndStopsNobody(t *testing.T) {
	s := startServer(t, t.TempDir())
	one := mustConnect(t, s.HTTP, s.token(1))
	const poison = `{"specversion":"1.0","type":"poison"`
	harness.Poison([]byte(poison))
	harness.ProduceMessages(t.Context(), t, s.Kafka, "chatting.conversations", kafka.Message{Key: []byte("1:1"), Value: []byte(poison)})
	if err := one.Send(1, "hello"); err != nil {
		t.Fatal(err)
	}
	if f, err := one.next(); err != nil || f.Message != "hello" {
		t.Errorf("%+v %v", f, err)
	}
	command := exec.CommandContext(t.Context(), harness.Binary, "events", "tail", "--topic", "conversations", "--end")
	command.Env, command.Stderr = harness.Environ("CHATTING_EMBEDDED_KAFKA_ADDR="+s.Kafka), t.Output()
	out, err := command.Output()
	if err != nil || strings.Count(string(out), "\n") != 2 || !strings.Contains(string(out), " (no JSON object) "+poison+"\n") {
		t.Errorf("%s %v", out, err)
	}
}

func TestATailOfARunningServerEndsWellWhenInterrupted(t *testing.T) {
	s := startServer(t, t.TempDir())
	one := mustConnect(t, s.HTTP, s.token(1))
	if err := one.Send(1, "hello"); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(harness.Binary, "events", "tail", "--topic", "conversations", "--since", "1h")
	command.Env = harness.Environ("CHATTING_EMBEDDED_KAFKA_ADDR=" + s.Kafka)
	command.Stderr = t.Output()
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(harness.FrameWait, func() { _ = command.Process.Kill() })
	defer limit.Stop()
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasSuffix(lines.Text(), " chat_message 1 -> 1 hello") {
		t.Errorf("it shows %q", lines.Text())
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	for lines.Scan() {
		t.Errorf("it shows %q", lines.Text())
	}
	if err := command.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
