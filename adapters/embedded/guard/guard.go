// Package guard stands between the clients of the broker and kfake. kfake listens inside the process only, and the guard
// is the only way to it. Clients get few turns, and places and bytes within bounds; the server itself comes by Dial and is
// under none of these. Package protocol judges what clients ask. Nobody is shown what Log has not synced, and nobody is
// told that something is done before it is. The guard neither reads nor writes files.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/valyala/fasthttp/fasthttputil"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"chatting/adapters/embedded/logdir"
	"chatting/adapters/embedded/protocol"
)

// Bounds of what all clients together can hold. The server's own connections are under none of them.
const (
	maxConnections = 1000
	// turnsAtOnce is how many requests of clients kfake has at a time.
	turnsAtOnce = 2
	// MinClientBytes is the least of Config.ClientBytes: two of the largest requests and two of the largest answers.
	MinClientBytes = 4 * protocol.MaxProduceFrame
)

const (
	frameTimeout = 30 * time.Second
	stallTimeout = 5 * time.Second
	idleTimeout  = 10 * time.Minute // between requests: connections.max.idle.ms of Kafka
	acceptPause  = 50 * time.Millisecond
	// spareIdle is how long a connection keeps its place whoever else needs one.
	spareIdle   = time.Second
	noticeEvery = 10 * time.Second
)

// Log is the log on disk. Its methods are safe for concurrent use.
type Log interface {
	// Synced returns up to which offset a partition is synced; false if nothing is known of it.
	Synced(p logdir.Partition) (end int64, known bool)
	// Await returns nil once the log is synced up to the ends, which kfake has written. It returns an error if gone is
	// closed before: whether the log will be synced is unknown then.
	Await(ends []logdir.End, gone <-chan struct{}) error
	// AwaitGroups returns nil once what kfake has written about consumer groups is synced. gone is as for Await.
	AwaitGroups(gone <-chan struct{}) error
}

// Config says how a guard works.
type Config struct {
	Policy protocol.Policy
	// ClientBytes bounds the requests and answers of all clients together that are under way, half for each. Less than
	// MinClientBytes counts as that.
	ClientBytes int
	// Now is the clock that records are refused by.
	Now func() time.Time
	// TopicsChanged is called after a topic was made, or its settings were changed, and before anybody is told.
	TopicsChanged func()
	// Logger gets refused frames and connections, at most a line in ten seconds.
	Logger *slog.Logger
}

// Guard owns the connections of both kinds: those of clients, which come in by the listener, and those of the server
// itself, which come by Dial.
type Guard struct {
	listener net.Listener
	log      Log
	shown    shown

	policy        protocol.Policy
	now           func() time.Time
	topicsChanged func()
	logger        *slog.Logger

	engine   *engine
	turns    *turns
	appends  appends
	groups   groups
	requests *semaphore.Weighted // bytes of large requests that are being read or worked on
	answers  *semaphore.Weighted // bytes of large answers that are being made or written

	limit     int           // maxConnections, less in tests
	times     deadlines     // likewise
	spareIdle time.Duration // likewise

	joins, producers *rate.Limiter

	refusals atomic.Int64
	notice   rate.Sometimes

	ctx     context.Context // ends when the guard is shut
	cancel  context.CancelFunc
	mu      sync.Mutex
	isShut  bool
	clients map[*client]struct{} // of the listener
	own     map[*client]struct{} // by Dial
	serving sync.WaitGroup
}

// New takes the listener over. Shut must be called in the end.
func New(listener net.Listener, log Log, c Config) *Guard {
	bytes := int64(max(c.ClientBytes, MinClientBytes))
	ctx, cancel := context.WithCancel(context.Background())
	engine := newEngine(listener.Addr())
	return &Guard{
		listener: listener, log: log, shown: shown{log},
		policy: c.Policy, now: c.Now, topicsChanged: c.TopicsChanged, logger: c.Logger,
		engine: engine, turns: newTurns(engine, turnsAtOnce),
		requests: semaphore.NewWeighted(bytes / 2), answers: semaphore.NewWeighted(bytes / 2),

		limit: maxConnections, times: deadlines{frame: frameTimeout, stall: stallTimeout}, spareIdle: spareIdle,
		joins:     rate.NewLimiter(joinsPerSecond, joinsAtOnce),
		producers: rate.NewLimiter(producersPerSecond, producersAtOnce),
		notice:    rate.Sometimes{First: 1, Interval: noticeEvery},
		ctx:       ctx, cancel: cancel,
		clients: make(map[*client]struct{}), own: make(map[*client]struct{}),
	}
}

