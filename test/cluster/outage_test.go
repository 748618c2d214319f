package cluster

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// outage is an installation on parts of its own, and a crowd that chats over two nodes while one part is away.
type outage struct {
	*cluster

	own   *harness.OwnParts
	nodes []*harness.Node
	crowd *crowd
	probe *probe
}

// awayFor is for how long a part is away: at least for longer than the append deadline and the lease, so that messages
// wait in vain and nodes are silent for long enough to be buried by whoever judges wrongly.
func awayFor() time.Duration { return scaled(lease+3*time.Second, 20*time.Second) }

// endure takes a part away for a while, amid the traffic. meanwhile is called when it is away.
func (o *outage) endure(ctx context.Context, away func(), meanwhile func(), back func()) {
	o.t.Helper()
	o.crowd.progress(ctx, o.t, 10)
	since := time.Now()
	away()
	meanwhile()
	harness.Pause(ctx, time.Until(since.Add(awayFor())))
	back()
	returned := time.Now()
	bare := awaitAll(ctx, o.t, "the bare library", returned, o.probe.trips)
	ours := awaitAll(ctx, o.t, "the server", returned, o.crowd.trips())
	o.t.Logf("away for %s; the bare library goes on %s after, everybody chats %s after", returned.Sub(since).Round(time.Millisecond),
		bare.Sub(returned).Round(time.Millisecond), ours.Sub(returned).Round(time.Millisecond))
	for _, node := range o.nodes {
		harness.Until(ctx, o.t, "the node is ready again", func() bool { return isReady(ctx, node) })
	}
	// Logins go on, too.
	for _, node := range o.nodes {
		harness.Until(ctx, o.t, "somebody can log in again", func() bool {
			client, err := harness.Connect(node.HTTP, token(o.t, 9001))
			if err == nil {
				client.Close()
			}
			return err == nil
		})
	}
}

// mustRefuseLogins tries to log in, on every node.
func (o *outage) mustRefuseLogins() {
	o.t.Helper()
	var all sync.WaitGroup
	for _, node := range o.nodes {
		minted := token(o.t, 9000)
		all.Go(func() {
			client, err := harness.Connect(node.HTTP, minted)
			var closed *websocket.CloseError
			if !errors.As(err, &closed) || closed.Code != websocket.CloseTryAgainLater {
				o.t.Errorf("a login while a part is away came to %v, not to a close with 1013", err)
			}
			if client != nil {
				client.Close()
			}
		})
	}
	all.Wait()
}

// mustBeUnready waits until every node says that it is not ready.
func (o *outage) mustBeUnready(ctx context.Context) {
	o.t.Helper()
	for _, node := range o.nodes {
		harness.Until(ctx, o.t, "the node is not ready", func() bool { return !isReady(ctx, node) })
	}
}

// mustAnswer503 makes a request as user 1, on every node.
func (o *outage) mustAnswer503(ctx context.Context, method, path string, body any) {
	o.t.Helper()
	var all sync.WaitGroup
	for _, node := range o.nodes {
		minted := token(o.t, 1)
		all.Go(func() {
			a, err := request(ctx, node.HTTP, minted, method, path, body)
			if err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
				o.t.Errorf("%s %s: %v %d %v %s", method, path, err, a.status, a.header, a.body)
			}
		})
	}
	all.Wait()
}

// endureWithoutPostgres is endure for PostgreSQL: who is logged in chats on as if nothing were, and nobody else is served.
func (o *outage) endureWithoutPostgres(ctx context.Context, what string, away, back func()) {
	o.t.Helper()
	noted := o.crowd.echoes()
	refused, unsure := o.crowd.failures()
	o.endure(ctx, away, func() {
		o.crowd.progress(ctx, o.t, 20)
		var all sync.WaitGroup
		all.Go(o.mustRefuseLogins)
		all.Go(func() { o.mustAnswer503(ctx, http.MethodGet, blockedUsers, nil) })
		all.Go(func() { o.mustAnswer503(ctx, http.MethodPost, blockedUsers, target(2)) })
		all.Go(func() { o.mustAnswer503(ctx, http.MethodPost, "/api/chatting/friends/", target(3)) })
		all.Wait()
		o.mustBeUnready(ctx)
		o.crowd.progress(ctx, o.t, 20) // still
	}, back)
	if r, u := o.crowd.failures(); r != refused || u != unsure {
		o.t.Errorf("PostgreSQL %s: %d messages were refused and %d unconfirmed", what, r-refused, u-unsure)
	}
	o.t.Logf("PostgreSQL %s: %d messages while it was away or coming back", what, o.crowd.echoes()-noted)
}

