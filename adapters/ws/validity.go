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
	mu      sync.Mutex
	expires time.Time // zero for never
	told    bool      // the login is answered
	warned  bool      // that this token expires soon
}

// TokenExpires implements application.Connection.
func (c *connection) TokenExpires(at time.Time) {
	c.token.mu.Lock()
	defer c.token.mu.Unlock()
	c.token.expires = at
}

// answerLogin sends the answer to the login.
func (c *connection) answerLogin(answer []byte) {
	c.token.mu.Lock()
	defer c.token.mu.Unlock()
	if c.Has(port.FeatureTokenRenewal) && !c.token.expires.IsZero() {
		answer = wire.WithTokenExpiry(answer, c.token.expires)
	}
	c.out.send(answer)
	c.token.told = true
	c.warnLocked(c.server.deps.Now())
}

// renewed notes that a new token counts, until expires, and answers a client that asked for it.
func (c *connection) renewed(expires time.Time) {
	c.token.mu.Lock()
	defer c.token.mu.Unlock()
	c.token.expires, c.token.warned = expires, false
	now := c.server.deps.Now()
	if c.Has(port.FeatureTokenRenewal) {
		c.out.send(wire.TokenRenewedFrame(domain.UserID(c.owner.Load()), expires, now))
	}
	c.warnLocked(now)
}

// isExpired tells whether the token's time is over. Before, it warns the client when that is due.
func (c *connection) isExpired() bool {
	c.token.mu.Lock()
	defer c.token.mu.Unlock()
	if c.token.expires.IsZero() {
		return false
	}
	now := c.server.deps.Now()
	c.warnLocked(now)
	return !now.Before(c.token.expires)
}

// warnLocked tells a client that asked for it, once, that its token expires soon.
func (c *connection) warnLocked(now time.Time) {
	ahead, left := c.server.options.Times.TokenWarning, c.token.expires.Sub(now)
	if c.token.expires.IsZero() || !c.token.told || c.token.warned || left <= 0 || left > ahead || !c.Has(port.FeatureTokenRenewal) {
		return
	}
	c.token.warned = true
	c.out.send(wire.TokenExpiringFrame(domain.UserID(c.owner.Load()), c.token.expires, now))
}
