package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"testing"
	"time"

	"chatting/test/harness"
)

// previous is the version that the one of this checkout must be able to replace node by node: the first that could form a
// cluster.
const previous = "8fbab02b52bb43dc751f67e07a9f31a1f75b7c2c"

// An installation of two nodes is upgraded while everybody chats: the new node first stands beside the old one, then
// takes its place. In between, whatever a user does on one of them reaches users on the other as if they were one version.
func TestANodeOfThePreviousVersionServesBesideThisOneAndIsReplaced(t *testing.T) {
	const grace = 6 * time.Second
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	version := harness.BuildVersion(t, previous)
	settings := []string{"CHATTING_PRESENCE_LEAVE_GRACE=" + grace.String()}
	older := c.startVersion(version, settings...)
	early := strangers{c, older, older, 901}
	ann, bob := connect(t, older, early.first), connect(t, older, early.first+1)
	early.talk(ctx, ann, bob)
	newer := c.start(settings...) // migrates the schema while the older one serves
	early.talk(ctx, ann, bob)
	early.block(ctx)
	fleet := &fleet{nodes: []*harness.Node{older, newer}}
	crowd := pairUp(t, scaled(20, 100), func(int) string { return "" })
	for _, chatter := range crowd.chatters { // each with a partner on the other node
		chatter.place = func(attempt int) string { return fleet.at(chatter.user + attempt).HTTP }
		chatter.pace = 50 * time.Millisecond
		befriend(ctx, t, fleet.at(chatter.user), chatter.user, chatter.partner)
	}
	crowd.login(ctx, t)
	crowd.start(ctx)
	crowd.progress(ctx, t, 10)

	for i, places := range [][2]*harness.Node{{older, newer}, {newer, older}} {
		s := strangers{c, places[0], places[1], 1001 + 10*i}
		s.seePresence(ctx)
		s.block(ctx)
		s.invite(ctx)
		s.hearThePlatform(ctx)
		if s.here == newer {
			s.read(ctx)
		}
	}
	crowd.progress(ctx, t, 10)
	crowd.mustBeUndisturbed(t)

	terminated := []time.Time{time.Now()}
	if err := older.Stop(); err != nil {
		t.Errorf("the older node left with %v", err)
	}
	if again := c.mustComeBackOrBeRefused(version, settings...); again != nil {
		strangers{c, again, newer, 1101}.seePresence(ctx) // the crowd stays where it went
		strangers{c, newer, again, 1111}.block(ctx)
		terminated = append(terminated, time.Now())
		if err := again.Stop(); err != nil {
			t.Errorf("the older node left with %v", err)
		}
	}
	fleet.replace(0, c.start(settings...))
	crowd.progress(ctx, t, 10)
	c.awaitBurials(ctx, len(terminated))
	crowd.progress(ctx, t, 5)
	crowd.finish()
	c.mustBeSound(ctx, crowd)
	for _, chatter := range crowd.chatters {
		crowd.mustHaveStayed(t, chatter, terminated, grace)
		// The older version refuses what it gets while it leaves. Who began on the newer one has never been elsewhere.
		if connections := chatter.connections(); connections[0].Addr == newer.HTTP {
			if len(connections) != 1 || len(chatter.refused) > 0 {
				t.Errorf("user %d of the newer node had %d connections, and was refused %v", chatter.user, len(connections), chatter.refused)
			}
		}
	}
}

// startVersion starts a node of another version and waits until it is ready.
func (c *cluster) startVersion(v harness.Version, settings ...string) *harness.Node {
	c.t.Helper()
	n := harness.LaunchProgram(c.t, v.Program, c.t.TempDir(), c.settings(settings...)...)
	if err := n.AwaitReady(harness.StartLimit); err != nil {
		c.t.Fatal(err)
	}
	return n.Node
}

// mustComeBackOrBeRefused starts a node of an older version, which must serve where it knows the schema, and else end.
func (c *cluster) mustComeBackOrBeRefused(v harness.Version, settings ...string) *harness.Node {
	c.t.Helper()
	n := harness.LaunchProgram(c.t, v.Program, c.t.TempDir(), c.settings(settings...)...)
	err := n.AwaitReady(time.Minute)
	now := harness.Schema(c.t)
	var exit *exec.ExitError
	switch known := v.Schema; {
	case now == known && err != nil:
		c.t.Fatalf("a node of the older version could not come back to a schema that it knows: %v", err)
	case now > known && err == nil:
		c.t.Fatalf("a node that knows schema %d serves on schema %d", known, now)
	case now > known && !errors.As(err, &exit):
		c.t.Fatalf("a node that knows schema %d does not end on schema %d: %v", known, now, err)
	case now > known:
		c.t.Logf("the older version was refused: it knows schema %d, the database has %d", known, now)
		return nil
	}
	return n.Node
}

// strangers are users of their own, from the number first on, some on one node and some on another.
type strangers struct {
	*cluster

	here, there *harness.Node
	first       int
}

// seePresence shows a user here how a friend comes and goes there.
func (s strangers) seePresence(ctx context.Context) {
	s.t.Helper()
	user, friend := s.first, s.first+1
	befriend(ctx, s.t, s.here, user, friend)
	watching := connect(s.t, s.here, user)
	coming := connect(s.t, s.there, friend)
	awaitStatuses(ctx, s.t, watching, friend, "online")
	if !isOnline(ctx, s.t, s.here.HTTP, token(s.t, user), friend) {
		s.t.Errorf("user %d is not online for the node %s", friend, s.here.HTTP)
	}
	if online := connect(s.t, s.here, user).Frames()[0].Friends; !slices.Contains(online, int64(friend)) {
		s.t.Errorf("at another login, the friends %v are online", online)
	}
	coming.Close()
	awaitStatuses(ctx, s.t, watching, friend, "online", "offline")
	// Befriended there, by the same user on a device here.
	befriend(ctx, s.t, s.there, user, friend+1)
	harness.Until(ctx, s.t, "the new friend is watched", func() bool {
		connect(s.t, s.there, friend+1).Close()
		said, _ := statuses(watching, friend+1)
		return len(said) > 0
	})
}

