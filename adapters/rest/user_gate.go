package rest

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/application"
	"chatting/domain"
)

// userKey is where a request keeps its user.
const userKey = "rest.user"

// userGate lets users in whose token is good, and who do not ask too often.
type userGate struct {
	authenticator Authenticator
	askers        *askers
	writes        UserRate    // nil for no bound
	logins        AddressRate // nil for no bound
	timeout       time.Duration
	log           *requestLog
}

// userHandler answers a request of a user.
type userHandler func(ctx context.Context, c *fiber.Ctx, user domain.UserID) error

// handler runs handle for the user whose token the request bears. Requests without a good token get 401, and those of a user
// with too many under way 429. The context ends with the time for the request.
func (g *userGate) handler(handle userHandler) fiber.Handler {
	return func(c *fiber.Ctx) error {
		ctx, cancel := context.WithTimeout(c.UserContext(), g.timeout)
		defer cancel()
		identity, err := g.authenticate(ctx, c)
		if err != nil {
			return err
		}
		if err := g.takeWrite(c, identity.User); err != nil {
			return err
		}
		leave, err := g.askers.enter(identity.User)
		if err != nil {
			g.log.Warn("request refused: too many of its user at once", slog.Any("user", identity.User),
				g.log.client(c), loggedMethod(c), g.log.path(c))
			return err
		}
		defer leave()
		c.Locals(userKey, identity.User)
		if err := exchange.ReadStringIDs(c); err != nil {
			return err
		}
		return handle(ctx, c, identity.User)
	}
}

func (g *userGate) authenticate(ctx context.Context, c *fiber.Ctx) (application.Identity, error) {
	header := c.Get(fiber.HeaderAuthorization)
	if header == "" {
		return application.Identity{}, exchange.Detail(http.StatusUnauthorized, "Authorization header is required")
	}
	token, ok := bearer(header)
	if !ok {
		g.log.Warn("request refused: its Authorization holds no bearer token", g.log.client(c))
		return application.Identity{}, exchange.Detail(http.StatusUnauthorized, "The Authorization header holds no bearer token.")
	}
	address := g.log.address(c)
	if !address.IsValid() {
		return g.authenticator.Execute(ctx, token)
	}
	if g.logins != nil {
		// Before anybody looks at the token: to check a bad one costs as much.
		if wait := g.logins.Wait(address, 1); wait > 0 {
			g.log.Warn("request refused: too many logins or bad tokens from its address", slog.Any("address", address), g.log.path(c))
			return application.Identity{}, domain.NewRateLimited("Too many logins or bad tokens from this address.", wait)
		}
	}
	identity, err := g.authenticator.Execute(application.WithClientAddress(ctx, address.String()), token)
	if g.logins != nil && domain.CodeOf(err) == domain.CodeUnauthenticated {
		g.logins.Take(address, 1) // good tokens count for nothing
	}
	return identity, err
}

// bearer returns the token of an Authorization header (RFC 6750 §2.1; RFC 9110 §11.1: the scheme in any case). The token
// outlives the request.
func bearer(header string) (string, bool) {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return "", false
	}
	return strings.Clone(token), true
}

// takeWrite counts a request of the user that may change something; CodeRateLimited if it comes too early.
func (g *userGate) takeWrite(c *fiber.Ctx, user domain.UserID) error {
	switch c.Method() {
	case fiber.MethodPost, fiber.MethodPut, fiber.MethodDelete:
	default:
		return nil
	}
	if g.writes == nil {
		return nil
	}
	wait := g.writes.Take(user, 1)
	if wait == 0 {
		return nil
	}
	g.log.Warn("request refused: over the rate of its user", slog.Any("user", user),
		g.log.client(c), loggedMethod(c), g.log.path(c))
	return domain.NewRateLimited("Too many requests.", wait)
}

// askers count the requests of each user that are being carried out.
type askers struct {
	limit   int // for each user; 0 for none
	refused atomic.Uint64

	mu       sync.Mutex
	underWay map[domain.UserID]int
}

func newAskers(limit int) *askers {
	return &askers{limit: limit, underWay: make(map[domain.UserID]int)}
}

var errTooManyAtOnce = domain.NewError(domain.CodeRateLimited, "Too many requests at once.")

// enter counts one more request of a user, until leave is called. It returns CodeRateLimited if the user has too many.
func (a *askers) enter(user domain.UserID) (leave func(), err error) {
	if a.limit == 0 {
		return func() {}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.underWay[user] >= a.limit {
		a.refused.Add(1)
		return nil, errTooManyAtOnce
	}
	a.underWay[user]++
	return func() { a.leave(user) }, nil
}

func (a *askers) leave(user domain.UserID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.underWay[user]--; a.underWay[user] == 0 {
		delete(a.underWay, user)
	}
}
