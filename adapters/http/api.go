// Package rest is the HTTP side of the server: the REST API of the contract, the s2s ingest, and the health answers. It
// builds the fiber.App of the whole server; other adapters mount their routes on the same app.
//
// Bodies are those that the contract names, to the letter, as application/json. Whatever it does not name is
// application/problem+json (RFC 9457) that also has detail, and code, the domain's code.
package rest

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"golang.org/x/sync/singleflight"

	"chatting/adapters/origins"
	"chatting/adapters/problem"
	"chatting/application"
	"chatting/domain"
)

// Options bound what a client may cost. Zero values take the defaults below.
type Options struct {
	// S2SToken is what callers of /s2sapi present as a bearer. Empty: no token is good.
	S2SToken string
	// TrustLoopback lets programs on this machine call /s2sapi without the token. It is for trial servers: any program here
	// may, and so may a proxy here that does not say for whom it asks.
	TrustLoopback bool
	// CORSOrigins are the origins whose pages may read answers, as origins.NewSet takes them, and CORSHeaders the further
	// headers that they may send. No origins: CORS is off. Never concerns /s2sapi.
	CORSOrigins, CORSHeaders []string
	// ClientAddress tells whose a request is, for limits and logs, by its TCP peer and its X-Forwarded-For headers. nil means
	// the peer's. What other servers may do never depends on it.
	ClientAddress func(peer net.Addr, forwardedFor [][]byte) netip.Addr
	// RequestTimeout bounds the work for one request. What is not confirmed by then is answered with 503.
	RequestTimeout time.Duration
	// ProbeTimeout bounds the checks of /readyz.
	ProbeTimeout time.Duration
	// ReadTimeout bounds the reading of a request, from the opening of the connection or the first byte on;
	// IdleTimeout the wait for the next one; WriteTimeout the writing of an answer.
	ReadTimeout, IdleTimeout, WriteTimeout time.Duration
	// BodyLimit is in bytes; more is 413.
	BodyLimit int
	// PageBytes bounds the frames of a page of the history.
	PageBytes int
	// UserConcurrency is how many requests of one user are carried out at once; more are 429. 0 means no bound.
	UserConcurrency int
	// InboundBytes bounds the bodies longer than shortBody that are under way together; more are 503. 0 means no bound.
	InboundBytes int
	// HeaderLimit is in bytes, request line included; more is 431.
	HeaderLimit int
	// Concurrency is how many connections are served at once, upgraded sockets not counted; more get 503 and are
	// closed.
	Concurrency int
}

// The defaults. The longest legitimate body is a system message of domain.MaxTextBytes, every byte of it escaped to
// six.
const (
	DefaultRequestTimeout = 10 * time.Second
	DefaultProbeTimeout   = 2 * time.Second
	DefaultReadTimeout    = 10 * time.Second
	DefaultIdleTimeout    = 60 * time.Second
	DefaultWriteTimeout   = 10 * time.Second
	DefaultBodyLimit      = 512 << 10
	DefaultPageBytes      = 512 << 10
	DefaultHeaderLimit    = 16 << 10
	DefaultConcurrency    = 8192
)

func (o Options) withDefaults() Options {
	orDefault(&o.RequestTimeout, DefaultRequestTimeout)
	orDefault(&o.ProbeTimeout, DefaultProbeTimeout)
	orDefault(&o.ReadTimeout, DefaultReadTimeout)
	orDefault(&o.IdleTimeout, DefaultIdleTimeout)
	orDefault(&o.WriteTimeout, DefaultWriteTimeout)
	orDefault(&o.BodyLimit, DefaultBodyLimit)
	orDefault(&o.PageBytes, DefaultPageBytes)
	orDefault(&o.HeaderLimit, DefaultHeaderLimit)
	orDefault(&o.Concurrency, DefaultConcurrency)
	if o.ClientAddress == nil {
		o.ClientAddress = peerAddress
	}
	return o
}

