package e2e

import (
	"fmt"
	"testing"

	"chatting/test/harness"
)

// takeUp logs a user in, at an address, with a resume token; "" for none.
func takeUp(t *testing.T, addr, token, resume string) *client {
	t.Helper()
	first := map[string]any{"token": token, "features": []string{"resume"}}
	if resume != "" {
		first["resume"] = resume
	}
	c, err := harness.ConnectWith(addr, first)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &client{Client: c, seen: 1}
}

// recovered expects that the login recovered, and then these texts.
func (c *client) recovered(t *testing.T, texts ...string) {
	t.Helper()
	if answer := c.Frames()[0]; answer.Recovered == nil || !*answer.Recovered || answer.Resume == "" {
		t.Fatalf("the login was answered %+v", answer)
	}
	c.replays(t, texts...)
}

// lastToken returns the token of the latest frame that was taken.
func (c *client) lastToken() string { return c.Frames()[c.seen-1].Resume }

// A client whose packets stop, not its socket, looks online for a while, and what is sent to it is echoed. It gets all of it when it
// comes back, although the server handed it to the old connection; and so it does after the server was killed.
func TestAClientWhosePacketsStoppedGetsEverythingOnceItIsBack(t *testing.T) {
	for _, mode := range []string{"reject", "store"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			settings := embedded("CHATTING_CHAT_OFFLINE="+mode, "CHATTING_LIMIT_FRAMES_PER_SECOND=0")
			s := &server{Node: harness.StartNode(t, dir, settings...), t: t, dir: dir}
			bob := mustConnect(t, s.HTTP, s.token(2))
			path := harness.StartPath(t, s.HTTP)
			ann := takeUp(t, path.Addr, s.token(1), "")
			bob.say(t, 1, "1", "2", "3")
			for want := range 3 {
				if f, err := ann.next(); err != nil || f.Message != fmt.Sprint(want+1) || f.Resume == "" {
					t.Fatalf("got %+v, %v", f, err)
				}
			}
			path.Stall()
			bob.say(t, 1, "4", "5", "6")
			back := takeUp(t, s.HTTP, s.token(1), ann.lastToken())
			back.recovered(t, "4", "5", "6")
			back.isLive(t, bob)
			if len(ann.Frames()) != 4 {
				t.Errorf("packets did not stop: %+v", ann.Frames())
			}

			last := back.lastToken()
			s.Kill()
			s = &server{Node: harness.StartNode(t, dir, settings...), t: t, dir: dir}
			bob = mustConnect(t, s.HTTP, s.token(2))
			var missed []string
			other := takeUp(t, s.HTTP, s.token(1), last) // another device
			other.recovered(t)
			other.say(t, 2, "from another device")
			missed = append(missed, "from another device")
			if f, err := bob.next(); err != nil || f.Message != missed[0] {
				t.Fatalf("got %+v, %v", f, err)
			}
			bob.say(t, 1, "7")
			missed = append(missed, "7")
			again := takeUp(t, s.HTTP, s.token(1), last)
			again.recovered(t, missed...)
			again.isLive(t, bob)
		})
	}
}
