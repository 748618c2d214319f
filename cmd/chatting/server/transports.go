package server

import (
	"context"
	"net"
	"net/netip"
	"time"

	"go.uber.org/fx"

	"chatting/adapters/httpconn"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/origins"
	"chatting/adapters/rest"
	"chatting/adapters/rest/platform"
	"chatting/adapters/sqlstore"
	"chatting/adapters/web"
	"chatting/adapters/ws"
	"chatting/adapters/ws/throttle"
	"chatting/application"
	"chatting/application/ledger"
	"chatting/application/moderation"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/cmd/chatting/installation"
	"chatting/configs"
	"chatting/domain"
)

// apiParts are the parts of the REST API.
type apiParts struct {
	fx.In

	Common     common
	Tokens     tokenParts
	Moderation moderationParts
	Blocks     blockParts
	Presence   presenceParts
	Messages   messageParts
	Invites    inviteParts
	History    historyParts
	Logins     loginParts
	Announce   *moderation.Announce
	Activity   *moderation.LookAtActivity
	Cluster    *logclient.Cluster
	Appenders  appenders
	Readiness  *readiness
	Clock      *nodeClock
	Rates      rates
	Places     places
	S2SToken   s2sToken
	Bytes      *ledger.ByteLedger
}

func newAPI(p apiParts) (*rest.API, error) {
	c := p.Common
	deps := rest.Deps{
		Authenticate: p.Logins.Authenticate, Block: p.Blocks.Block, Friends: p.Presence.Friends, IsOnline: p.Presence.IsOnline,
		Invites: p.Invites.List, History: p.History.Read,
		Platform: platform.Deps{
			SystemMessage: p.Messages.System, Idempotency: idempotency{c.Store.Idempotency, c.Store.Clock}, Erase: p.History.Erase,
			Moderate: p.Moderation.Moderate, Announce: p.Announce, Activity: p.Activity, Whereabouts: p.Presence.Whereabouts,
			Now: c.Now, Notices: c.Notices,
		},
		Bytes: p.Bytes, Logger: c.Logger, Notices: c.Notices, Writes: p.Rates.userWrites, Logins: p.Rates.addressLogins,
		Ready: p.Readiness.ready, Checks: p.checks(),
		Background: func() rest.Background { return background(c.Config, p.History.Lag, p.Cluster, c.Now()) },
		Observer:   c.Observers.requests,
		Traces:     c.Traces,
	}
	if c.Config.IsTrial() {
		deps.TrialUsers = &application.MakeTrialUser{Users: c.Store.Users, NewToken: p.Tokens.trialToken}
		deps.Trials = newTrialRate()
	}
	return rest.New(apiOptions(c.Config, p.S2SToken, p.Places), deps)
}

// newSite returns the files of the page; nil if it is switched off.
func newSite(cfg configs.Config) (*web.Site, error) {
	if !cfg.Web.Enabled {
		return nil, nil //nolint:nilnil // nil is a page that is switched off
	}
	return web.New(webOptions(cfg))
}

func webOptions(cfg configs.Config) web.Options {
	return web.Options{Trial: cfg.IsTrial(), Documents: cfg.HTTP.Documents}
}

// checks are what /readyz asks.
func (p apiParts) checks() []rest.Check {
	checks := []rest.Check{
		{Name: "broker", Probe: func(ctx context.Context) error {
			if p.Appenders.conversations.Stuck() || p.Appenders.sessions.Stuck() {
				return domain.NewError(domain.CodeUnavailable, "an append has no answer")
			}
			return p.Cluster.Ping(ctx)
		}},
		{Name: "database", Probe: p.Common.Store.Ping},
		{Name: "tail", Probe: p.Readiness.probe},
		{Name: "clock", Probe: p.Clock.probe},
	}
	if p.Common.Config.JWKS.URL.IsSet() {
		checks = append(checks, rest.Check{Name: "keys", Probe: p.Tokens.Keys.Ready})
	}
	return checks
}

func apiOptions(cfg configs.Config, token s2sToken, places places) rest.Options {
	return rest.Options{
		S2SToken: string(token), TrustLoopback: cfg.S2S.TrustLoopback,
		CORSOrigins: cfg.HTTP.CORSOrigins, CORSHeaders: cfg.HTTP.CORSHeaders, ClientAddress: clientAddress(cfg),
		Concurrency: places.workers(),
		ReadTimeout: cfg.HTTP.ReadTimeout, IdleTimeout: cfg.HTTP.IdleTimeout, BodyLimit: cfg.HTTP.BodyLimit,
		PageBytes: cfg.HTTP.PageBytes, UserConcurrency: cfg.Limit.UserConcurrentRequests, InboundBytes: cfg.Limit.InboundBytes,
	}
}

