package cluster

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chatting/test/harness"
)

// A copy of the database that was made while a node served, and is restored after more was said, comes to what the log has. A
// client takes up with its token from before.
func TestADatabaseRestoredFromACopyCatchesUpWithTheLog(t *testing.T) {
	for _, tool := range []string{"pg_dump", "pg_restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("CHATTING_TEST_POSTGRES: test/infra/up installs %s, and it is not in PATH", tool)
		}
	}
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	settings := []string{"CHATTING_CHAT_OFFLINE=store", "CHATTING_HISTORY_DELAY=0s"}
	node := c.start(settings...)
	ann := takeUp(t, node, 1, "")
	bob, eve := connect(t, node, 2), connect(t, node, 3)
	if a, err := request(ctx, node.HTTP, token(t, 1), http.MethodPost, "/api/chatting/blockedusers/", target(3)); err != nil || a.status != http.StatusCreated {
		t.Fatalf("%v %d %s", err, a.status, a.body)
	}
	say(ctx, t, eve, 1, "hidden")
	say(ctx, t, bob, 1, "1")
	say(ctx, t, bob, 1, "2")
	hears(ctx, t, ann, 1, "1", "2")
	read := func(path string) string {
		t.Helper()
		a, err := request(ctx, node.HTTP, token(t, 1), http.MethodGet, path, nil)
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("%s: %v %d %s", path, err, a.status, a.body)
		}
		return string(a.body)
	}
	db := c.open()
	c.awaitProjected(ctx, db)
	mark := map[string]string{"message_id": ann.Frames()[1].ID}
	if a, err := request(ctx, node.HTTP, token(t, 1), http.MethodPut, "/api/chatting/conversations/2/read/", mark); err != nil || a.status != http.StatusOK {
		t.Fatalf("%v %d %s", err, a.status, a.body)
	}
	conversations, blocked := read("/api/chatting/conversations/"), read("/api/chatting/blockedusers/")
	_ = db.Close()

	dump := filepath.Join(t.TempDir(), "chatting.dump")
	tool(ctx, t, "pg_dump", "--format=custom", "--file="+dump, c.database)

	say(ctx, t, bob, 1, "3")
	hears(ctx, t, ann, 3, "3")
	resume := ann.Frames()[3].Resume
	if err := ann.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	say(ctx, t, eve, 1, "hidden, too")
	say(ctx, t, bob, 1, "4")
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	name := c.database[strings.LastIndex(c.database, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	c.admin("DROP DATABASE " + name + " WITH (FORCE)")
	c.admin("CREATE DATABASE " + name)
	tool(ctx, t, "pg_restore", "--exit-on-error", "--dbname="+c.database, dump)

	node = c.start(settings...)
	ann = takeUp(t, node, 1, resume)
	if answer := ann.Frames()[0]; answer.Recovered == nil || !*answer.Recovered {
		t.Fatalf("the login was answered %+v", answer)
	}
	hears(ctx, t, ann, 1, "4") // and not what it has, nor what was hidden
	say(ctx, t, connect(t, node, 2), 1, "5")
	hears(ctx, t, ann, 2, "5")
	c.rebuild(ctx)
	if all, hidden := c.mustHaveHistory(ctx, c.open()); all != 7 || hidden != 2 {
		t.Errorf("the history has %d messages, of which %d are hidden", all, hidden)
	}
	if now := read("/api/chatting/blockedusers/"); now != blocked {
		t.Errorf("blocked were %s, and are %s", blocked, now)
	}
	// The mark is that of the copy: of five messages that may be seen, one was read.
	if now := read("/api/chatting/conversations/"); !strings.Contains(conversations, `"unread":1`) || !strings.Contains(now, `"unread":4`) {
		t.Errorf("the conversations were %s, and are %s", conversations, now)
	}
}

// takeUp logs a user in with a resume token; "" for none.
func takeUp(t *testing.T, node *harness.Node, user int, resume string) *harness.Client {
	t.Helper()
	first := map[string]any{"token": token(t, user), "features": []string{"resume"}}
	if resume != "" {
		first["resume"] = resume
	}
	client, err := harness.ConnectWith(node.HTTP, first)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// say sends a text and waits for its echo.
func say(ctx context.Context, t *testing.T, from *harness.Client, to int, text string) {
	t.Helper()
	if err := from.Send(to, text); err != nil {
		t.Fatal(err)
	}
	if _, err := from.Find(ctx, 1, func(f harness.Frame) bool { return f.Message == text && f.To == to }); err != nil {
		t.Fatalf("no echo of %q: %v", text, err)
	}
}

// hears expects texts as the frames from a number on.
func hears(ctx context.Context, t *testing.T, c *harness.Client, from int, texts ...string) {
	t.Helper()
	for i, text := range texts {
		if f, err := c.At(ctx, from+i); err != nil || f.Message != text {
			t.Fatalf("frame %d is %+v, %v; want %q", from+i, f, err, text)
		}
	}
}

// tool runs a program of PostgreSQL.
func tool(ctx context.Context, t *testing.T, name string, arguments ...string) {
	t.Helper()
	if out, err := exec.CommandContext(ctx, name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