// Engine is the listener that kfake serves.
func (g *Guard) Engine() net.Listener { return g.engine }

// Addr is the address that clients come to.
func (g *Guard) Addr() net.Addr { return g.listener.Addr() }

// Start serves clients until Shut. If it cannot before then, it calls failed, which may call Shut.
func (g *Guard) Start(failed func(error)) {
	g.serving.Go(func() {
		if err := g.accept(); g.ctx.Err() == nil {
			failed(fmt.Errorf("the embedded Kafka broker can take no more clients: %w", err))
		}
	})
}

// accept takes clients in until the listener is closed. A failed accept (no more open files, say) is tried again after a pause.
func (g *Guard) accept() error {
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
func (g *Guard) admit(conn net.Conn) error {
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
func (g *Guard) idlest() *client {
	var idlest *client
	oldest := upFor() - int64(g.spareIdle)
	for c := range g.clients {
		if idle := c.idleSince.Load(); idle != 0 && idle < oldest {
			idlest, oldest = c, idle
		}
	}
	return idlest
}

// Dial opens a connection of the server's own. It needs no place and no room, and kfake serves it without a turn.
func (g *Guard) Dial() (net.Conn, error) {
	pipe := fasthttputil.NewPipeConns() // it buffers, so that neither end waits until the other reads
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isShut {
		return nil, net.ErrClosed
	}
	c := newClient(g, pipe.Conn2(), true)
	g.own[c] = struct{}{}
	g.serving.Go(c.serve)
	return pipe.Conn1(), nil
}

// forget takes a client out that is served no more.
func (g *Guard) forget(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.clients, c)
	delete(g.own, c)
}

// Ask has kfake answer a request of the broker's own, until ctx ends.
func (g *Guard) Ask(ctx context.Context, request kmsg.Request, response kmsg.Response) error {
	l, err := g.engine.dial(g.engine.addr)
	if err != nil {
		return err
	}
	defer l.close()
	defer context.AfterFunc(ctx, l.close)()
	return l.ask(request, response)
}

// Topics names all topics. kfake's file is not asked: it may be gone.
func (g *Guard) Topics(ctx context.Context) (names []string, err error) {
	var response kmsg.MetadataResponse
	if err := g.Ask(ctx, metadataRequest(), &response); err != nil {
		return nil, err
	}
	for _, topic := range response.Topics {
		if topic.Topic != nil {
			names = append(names, *topic.Topic)
		}
	}
	return names, nil
}

// Grown wakes the fetches that wait for more of one of the partitions.
func (g *Guard) Grown(partitions []logdir.Partition) { g.appends.happened(partitions) }

// Shut closes the listener and every connection. It does not wait.
func (g *Guard) Shut() {
	g.mu.Lock()
	g.isShut = true
	all := slices.AppendSeq(slices.Collect(maps.Keys(g.clients)), maps.Keys(g.own))
	g.mu.Unlock()
	g.cancel()
	_ = g.listener.Close() // nothing was promised to clients that are not accepted yet
	for _, c := range all {
		c.hangUp()
	}
	_ = g.engine.Close() // it has no error
}

// Wait returns when nobody is served any more. Shut comes before it.
func (g *Guard) Wait() { g.serving.Wait() }

// refused counts what a client did that is not let through, and logs it now and then.
func (g *Guard) refused(what string, peer net.Addr, err error) {
	total := g.refusals.Add(1)
	g.notice.Do(func() {
		g.logger.Warn("embedded Kafka broker: refused", "what", what, "address", peer, "reason", err, "refusals", total)
	})
}
