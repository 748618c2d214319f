package ws

import (
	"math"
	"net/netip"
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
	// Frames bounds the frames of a user. They are counted as those of a connection are: see Options.FramesPerSecond.
	Frames UserRate
	// Refusals bounds how many frames of a user may be refused for being over a rate, before its connections that send such
	// frames are closed.
	Refusals UserRate
	// Logins bounds the attempts of an address to log in, successful or not.
	Logins AddressRate
}

// takeLogin counts a login from an address and returns 0, or after how long it may come.
func (r *Rates) takeLogin(address netip.Addr) time.Duration {
	if r.Logins == nil || !address.IsValid() {
		return 0
	}
	return r.Logins.Take(address, 1)
}

// loginWait returns after how long a login may come from an address; 0 if it may now.
func (r *Rates) loginWait(address netip.Addr) time.Duration {
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

// throttle counts what one connection sends, for itself and for its user. It belongs to the reading goroutine.
type throttle struct {
	rates   *Rates
	counts  *Counts
	frames  *rate.Limiter // nil for no limit
	refused *rate.Limiter // of frames over a rate; nil until there was one
}

// message counts a message of size bytes: as one frame, and another for every 4 KiB, so that the rates bound bytes as well; never
// as more than may be sent at once. now is when it was read. It returns 0, or after how long the message would not be over a rate.
func (t *throttle) message(now time.Time, user domain.UserID, size int) time.Duration {
	cost := 1 + size/costBytes
	if t.frames != nil {
		own := min(cost, t.frames.Burst())
		if !t.frames.AllowN(now, own) {
			t.counts.overRate.Add(1)
			missing := float64(own) - t.frames.TokensAt(now)
			return max(1, time.Duration(math.Ceil(missing/float64(t.frames.Limit())*float64(time.Second))))
		}
	}
	return t.ofUser(user, cost)
}

// control counts a control frame; false if the connection has to be closed for it. One over the user's rate is taken unless the
// connection sends many: another connection may be to blame.
func (t *throttle) control(user domain.UserID, loggedIn bool) bool {
	if t.frames != nil && !t.frames.Allow() {
		t.counts.overRate.Add(1)
		return false
	}
	return !loggedIn || t.ofUser(user, 1) == 0 || t.mayRefuse(user)
}

// ofUser counts n frames for the user.
func (t *throttle) ofUser(user domain.UserID, n int) time.Duration {
	if t.rates.Frames == nil {
		return 0
	}
	return t.rates.Frames.Take(user, n)
}

// mayRefuse counts a frame over a rate; false if the connection has to be closed for it.
func (t *throttle) mayRefuse(user domain.UserID) bool {
	if t.refused == nil {
		t.refused = rate.NewLimiter(RefusalsPerSecond, MaxRefusals)
	}
	now := time.Now()
	if !t.refused.AllowN(now, 1) {
		return false
	}
	r := t.rates.Refusals
	return r == nil || r.Take(user, 1) == 0 || t.refused.TokensAt(now) >= MaxRefusals-refusalsInNeed
}
