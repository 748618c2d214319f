package ws

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"chatting/application"
	"chatting/domain"
)

const (
	// maxRefused is how many frames over a rate a connection, or all of a user's together, may send at once before they are
	// closed with 1008: each costs its parsing and an answer. RefusalsPerSecond more may come for long. A frame that is
	// taken makes up for none that were refused.
	maxRefused = 1000
	// maxRefusedInNeed is how many frames a connection may have refused while its user has used up that bound. A connection
	// that is not to blame has as many refused because of the others.
	maxRefusedInNeed = 20
	// loginHold is for how long a login over a rate is held before it is refused. A client that comes again at once gets one
	// attempt in that time on each of its sockets. So it costs little, and the user's other clients get their turns.
	loginHold = 100 * time.Millisecond
)

// take counts a message of size bytes for its connection and its user: as one frame, and another for every 4 KiB, so that
// the rates bound bytes as well; never as more than may be sent at once. It returns 0, or after how long the message would
// not be over a rate.
func (c *connection) take(size int) time.Duration {
	cost := 1 + size/costBytes
	if c.frames != nil {
		now := time.Now()
		own := min(cost, c.frames.Burst())
		if !c.frames.AllowN(now, own) {
			missing := float64(own) - c.frames.TokensAt(now)
			return max(1, time.Duration(math.Ceil(missing/float64(c.frames.Limit())*float64(time.Second))))
		}
	}
	return c.takeUser(cost)
}

// takeUser counts n frames for the user.
func (c *connection) takeUser(n int) time.Duration {
	if r := c.server.deps.Rates.Frames; r != nil {
		return r.Take(c.user, n)
	}
	return 0
}

// mayBeRefused counts a frame over a rate; false if the connection has to be closed for it.
func (c *connection) mayBeRefused() bool {
	if c.refused == nil {
		c.refused = rate.NewLimiter(RefusalsPerSecond, maxRefused)
	}
	now := time.Now()
	if !c.refused.AllowN(now, 1) {
		return false
	}
	r := c.server.deps.Rates.Refusals
	return r == nil || r.Take(c.user, 1) == 0 || c.refused.TokensAt(now) >= maxRefused-maxRefusedInNeed
}

// takeLogin counts a login from an address and returns 0, or after how long it may come.
func (s *Server) takeLogin(address netip.Addr) time.Duration {
	if s.deps.Rates.Logins == nil || !address.IsValid() {
		return 0
	}
	return s.deps.Rates.Logins.Take(address, 1)
}

// loginWait returns after how long a login may come from an address; 0 if it may now.
func (s *Server) loginWait(address netip.Addr) time.Duration {
	if s.deps.Rates.Logins == nil || !address.IsValid() {
		return 0
	}
	return s.deps.Rates.Logins.Wait(address, 1)
}

// loginFailed logs why a login failed, and closes the connection. A refused token is not logged here.
func (c *connection) loginFailed(err error) {
	who := slog.Attr{}
	c.notIn = application.WhyRefused(err)
	var failed *application.LoginError
	if errors.As(err, &failed) {
		who = slog.Any("user", failed.User)
		c.user = failed.User
	}
	switch domain.CodeOf(err) {
	case domain.CodeRateLimited:
		c.server.deps.Notices.Warn("login refused: too many of its user", who, c.whence())
		c.refuseLogin()
		return
	case domain.CodeUnauthenticated:
	default:
		c.server.deps.Notices.Warn("login failed", who, c.whence(), slog.Any("error", err))
	}
	c.out.close(codeOfLogin(err))
}

// refuseLogin closes the connection whose login came too early.
func (c *connection) refuseLogin() {
	c.waiting(func(ctx context.Context) {
		timer := time.NewTimer(loginHold)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	})
	c.out.close(closeTryLater)
}

// who and whence name the user and the address in log lines.
func (c *connection) who() slog.Attr { return slog.Any("user", c.user) }

func (c *connection) whence() slog.Attr { return slog.Any("address", c.address) }