// peerAddress returns the address of a TCP peer without the port, the zero Addr if it has none.
func peerAddress(peer net.Addr, _ [][]byte) netip.Addr {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

func orDefault[T ~int | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Deps is what the API serves. All are needed except those that may be nil, and Checks.
type Deps struct {
	Authenticate Authenticator
	Block        *application.Block
	// Friends is nil where a user-management service keeps the friends: the path is then unknown.
	Friends       *application.Friends
	IsOnline      *application.IsOnline
	SystemMessage *application.SendSystemMessage
	// History is nil where none is kept: its paths are then unknown.
	History     *application.ReadHistory
	Erase       *application.EraseUser
	Idempotency IdempotencyStore
	// Bytes bounds the answers that are not written yet; nil for no bound.
	Bytes *application.ByteLedger
	Now   application.Clock
	// Ready tells, by an error, that nothing but the health paths can be served yet. nil: everything can, from the start.
	Ready func() error
	// Checks are what /readyz asks.
	Checks []Check
	// Background tells of work that readiness shows beside them, and asks nobody for it; nil for none.
	Background func() Background
	Logger     *slog.Logger
	// Notices take the log lines that clients can cause in any number; nil makes some that write to Logger.
	Notices *application.Notices
	// Writes bounds the requests of a user that may change something (POST, PUT, DELETE); nil bounds nothing.
	Writes UserRate
	// Logins bounds the attempts of an address to log in, to which those of its tokens count that are refused here; nil
	// bounds nothing.
	Logins AddressRate
}

// API is the server's HTTP application.
type API struct {
	options Options
	deps    Deps
	app     *fiber.App
	cors    *origins.CORS

	patterns func() map[string]bool // routedPatterns of app, which other adapters mount routes on until it serves

	askers *askers
	bodies *longBodies

	draining atomic.Bool
	ready    atomic.Bool // as /readyz answered last
	probes   singleflight.Group
}

// New builds the application. It fails for a malformed origin only. The app listens nowhere yet.
func New(options Options, deps Deps) (*API, error) {
	if deps.Notices == nil {
		deps.Notices = application.NewNotices(deps.Logger, time.Now)
	}
	if deps.Bytes == nil {
		deps.Bytes = application.NewByteLedger(0, 0, time.Now)
	}
	cors, err := origins.NewCORS(options.CORSOrigins, options.CORSHeaders)
	if err != nil {
		return nil, err
	}
	a := &API{options: options.withDefaults(), deps: deps, cors: cors}
	a.askers, a.bodies = newAskers(options.UserConcurrency), newLongBodies(a.options)
	a.app = fiber.New(fiber.Config{
		DisableStartupMessage: true,
		ErrorHandler:          a.refuseUnread,
		// A proxy that keeps the world from /s2sapi/ must not be passed by /S2SAPI/.
		CaseSensitive: true,
		// The WebSocket adapter relies on it: see its package.
		ReduceMemoryUsage: true,
		// Multipart bodies are refused; fasthttp would spool them to disk before anybody can.
		DisablePreParseMultipartForm: true,
		BodyLimit:                    a.options.BodyLimit,
		// Whoever reads the head in front checks its length, and may have put the slash into it that stands for an empty path.
		ReadBufferSize: a.options.HeaderLimit + len("/"),
		Concurrency:    a.options.Concurrency,
		ReadTimeout:    a.options.ReadTimeout,
		IdleTimeout:    a.options.IdleTimeout,
		WriteTimeout:   a.options.WriteTimeout,
	})
	a.patterns = sync.OnceValue(func() map[string]bool { return routedPatterns(a.app) })
	server := a.app.Server()
	server.Handler = nameUnknownMethods(server.Handler)
	server.HeaderReceived = a.bodies.configure
	a.routes()
	return a, nil
}

// App returns the application, for further routes and for serving.
func (a *API) App() *fiber.App { return a.app }

// SetDraining makes /readyz answer 503 from now on, so that load balancers send nobody here any more.
func (a *API) SetDraining() { a.draining.Store(true) }

// routes names every path once. The router takes each with and without trailing slashes, and GET routes for HEAD.
func (a *API) routes() {
	a.app.Use(a.observe, refuseRewritten, refuseAmbiguous, a.preflight)
	a.app.Get("/healthz", a.health)
	a.app.Get("/readyz", a.readiness)

	if a.deps.Ready != nil {
		a.app.Use("/api", a.whenReady)
		a.app.Use("/s2sapi", a.whenReady)
	}
	const blocked = "/api/chatting/blockedusers/"
	a.app.Get(blocked, a.withUser(a.getBlocked))
	a.app.Post(blocked, a.withUser(a.block))
	a.app.Delete(blocked, a.withUser(a.unblock))
	if a.deps.Friends != nil {
		const friends = "/api/chatting/friends/"
		a.app.Get(friends, a.withUser(a.getFriends))
		a.app.Post(friends, a.withUser(a.addFriend))
		a.app.Delete(friends, a.withUser(a.removeFriend))
	}
	a.app.Get("/api/chatting/is-online/", a.isOnline())
	if a.deps.History != nil {
		a.app.Get("/api/chatting/messages/", a.withUser(a.getMessages))
		a.app.Get("/api/chatting/conversations/", a.withUser(a.getConversations))
		a.app.Put("/api/chatting/conversations/:partner/read/", a.withUser(a.markRead))
	}
	a.app.Post("/s2sapi/system-message/", a.fromServers(a.systemMessage))
	a.app.Delete("/s2sapi/users/", a.fromServers(a.eraseUser))
}

// whenReady keeps requests from parts that are not there yet: the tables of the database, say.
func (a *API) whenReady(c *fiber.Ctx) error {
	if err := a.deps.Ready(); err != nil {
		return &answer{http.StatusServiceUnavailable, problem.New(http.StatusServiceUnavailable, domain.CodeOf(err), stateOf(err))}
	}
	return c.Next()
}
