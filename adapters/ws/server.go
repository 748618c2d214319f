// Package ws is the WebSocket side of the chat server: the upgrade, one session a socket, the frames that clients send and
// the queue of those that they get.
//
// A session costs one goroutine, which reads. A second one exists only while there is something to write, and one
// goroutine for all sessions, the keeper, looks after deadlines. Everything that is sent, control frames included, goes
// through the session's outbound queue.
package ws

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/origins"
	"chatting/application"
	"chatting/domain"
)

// Options are the limits of a Server. The zero value has no caps and the defaults for the rest.
type Options struct {
	// AllowedOrigins are further origins, as origins.NewSet takes them, from which browsers may connect. The host that the
	// request itself names, and requests without an Origin, are always accepted.
	AllowedOrigins []string
	// MaxConnections caps the sockets from their upgrade on, logged in or not; 0 means no cap.
	MaxConnections int
	// MaxPerAddress caps those of one client address, or of one IPv6 network of 64 bits, which one host commonly has to
	// itself; 0 means no cap.
	MaxPerAddress int
	// ClientAddress tells whose a request is, by its TCP peer and its X-Forwarded-For headers. nil means the peer's.
	ClientAddress func(peer net.Addr, forwardedFor [][]byte) netip.Addr
	// FramesPerSecond is how many messages and control frames a second one connection may send for long, twice as many
	// at once; 0 means no limit.
	FramesPerSecond int
	// MaxFrame is the longest message accepted, in bytes of all its fragments together; 0 means 64 KiB.
	MaxFrame int
	// QueueBytes bounds what waits to be written to one connection; 0 means 1 MiB.
	QueueBytes int
	// CloseOver is over how much time Shutdown spreads the closing of connections, so that not all of their clients come
	// to the other nodes at once; 0 means at once.
	CloseOver time.Duration
	// Times are the deadlines; those left 0 are the defaults.
	Times Times
}

// Times are the deadlines of a connection. They are looked at every Scan, so each may take up to that much longer.
type Times struct {
	FirstFrame time.Duration // from the upgrade to the end of the login frame: 10 s
	Login      time.Duration // for checking a token and going online: 10 s
	Silence    time.Duration // without a byte received until the ping: 20 s
	Pong       time.Duration // without a byte received after the ping until the end: 30 s
	Write      time.Duration // a write that takes longer makes the reader a slow one: 10 s
	Close      time.Duration // to write what is queued and the close frame: 5 s
	Drain      time.Duration // for the peer to end its side after the close frame: 2 s
	Receipt    time.Duration // from a frame whose receipt matters until the client is asked for it: 5 s
	Scan       time.Duration // 1 s
}

func (t Times) withDefaults() Times {
	for _, d := range []struct {
		value   *time.Duration
		instead time.Duration
	}{
		{&t.FirstFrame, 10 * time.Second}, {&t.Login, 10 * time.Second}, {&t.Silence, 20 * time.Second},
		{&t.Pong, 30 * time.Second}, {&t.Write, 10 * time.Second}, {&t.Close, 5 * time.Second},
		{&t.Drain, 2 * time.Second}, {&t.Receipt, 5 * time.Second}, {&t.Scan, time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.instead
		}
	}
	return t
}

// Session is the part that a logged-in connection has in the application. *application.Session is one.
type Session interface {
	// Renew takes another token of the same user.
	Renew(ctx context.Context, token string) (application.Identity, error)
	// Received tells that the client has got everything that was delivered at places before the given ones, or at them.
	// The server calls it in order, and not after Close.
	Received(upTo []application.Position)
	// Close ends it. The server calls it exactly once, when the socket has ended.
	Close()
}

// Login turns a socket into a connection of its user, as application.Login.Execute says; see LoginWith. It must return
// soon after ctx ends.
type Login func(ctx context.Context, token string, conn application.Connection) (Session, application.Identity, error)

// LoginWith makes the use case a Login.
func LoginWith(login *application.Login) Login {
	return func(ctx context.Context, token string, conn application.Connection) (Session, application.Identity, error) {
		session, err := login.Execute(ctx, token, conn)
		if err != nil {
			return nil, application.Identity{}, err
		}
		return session, session.Identity, nil
	}
}

// Messages sends chat messages. *application.SendMessage does.
type Messages interface {
	// Execute returns at once and calls done exactly once, on any goroutine, with nil after the connection got its echo.
	// Calls of one connection come in order.
	Execute(command application.ChatCommand, done func(error))
}

// Invites sends game invites. *application.Invite does.
type Invites interface {
	// Execute is as that of Messages.
	Execute(command application.InviteCommand, done func(error))
}

// UserRate bounds what each user may do.
type UserRate interface {
	// Take counts n for user and returns 0. If that is too much now, it counts nothing and returns after how long it is not.
	Take(user domain.UserID, n int) time.Duration
}

// AddressRate bounds what each address may do. The rate may count the addresses of one network as one.
type AddressRate interface {
	// Take is that of UserRate.
	Take(address netip.Addr, n int) time.Duration
	// Wait returns what Take would, and counts nothing.
	Wait(address netip.Addr, n int) time.Duration
}

