// Package ws is the chat by WebSocket: who is upgraded, the login, what becomes of what clients ask for, what they get, whose token
// expires, what they have received, and who has to go. In sub-packages of their own are the connections with their queues (socket),
// the bytes of frames (rfc6455), what clients send (frames) and how much of it (throttle). The JSON that they get is in package wire.
// TCP connections and HTTP are not here.
//
// A connection costs one goroutine, its reader. A second one, its writer, exists only while there is something to write. One
// goroutine for all connections, the keeper, looks after deadlines. Everything that is sent, control frames included, goes
// through the connection's outbound queue. What several goroutines share is in connection: what the client is shown in its feed, until
// when its token counts in its validity. What only its reader touches is in reader.
package ws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/origins"
	"chatting/adapters/ws/socket"
	"chatting/application/async"
	"chatting/application/notice"
)

// Server serves WebSocket connections on a Fiber app. Mount it, serve the app on a listener that WrapListener returned,
// and Shutdown it before the app.
type Server struct {
	options Options
	sockets socket.Options
	origins origins.Set
	deps    Deps
	roster  *roster
	counts  Counts

	lastNumber atomic.Uint64 // of a connection

	mounted    atomic.Bool
	stop       chan struct{} // ends the keeper
	stopOnce   sync.Once
	keeperDone chan struct{}
}

// New returns a server without connections. It refuses malformed origins and negative limits.
func New(options Options, deps Deps) (*Server, error) {
	if deps.Login == nil || deps.Messages == nil || deps.Invites == nil || deps.Now == nil || deps.Bytes == nil ||
		deps.Logger == nil || deps.Notices == nil {
		return nil, errors.New("ws: a dependency is missing")
	}
	if min(options.MaxConnections, options.MaxPerAddress, options.FramesPerSecond, options.MaxFrame, options.QueueBytes) < 0 {
		return nil, errors.New("ws: a limit is negative")
	}
	allowed, err := origins.NewSet(options.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	options.Times = options.Times.withDefaults()
	s := &Server{
		options: options, origins: allowed, deps: deps, roster: newRoster(options.MaxConnections, options.MaxPerAddress),
		stop: make(chan struct{}), keeperDone: make(chan struct{}),
	}
	s.counts.roster = s.roster
	s.sockets = socket.Options{
		QueueBytes: options.QueueBytes, Write: options.Times.Write, Close: options.Times.Close, Drain: options.Times.Drain,
		Slow: closeSlow, Lost: closeAbnormal, Guard: func(f, instead func()) { guard(s.deps.Notices, f, instead) },
	}
	return s, nil
}

// WrapListener returns a listener for the app to be served on; inner is as socket.Listen says. Upgrades on connections of
// other listeners are refused.
func (s *Server) WrapListener(inner net.Listener) net.Listener { return socket.Listen(inner) }

// Path is where clients connect; the last slash may be left out.
const Path = "/ws/chatting/"

// Mount registers the route and starts the keeper, which Shutdown ends. It changes the app's server to leave hijacked
// connections open, and refuses an app without ReduceMemoryUsage: see socket.Conn for why both are needed.
func (s *Server) Mount(app *fiber.App) error {
	config := app.Config()
	if !config.ReduceMemoryUsage {
		return errors.New("ws: the app must be configured with ReduceMemoryUsage")
	}
	if config.StrictRouting {
		return errors.New("ws: the app must not be configured with StrictRouting")
	}
	if s.roster.isDraining() || !s.mounted.CompareAndSwap(false, true) {
		return errors.New("ws: mounted twice or after the shutdown")
	}
	app.Server().KeepHijackedConns = true
	app.Get(Path, s.check, s.upgrade())
	go s.keep()
	return nil
}

// Ended is closed when the keeper has ended, which is to be after Shutdown.
func (s *Server) Ended() <-chan struct{} { return s.keeperDone }

// Connections returns how many sockets there are, logged in or not.
func (s *Server) Connections() int { return s.roster.size() }

// keep looks after the deadlines of all connections until the server stops. One goroutine does it for all, because a
// timer a connection costs memory that idle connections are made of.
func (s *Server) keep() {
	defer close(s.keeperDone)
	ticker := time.NewTicker(s.options.Times.Scan)
	defer ticker.Stop()
	var connections []*connection
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		connections = s.roster.all(connections[:0])
		for i, c := range connections {
			guard(s.deps.Notices, func() { c.keep(socket.Elapsed()) }, c.abort)
			connections[i] = nil
		}
	}
}

// afterAbort is how long Shutdown waits, once it cut all sockets, for use cases to notice.
const afterAbort = time.Second

// Shutdown refuses further upgrades, closes all connections with 1012, in waves, and waits until they have ended. Until its
// wave a connection sends and receives as ever. Then it takes nothing more, and closes once everything that its client sent has
// its outcome. When ctx ends first, Shutdown cuts what is left and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	ended := s.roster.drain()
	s.leaveInWaves(ctx)
	err := wait(ctx, ended)
	if err != nil {
		for _, c := range s.roster.all(nil) {
			c.abort()
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterAbort)
		defer cancel()
		if wait(grace, ended) != nil {
			s.deps.Logger.Error("connections did not end although their sockets did", "connections", s.Connections())
		}
	}
	s.stopOnce.Do(func() { close(s.stop) })
	if s.mounted.Load() {
		<-s.keeperDone
	}
	if err != nil {
		return fmt.Errorf("closing the WebSocket connections: %w", err)
	}
	return nil
}

// waves is how many parts a spread closing has at most.
const waves = 40

// leaveInWaves makes all connections leave, spread over CloseOver. Those that are left when ctx ends leave at once.
func (s *Server) leaveInWaves(ctx context.Context) {
	open := s.roster.all(nil)
	size := (len(open) + waves - 1) / waves
	for len(open) > 0 {
		wave := open[:min(size, len(open))]
		open = open[len(wave):]
		for _, c := range wave {
			c.leave()
		}
		if len(open) == 0 || s.options.CloseOver == 0 {
			continue
		}
		timer := time.NewTimer(s.options.CloseOver / waves)
		select {
		case <-timer.C:
		case <-ctx.Done():
			size = len(open)
		}
		timer.Stop()
	}
}

// wait returns ctx's error if it ends first.
func wait(ctx context.Context, ended <-chan struct{}) error {
	select {
	case <-ended:
	case <-ctx.Done():
	}
	select {
	case <-ended:
		return nil
	default:
		return ctx.Err()
	}
}

// guard runs f and keeps a panic from spreading: it is logged with its stack, and instead runs.
func guard(notices *notice.Log, f, instead func()) {
	defer func() {
		if p := recover(); p != nil {
			logPanic(notices, p)
			instead()
		}
	}()
	f()
}

func logPanic(notices *notice.Log, p any) {
	notices.Error("panic in a WebSocket connection",
		slog.String("panic", async.DescribePanic(p)), slog.String("stack", string(debug.Stack())))
}
