// Package rest is the HTTP side of the server: the REST API of users, the health answers and the gates of all paths. It builds
// the fiber.App of the whole server, on which other adapters mount their routes. Each resource is a small type with its handlers.
// What all requests have in common is in front of them: edge (errors, log lines, CORS), userGate and serverGate (who may ask).
// What the platform's servers may do behind serverGate is in package platform, and how handlers read and answer in package
// exchange.
//
// The bodies that the contract names are application/json, to the letter. Any other refusal is application/problem+json
// (RFC 9457) with a detail and the domain's code.
package rest

import (
	"net/http"
	"sync"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/origins"
	"chatting/adapters/problem"
	"chatting/adapters/rest/exchange"
	"chatting/adapters/rest/platform"
	"chatting/domain"
)

// API is the server's HTTP application.
type API struct {
	app    *fiber.App
	edge   *edge
	users  *userGate
	health *health
}

// Refusals are how often the limits of an API refused a request.
type Refusals struct {
	UserConcurrency uint64 // Options.UserConcurrency
	InboundBytes    uint64 // Options.InboundBytes
}

// Refusals returns how often the limits refused a request.
func (a *API) Refusals() Refusals {
	return Refusals{UserConcurrency: a.users.askers.refused.Load(), InboundBytes: a.edge.bodies.refused.Load()}
}

// New builds the application. It fails only for a malformed origin. The app listens nowhere yet.
func New(options Options, deps Deps) (*API, error) {
	cors, err := origins.NewCORS(options.CORSOrigins, options.CORSHeaders)
	if err != nil {
		return nil, err
	}
	options = options.withDefaults()
	log := &requestLog{Log: deps.Notices, clientAddress: options.ClientAddress}
	token := newS2SToken(options.S2SToken)
	held := &heldAnswers{ledger: deps.Bytes, log: log}
	a := &API{
		edge: &edge{
			log: log, requests: deps.Logger, held: held, cors: &crossOrigin{CORS: cors, log: log},
			bodies: newLongBodies(options, token), bodyLimit: options.BodyLimit, headerLimit: options.HeaderLimit,
			observer: deps.Observer, traces: deps.Traces,
		},
		users: &userGate{
			authenticator: deps.Authenticate, askers: newAskers(options.UserConcurrency), writes: deps.Writes, logins: deps.Logins,
			timeout: options.RequestTimeout, log: log,
		},
		health: &health{
			checks: deps.Checks, background: deps.Background, timeout: options.ProbeTimeout, logger: deps.Logger,
		},
	}
	a.app = fiber.New(fiber.Config{
		DisableStartupMessage: true,
		ErrorHandler:          a.edge.refuseUnread,
		// A proxy that keeps the world from /s2sapi/ must not be passed by /S2SAPI/.
		CaseSensitive: true,
		// The WebSocket adapter relies on it: see its package.
		ReduceMemoryUsage: true,
		// Multipart bodies are refused; fasthttp would spool them to disk before anybody can.
		DisablePreParseMultipartForm: true,
		BodyLimit:                    options.BodyLimit,
		// The listener in front checks the length of the head, and may have added the slash of an empty path.
		ReadBufferSize: options.HeaderLimit + len("/"),
		Concurrency:    options.Concurrency,
		ReadTimeout:    options.ReadTimeout,
		IdleTimeout:    options.IdleTimeout,
		WriteTimeout:   options.WriteTimeout,
	})
	log.patterns = sync.OnceValue(func() map[string]bool { return routedPatterns(a.app) })
	server := a.app.Server()
	server.Handler = nameUnknownMethods(server.Handler)
	server.HeaderReceived = a.edge.bodies.configure
	a.routes(deps, held, options.PageBytes, &serverGate{
		token: token, trustLoopback: options.TrustLoopback, timeout: options.RequestTimeout, log: log,
	})
	return a, nil
}

// App returns the application, for further routes and for serving.
func (a *API) App() *fiber.App { return a.app }

// SetDraining makes /readyz answer 503 from now on, so that load balancers send nobody here any more.
func (a *API) SetDraining() { a.health.draining.Store(true) }

// routes names every path once. The router takes each with and without trailing slashes, and GET routes for HEAD.
func (a *API) routes(deps Deps, held *heldAnswers, pageBytes int, servers *serverGate) {
	a.app.Use(a.edge.observe, refuseRewritten, refuseAmbiguous, a.edge.cors.preflight)
	a.app.Get("/healthz", a.health.live)
	a.app.Get("/readyz", a.health.ready)

	if deps.Ready != nil {
		a.app.Use("/api", whenReady(deps.Ready))
		a.app.Use("/s2sapi", whenReady(deps.Ready))
		a.app.Use("/trial", whenReady(deps.Ready))
	}
	blocked := blockedBy(deps.Block)
	a.serveList("/api/chatting/blockedusers/", blocked, blockStatus(deps.Block, blocked.get))
	if deps.Friends != nil {
		friends := friendsOf(deps.Friends)
		a.serveList("/api/chatting/friends/", friends, friends.get)
	}
	a.app.Get("/api/chatting/is-online/", onlineStatus{deps.IsOnline}.handler(a.users))
	a.app.Get("/api/chatting/invites/", a.users.handler(pendingInvites{deps.Invites, held}.get))
	if deps.History != nil {
		pages := historyPages{reader: deps.History, held: held, pageBytes: pageBytes}
		a.app.Get("/api/chatting/messages/", a.users.handler(pages.messages))
		a.app.Get("/api/chatting/conversations/", a.users.handler(pages.conversations))
		a.app.Put("/api/chatting/conversations/:partner/read/", a.users.handler(pages.markRead))
	}
	platform.Mount(a.app, servers.handler, held.send, deps.Platform)
	if deps.TrialUsers != nil {
		trial := trialUsers{use: deps.TrialUsers, rate: deps.Trials, timeout: a.users.timeout, log: a.users.log}
		a.app.Post("/trial/users/", trial.post)
	}
}

func (a *API) serveList(path string, list userList, get userHandler) {
	a.app.Get(path, a.users.handler(get))
	a.app.Post(path, a.users.handler(list.post))
	a.app.Delete(path, a.users.handler(list.delete))
}

// whenReady refuses requests while parts are missing: the tables of the database, for example.
func whenReady(ready func() error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := ready(); err != nil {
			return &exchange.Answer{
				Status: http.StatusServiceUnavailable,
				Body:   problem.New(http.StatusServiceUnavailable, domain.CodeOf(err), stateOf(err)),
			}
		}
		return c.Next()
	}
}