// Rates bound what users and addresses may do over all their connections to the server. Each may be nil: it then bounds
// nothing.
type Rates struct {
	// Frames bounds the frames of a user, counted as those of a connection are: see Options.FramesPerSecond.
	Frames UserRate
	// Refusals bounds how many frames of a user may be refused for being over a rate, before its connections that send
	// such frames are closed.
	Refusals UserRate
	// Logins bounds the attempts of an address to log in, whatever comes of them.
	Logins AddressRate
}

// The rate and burst that Rates.Refusals is meant to have. A connection by itself is held to the same.
const (
	RefusalsPerSecond = 10
	MaxRefusals       = maxRefused
)

// Deps are what a Server calls. All but Bytes, Notices and Rates are needed.
type Deps struct {
	Login    Login
	Messages Messages
	Invites  Invites
	// Bytes bounds what all connections hold together; nil for no bound.
	Bytes  *application.ByteLedger
	Now    application.Clock
	Logger *slog.Logger
	// Notices take the log lines that clients can cause in any number; nil makes some that write to Logger.
	Notices *application.Notices
	// Logins logs who logs in and out; nil for no log.
	Logins *application.LoginLog
	Rates  Rates
}

// Server serves WebSocket connections on a Fiber app. Mount it, serve the app on a listener that WrapListener returned,
// and Shutdown it before the app.
type Server struct {
	options Options
	origins origins.Set
	deps    Deps
	// clientAddress is that of the options, or peerAddress.
	clientAddress func(peer net.Addr, forwardedFor [][]byte) netip.Addr

	mu          sync.Mutex
	mounted     bool
	draining    bool // no more upgrades; connections that begin now are closed at once
	admitted    int
	perAddress  map[netip.Addr]int
	connections map[*connection]struct{}
	// strangers are the connections that have not sent a token, and checking those whose token is being checked, oldest
	// first. They make room for others, strangers before the rest.
	strangers, checking *list.List

	// lastNumber is that of the latest connection.
	lastNumber atomic.Uint64

	// sockets counts what was admitted and has not ended.
	sockets tally

	stop       chan struct{} // ends the keeper
	stopOnce   sync.Once
	keeperDone chan struct{}
}

// New returns a server without connections. It refuses origins that are none and negative limits.
func New(options Options, deps Deps) (*Server, error) {
	if deps.Notices == nil {
		deps.Notices = application.NewNotices(deps.Logger, time.Now)
	}
	if deps.Login == nil || deps.Messages == nil || deps.Invites == nil || deps.Now == nil || deps.Logger == nil {
		return nil, errors.New("ws: a dependency is missing")
	}
	if min(options.MaxConnections, options.MaxPerAddress, options.FramesPerSecond, options.MaxFrame, options.QueueBytes) < 0 {
		return nil, errors.New("ws: a limit is negative")
	}
	allowed, err := origins.NewSet(options.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	if options.MaxFrame == 0 {
		options.MaxFrame = 64 << 10
	}
	if options.QueueBytes == 0 {
		options.QueueBytes = 1 << 20
	}
	options.Times = options.Times.withDefaults()
	clientAddress := options.ClientAddress
	if clientAddress == nil {
		clientAddress = peerAddress
	}
	if deps.Bytes == nil {
		deps.Bytes = application.NewByteLedger(0, 0, time.Now)
	}
	return &Server{
		options: options, origins: allowed, deps: deps, clientAddress: clientAddress,
		perAddress:  make(map[netip.Addr]int),
		connections: make(map[*connection]struct{}),
		strangers:   list.New(),
		checking:    list.New(),
		stop:        make(chan struct{}),
		keeperDone:  make(chan struct{}),
	}, nil
}

// Path is where clients connect; the last slash may be left out.
const Path = "/ws/chatting/"

// Mount registers the route and starts the keeper, which Shutdown ends. It changes the app's server to leave hijacked
// connections open, and refuses an app without ReduceMemoryUsage: see socket for why both are needed.
func (s *Server) Mount(app *fiber.App) error {
	config := app.Config()
	if !config.ReduceMemoryUsage {
		return errors.New("ws: the app must be configured with ReduceMemoryUsage")
	}
	if config.StrictRouting {
		return errors.New("ws: the app must not be configured with StrictRouting")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mounted || s.draining {
		return errors.New("ws: mounted twice or after the shutdown")
	}
	s.mounted = true
	app.Server().KeepHijackedConns = true
	app.Get(Path, s.check, s.upgrade())
	go s.keep()
	return nil
}

// Ended is closed when the keeper has ended, which is to be after Shutdown.
func (s *Server) Ended() <-chan struct{} { return s.keeperDone }

// Connections returns how many sockets there are, logged in or not.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admitted
}

// afterAbort is how long Shutdown waits, once it cut all sockets, for use cases to notice.
const afterAbort = time.Second

// Shutdown refuses further upgrades, closes all connections with 1012, in waves, and waits until they have ended. Until its
// wave a connection sends and receives as ever; then it takes nothing more, and closes once everything that its client
// sent has its outcome. When ctx ends first, Shutdown cuts what is left and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	mounted := s.mounted
	s.mu.Unlock()

	s.leaveInWaves(ctx)
	ended := s.sockets.close()
	err := wait(ctx, ended)
	if err != nil {
		for _, c := range s.snapshot(nil) {
			c.abort()
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterAbort)
		defer cancel()
		if wait(grace, ended) != nil {
			s.deps.Logger.Error("connections did not end although their sockets did", "connections", s.Connections())
		}
	}
	s.stopOnce.Do(func() { close(s.stop) })
	if mounted {
		<-s.keeperDone
	}
	if err != nil {
		return fmt.Errorf("closing the WebSocket connections: %w", err)
	}
	return nil
}

