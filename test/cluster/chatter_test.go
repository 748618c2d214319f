package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/test/harness"
)

// chatter is a user who writes to a partner for as long as it may, and whose client reconnects whenever its connection
// ends, and then sends again what was not answered, as clients of this server do.
type chatter struct {
	t             *testing.T
	user, partner int
	token         string
	// place names the node to connect to, given how often that was tried.
	place func(attempt int) string
	// window is how many messages may wait for their answer; pace is the pause after each answer.
	window int
	pace   time.Duration
	// heldBack tells that it may not connect now.
	heldBack func() bool

	mu       sync.Mutex
	clients  []*harness.Client
	echoed   map[string]bool
	refused  map[string]string // answered with that code, unavailable or no_user_or_offline: not in the log, and never will be
	unsure   map[string]bool   // answered with "unconfirmed"
	resent   map[string]bool
	slowest  time.Duration // to any answer but the late ones
	late     []lateAnswer
	trips    roundTrips // of what was echoed
	attempts int
}

// newChatter returns a chatter that stays with one node.
func newChatter(t *testing.T, user, partner int, addr string) *chatter {
	return &chatter{
		t: t, user: user, partner: partner, token: token(t, user), window: 4, pace: 10 * time.Millisecond,
		place: func(int) string { return addr }, heldBack: func() bool { return false },
		echoed: make(map[string]bool), refused: make(map[string]string), unsure: make(map[string]bool),
		resent: make(map[string]bool),
	}
}

// waiting is a message without an answer.
type waiting struct {
	text string
	sent time.Time
}

// lateAnswer is one that took very long. code is that of an error, "" of an echo.
type lateAnswer struct {
	text, code string
	sent       time.Time
	took       time.Duration
}

// connect returns a new connection, nil if ctx ends first.
func (c *chatter) connect(ctx context.Context) *harness.Client {
	for ; ctx.Err() == nil; harness.Pause(ctx, 50*time.Millisecond) {
		if c.heldBack() {
			continue
		}
		addr := c.place(c.attempts)
		c.attempts++
		client, err := harness.Connect(addr, c.token)
		if err != nil {
			continue
		}
		c.mu.Lock()
		c.clients = append(c.clients, client)
		c.mu.Unlock()
		return client
	}
	return nil
}

// run writes until stop is closed, and returns when every message has its answer. ctx bounds it all.
func (c *chatter) run(ctx context.Context, stop <-chan struct{}) {
	var open []waiting
	for connection := 0; ; connection++ {
		client := c.current(ctx, connection)
		if client == nil {
			c.t.Errorf("user %d: no connection, with %d messages without an answer", c.user, len(open))
			return
		}
		for i := range open {
			c.mu.Lock()
			c.resent[open[i].text] = true
			c.mu.Unlock()
			open[i].sent = time.Now()
			if client.SendNamed(c.partner, open[i].text, open[i].text) != nil {
				break // reading finds the end
			}
		}
		var done bool
		if open, done = c.converse(ctx, stop, client, connection, open); done {
			return
		}
	}
}

// current returns the connection with that number, made now if it is not there.
func (c *chatter) current(ctx context.Context, number int) *harness.Client {
	c.mu.Lock()
	if number < len(c.clients) {
		defer c.mu.Unlock()
		return c.clients[number]
	}
	c.mu.Unlock()
	return c.connect(ctx)
}

// converse writes on one connection until it ends or everything is done, and returns what has no answer.
func (c *chatter) converse(
	ctx context.Context, stop <-chan struct{}, client *harness.Client, connection int, open []waiting,
) (left []waiting, done bool) {
	next := 1 // after the answer to the login
	for n := 0; ; {
		stopped := isClosed(stop)
		if stopped && len(open) == 0 {
			return nil, true
		}
		for !stopped && len(open) < c.window {
			text := fmt.Sprintf("%d.%d.%d", c.user, connection, n)
			n++
			open = append(open, waiting{text: text, sent: time.Now()})
			if client.SendNamed(c.partner, text, text) != nil {
				break
			}
		}
		for {
			f, err := client.At(ctx, next)
			switch {
			case err != nil && ctx.Err() != nil:
				c.t.Errorf("user %d: no answer to %q for %s", c.user, open[0].text, time.Since(open[0].sent))
				return nil, true
			case err != nil:
				return open, false
			}
			next++
			var answered bool
			if open, answered = c.note(f, open); answered {
				break
			}
		}
		harness.Pause(ctx, c.pace)
	}
}

// note takes a frame, and returns what is left without an answer and whether that became less.
func (c *chatter) note(f harness.Frame, open []waiting) ([]waiting, bool) {
	var text string
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.Type == "chat_message" && f.From == c.user:
		text = f.Message
		c.echoed[text] = true
	case f.Error != "" && f.Name == "":
		c.t.Errorf("user %d got an error that does not say of what: %+v", c.user, f)
	case f.Code == "unavailable", f.Code == "no_user_or_offline":
		text = f.Name
		c.refused[text] = f.Code
	case f.Code == "unconfirmed":
		text = f.Name
		c.unsure[text] = true
	case f.Error != "":
		c.t.Errorf("user %d got %+v", c.user, f)
	}
	for i, w := range open {
		if w.text == text {
			took := f.At.Sub(w.sent)
			if took > appendDeadline+lease {
				c.late = append(c.late, lateAnswer{text: text, code: f.Code, sent: w.sent, took: took})
			} else {
				c.slowest = max(c.slowest, took)
			}
			if f.Code == "" {
				c.trips.note(w.sent, f.At)
			}
			return append(open[:i:i], open[i+1:]...), true
		}
	}
	return open, false
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// echoes returns how many messages were echoed so far.
func (c *chatter) echoes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.echoed)
}

