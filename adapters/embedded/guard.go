package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

// Bounds of what all clients together can hold. The server's own connections are under none of them.
const (
	maxConnections = 1000
	// turnsAtOnce is how many requests of clients kfake has at a time.
	turnsAtOnce = 2
	// smallFrame is how much of a request or an answer may be held without room. The number of connections bounds that.
	smallFrame = 64 << 10
	// MinClientBytes is the least of Options.ClientBytes: two of the largest requests and two of the largest answers.
	MinClientBytes = 4 * maxProduceFrame
)

// Deadlines of one connection.
const (
	frameTimeout = 30 * time.Second // from the first byte of a request to its last, and for writing one answer
	stallTimeout = 5 * time.Second  // for smallFrame bytes of them
	idleTimeout  = 10 * time.Minute // between requests: connections.max.idle.ms of Kafka
	acceptPause  = 50 * time.Millisecond
	// spareIdle is how long a connection keeps its place whoever else needs one.
	spareIdle   = time.Second
	noticeEvery = 10 * time.Second
)

// guard stands between the clients and kfake. It owns the connections of both kinds: those of clients, which come in by
// the listener, and those of the server, which come by dial.
type guard struct {
	listener net.Listener
	engine   *engine
	turns    *turns
	policy   policy
	logger   *slog.Logger
	dir      string // Options.Dir
	now      func() time.Time
	keeping  sync.Mutex
	newest   map[string]int64 // under keeping: what keepTopics returned last
	appends  appends
	requests *semaphore.Weighted // bytes of large requests that are being read or worked on
	answers  *semaphore.Weighted // bytes of large answers that are being made or written

	limit        int           // maxConnections, less in tests
	frameTimeout time.Duration // likewise
	stallTimeout time.Duration // likewise
	spareIdle    time.Duration // likewise

	joins, producers *rate.Limiter

	refusals atomic.Int64
	notice   rate.Sometimes

	ctx     context.Context // ends when the guard is shut
	cancel  context.CancelFunc
	mu      sync.Mutex
	isShut  bool
	clients map[*client]struct{} // of the listener
	own     map[*client]struct{} // by dial
	groups  map[string]struct{}  // as of when kfake was asked last
	serving sync.WaitGroup
}

// newGuard takes the listener over.
func newGuard(listener net.Listener, o Options) *guard {
	bytes := max(o.ClientBytes, MinClientBytes)
	ctx, cancel := context.WithCancel(context.Background())
	engine := newEngine(listener.Addr())
	return &guard{
		listener: listener, engine: engine, turns: newTurns(engine, turnsAtOnce), policy: policy{o.Own}, logger: o.Logger,
		dir:      o.Dir,
		now:      o.Now,
		requests: semaphore.NewWeighted(int64(bytes / 2)),
		answers:  semaphore.NewWeighted(int64(bytes / 2)),

		limit: maxConnections, frameTimeout: frameTimeout, stallTimeout: stallTimeout, spareIdle: spareIdle,
		joins:     rate.NewLimiter(joinsPerSecond, joinsAtOnce),
		producers: rate.NewLimiter(producersPerSecond, producersAtOnce),
		notice:    rate.Sometimes{First: 1, Interval: noticeEvery},
		ctx:       ctx, cancel: cancel,
		clients: make(map[*client]struct{}), own: make(map[*client]struct{}),
	}
}

// start serves clients until shut. If it cannot before then, it calls failed, which may call shut.
func (g *guard) start(failed func(error)) {
	g.serving.Go(func() {
		if err := g.accept(); g.ctx.Err() == nil {
			failed(err)
		}
	})
}

// accept takes clients in until the listener is closed. A failed accept (no more open files, say) is tried again after a pause.
func (g *guard) accept() error {
	for {
		conn, err := g.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			select {
			case <-g.ctx.Done():
				return nil
			case <-time.After(acceptPause):
			}
			g.refused("accept", g.listener.Addr(), err)
			continue
		}
		if err := g.admit(conn); err != nil {
			g.refused("connection", conn.RemoteAddr(), err)
			_ = conn.Close() // nothing was promised to the peer
		}
	}
}

// admit serves a client. Above the limit it closes the connection that has asked for nothing longest. If all are busy, it
// refuses the new one.
func (g *guard) admit(conn net.Conn) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isShut {
		return net.ErrClosed
	}
	if len(g.clients) >= g.limit {
		idle := g.idlest()
		if idle == nil {
			return fmt.Errorf("%d connections are open already, and all are in use", g.limit)
		}
		delete(g.clients, idle)
		idle.hangUp()
	}
	c := newClient(g, conn, false)
	g.clients[c] = struct{}{}
	g.serving.Go(c.serve)
	return nil
}

// idlest returns the connection that has asked for nothing longest, if that is longer than spareIdle; else nil.
func (g *guard) idlest() *client {
	var idlest *client
	oldest := upFor() - int64(g.spareIdle)
	for c := range g.clients {
		if idle := c.idleSince.Load(); idle != 0 && idle < oldest {
			idlest, oldest = c, idle
		}
	}
	return idlest
}

// dial opens a connection of the server's own. It needs no place and no room, and kfake serves it without a turn.
func (g *guard) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isShut {
		return nil, net.ErrClosed
	}
	c := newClient(g, theirs, true)
	g.own[c] = struct{}{}
	g.serving.Go(c.serve)
	return ours, nil
}

// forget takes a client out that is served no more.
func (g *guard) forget(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.clients, c)
	delete(g.own, c)
}

// shut closes the listener and every connection. It does not wait.
func (g *guard) shut() {
	g.mu.Lock()
	g.isShut = true
	var all []*client
	for c := range g.clients {
		all = append(all, c)
	}
	for c := range g.own {
		all = append(all, c)
	}
	g.mu.Unlock()
	g.cancel()
	_ = g.listener.Close() // nothing was promised to clients that are not accepted yet
	for _, c := range all {
		c.hangUp()
	}
	_ = g.engine.Close() // it has no error
}

// wait returns when nobody is served any more. shut comes before it.
func (g *guard) wait() { g.serving.Wait() }

// keep writes down what a later start needs. A lostError tells that the log is not what it was.
func (g *guard) keep() (err error) {
	g.keeping.Lock()
	defer g.keeping.Unlock()
	g.newest, err = keepTopics(g.dir, g.newest)
	return err
}

// topicsChanged keeps the new list of topics. What goes wrong is tried again soon.
func (g *guard) topicsChanged() {
	if err := g.keep(); err != nil {
		g.logger.Warn("embedded Kafka broker: keeping the list of topics", "error", err)
	}
}

// refused counts what a client did that is not let through, and logs it now and then.
func (g *guard) refused(what string, peer net.Addr, err error) {
	total := g.refusals.Add(1)
	g.notice.Do(func() {
		g.logger.Warn("embedded Kafka broker: refused", "what", what, "address", peer, "reason", err, "refusals", total)
	})
}
