package ws

import (
	"sync"
	"time"

	"chatting/adapters/wire"
	"chatting/application/port"
	"chatting/domain"
)

// validity is until when the token of a connection counts. Its lock orders the frames about it: nobody gets the warning about
// an earlier token behind the answer to its renewal, or any of them before the answer to the login. The keeper sends the
// warnings.
type validity struct {
	out   *outbound
	ahead time.Duration // as Times.TokenWarning
	now   port.Clock

	mu      sync.Mutex
	expires time.Time     // zero for never
	told    bool          // the login is answered
	user    domain.UserID // 0 before that
	informs bool          // the client has the feature; false before the login is answered
	warned  bool          // that this token expires soon
}

func (v *validity) init(out *outbound, ahead time.Duration, now port.Clock) {
	v.out, v.ahead, v.now = out, ahead, now
}

// until says until when the token of the login counts; the zero Time is never.
func (v *validity) until(expires time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.expires = expires
}

// answerLogin sends a user the answer to the login. A client that is informed learns until when its token counts, now and later.
func (v *validity) answerLogin(user domain.UserID, answer []byte, informs bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.user, v.informs = user, informs
	if v.informs && !v.expires.IsZero() {
		answer = wire.WithTokenExpiry(answer, v.expires)
	}
	v.out.send(answer)
	v.told = true
	v.warnLocked(v.now())
}

// renewed notes that a new token counts, until expires, and answers a client that asked for it.
func (v *validity) renewed(expires time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.expires, v.warned = expires, false
	now := v.now()
	if v.informs {
		v.out.send(wire.TokenRenewedFrame(v.user, expires, now))
	}
	v.warnLocked(now)
}

// isExpired tells whether the token's time is over. Before, it warns the client when that is due.
func (v *validity) isExpired() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.expires.IsZero() {
		return false
	}
	now := v.now()
	v.warnLocked(now)
	return !now.Before(v.expires)
}

// warnLocked tells a client that asked for it, once, that its token expires soon.
func (v *validity) warnLocked(now time.Time) {
	left := v.expires.Sub(now)
	if v.expires.IsZero() || !v.told || v.warned || left <= 0 || left > v.ahead || !v.informs {
		return
	}
	v.warned = true
	v.out.send(wire.TokenExpiringFrame(v.user, v.expires, now))
}
