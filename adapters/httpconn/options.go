package httpconn

import (
	"time"

	"chatting/adapters/origins"
	"chatting/application"
)

// Options bound what connections may cost. Zero values take the defaults below, unless a field says otherwise.
type Options struct {
	// Requests is how many requests are served at once, health requests not counted; more get 503. It is also how many
	// connections may be open, beside the reserve.
	Requests int
	// Reserve is how many more connections there may be. They are for newcomers and for health requests.
	Reserve int
	// PerAddress caps the connections of one address, or IPv6 network of 64 bits; 0 means no cap. Those of a trusted proxy
	// have none.
	PerAddress int
	// Proxies are the trusted ones.
	Proxies Proxies
	// Health lists the paths of health requests, each without its last slash.
	Health []string
	// ReadTimeout bounds the wait for the first byte of a new connection, and from a request's first byte on the time until
	// its last one. IdleTimeout bounds the wait for a further request.
	ReadTimeout, IdleTimeout time.Duration
	// HeaderLimit is the longest head of a request, in bytes; more is 431.
	HeaderLimit int
	// CORS tells which pages may read the answers of the connection itself; nil for none.
	CORS *origins.CORS
	// Notices take the log lines that clients can cause in any number.
	Notices *application.Notices
}

// The defaults.
const (
	DefaultRequests    = 8192
	DefaultReserve     = 64
	DefaultReadTimeout = 10 * time.Second
	DefaultIdleTimeout = 60 * time.Second
	DefaultHeaderLimit = 16 << 10
)

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value   *int
		instead int
	}{
		{&o.Requests, DefaultRequests}, {&o.Reserve, DefaultReserve}, {&o.HeaderLimit, DefaultHeaderLimit},
	} {
		if *d.value == 0 {
			*d.value = d.instead
		}
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = DefaultReadTimeout
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	return o
}
