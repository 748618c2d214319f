package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"

	"chatting/test/harness"
)

// absentee is a user of a node that is killed. Its connections are kept; the latest is the last.
type absentee struct {
	user    int
	clients []*harness.Client
}

// comeBack connects elsewhere, as often as it takes.
func (a *absentee) comeBack(ctx context.Context, t *testing.T, node *harness.Node) {
	minted := token(t, a.user)
	for ctx.Err() == nil {
		client, err := harness.Connect(node.HTTP, minted)
		if err == nil {
			t.Cleanup(client.Close)
			a.clients = append(a.clients, client)
			return
		}
		harness.Pause(ctx, beat/10)
	}
	t.Errorf("user %d cannot log in again", a.user)
}

// texts counts what a user has got, over all of its connections.
func (a *absentee) texts() map[string]int {
	got := make(map[string]int)
	for _, client := range a.clients {
		for _, f := range client.Frames() {
			if f.Type == "chat_message" {
				got[f.Message]++
			}
		}
	}
	return got
}

// mustBeInOrder checks one connection: nothing twice, each sender's in order, what is replayed before what is live.
func mustBeInOrder(t *testing.T, client *harness.Client) (replayed int) {
	t.Helper()
	latest, seen, live := map[int]int{}, map[string]bool{}, false
	for _, f := range client.Frames()[1:] {
		if f.Type != "chat_message" {
			continue
		}
		var sender, number int
		if _, err := fmt.Sscanf(f.Message, "%d: %d", &sender, &number); err != nil {
			t.Fatalf("user %d got %+v", client.User, f)
		}
		switch {
		case seen[f.ID]:
			t.Errorf("user %d got %q twice on a connection", client.User, f.Message)
		case number <= latest[sender]:
			t.Errorf("user %d got %q after number %d", client.User, f.Message, latest[sender])
		case f.Replayed && live:
			t.Errorf("user %d got %q replayed after what is live", client.User, f.Message)
		}
		latest[sender], seen[f.ID] = number, true
		live = live || !f.Replayed
		if f.Replayed {
			replayed++
		}
	}
	return replayed
}

// talk sends numbered messages to each of the targets in turn, some at a time, and expects the echo of each.
func talk(ctx context.Context, t *testing.T, sender *harness.Client, targets []*absentee, rounds int, halfway func()) {
	const window = 32
	next, echoed := 1, 0
	for sent := range rounds * len(targets) {
		round, to := sent/len(targets)+1, targets[sent%len(targets)].user
		text := fmt.Sprintf("%d: %d", sender.User, round)
		if err := sender.SendNamed(to, text, fmt.Sprintf("%d-%d", to, round)); err != nil {
			t.Errorf("user %d cannot send: %v", sender.User, err)
			return
		}
		if sent == rounds*len(targets)/2 {
			halfway()
		}
		for sent+1-echoed >= window || sent+1 == rounds*len(targets) && echoed <= sent {
			f, err := sender.At(ctx, next)
			next++
			if err != nil || f.Error != "" {
				t.Errorf("user %d got %+v, %v", sender.User, f, err)
				return
			}
			if f.From == sender.User {
				echoed++
			}
		}
	}
}

// What is sent to users while their node dies, and until they are back, reaches them.
func TestWhatIsSentToUsersOfAKilledNodeReachesThemOnceTheyAreBack(t *testing.T) {
	const senders, users = 10, 10
	rounds := scaled(20, 100) // 2,000 messages, or 10,000
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3, "CHATTING_CHAT_OFFLINE=store", "CHATTING_LIMIT_FRAMES_PER_SECOND=0")
	absentees := make([]*absentee, users)
	for i := range absentees {
		absentees[i] = &absentee{user: 100 + i}
		absentees[i].comeBack(ctx, t, nodes[2])
	}
	talking := make([]int, senders)
	for i := range talking {
		talking[i] = i + 1
	}
	clients := connectAll(t, talking, func(user int) *harness.Node { return nodes[user%2] })

	var sending, returning sync.WaitGroup
	var once sync.Once
	for _, client := range clients {
		sending.Go(func() {
			talk(ctx, t, client, absentees, rounds, func() {
				once.Do(func() {
					nodes[2].Kill()
					// Half of them are back as soon as they can, while others still talk to them.
					for _, a := range absentees[:users/2] {
						returning.Go(func() { a.comeBack(ctx, t, nodes[a.user%2]) })
					}
				})
			})
		})
	}
	sending.Wait()
	returning.Wait()
	for _, a := range absentees[users/2:] {
		a.comeBack(ctx, t, nodes[a.user%2])
	}
	want := senders * rounds
	repeated, replayed := 0, 0
	for _, a := range absentees {
		harness.Until(ctx, t, fmt.Sprintf("user %d has got everything", a.user), func() bool { return len(a.texts()) >= want })
		got := a.texts()
		for _, times := range got {
			repeated += times - 1
		}
		if len(got) != want {
			t.Errorf("user %d got %d messages of %d", a.user, len(got), want)
		}
		for _, client := range a.clients {
			replayed += mustBeInOrder(t, client)
		}
	}
	t.Logf("%d messages; %d were replayed, %d of them had been shown before the kill", want*users, replayed, repeated)
	if replayed == 0 {
		t.Error("nothing was replayed: the kill came too late")
	}

	// What they have now confirmed does not come again.
	for _, a := range absentees {
		last := a.clients[len(a.clients)-1]
		if err := last.Leave(ctx); err != nil {
			t.Fatalf("user %d leaves: %v", a.user, err)
		}
		a.comeBack(ctx, t, nodes[a.user%2])
		last = a.clients[len(a.clients)-1]
		if err := clients[0].Send(a.user, "1: 1000000"); err != nil {
			t.Fatal(err)
		}
		f, err := last.At(ctx, 1)
		if err != nil || f.Replayed || !strings.HasSuffix(f.Message, "1000000") {
			t.Errorf("user %d got %+v, %v", a.user, f, err)
		}
	}
}

