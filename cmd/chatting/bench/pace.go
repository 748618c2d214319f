package bench

import (
	"context"
	"math"
	"time"
)

// schedule says when the messages of an open loop are to be sent, whatever becomes of those before. The rate rises evenly
// during the ramp.
type schedule struct {
	rate float64 // messages a second
	ramp time.Duration
}

// at returns when message k is due, since the beginning.
func (s schedule) at(k int64) time.Duration {
	ramp := s.ramp.Seconds()
	inRamp := s.rate * ramp / 2
	if float64(k) < inRamp {
		return seconds(math.Sqrt(2 * float64(k) * ramp / s.rate))
	}
	return seconds(ramp + (float64(k)-inRamp)/s.rate)
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// longestRest bounds how long a pacer does not look whether it shall end.
const longestRest = 50 * time.Millisecond

// pacer sends the messages of an open loop. A message that cannot be sent in time, because the client or the server is slow, is sent as
// soon as it can be, and its stamp has the time at which it was due. So the wait counts: otherwise a server that stands still
// for a second would spoil one message of each client instead of all that were due in that second.
type pacer struct {
	schedule schedule
	now      func() time.Duration
	rest     func(time.Duration)
	// send takes message k, and flush has all that were taken leave.
	send  func(k int64, due time.Duration)
	flush func()
	// late is told how late each message is sent.
	late func(due, by time.Duration)
}

// run sends messages until ctx ends.
func (p *pacer) run(ctx context.Context) {
	begun := p.now()
	due := begun
	for k := int64(0); ctx.Err() == nil; {
		now := p.now()
		if now < due {
			p.rest(min(due-now, longestRest))
			continue
		}
		for ; due <= now; due = begun + p.schedule.at(k) {
			p.late(due, now-due)
			p.send(k, due)
			k++
		}
		p.flush()
	}
}
