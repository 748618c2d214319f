package httpconn

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"chatting/adapters/origins"
	"chatting/application/notice"
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
	Notices *notice.Log
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
	o.Requests = cmp.Or(o.Requests, DefaultRequests)
	o.Reserve = cmp.Or(o.Reserve, DefaultReserve)
	o.HeaderLimit = cmp.Or(o.HeaderLimit, DefaultHeaderLimit)
	o.ReadTimeout = cmp.Or(o.ReadTimeout, DefaultReadTimeout)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, DefaultIdleTimeout)
	return o
}

// places is how many connections may be open.
func (o *Options) places() int { return o.Requests + o.Reserve }

// perAddress returns the cap for an address, 0 for none.
func (o *Options) perAddress(address netip.Addr) int {
	if o.Proxies.Trusts(address) {
		return 0
	}
	return o.PerAddress
}

// isHealth tells whether a request is for health.
func (o *Options) isHealth(h head) bool {
	if string(h.method) != http.MethodGet && string(h.method) != http.MethodHead {
		return false
	}
	path := h.path
	if n := len(path); n > 1 && path[n-1] == '/' {
		path = path[:n-1]
	}
	return !h.chunked && h.length == 0 && slices.ContainsFunc(o.Health, func(of string) bool { return of == string(path) })
}

// warn logs what happened to a connection of an address.
func (o *Options) warn(what string, address netip.Addr, more ...slog.Attr) {
	if address.IsValid() {
		more = append(more, slog.Any("address", address))
	}
	o.Notices.Warn(what, more...)
}
