package ws

import "time"

// keep looks after the deadlines of all connections until the server stops. One goroutine does it for all, because a
// timer a connection costs memory that idle connections are made of.
func (s *Server) keep() {
	defer close(s.keeperDone)
	ticker := time.NewTicker(s.options.Times.Scan)
	defer ticker.Stop()
	var connections []*connection
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		connections = s.snapshot(connections[:0])
		for i, c := range connections {
			s.guard(c.keep, c.abort)
			connections[i] = nil
		}
	}
}

// keep does what is due: end a connection that did not log in, whose token expired or whose peer is silent, ping it, ask it
// what it has received, cut one that does not end.
//
// The original server pings after 20 s of silence and drops the connection 30 s later without a close frame. Here it is
// closed with 1001, which a peer that is gone does not see either.
func (c *connection) keep() {
	now, times := time.Now(), &c.server.options.Times
	heard := c.sock.lastHeard()
	c.out.mu.Lock()
	c.askLocked(now)
	var do func()
	switch {
	case c.out.closing:
		// Deadlines of the socket do this; the keeper is there for a socket whose deadlines fail.
		if now.After(c.out.closeBy.Add(2*times.Drain + times.Scan)) {
			do = c.abort
		}
	case !c.named && now.Sub(c.began) >= times.FirstFrame:
		do = func() { c.out.closeBecause(closeUnauthenticated, "no token in time") }
	case !c.expires.IsZero() && !c.server.deps.Now().Before(c.expires):
		do = func() { c.out.closeBecause(closeUnauthenticated, "its token expired") }
	case c.busy || now.Sub(heard) < times.Silence:
	case !c.pinged.After(heard):
		c.pinged = now
		do = c.out.ping
	case now.Sub(c.pinged) >= times.Pong:
		do = func() { c.out.close(closeGone) }
	}
	c.out.mu.Unlock()
	if do != nil {
		do()
	}
}
