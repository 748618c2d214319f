package configs

import (
	"net/netip"
	"time"
)

// HTTP is the listener of REST, WebSocket and s2s calls.
type HTTP struct {
	Addr        Address
	CORSOrigins []string // as origins.NewSet takes them, "*" only alone; empty: CORS is off
	CORSHeaders []string
	BodyLimit   int
	PageBytes   int
	ReadTimeout time.Duration
	IdleTimeout time.Duration
	Documents   bool
	// TrustedProxies are masked, and none is IPv4 mapped to IPv6.
	TrustedProxies []netip.Prefix
}

func (h *HTTP) options() []Option {
	return []Option{
		{Key: "http.addr", Flag: true, value: address(&h.Addr)},
		{Key: "http.cors_origins", value: originList(&h.CORSOrigins)},
		{Key: "http.cors_headers", value: list("list of header names", &h.CORSHeaders, parseHeaderName)},
		{Key: "http.body_limit", value: size(&h.BodyLimit, kib, 64*mib)},
		{Key: "http.read_timeout", value: duration(&h.ReadTimeout, 100*time.Millisecond, 10*time.Minute)},
		{Key: "http.idle_timeout", value: duration(&h.IdleTimeout, 100*time.Millisecond, time.Hour)},
		{Key: "http.trusted_proxies", value: list("list of addresses or networks", &h.TrustedProxies, parseNetwork)},
		{Key: "http.page_bytes", value: size(&h.PageBytes, 512*kib, 2*mib)},
		{Key: "http.documents", value: boolean(&h.Documents)},
	}
}
