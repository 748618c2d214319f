package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"

	"chatting/test/harness"
)

const (
	systemMessages = "chatting.system-messages"
	deadLetters    = "chatting.system-messages.dlt"
)

// says is the body of a system message.
func says(target int, text string) string {
	return fmt.Sprintf(`{"target_id":%d,"message":%q}`, target, text)
}

// chatting runs the program beside the server and returns what it printed.
func (s *server) chatting(arguments ...string) string {
	s.t.Helper()
	command := exec.Command(harness.Binary, arguments...)
	command.Dir, command.Stderr = s.dir, s.t.Output()
	command.Env = harness.Environ("CHATTING_EMBEDDED_KAFKA_ADDR=" + s.Kafka)
	out, err := command.Output()
	if err != nil {
		s.t.Fatalf("%v: %v", arguments, err)
	}
	return string(out)
}

// buried waits until there are so many dead letters.
func (s *server) buried(ctx context.Context, count int) {
	s.t.Helper()
	harness.Until(ctx, s.t, fmt.Sprint(count, " dead letters"), func() bool {
		return len(harness.ReadTopic(ctx, s.t, s.Kafka, deadLetters)) >= count
	})
}

func waiting(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.FrameWait)
	t.Cleanup(cancel)
	return ctx
}

func TestOtherProgramsSpeakToUsersThroughTheTopic(t *testing.T) {
	s := startServer(t, t.TempDir())
	user := mustConnect(t, s.HTTP, s.token(7))
	for name, produce := range harness.Producers(t) {
		produce(waiting(t), t, s.Kafka, systemMessages, says(7, "one of "+name), "poison", says(7, "two of "+name))
		seen := map[string]bool{}
		for range 2 {
			f, err := user.next()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			seen[f.Type+" "+f.Message] = true
		}
		if !seen["system_message one of "+name] || !seen["system_message two of "+name] {
			t.Errorf("%s: the user saw %v", name, seen)
		}
	}
	s.buried(waiting(t), len(harness.Producers(t)))
}

func TestADeadLetterIsMendedAndDelivered(t *testing.T) {
	ctx := waiting(t)
	s := startServer(t, t.TempDir())
	user := mustConnect(t, s.HTTP, s.token(7))
	harness.ProduceMessages(ctx, t, s.Kafka, systemMessages, kafka.Message{Value: []byte(`{"target_id":7,"message":"mend me"`)})
	s.buried(ctx, 1)
	list := s.chatting("dlt", "list", "--code", "invalid_json")
	if strings.Count(list, "\n") != 2 || strings.Contains(list, "mend") {
		t.Fatalf("the list is\n%s", list)
	}
	place := strings.Fields(strings.Split(list, "\n")[1])[0]
	partition, offset, _ := strings.Cut(place, "/")
	at := []string{"--partition", partition, "--offset", offset}
	value := s.chatting(append([]string{"dlt", "show", "--raw"}, at...)...)
	file := filepath.Join(s.dir, "value.json")
	if err := os.WriteFile(file, []byte(value+"}"), 0o600); err != nil {
		t.Fatal(err)
	}

	// As it is, it fails again; mended, it is delivered; the second time, the connection has it already.
	s.chatting(append([]string{"dlt", "replay"}, at...)...)
	s.buried(ctx, 2)
	counts := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(s.chatting("dlt", "list")), "\n")[1:] {
		counts[strings.Fields(line)[3]] = true
	}
	if !counts["1"] || !counts["2"] {
		t.Errorf("the list has the counts %v", counts)
	}
	for range 2 {
		s.chatting(append([]string{"dlt", "replay", "--value", file}, at...)...)
	}
	harness.Until(ctx, t, "both replays are in the log", func() bool {
		return len(harness.ReadEvents(ctx, t, s.Kafka, "chatting.conversations")) == 2
	})
	harness.ProduceMessages(ctx, t, s.Kafka, systemMessages, kafka.Message{Value: []byte(says(7, "last"))})
	seen := map[string]int{}
	for seen["last"] == 0 {
		f, err := user.next()
		if err != nil {
			t.Fatalf("after %v: %v", seen, err)
		}
		seen[f.Message]++
	}
	if seen["mend me"] != 1 {
		t.Errorf("the user saw %v", seen)
	}
}

func TestWhatWasForAUserWhoWasOfflineIsReplayedOnceTheUserIsThere(t *testing.T) {
	ctx := waiting(t)
	s := startServer(t, t.TempDir())
	harness.ProduceMessages(ctx, t, s.Kafka, systemMessages, kafka.Message{Value: []byte(says(7, "you were away"))})
	s.buried(ctx, 1)
	user := mustConnect(t, s.HTTP, s.token(7))
	s.chatting("dlt", "replay", "--target", "7", "--since", "1h")
	if f, err := user.next(); err != nil || f.Message != "you were away" {
		t.Errorf("got %+v, %v", f, err)
	}
}
