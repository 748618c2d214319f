package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatting/test/harness"
)

// TestAServerWhoseListOfTopicsIsLostBringsItBackOrSaysSo: it never serves a log that it does not have.
func TestAServerWhoseListOfTopicsIsLostBringsItBackOrSaysSo(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	c := mustConnect(t, s.HTTP, s.token(1))
	c.say(t, 1, "before")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, "data", "kafka", name) }
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(file(from), file(to)); err != nil {
			t.Fatal(err)
		}
	}
	move("topics.json", "lost")
	s = startServer(t, dir)
	c = mustConnect(t, s.HTTP, s.token(1))
	c.say(t, 1, "after")
	var log []string
	for _, event := range harness.ReadEvents(waiting(t), t, s.Kafka, "chatting.conversations") {
		log = append(log, event.Data.Message)
	}
	if got := strings.Join(log, " "); got != "before after" {
		t.Errorf("the log holds %s", got)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	move("topics.json", "lost")
	move("kept.json", "lost too")
	cannotStart(t, dir, 1, "topics.json")
	move("lost", "topics.json")
	startServer(t, dir)
}

// TestAServerDoesNotPutItsBrokerOnANetworkCardUnasked: the broker asks for no password.
func TestAServerDoesNotPutItsBrokerOnANetworkCardUnasked(t *testing.T) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			remote := "CHATTING_EMBEDDED_KAFKA_ADDR=" + net.JoinHostPort(network.IP.String(), "0")
			cannotStart(t, t.TempDir(), 3, "embedded_kafka.allow_remote", remote)
			harness.StartNode(t, t.TempDir(), embedded(remote, "CHATTING_EMBEDDED_KAFKA_ALLOW_REMOTE=true")...)
			return
		}
	}
	t.Skip("this machine has no address but loopback")
}

// cannotStart runs a server in dir and expects that it ends with a code (docs/cli.md) and one line that says what is wrong.
func cannotStart(t *testing.T, dir string, want int, says string, settings ...string) {
	t.Helper()
	code, out := (&server{t: t, dir: dir}).ends(settings)
	if code != want {
		t.Errorf("it ended with %d, not %d", code, want)
	}
	var complaints []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "{") { // not a log line
			complaints = append(complaints, line)
		}
	}
	if len(complaints) != 1 || !strings.HasPrefix(complaints[0], "chatting: ") || !strings.Contains(complaints[0], says) {
		t.Errorf("it says:\n%s\nnot one line with %q", out, says)
	}
}
