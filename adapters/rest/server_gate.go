package rest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/adapters/rest/platform"
)

// serverGate lets other servers of the platform in: those that bear the token and, if trustLoopback is set, those on this
// machine.
type serverGate struct {
	token         s2sToken
	trustLoopback bool
	timeout       time.Duration
	log           *requestLog
}

// handler runs handle for other servers. The context ends with the time for the request.
func (g *serverGate) handler(handle platform.Handler) fiber.Handler {
	return func(c *fiber.Ctx) error {
		known, elsewhere := g.token.isIn(c.Get(fiber.HeaderAuthorization)), ""
		if !known && g.trustLoopback {
			elsewhere = notLocal(c)
		}
		switch {
		case known, g.trustLoopback && elsewhere == "":
		case g.trustLoopback && !g.token.isSet:
			g.log.Warn("request refused: without a token only servers on this machine may do this",
				g.log.client(c), loggedMethod(c), g.log.path(c), slog.String("reason", elsewhere))
			return exchange.Problem(http.StatusForbidden, "Without a token only servers on this machine may do this.")
		default:
			g.log.Warn("request refused: not the token of the platform's servers", g.log.client(c))
			return exchange.Detail(http.StatusUnauthorized, "The token of the platform's servers is required.")
		}
		ctx, cancel := context.WithTimeout(c.UserContext(), g.timeout)
		defer cancel()
		return handle(ctx, c)
	}
}

// s2sToken is the token of the platform's servers.
type s2sToken struct {
	// digest is compared instead of the token, because the time of a comparison tells the length.
	digest [sha256.Size]byte
	isSet  bool
}

func newS2SToken(token string) s2sToken {
	return s2sToken{digest: sha256.Sum256([]byte(token)), isSet: token != ""}
}

// isIn tells whether an Authorization header bears the token. A token that is not set is in none.
func (t s2sToken) isIn(header string) bool {
	token, _ := bearer(header) // "" for none
	got := sha256.Sum256([]byte(token))
	return t.isSet && subtle.ConstantTimeCompare(got[:], t.digest[:]) == 1
}

// notLocal returns why a request is not from a program on this machine that asks for itself; "" if it is. Such a program has a
// loopback address (127.0.0.0/8, ::1, the former also mapped to IPv6), calls the server by a loopback name, and sends no header
// that says that somebody else asks. A page in a browser on this machine has such an address too, and its host name can lead
// here.
func notLocal(c *fiber.Ctx) string { return notLocalCall(c, signOfOthers) }

// notLocalCall returns why a request is not from this machine, or has a header in whose name signOf sees a sign; "" if neither.
func notLocalCall(c *fiber.Ctx, signOf func(name string) string) string {
	peer, ok := c.Context().RemoteAddr().(*net.TCPAddr)
	if !ok || !peer.AddrPort().Addr().IsLoopback() {
		return "its address is not a loopback address"
	}
	header := &c.Request().Header
	if !isLoopbackHost(string(header.Host())) || !isLoopbackHost(string(c.Request().URI().Host())) {
		return "its Host is not a loopback name"
	}
	for name := range header.All() {
		if sign := signOf(string(name)); sign != "" {
			return "browsers or proxies send its header " + sign
		}
	}
	return ""
}

// isLoopbackHost tells whether a Host header names this machine: localhost, a name below it, or a loopback address.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().IsLoopback()
	}
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// Headers of requests that a program does not make for itself. Browsers send them for any page that they show, and proxies for
// any client. Their values do not matter.
var (
	ofBrowsers       = []string{"origin", "referer", "cookie"}
	ofBrowsersBegin  = []string{"sec-fetch-", "sec-ch-"}
	ofProxies        = []string{"via", "cdn-loop", "x-host", "x-rewrite-url"}
	ofProxiesBegin   = []string{"cf-", "x-envoy-", "x-original-"}
	ofProxiesContain = []string{
		"forward", "proxy", "real-ip", "client-ip", "clientip", "connecting-ip", "remote-addr", "remote-ip", "user-ip", "src-ip",
		"socketip", "external-address",
	}
)

// signOfOthers returns the part of a header's name, in any case, that is listed above; "" for none. Unlike the name, it may be
// logged.
func signOfOthers(name string) string {
	if sign := signIn(name, ofBrowsers, ofBrowsersBegin, nil); sign != "" {
		return sign
	}
	return signOfProxies(name)
}

// signOfProxies is signOfOthers for the headers of proxies alone.
func signOfProxies(name string) string {
	return signIn(name, ofProxies, ofProxiesBegin, ofProxiesContain)
}

func signIn(name string, whole, beginnings, parts []string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	if slices.Contains(whole, name) {
		return name
	}
	for _, begin := range beginnings {
		if strings.HasPrefix(name, begin) {
			return begin + "*"
		}
	}
	for _, part := range parts {
		if strings.Contains(name, part) {
			return "*" + part + "*"
		}
	}
	return ""
}
