package rest

import (
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/domain"
)

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

// takeWrite counts a request of the user that may change something; CodeRateLimited if it comes too early.
func (a *API) takeWrite(c *fiber.Ctx, user domain.UserID) error {
	switch c.Method() {
	case fiber.MethodPost, fiber.MethodPut, fiber.MethodDelete:
	default:
		return nil
	}
	if a.deps.Writes == nil {
		return nil
	}
	wait := a.deps.Writes.Take(user, 1)
	if wait == 0 {
		return nil
	}
	a.deps.Notices.Warn("request refused: over the rate of its user", slog.Any("user", user),
		slog.Any("address", a.address(c)), loggedMethod(c), a.pathOf(c))
	return domain.NewRateLimited("Too many requests.", wait)
}

// mayTryToken refuses the token of an address whose tokens were refused too often, before anybody looks at it: to check a
// bad one costs as much.
func (a *API) mayTryToken(c *fiber.Ctx) error {
	address := a.address(c)
	if a.deps.Logins == nil || !address.IsValid() {
		return nil
	}
	wait := a.deps.Logins.Wait(address, 1)
	if wait == 0 {
		return nil
	}
	a.deps.Notices.Warn("request refused: too many logins or bad tokens from its address", slog.Any("address", address),
		a.pathOf(c))
	return domain.NewRateLimited("Too many logins or bad tokens from this address.", wait)
}

// tokenRefused counts a bad token for its address. Requests with good ones count for nothing.
func (a *API) tokenRefused(c *fiber.Ctx) {
	if address := a.address(c); a.deps.Logins != nil && address.IsValid() {
		a.deps.Logins.Take(address, 1)
	}
}

// retryAfterOf returns the value of Retry-After for an error: whole seconds, rounded up; retryAfter if they are not known.
func retryAfterOf(err error) string {
	after := domain.RetryAfterOf(err)
	if after <= 0 {
		return retryAfter
	}
	return strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10)
}