// waves is how many parts a spread closing has at most.
const waves = 40

// leaveInWaves makes all connections leave, spread over CloseOver; those that are left when ctx ends, at once.
func (s *Server) leaveInWaves(ctx context.Context) {
	open := s.snapshot(nil)
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

func wait(ctx context.Context, ended <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	default:
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errFull and errDraining say why an upgrade is not admitted.
var (
	errFull     = errors.New("too many connections")
	errDraining = errors.New("the server is going away")
)

// admit counts a socket that is about to be upgraded. The returned function takes it out again and must be called once.
// If all places are taken, the connection that has waited longest without a token is cut, or else the one whose token has
// been checked longest. So sockets that say nothing keep nobody out.
func (s *Server) admit(address netip.Addr) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := s.options.MaxConnections > 0 && s.admitted >= s.options.MaxConnections
	switch {
	case s.draining:
		return nil, errDraining
	case s.options.MaxPerAddress > 0 && s.perAddress[address] >= s.options.MaxPerAddress, full && !s.evict():
		s.deps.Notices.Warn("WebSocket connection refused: too many",
			slog.Any("address", address), slog.Int("of_address", s.perAddress[address]), slog.Int("connections", s.admitted))
		s.refusedUpgrade(address, "too many connections")
		return nil, errFull
	case !s.sockets.begin():
		return nil, errDraining
	}
	s.admitted++
	s.perAddress[address]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		s.admitted--
		if s.perAddress[address]--; s.perAddress[address] == 0 {
			delete(s.perAddress, address)
		}
		s.mu.Unlock()
		s.sockets.end()
	}), nil
}

// evict cuts the oldest connection that is not logged in; false when there is none. It ends on its own goroutine, so that
// for a moment there is one more than the cap.
func (s *Server) evict() bool {
	oldest := s.strangers.Front()
	if oldest == nil {
		oldest = s.checking.Front()
	}
	if oldest == nil {
		return false
	}
	stranger, _ := oldest.Value.(*connection)
	s.forget(stranger)
	stranger.evicted.Store(true)
	stranger.abort()
	return true
}

// named notes that the connection's token is being checked.
func (s *Server) named(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.stranger != nil {
		s.forget(c)
		c.stranger = s.checking.PushBack(c)
	}
}

// known notes that the connection is logged in.
func (s *Server) known(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(c)
}

// forget takes the connection out of the strangers, if it is one.
func (s *Server) forget(c *connection) {
	if c.stranger != nil {
		s.strangers.Remove(c.stranger) // does nothing if it stands in the other list
		s.checking.Remove(c.stranger)
		c.stranger = nil
	}
}

// register makes the connection known to the keeper and to Shutdown.
func (s *Server) register(c *connection) {
	s.mu.Lock()
	s.connections[c] = struct{}{}
	c.stranger = s.strangers.PushBack(c)
	draining := s.draining
	s.mu.Unlock()
	if draining {
		c.leave()
	}
}

func (s *Server) unregister(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.connections, c)
	s.forget(c)
}

// snapshot appends all connections to list.
func (s *Server) snapshot(list []*connection) []*connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.connections {
		list = append(list, c)
	}
	return list
}

// guard runs f and keeps a panic from spreading: it is logged with its stack, and instead runs.
func (s *Server) guard(f, instead func()) {
	defer func() {
		if p := recover(); p != nil {
			s.logPanic(p)
			instead()
		}
	}()
	f()
}

func (s *Server) logPanic(p any) {
	s.deps.Notices.Error("panic in a WebSocket connection",
		slog.String("panic", application.DescribePanic(p)), slog.String("stack", string(debug.Stack())))
}

// tally counts what is under way. Once closed, nothing further begins.
type tally struct {
	mu     sync.Mutex
	n      int
	closed chan struct{} // nil until closed; itself closed when n is 0 from then on
}

// begin counts one more; false once the tally is closed.
func (t *tally) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return false
	}
	t.n++
	return true
}

// end counts one less.
func (t *tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 && t.closed != nil {
		close(t.closed)
	}
}

// close lets nothing more begin and returns a channel that is closed once all have ended.
func (t *tally) close() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed == nil {
		t.closed = make(chan struct{})
		if t.n == 0 {
			close(t.closed)
		}
	}
	return t.closed
}
