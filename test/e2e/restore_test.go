package e2e

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chatting/test/harness"
)

// told is what the server says of what it stores for a user who talked with partners, by path.
func (s *server) told(token string) map[string]string {
	s.t.Helper()
	said := map[string]string{}
	for _, path := range []string{
		"/api/chatting/conversations/", "/api/chatting/messages/?target_id=2", "/api/chatting/messages/?target_id=3",
		"/api/chatting/blockedusers/", "/api/chatting/friends/",
	} {
		harness.Until(s.t.Context(), s.t, path+" is told in whole", func() bool {
			status, body := s.rest(http.MethodGet, path, token, "")
			said[path] = string(body)
			return status == http.StatusOK && !strings.Contains(said[path], `"behind":true`)
		})
	}
	return said
}

// copyFolder does what docs/operations.md says.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A data directory that was copied while the server was stopped, and is put back later, is the server as it was: nobody gets
// twice what they have, or misses what they do not have.
func TestADataDirectoryThatIsRestoredIsAsItWas(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.FrameWait)
	defer cancel()
	dir := t.TempDir()
	data, backup := filepath.Join(dir, "data"), filepath.Join(dir, "backup")
	s := startStoring(t, dir)
	tokens := []string{"", s.token(1), s.token(2), s.token(3), s.token(4)}
	ann := takeUp(t, s.HTTP, tokens[1], "")
	bob, eve := mustConnect(t, s.HTTP, tokens[2]), mustConnect(t, s.HTTP, tokens[3])
	for path, body := range map[string]string{"/api/chatting/blockedusers/": `{"target_id":3}`, "/api/chatting/friends/": `{"target_id":2}`} {
		if status, answer := s.rest(http.MethodPost, path, tokens[1], body); status != http.StatusCreated {
			t.Fatalf("%s: %d %s", path, status, answer)
		}
	}
	if f, err := ann.next(); err != nil || f.Type != "send_status" { // bob is online
		t.Fatalf("got %+v, %v", f, err)
	}
	eve.say(t, 1, "hidden")
	bob.say(t, 1, "1", "2", "3")
	for _, want := range []string{"1", "2", "3"} {
		if f, err := ann.next(); err != nil || f.Message != want {
			t.Fatalf("got %+v, %v", f, err)
		}
	}
	s.markRead(ctx, 1, 2, ann.Frames()[ann.seen-2].ID)
	resume := ann.lastToken()
	ann.leave(t)
	dan := mustConnect(t, s.HTTP, tokens[4])
	bob.say(t, 4, "to dan")
	if f, err := dan.next(); err != nil || f.Message != "to dan" {
		t.Fatalf("got %+v, %v", f, err)
	}
	dan.leave(t)
	harness.Until(ctx, t, "1 and 4 are offline", func() bool { return !s.online(1) && !s.online(4) })
	bob.say(t, 1, "4")
	bob.say(t, 4, "stored for dan")
	s.page(tokens[1], 2, 4)
	s.page(tokens[4], 2, 2)
	before := s.told(tokens[1])

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	copyFolder(t, data, backup)
	s = startStoring(t, dir)
	bob = mustConnect(t, s.HTTP, tokens[2])
	bob.say(t, 4, "after the backup")
	lost := takeUp(t, s.HTTP, tokens[1], "")
	lost.replays(t, "4") // a client that does not take up gets what was stored
	bob.say(t, 1, "lost", "lost, too")
	for _, want := range []string{"lost", "lost, too"} {
		if f, err := lost.next(); err != nil || f.Message != want {
			t.Fatalf("got %+v, %v", f, err)
		}
	}
	s.Kill()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	copyFolder(t, backup, data)

	s = startStoring(t, dir)
	for path, after := range s.told(tokens[1]) {
		if after != before[path] {
			t.Errorf("%s was %s\nand is %s", path, before[path], after)
		}
	}
	bob = mustConnect(t, s.HTTP, tokens[2])
	ann = takeUp(t, s.HTTP, tokens[1], resume)
	ann.recovered(t, "4")
	ann.isLive(t, bob)
	dan = mustConnect(t, s.HTTP, tokens[4])
	dan.replays(t, "stored for dan")
	dan.isLive(t, bob)

	// The log is as long again as it was: the places that a client has from before are those of other messages.
	bob.say(t, 1, "instead", "instead, too", "and more")
	if answer := takeUp(t, s.HTTP, tokens[1], lost.lastToken()).Frames()[0]; answer.Recovered == nil || *answer.Recovered {
		t.Errorf("who had got what is lost by now is answered %+v", answer)
	}
	takeUp(t, s.HTTP, tokens[1], ann.lastToken()).recovered(t, "instead", "instead, too", "and more")
}
