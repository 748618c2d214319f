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

	"github.com/gofiber/fiber/v2"

	"chatting/application"
	"chatting/domain"
)

// Authenticator tells whom a bearer token stands for: application.Authenticate.
type Authenticator interface {
	// Execute returns CodeUnauthenticated for a bad or expired token, CodeUnavailable where nobody can tell now.
	Execute(ctx context.Context, token string) (application.Identity, error)
}

// withUser runs handle for the user whose token the request bears. Requests without a good one get 401, and those of a user
// of whom too many are being carried out 429. The context ends with the time for the request.
func (a *API) withUser(handle func(context.Context, *fiber.Ctx, domain.UserID) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		ctx, cancel := a.deadline(c)
		defer cancel()
		identity, err := a.authenticate(ctx, c)
		if err != nil {
			return err
		}
		if err := a.takeWrite(c, identity.User); err != nil {
			return err
		}
		leave, err := a.askers.enter(identity.User)
		if err != nil {
			a.deps.Notices.Warn("request refused: too many of its user at once", slog.Any("user", identity.User),
				slog.Any("address", a.address(c)), loggedMethod(c), a.pathOf(c))
			return err
		}
		defer leave()
		c.Locals(userKey, identity.User)
		return handle(ctx, c, identity.User)
	}
}

// deadline returns the context of the request's work.
func (a *API) deadline(c *fiber.Ctx) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.UserContext(), a.options.RequestTimeout)
}

func (a *API) authenticate(ctx context.Context, c *fiber.Ctx) (application.Identity, error) {
	header := c.Get(fiber.HeaderAuthorization)
	if header == "" {
		return application.Identity{}, detail(http.StatusUnauthorized, "Authorization header is required")
	}
	token, ok := bearer(header)
	if !ok {
		a.deps.Notices.Warn("request refused: its Authorization holds no bearer token", slog.Any("address", a.address(c)))
		return application.Identity{}, detail(http.StatusUnauthorized, "The Authorization header holds no bearer token.")
	}
	if err := a.mayTryToken(c); err != nil {
		return application.Identity{}, err
	}
	if address := a.address(c); address.IsValid() {
		ctx = application.WithClientAddress(ctx, address.String())
	}
	identity, err := a.deps.Authenticate.Execute(ctx, token)
	if domain.CodeOf(err) == domain.CodeUnauthenticated {
		a.tokenRefused(c)
	}
	return identity, err
}

// bearer returns the token of an Authorization header (RFC 6750 §2.1; RFC 9110 §11.1: the scheme in any case). The
// token outlives the request.
func bearer(header string) (string, bool) {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return "", false
	}
	return strings.Clone(token), true
}

// fromServers runs handle for other servers of the platform: those that bear the token and, if TrustLoopback is set, those
// on this machine.
func (a *API) fromServers(handle func(context.Context, *fiber.Ctx) error) fiber.Handler {
	hasToken := a.options.S2SToken != ""
	want := sha256.Sum256([]byte(a.options.S2SToken))
	return func(c *fiber.Ctx) error {
		token, _ := bearer(c.Get(fiber.HeaderAuthorization)) // "" for none
		got := sha256.Sum256([]byte(token))
		// Digests, because the comparison's time would tell the token's length.
		known := hasToken && subtle.ConstantTimeCompare(got[:], want[:]) == 1
		elsewhere := ""
		if !known && a.options.TrustLoopback {
			elsewhere = notLocal(c)
		}
		switch {
		case known, a.options.TrustLoopback && elsewhere == "":
		case a.options.TrustLoopback && !hasToken:
			a.deps.Notices.Warn("request refused: without a token only servers on this machine may do this",
				slog.Any("address", a.address(c)), loggedMethod(c), a.pathOf(c), slog.String("reason", elsewhere))
			return refusedAs(http.StatusForbidden, "Without a token only servers on this machine may do this.")
		default:
			a.deps.Notices.Warn("request refused: not the token of the platform's servers", slog.Any("address", a.address(c)))
			return detail(http.StatusUnauthorized, "The token of the platform's servers is required.")
		}
		ctx, cancel := a.deadline(c)
		defer cancel()
		return handle(ctx, c)
	}
}

// notLocal tells why a request is not taken for one of a program on this machine that asks for itself; "" if it is. Such a
// program has a loopback address (127.0.0.0/8, ::1, the former also mapped to IPv6), calls the server by a loopback name, and
// sends no header that says that somebody else asks. A page in a browser on this machine has that address, too, and can have its
// own host name lead here.
func notLocal(c *fiber.Ctx) string {
	peer, ok := c.Context().RemoteAddr().(*net.TCPAddr)
	if !ok || !peer.AddrPort().Addr().IsLoopback() {
		return "its address is not a loopback address"
	}
	header := &c.Request().Header
	if !isLoopbackHost(string(header.Host())) || !isLoopbackHost(string(c.Request().URI().Host())) {
		return "its Host is not a loopback name"
	}
	for name := range header.All() {
		if sign := signOfOthers(string(name)); sign != "" {
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

// Headers that say that a request was not made by a program on this machine for itself. Browsers send them for whatever page
// they show, and proxies for whomever they serve. It counts that they are there, not what they say.
var (
	ofOthers         = []string{"origin", "referer", "cookie", "via", "cdn-loop", "x-host", "x-rewrite-url"}
	ofOthersBegin    = []string{"sec-fetch-", "sec-ch-", "cf-", "x-envoy-", "x-original-"}
	ofOthersAnywhere = []string{
		"forward", "proxy", "real-ip", "client-ip", "clientip", "connecting-ip", "remote-addr", "remote-ip", "user-ip", "src-ip",
		"socketip", "external-address",
	}
)

// signOfOthers returns what marks a header, by its name in any case, as one of those: the part of the name that is listed above,
// or "". Unlike the name, it may be logged.
func signOfOthers(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	if slices.Contains(ofOthers, name) {
		return name
	}
	for _, begin := range ofOthersBegin {
		if strings.HasPrefix(name, begin) {
			return begin + "*"
		}
	}
	for _, part := range ofOthersAnywhere {
		if strings.Contains(name, part) {
			return "*" + part + "*"
		}
	}
	return ""
}
