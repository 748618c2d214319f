package rest

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"chatting/adapters/rest/platform"
	"chatting/application"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/application/invites"
	"chatting/application/ledger"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
)

// Options bound what a client may cost.
type Options struct {
	// S2SToken is what callers of /s2sapi present as a bearer. Empty: no token is good.
	S2SToken string
	// TrustLoopback lets programs on this machine call /s2sapi without the token. It is for trial servers: any program here
	// may call, and so may a proxy here that does not say for whom it asks.
	TrustLoopback bool
	// CORSOrigins are the origins whose pages may read answers, as origins.NewSet takes them, and CORSHeaders the further
	// headers that they may send. Without origins, CORS is off. It never concerns /s2sapi.
	CORSOrigins, CORSHeaders []string
	// ClientAddress returns the address of a client, for limits and logs, from its TCP peer and its X-Forwarded-For headers.
	// What other servers may do never depends on it.
	ClientAddress func(peer net.Addr, forwardedFor [][]byte) netip.Addr
	// ReadTimeout bounds the reading of a request, from the opening of the connection or the first byte on; IdleTimeout the
	// wait for the next request.
	ReadTimeout, IdleTimeout time.Duration
	// BodyLimit is in bytes. A longer body is refused with 413.
	BodyLimit int
	// PageBytes bounds the frames of a page of the history.
	PageBytes int
	// UserConcurrency is how many requests of one user are carried out at once; more are refused with 429. 0 means no bound.
	UserConcurrency int
	// InboundBytes bounds the bodies longer than shortBody that are under way together; more are refused with 503. 0 means no
	// bound.
	InboundBytes int
	// Concurrency is how many connections are served at once, without upgraded sockets. More get 503 and are closed.
	Concurrency int

	// No operator sets what follows. 0 means the default, which is behind it.

	RequestTimeout time.Duration // for the work of one request; what is not confirmed by then is answered with 503: 10 s
	ProbeTimeout   time.Duration // for the checks of /readyz: 2 s
	WriteTimeout   time.Duration // for writing an answer: 10 s
	HeaderLimit    int           // in bytes, with the request line; a longer head is refused with 431: 16 KiB
}

func (o Options) withDefaults() Options {
	o.RequestTimeout = cmp.Or(o.RequestTimeout, 10*time.Second)
	o.ProbeTimeout = cmp.Or(o.ProbeTimeout, 2*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 10*time.Second)
	o.HeaderLimit = cmp.Or(o.HeaderLimit, 16<<10)
	return o
}

// Deps is what the API serves. All are needed except those that may be nil, and Checks.
type Deps struct {
	Authenticate Authenticator
	Block        *blocks.Block
	// Friends is nil if a user-management service keeps the friends. The path is then unknown.
	Friends  *presence.Friends
	IsOnline *presence.IsOnline
	Invites  *invites.PendingInvites
	// History is nil if none is kept. Its paths are then unknown.
	History *history.ReadHistory
	// Platform is what the platform's servers are served with.
	Platform platform.Deps
	// TrialUsers is nil unless the server is a trial server. Its path is then unknown.
	TrialUsers *application.MakeTrialUser
	// Trials bounds how many trial users are made; nil bounds nothing.
	Trials TrialRate
	// Bytes bounds the answers that are not written yet.
	Bytes *ledger.ByteLedger
	// Ready returns an error while only the health paths can be served. nil: everything can, from the start.
	Ready func() error
	// Checks are what /readyz asks.
	Checks []Check
	// Background returns what /readyz shows of the node's background work; nil for nothing.
	Background func() Background
	Logger     *slog.Logger
	// Notices take the log lines that clients can cause in any number.
	Notices *notice.Log
	// Writes bounds the requests of a user that may change something (POST, PUT, DELETE); nil bounds nothing.
	Writes UserRate
	// Logins bounds the attempts of an address to log in. The tokens of requests that are refused count as such; nil bounds
	// nothing.
	Logins AddressRate
	// Observer is told of each request; nil: nobody is.
	Observer Observer
	// Traces has the spans of requests.
	Traces port.Traces
}

// Observer is told of requests. Its method is called by many goroutines and must not block.
type Observer interface {
	// Answered tells that a request was answered, and how long that took from its end. route is the pattern of its route,
	// "" if it has none. The method must not be kept.
	Answered(method, route string, status int, took time.Duration)
}

// Authenticator tells whom a bearer token stands for: application.Authenticate.
type Authenticator interface {
	// Execute returns CodeUnauthenticated for a bad or expired token, CodeUnavailable if nobody can tell now.
	Execute(ctx context.Context, token string) (application.Identity, error)
}

// UserRate bounds what each user may do.
type UserRate interface {
	// Take counts n for user and returns 0. If that is too much now, it counts nothing and returns after how long it is not.
	Take(user domain.UserID, n int) time.Duration
}

// AddressRate bounds what each address may do.
type AddressRate interface {
	// Take is that of UserRate.
	Take(address netip.Addr, n int) time.Duration
	// Wait returns what Take would, and counts nothing.
	Wait(address netip.Addr, n int) time.Duration
}