// idempotency is what the store keeps of requests, as the API asks it. The database's clock counts: nodes whose clocks differ
// would take each other's requests for dead.
type idempotency struct {
	*sqlstore.Idempotency

	clock *sqlstore.Clock
}

// Begin implements platform.IdempotencyStore.
func (i idempotency) Begin(ctx context.Context, key string, fingerprint [32]byte, now time.Time) (int, []byte, bool, error) {
	if at, err := i.clock.Time(ctx); err == nil { // else Begin fails, too
		now = at
	}
	stored, err := i.Idempotency.Begin(ctx, key, fingerprint, now)
	if err != nil || stored == nil {
		return 0, nil, false, err
	}
	return stored.Status, stored.Body, true, nil
}

// newByteLedger returns the ledger of what is under way for clients, over sockets and in answers.
func newByteLedger(cfg configs.Config, now port.Clock) *ledger.ByteLedger {
	return ledger.NewByteLedger(cfg.Limit.OutboundBytes, cfg.Limit.UserOutboundBytes, now)
}

func newSockets(
	c common, m messageParts, i inviteParts, l loginParts, ready *readiness, places places, rates rates, bytes *ledger.ByteLedger,
	logins *application.LoginLog,
) (*ws.Server, error) {
	var checks ws.TextChecks // no nil pointer in it
	if m.Check != nil {
		checks = m.Check
	}
	return ws.New(socketOptions(c.Config, places), ws.Deps{
		Checks: checks,
		Ready:  ready.ready, Login: ws.LoginWith(l.Login), Messages: m.Send, Invites: i.Invite, Bytes: bytes, Now: c.Now, Logger: c.Logger,
		Notices: c.Notices, Logins: logins,
		Rates:    throttle.Rates{Frames: rates.userFrames, Refusals: rates.refusals, Logins: rates.addressLogins},
		Observer: c.Observers.sockets, Traces: c.Traces,
	})
}

func socketOptions(cfg configs.Config, places places) ws.Options {
	return ws.Options{
		AllowedOrigins: cfg.WebSocket.AllowedOrigins,
		MaxConnections: places.sockets, MaxPerAddress: cfg.Limit.ConnectionsPerAddress,
		FramesPerSecond: cfg.Limit.FramesPerSecond,
		MaxFrame:        cfg.WebSocket.MaxFrameBytes, QueueBytes: cfg.WebSocket.OutboundQueueBytes,
		CloseOver: cfg.Shutdown.CloseOver, ClientAddress: clientAddress(cfg),
		Times: ws.Times{
			FirstFrame: cfg.WebSocket.LoginDeadline, Silence: cfg.WebSocket.PingAfter, Pong: cfg.WebSocket.PongWait,
			Write: cfg.WebSocket.WriteTimeout, TokenWarning: cfg.WebSocket.TokenWarning,
		},
	}
}

// listen opens the one port of the server.
func listen(cfg configs.Config) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), installation.OpenTimeout)
	defer cancel()
	addr := cfg.HTTP.Addr.String()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenError("http.addr", addr, err)
	}
	return listener, nil
}

func newConnections(
	cfg configs.Config, listener net.Listener, places places, notices *notice.Log,
) (*httpconn.Listener, error) {
	cors, err := origins.NewCORS(cfg.HTTP.CORSOrigins, cfg.HTTP.CORSHeaders)
	if err != nil {
		return nil, err
	}
	options := connectionOptions(cfg, places)
	options.Notices, options.CORS = notices, cors
	return httpconn.Listen(listener, options), nil
}

func connectionOptions(cfg configs.Config, places places) httpconn.Options {
	return httpconn.Options{
		Requests: places.requests, Reserve: places.reserve, PerAddress: cfg.Limit.AddressHTTPConnections,
		Proxies: httpconn.NewProxies(cfg.HTTP.TrustedProxies), Health: []string{"/healthz", "/readyz"},
		ReadTimeout: cfg.HTTP.ReadTimeout, IdleTimeout: cfg.HTTP.IdleTimeout,
	}
}

// clientAddress returns who tells whose a request is.
func clientAddress(cfg configs.Config) func(peer net.Addr, forwardedFor [][]byte) netip.Addr {
	return httpconn.NewProxies(cfg.HTTP.TrustedProxies).ClientAddress
}