// stopHistory has no node write the history of a cluster until the returned function is called. It can still be read.
func (c *cluster) stopHistory(ctx context.Context) (goOn func()) {
	c.t.Helper()
	db, err := sql.Open("postgres", c.database)
	if err != nil {
		c.t.Fatal(err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err == nil {
		_, err = tx.ExecContext(ctx, "LOCK TABLE projections IN EXCLUSIVE MODE") // which leaves reading to others
	}
	if err != nil {
		c.t.Fatal(err)
	}
	goOn = sync.OnceFunc(func() {
		_ = tx.Rollback()
		_ = db.Close()
	})
	c.t.Cleanup(goOn)
	return goOn
}

// A login does not wait for the history. What that does not have comes from the log, once, and is confirmed as everything else.
func TestLoginsGetWhatIsStoredWhileTheHistoryStandsStillAndANodeIsDead(t *testing.T) {
	const senders, users = 4, 10
	rounds := scaled(20, 100)
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3, "CHATTING_CHAT_OFFLINE=store", "CHATTING_LIMIT_FRAMES_PER_SECOND=0")
	absentees := make([]*absentee, users)
	talking := make([]int, senders)
	for i := range talking {
		talking[i] = i + 1
	}
	clients := connectAll(t, talking, func(user int) *harness.Node { return nodes[user%2] })
	say := func() {
		var sending sync.WaitGroup
		for _, client := range clients {
			sending.Go(func() { talk(ctx, t, client, absentees, rounds, func() {}) })
		}
		sending.Wait()
	}
	for i := range absentees {
		absentees[i] = &absentee{user: 100 + i}
		absentees[i].comeBack(ctx, t, nodes[2])
		if err := absentees[i].clients[0].Leave(ctx); err != nil {
			t.Fatal(err)
		}
	}
	goOn := c.stopHistory(ctx)
	nodes[2].Kill()
	say()

	last := make([]*harness.Client, users)
	for i, a := range absentees {
		last[i] = connect(t, nodes[i%2], a.user) // at the first attempt
		a.clients = append(a.clients, last[i])
	}
	want := senders * rounds
	for i, a := range absentees {
		harness.Until(ctx, t, fmt.Sprintf("user %d has got everything", a.user), func() bool { return len(a.texts()) >= want })
		if replayed := mustBeInOrder(t, last[i]); replayed != want {
			t.Errorf("user %d: %d of %d messages were replayed", a.user, replayed, want)
		}
	}

	// What is confirmed does not come again: not from the log, nor from the history once it goes on.
	for round := range 2 {
		for i, a := range absentees {
			if err := last[i].Leave(ctx); err != nil {
				t.Fatalf("user %d leaves: %v", a.user, err)
			}
			last[i] = connect(t, nodes[i%2], a.user) // where the cursor is known before it is saved
			text := fmt.Sprintf("1: %d", 1_000_000+round)
			if err := clients[0].Send(a.user, text); err != nil {
				t.Fatal(err)
			}
			if f, err := last[i].At(ctx, 1); err != nil || f.Replayed || f.Message != text {
				t.Errorf("user %d got %+v, %v", a.user, f, err)
			}
		}
		goOn()
	}
}
