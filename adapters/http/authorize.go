package rest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
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
		leave, err := a.askers.enter(identity.User)
		if err != nil {
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
		return application.Identity{}, detail(http.StatusUnauthorized, "The Authorization header holds no bearer token.")
	}
	return a.deps.Authenticate.Execute(ctx, token)
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

// fromServers runs handle for other servers of the platform: those that bear the token or, where none is configured,
// those on this machine.
func (a *API) fromServers(handle func(context.Context, *fiber.Ctx) error) fiber.Handler {
	want := sha256.Sum256([]byte(a.options.S2SToken))
	return func(c *fiber.Ctx) error {
		if a.options.S2SToken == "" {
			if !local(c) {
				return &answer{http.StatusForbidden, newProblem(http.StatusForbidden, "",
					"Without a token only servers on this machine may do this.")}
			}
		} else {
			token, _ := bearer(c.Get(fiber.HeaderAuthorization)) // "" for none, which is not the token
			got := sha256.Sum256([]byte(token))
			// Digests, because the comparison's time would tell the token's length.
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				return detail(http.StatusUnauthorized, "The token of the platform's servers is required.")
			}
		}
		ctx, cancel := a.deadline(c)
		defer cancel()
		return handle(ctx, c)
	}
}

// ofOthers are headers that say that a request was not made by a program on this machine: a browser sends the first two
// for whatever page it shows, a proxy the others for whomever it serves. That they are there counts, not what they say.
var ofOthers = []string{
	fiber.HeaderOrigin, "Sec-Fetch-Site", fiber.HeaderXForwardedFor, fiber.HeaderForwarded, fiber.HeaderVia,
	fiber.HeaderXForwardedHost, fiber.HeaderXForwardedProto, "X-Real-Ip",
}

// local tells whether the TCP peer is this machine (127.0.0.0/8, ::1, the former also mapped to IPv6) and speaks for
// itself.
func local(c *fiber.Ctx) bool {
	peer, ok := c.Context().RemoteAddr().(*net.TCPAddr)
	if !ok || !peer.AddrPort().Addr().IsLoopback() {
		return false
	}
	for _, name := range ofOthers {
		if len(c.Request().Header.PeekAll(name)) > 0 {
			return false
		}
	}
	return true
}