func (c *chatter) connections() []*harness.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clients[:len(c.clients):len(c.clients)]
}

// crowd are chatters that write at the same time.
type crowd struct {
	chatters []*chatter
	stop     chan struct{}
	running  sync.WaitGroup
}

// pairUp returns chatters for the users 1 to count, each of whom writes to the one beside it. place says where they log in.
func pairUp(t *testing.T, count int, place func(user int) string) *crowd {
	t.Helper()
	crowd := &crowd{stop: make(chan struct{})}
	for i := range count {
		crowd.chatters = append(crowd.chatters, newChatter(t, i+1, (i^1)+1, place(i+1)))
	}
	return crowd
}

// login connects everybody, side by side, and waits until each one's node knows of its partner.
func (c *crowd) login(ctx context.Context, t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for _, chatter := range c.chatters {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if chatter.connect(ctx) == nil {
				t.Errorf("user %d cannot log in", chatter.user)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() {
		for _, chatter := range c.chatters {
			for _, client := range chatter.connections() {
				client.Close()
			}
		}
	})
	here := make(map[int]bool)
	for _, chatter := range c.chatters {
		here[chatter.user] = true
	}
	for _, chatter := range c.chatters {
		if here[chatter.partner] {
			awaitKnownOnline(ctx, t, chatter.connections()[0].Addr, chatter.token, chatter.partner)
		}
	}
}

// start makes everybody write.
func (c *crowd) start(ctx context.Context) {
	for _, chatter := range c.chatters {
		c.running.Go(func() { chatter.run(ctx, c.stop) })
	}
}

// progress waits until each of the chatters has so many echoes more.
func (c *crowd) progress(ctx context.Context, t *testing.T, more int) {
	t.Helper()
	wanted := make([]int, len(c.chatters))
	for i, chatter := range c.chatters {
		wanted[i] = chatter.echoes() + more
	}
	for i, chatter := range c.chatters {
		harness.Until(ctx, t, fmt.Sprintf("user %d chats on", chatter.user), func() bool { return chatter.echoes() >= wanted[i] })
	}
}

// finish makes everybody stop once all messages are answered.
func (c *crowd) finish() {
	close(c.stop)
	c.running.Wait()
}

func (c *crowd) trips() []*roundTrips {
	var all []*roundTrips
	for _, chatter := range c.chatters {
		all = append(all, &chatter.trips)
	}
	return all
}

func (c *crowd) echoes() int {
	all := 0
	for _, chatter := range c.chatters {
		all += chatter.echoes()
	}
	return all
}

// failures counts what was not echoed, or not at once.
func (c *crowd) failures() (refused, unsure int) {
	for _, chatter := range c.chatters {
		chatter.mu.Lock()
		refused += len(chatter.refused)
		unsure += len(chatter.unsure)
		chatter.mu.Unlock()
	}
	return refused, unsure
}

// mustBeUndisturbed looks whether everybody has kept the first connection, and was told nothing of the partner, who has, too.
func (c *crowd) mustBeUndisturbed(t *testing.T) {
	t.Helper()
	for _, chatter := range c.chatters {
		connections := chatter.connections()
		if len(connections) != 1 || connections[0].Err() != nil {
			t.Errorf("user %d lost its connection: %v", chatter.user, connections[0].Err())
		}
		// Whoever logged in first was told of the other.
		if said, _ := statuses(connections[0], chatter.partner); len(said) > 0 && strings.Join(said, " ") != "online" {
			t.Errorf("user %d was told %v of user %d, which never left", chatter.user, said, chatter.partner)
		}
	}
}

// mustBeAnsweredWithin looks at how long every message waited for its answer, whatever that was: not longer than leeway
// times the limit.
func (c *crowd) mustBeAnsweredWithin(t *testing.T, limit time.Duration) {
	t.Helper()
	var slowest time.Duration
	for _, chatter := range c.chatters {
		slowest = max(slowest, chatter.slowest)
		for _, l := range chatter.late {
			if slowest = max(slowest, l.took); l.took > leeway*limit {
				t.Errorf("user %d: %q was answered after %s (error: %q)", chatter.user, l.text, l.took, l.code)
			}
		}
	}
	t.Logf("the slowest answer took %s (limit: %s)", slowest.Round(time.Millisecond), limit)
}

// mustHaveFoundANode looks whether no message was refused for want of a node that takes it.
func (c *crowd) mustHaveFoundANode(t *testing.T) {
	t.Helper()
	for _, chatter := range c.chatters {
		for text, code := range chatter.refused {
			if code == "unavailable" {
				t.Errorf("%q of user %d was refused", text, chatter.user)
			}
		}
	}
}
