// Package throttle counts what a connection and its user send against their rates, and says when it is too much. What then happens
// to a frame or a connection is decided by its caller; the counters themselves, which nodes share among connections, come from
// outside.
package throttle

import (
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"chatting/domain"
)

// UserRate bounds what each user may do.
type UserRate interface {
	// Take counts n for user and returns 0. If that is too much now, it counts nothing and returns after how long it is not.
	Take(user domain.UserID, n int) time.Duration
}

// AddressRate bounds what each address may do. It may count the addresses of one network as one.
type AddressRate interface {
	// Take is that of UserRate.
	Take(address netip.Addr, n int) time.Duration
	// Wait returns what Take would, and counts nothing.
	Wait(address netip.Addr, n int) time.Duration
}

// Rates bound what users and addresses may do over all their connections to the server. A rate that is nil bounds nothing.
type Rates struct {
	// Frames bounds the frames of a user. They are counted as those of a connection are: see Throttle.Message.
	Frames UserRate
	// Refusals bounds how many frames of a user may be refused for being over a rate, before its connections that send such
	// frames are closed.
	Refusals UserRate
	// Logins bounds the attempts of an address to log in, successful or not.
	Logins AddressRate
}

// TakeLogin counts a login from an address and returns 0, or after how long it may come.
func (r *Rates) TakeLogin(address netip.Addr) time.Duration {
	if r.Logins == nil || !address.IsValid() {
		return 0
	}
	return r.Logins.Take(address, 1)
}

// LoginWait returns after how long a login may come from an address; 0 if it may now.
func (r *Rates) LoginWait(address netip.Addr) time.Duration {
	if r.Logins == nil || !address.IsValid() {
		return 0
	}
	return r.Logins.Wait(address, 1)
}

const (
	// RefusalsPerSecond is how many frames over a rate a connection, or all of a user's together, may send for long.
	RefusalsPerSecond = 10
	// MaxRefusals is how many they may send at once before they are closed with 1008: each costs its parsing and an answer. A
	// frame that is taken makes up for none that were refused.
	MaxRefusals = 1000
	// refusalsInNeed is how many frames of a connection may be refused while its user has used up that bound. A connection
	// that is not to blame has as many refused because of the others.
	refusalsInNeed = 20
	// costBytes is how many bytes of a message count as another frame.
	costBytes = 4 << 10
)

// Throttle counts what one connection sends, for itself and for its user. It belongs to the reading goroutine.
type Throttle struct {
	Rates  *Rates
	Frames *rate.Limiter // nil for no limit
	// OverRate counts what was over the rate of Frames.
	OverRate *atomic.Uint64

	refused *rate.Limiter // of frames over a rate; nil until there was one
}

// Message counts a message of size bytes: as one frame, and another for every 4 KiB, so that the rates bound bytes as well; never
// as more than may be sent at once. now is when it was read. It returns 0, or after how long the message would not be over a rate.
func (t *Throttle) Message(now time.Time, user domain.UserID, size int) time.Duration {
	cost := 1 + size/costBytes
	if t.Frames != nil {
		own := min(cost, t.Frames.Burst())
		if !t.Frames.AllowN(now, own) {
			t.OverRate.Add(1)
			missing := float64(own) - t.Frames.TokensAt(now)
			return max(1, time.Duration(math.Ceil(missing/float64(t.Frames.Limit())*float64(time.Second))))
		}
	}
	return t.ofUser(user, cost)
}

// Control counts a control frame; false if the connection has to be closed for it. One over the user's rate is taken unless the
// connection sends many: another connection may be to blame.
func (t *Throttle) Control(user domain.UserID, loggedIn bool) bool {
	if t.Frames != nil && !t.Frames.Allow() {
		t.OverRate.Add(1)
		return false
	}
	return !loggedIn || t.ofUser(user, 1) == 0 || t.MayRefuse(user)
}

// ofUser counts n frames for the user.
func (t *Throttle) ofUser(user domain.UserID, n int) time.Duration {
	if t.Rates.Frames == nil {
		return 0
	}
	return t.Rates.Frames.Take(user, n)
}

// MayRefuse counts a frame over a rate; false if the connection has to be closed for it.
func (t *Throttle) MayRefuse(user domain.UserID) bool {
	if t.refused == nil {
		t.refused = rate.NewLimiter(RefusalsPerSecond, MaxRefusals)
	}
	now := time.Now()
	if !t.refused.AllowN(now, 1) {
		return false
	}
	r := t.Rates.Refusals
	return r == nil || r.Take(user, 1) == 0 || t.refused.TokensAt(now) >= MaxRefusals-refusalsInNeed
}