// awaitOnline waits until the node here knows of a login there.
func (s strangers) awaitOnline(ctx context.Context, user int) {
	s.t.Helper()
	awaitKnownOnline(ctx, s.t, s.here.HTTP, token(s.t, s.first), user)
}

// talk has two users write to each other.
func (s strangers) talk(ctx context.Context, a, b *harness.Client) {
	s.t.Helper()
	for _, way := range [][2]*harness.Client{{a, b}, {b, a}} {
		text := fmt.Sprintf("the frame behind %d of %d", len(way[1].Frames()), way[1].User)
		if err := way[0].Send(way[1].User, text); err != nil {
			s.t.Fatal(err)
		}
		for _, client := range way {
			if _, err := client.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == text && f.From == way[0].User }); err != nil {
				s.t.Fatalf("user %d does not get %q: %v", client.User, text, err)
			}
		}
	}
}

// block has a user block and unblock another one here, whose messages go in there.
func (s strangers) block(ctx context.Context) {
	s.t.Helper()
	blocker, blocked := s.first+3, s.first+4
	sender := connect(s.t, s.there, blocked)
	devices := []*harness.Client{connect(s.t, s.here, blocker), connect(s.t, s.there, blocker)}
	change := func(method string, want int) {
		s.t.Helper()
		a, err := request(ctx, s.here.HTTP, token(s.t, blocker), method, blockedUsers, target(blocked))
		if err != nil || a.status != want {
			s.t.Fatalf("%s of user %d: %v %d %s", method, blocked, err, a.status, a.body)
		}
	}
	await := func(client *harness.Client, text string) {
		s.t.Helper()
		if _, err := client.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == text }); err != nil {
			s.t.Fatalf("user %d does not get %q: %v", client.User, text, err)
		}
	}
	say := func(text string) { // and see the echo
		s.t.Helper()
		if err := sender.Send(blocker, text); err != nil {
			s.t.Fatal(err)
		}
		await(sender, text)
	}
	change(http.MethodPost, http.StatusCreated)
	say("while blocked")
	later := connect(s.t, s.there, blocker)
	say("while blocked, after a login")
	change(http.MethodDelete, http.StatusOK)
	say("after that")
	for _, device := range append(devices, later) {
		await(device, "after that") // so it is past the others
		for _, f := range device.Frames() {
			if f.Type == "chat_message" && f.Message != "after that" {
				s.t.Errorf("user %d on %s got %q", blocker, device.Addr, f.Message)
			}
		}
	}
}

// invite has a user here invite one there to a game, and withdraw.
func (s strangers) invite(ctx context.Context) {
	s.t.Helper()
	from, to := connect(s.t, s.here, s.first+5), connect(s.t, s.there, s.first+6)
	s.awaitOnline(ctx, to.User)
	for _, status := range []string{"invite", "cancel"} {
		if err := from.SendFrame(map[string]any{"target_id": to.User, "type": "invite_game", "status": status}); err != nil {
			s.t.Fatal(err)
		}
		for _, client := range []*harness.Client{from, to} {
			if _, err := client.Find(ctx, 0, func(f harness.Frame) bool {
				return f.Type == "invite_game" && f.Status == status && f.From == from.User
			}); err != nil {
				s.t.Errorf("user %d on %s does not see %q: %v", client.User, client.Addr, status, err)
			}
		}
	}
}

// read has a user mark a conversation as read here, which nodes of older versions know no event of: they pass over it.
func (s strangers) read(ctx context.Context) {
	s.t.Helper()
	reader, partner := s.first+8, s.first+9
	device, err := harness.ConnectWith(s.here.HTTP, map[string]any{"token": token(s.t, reader), "features": []string{"read_marks"}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(device.Close)
	old, writer := connect(s.t, s.there, reader), connect(s.t, s.there, partner)
	awaitKnownOnline(ctx, s.t, s.here.HTTP, token(s.t, reader), partner)
	s.talk(ctx, writer, device)
	said := device.Frames()[len(device.Frames())-1]
	path := fmt.Sprintf("/api/chatting/conversations/%d/read/", partner)
	harness.Until(ctx, s.t, "the conversation is marked as read", func() bool {
		a, err := request(ctx, s.here.HTTP, token(s.t, reader), http.MethodPut, path, map[string]string{"message_id": said.ID})
		return err == nil && a.status == http.StatusOK
	})
	if _, err := device.Find(ctx, 0, func(f harness.Frame) bool { return f.Type == "read_mark" && f.Marked == said.ID }); err != nil {
		s.t.Errorf("user %d is not told of its mark: %v", reader, err)
	}
	s.talk(ctx, writer, device)
	s.talk(ctx, writer, old)
}

// hearThePlatform has the platform speak here to a user there.
func (s strangers) hearThePlatform(ctx context.Context) {
	s.t.Helper()
	client := connect(s.t, s.there, s.first+7)
	s.awaitOnline(ctx, client.User)
	text := fmt.Sprintf("said on %s", s.here.HTTP)
	a, err := request(ctx, s.here.HTTP, s2sToken, http.MethodPost, "/s2sapi/system-message/",
		map[string]any{"target_id": client.User, "message": text})
	if err != nil || a.status != http.StatusOK {
		s.t.Fatalf("%v %d %s", err, a.status, a.body)
	}
	if _, err := client.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == text }); err != nil {
		s.t.Error(err)
	}
}
