package ws

import "sync/atomic"

// Counts are what a server counts of its connections, for whoever wants to know. They are read at any time.
type Counts struct {
	roster *roster
	closed [causes]atomic.Uint64
	// overRate counts frames over the rate of their connection.
	overRate                atomic.Uint64
	recovered, notRecovered atomic.Uint64
}

// Counts returns the counts of the server.
func (s *Server) Counts() *Counts { return &s.counts }

// Connections returns how many connections have not logged in, and how many have.
func (c *Counts) Connections() (login, open int) { return c.roster.sizes() }

// Refusals are how often the limits of a server refused something.
type Refusals struct {
	Connections      uint64 // Options.MaxConnections; also where another connection made room
	OfAddress        uint64 // Options.MaxPerAddress
	ConnectionFrames uint64 // Options.FramesPerSecond
	OfUser           uint64 // connections that a newer one of their user replaced
}

// Refusals returns how often the limits refused something.
func (c *Counts) Refusals() Refusals {
	refusals := c.roster.refusals()
	refusals.ConnectionFrames, refusals.OfUser = c.overRate.Load(), c.closed[closeReplaced].Load()
	return refusals
}

// Resumes returns how many logins named a resume token and got everything that they had missed, and how many did not.
func (c *Counts) Resumes() (recovered, notRecovered uint64) {
	return c.recovered.Load(), c.notRecovered.Load()
}

// Closing is a way in which connections end: the code and the reason of the close frame. Without a close frame it is 1006, and
// the reason is connection_lost.
type Closing struct {
	Code   int
	Reason string

	cause closeCause
}

// Closings returns all ways in which connections end.
func Closings() []Closing {
	all := make([]Closing, 0, causes)
	for cause, closing := range closings {
		reason := closing.reason
		if closeCause(cause) == closeAbnormal {
			reason = "connection_lost"
		}
		all = append(all, Closing{closing.code, reason, closeCause(cause)})
	}
	return all
}

// Closed returns how many connections have ended in a way.
func (c *Counts) Closed(how Closing) uint64 { return c.closed[how.cause].Load() }

// ended counts a connection that has ended for a cause.
func (c *Counts) ended(cause closeCause) { c.closed[cause].Add(1) }

// resumed counts a login that named a resume token.
func (c *Counts) resumed(recovered bool) {
	if recovered {
		c.recovered.Add(1)
		return
	}
	c.notRecovered.Add(1)
}