// The broker hangs, then is killed; then PostgreSQL is shut down, then hangs: each for longer than all deadlines.
func TestABrokerOrDatabaseThatIsAwayIsEndured(t *testing.T) {
	ctx := testContext(t)
	own := harness.StartOwnParts(t, 1)
	c := newCluster(t, own.Parts)
	nodes := c.startAll(3)
	o := &outage{cluster: c, own: own, nodes: nodes[:2]}
	o.crowd = pairUp(t, scaled(12, 60), func(user int) string { return nodes[user%2].HTTP })
	for _, chatter := range o.crowd.chatters {
		befriend(ctx, t, nodes[0], chatter.user, chatter.partner)
		chatter.pace = 50 * time.Millisecond
	}
	o.crowd.login(ctx, t)
	o.crowd.start(ctx)
	o.probe = startProbe(ctx, t, c, 2, 1)
	crash := &crashedBlock{outage: o, node: nodes[2], blocker: 101, blocked: 102}
	crash.prepare()

	o.endure(ctx, func() { own.SignalBroker(1, syscall.SIGSTOP) }, func() {
		o.mustRefuseLogins()
		o.mustBeUnready(ctx)
		o.mustAnswer503(ctx, http.MethodPost, blockedUsers, target(102))
	}, func() { own.SignalBroker(1, syscall.SIGCONT) })
	refused, unsure := o.crowd.failures()
	t.Logf("stopped broker: %d refused, %d unconfirmed", refused, unsure)
	if refused == 0 || unsure == 0 {
		t.Error("a stopped broker went unnoticed")
	}
	o.endure(ctx, func() { own.KillBroker(1) }, func() {
		crash.happen(ctx)
		o.mustRefuseLogins()
		o.mustBeUnready(ctx)
	}, func() { own.StartBroker(1) })

	o.endureWithoutPostgres(ctx, "shut down", own.StopPostgres, own.StartPostgres)
	o.endureWithoutPostgres(ctx, "stopped", func() { own.SignalPostgres(syscall.SIGSTOP) }, func() { own.SignalPostgres(syscall.SIGCONT) })

	crash.mustBePublished(ctx)
	o.probe.stop()
	o.crowd.finish()
	c.mustBeSound(ctx, o.crowd)
	o.crowd.mustBeUndisturbed(t)
	o.crowd.mustBeAnsweredWithin(t, appendDeadline)
}

// crashedBlock is a block whose node is killed after the commit and before the append.
type crashedBlock struct {
	*outage

	node             *harness.Node
	blocker, blocked int
	sender, receiver *harness.Client
}

// prepare makes both users known, on nodes that stay.
func (b *crashedBlock) prepare() {
	b.t.Helper()
	b.sender, b.receiver = connect(b.t, b.nodes[0], b.blocked), connect(b.t, b.nodes[1], b.blocker)
}

// happen blocks over a node that cannot reach the broker, and kills that node as soon as the database holds the block.
func (b *crashedBlock) happen(ctx context.Context) {
	b.t.Helper()
	db, err := sql.Open("postgres", b.database)
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	var asking sync.WaitGroup
	defer asking.Wait()
	minted := token(b.t, b.blocker)
	asking.Go(func() {
		a, err := request(ctx, b.node.HTTP, minted, http.MethodPost, blockedUsers, target(b.blocked))
		if err == nil && a.status == http.StatusCreated {
			b.t.Errorf("a block was answered with %d while there was no log to hold it", a.status)
		}
	})
	harness.Until(ctx, b.t, "the block is in the outbox", func() bool {
		var rows int
		err := db.QueryRowContext(ctx, "SELECT count(*) FROM outbox WHERE blocker = $1 AND target = $2", b.blocker, b.blocked).Scan(&rows)
		return err == nil && rows == 1
	})
	b.node.Kill()
}

// mustBePublished waits until another node has published the block, and looks at what it does.
func (b *crashedBlock) mustBePublished(ctx context.Context) {
	b.t.Helper()
	harness.Until(ctx, b.t, "another node publishes the block", func() bool {
		for _, event := range harness.ReadEvents(ctx, b.t, b.parts.Brokers, b.conversations()) {
			if event.Type == harness.BlockEvent && event.Data.From == b.blocker && event.Data.To == b.blocked {
				return true
			}
		}
		harness.Pause(ctx, 200*time.Millisecond)
		return false
	})
	from := len(b.receiver.Frames())
	b.say(ctx, b.sender, b.blocker, "behind the block")
	b.say(ctx, b.receiver, b.blocked, "behind that") // the receiver has its echo: it has read past the former
	for _, f := range b.receiver.Frames()[from:] {
		if f.Message == "behind the block" {
			b.t.Errorf("a text behind the block reached the blocker: %+v", f)
		}
	}
}

// say sends a text and waits for its echo.
func (b *crashedBlock) say(ctx context.Context, client *harness.Client, to int, text string) {
	b.t.Helper()
	if err := client.Send(to, text); err != nil {
		b.t.Fatal(err)
	}
	if _, err := client.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == text }); err != nil {
		b.t.Fatalf("the echo of %q: %v", text, err)
	}
}
