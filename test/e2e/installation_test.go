package e2e

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"chatting/test/harness"
)

// ends runs the program in the server's directory until it ends by itself, and returns its exit code and what it said.
func (s *server) ends(settings []string, arguments ...string) (code int, said string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*harness.FrameWait)
	defer cancel()
	command := exec.CommandContext(ctx, harness.Binary, arguments...)
	command.Dir, command.Env = s.dir, harness.Environ(embedded(settings...)...)
	out, err := command.CombinedOutput()
	if ctx.Err() != nil || command.ProcessState == nil {
		s.t.Fatalf("%v does not end: %v\n%s", arguments, err, out)
	}
	return command.ProcessState.ExitCode(), string(out)
}

// restartAs stops the server and starts one on the same data, under another topic prefix and storing.
func (s *server) restartAs(prefix string) {
	s.t.Helper()
	settings := embedded("CHATTING_TOPIC_PREFIX="+prefix, "CHATTING_CHAT_OFFLINE=store", "CHATTING_S2S_TOKEN=service-token-of-16")
	s.Node = harness.StartNode(s.t, s.dir, settings...)
}

func (s *server) stop() {
	s.t.Helper()
	if err := s.Stop(); err != nil {
		s.t.Fatal(err)
	}
}

// A database under another topic prefix would stand still: nothing that is sent there would ever be delivered.
func TestADatabaseIsNotTakenUnderAnotherTopicPrefixUnlessItIsAdopted(t *testing.T) {
	s := startStoring(t, t.TempDir())
	one := mustConnect(t, s.HTTP, s.token(1))
	for _, user := range []int{2, 3} {
		mustConnect(t, s.HTTP, s.token(user)).leave(t) // known from now on
	}
	harness.Until(t.Context(), t, "2 is offline", func() bool { return !s.online(2) })
	if status, body := s.rest("POST", "/api/chatting/blockedusers/", s.token(3), `{"target_id":1}`); status != 201 {
		t.Fatalf("blocking: %d %s", status, body)
	}
	one.say(t, 2, "stored before the move")
	one.say(t, 3, "blocked before the move")
	one.leave(t)
	s.page(s.token(1), 2, 1)
	s.page(s.token(1), 3, 1)
	s.stop()

	other := []string{"CHATTING_TOPIC_PREFIX=other"}
	code, said := s.ends(other)
	var lines []string
	for line := range strings.Lines(said) {
		if strings.Contains(line, "belongs to") {
			lines = append(lines, line)
		}
	}
	if code != 1 || len(lines) != 1 || !strings.Contains(lines[0], `topic_prefix \"chatting\"`) ||
		!strings.Contains(lines[0], `topic_prefix is \"other\"`) || !strings.Contains(lines[0], "chatting adopt") {
		t.Fatalf("under another prefix it ends with %d:\n%s", code, said)
	}
	if strings.Contains(said, `"ready`) {
		t.Errorf("it served before it ended:\n%s", said)
	}

	code, said = s.ends(other, "adopt")
	if code != 0 || !strings.Contains(said, `belonged to topic_prefix "chatting"`) || !strings.Contains(said, `now belongs to "other"`) {
		t.Fatalf("adopting ends with %d:\n%s", code, said)
	}
	if code, said = s.ends(other, "adopt"); code != 0 || !strings.Contains(said, "already") {
		t.Errorf("adopting again ends with %d:\n%s", code, said)
	}
	if code, said = s.ends(nil); code != 1 || !strings.Contains(said, `belongs to topic_prefix \"other\"`) {
		t.Errorf("under the old prefix it ends with %d:\n%s", code, said)
	}

	s.restartAs("other")
	one = mustConnect(t, s.HTTP, s.token(1))
	one.say(t, 2, "stored after the move")
	one.say(t, 3, "blocked after the move")
	two := mustConnect(t, s.HTTP, s.token(2))
	two.replays(t, "stored before the move", "stored after the move")
	two.isLive(t, one)
	three := mustConnect(t, s.HTTP, s.token(3))
	three.say(t, 1, "anything for 3 would stand before this")
	var texts []string
	for _, message := range s.page(s.token(2), 1, 3) {
		texts = append(texts, message.Message)
	}
	if want := []string{"live", "stored after the move", "stored before the move"}; !slices.Equal(texts, want) {
		t.Errorf("the history has %q, not %q", texts, want)
	}
	if seen := s.page(s.token(3), 1, 1); len(seen) != 1 {
		t.Errorf("who blocked sees %+v", seen)
	}
}
