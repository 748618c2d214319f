package ws

import (
	"net/netip"

	"chatting/application"
)

// noToken is why a login is refused whose first frame names no token.
const noToken = "no token in the first frame"

// visitor names the connection in log lines.
func (c *connection) visitor() application.Visitor {
	return application.Visitor{User: c.user, Address: addressText(c.address), Connection: c.number}
}

// refusedUpgrade logs a client that got no connection.
func (s *Server) refusedUpgrade(address netip.Addr, reason string) {
	s.deps.Logins.Refused(application.Visitor{Address: addressText(address)}, reason)
}

func addressText(address netip.Addr) string {
	if !address.IsValid() {
		return ""
	}
	return address.String()
}

// logEnd logs how the connection ended. One that its client ended before it sent a token was neither in nor refused.
func (c *connection) logEnd() {
	c.out.mu.Lock()
	reason := c.out.reason
	named, code := c.named, c.out.code
	c.out.mu.Unlock()
	if c.out.cutOff.Load() || c.receivingCut.Load() {
		reason = "cut off: too many bytes are under way"
	}
	switch logins := c.server.deps.Logins; {
	case c.session != nil:
		logins.LoggedOut(c.visitor(), reason)
	case c.evicted.Load():
		logins.Refused(c.visitor(), "its place was needed")
	case c.notIn != "":
		logins.Refused(c.visitor(), c.notIn)
	case named || code != closeAbnormal && code != closeNormal:
		logins.Refused(c.visitor(), reason)
	}
}
