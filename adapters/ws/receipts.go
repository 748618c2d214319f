package ws

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/application"
)

// receipts is what a client has been sent and has not confirmed, by the places in the log that came with the frames. A
// client confirms by its pong to a ping that was queued behind the frames, or by closing the connection itself once they
// were written. It is guarded by out.mu.
type receipts struct {
	// noted is the latest place of each partition since the last ping, since when the first of them was queued.
	noted []application.Position
	since time.Time
	asked []question // oldest first
}

// question is a ping that stands in the queue, or was written, behind the frames of these places. behind is how many bytes
// were ever queued up to it: its name, which the pong brings back.
type question struct {
	behind uint64
	places []application.Position
}

// maxQuestions bounds the pings without a pong of one connection. At the bound places are noted, and asked for once there
// is an answer.
const maxQuestions = 32

// noteLocked remembers that the frame queued last stands at.
func (c *connection) noteLocked(at application.Position) {
	if c.receipts == nil {
		c.receipts = &receipts{}
	}
	r := c.receipts
	if len(r.noted) == 0 {
		r.since = time.Now()
	}
	r.noted = merge(r.noted, at)
}

// merge notes a place that is later than those noted of its partition.
func merge(places []application.Position, at application.Position) []application.Position {
	for i := range places {
		if places[i].Partition == at.Partition {
			places[i] = at
			return places
		}
	}
	return append(places, at)
}

// askLocked queues a ping if places were noted Receipt before now; at once where now is zero.
func (c *connection) askLocked(now time.Time) {
	r := c.receipts
	if r == nil || c.out.closing || len(r.noted) == 0 || len(r.asked) >= maxQuestions ||
		!now.IsZero() && now.Sub(r.since) < c.server.options.Times.Receipt ||
		c.out.pendingLocked()+questionBytes > c.out.limit {
		return
	}
	behind := c.out.total
	if !c.out.queueLocked(opPing, binary.BigEndian.AppendUint64(nil, behind)) {
		c.out.closeLocked(closeSlow, true)
		return
	}
	r.asked = append(r.asked, question{behind: behind, places: r.noted})
	r.noted = nil
}

// questionBytes is what such a ping takes.
const questionBytes = 8 + maxHeader

// received takes the answer to a ping; false when it is none to a question.
func (c *connection) received(data string) bool {
	if len(data) != 8 {
		return false
	}
	behind := binary.BigEndian.Uint64([]byte(data))
	return c.confirm(func(r *receipts) (places []application.Position, answer bool) {
		for i, q := range r.asked {
			if q.behind == behind {
				// A client may answer the latest of several pings only (RFC 6455 §5.5.3).
				return r.take(i + 1), true
			}
		}
		return nil, false
	})
}

// closePatience is for how long a client's close waits for the write under way: much longer than a write takes that does not
// have to wait for the client.
const closePatience = 100 * time.Millisecond

// receivedBeforeClose takes the client's close for the receipt of what had been written by then. Frames that crossed it
// on their way are among that: clients that close have an end to what they want.
func (c *connection) receivedBeforeClose() {
	c.confirm(func(r *receipts) ([]application.Position, bool) {
		c.out.awaitWriteLocked(closePatience)
		if c.out.dropped {
			return nil, false
		}
		// Less than that where control frames are being written.
		written := int64(c.out.total) - int64(c.out.pendingLocked())
		n := 0
		for n < len(r.asked) && int64(r.asked[n].behind) <= written {
			n++
		}
		places := r.take(n)
		if written == int64(c.out.total) {
			places = append(places, r.noted...)
			r.noted = nil
		}
		return places, true
	})
}

// closeAnswered takes the client's answer to the server's own close frame, which stands behind all frames: with the same
// code it is no close of its own that crossed.
func (c *connection) closeAnswered(err error) {
	var closed *websocket.CloseError
	if !errors.As(err, &closed) {
		return
	}
	c.confirm(func(r *receipts) ([]application.Position, bool) {
		if closed.Code != int(c.out.code) || !c.out.sent || c.out.dropped {
			return nil, false
		}
		places := append(r.take(len(r.asked)), r.noted...)
		r.noted = nil
		return places, true
	})
}

// take returns the places of the first n questions, which are answered.
func (r *receipts) take(n int) (places []application.Position) {
	for _, q := range r.asked[:n] {
		for _, at := range q.places {
			places = merge(places, at)
		}
	}
	r.asked = r.asked[n:]
	return places
}

// confirm tells the session what take finds confirmed. It runs on the reading goroutine.
func (c *connection) confirm(take func(*receipts) (places []application.Position, answer bool)) bool {
	if c.session == nil {
		return false
	}
	c.out.mu.Lock()
	r := c.receipts
	if r == nil {
		c.out.mu.Unlock()
		return false
	}
	places, answer := take(r)
	if len(r.asked) == 0 && len(r.noted) == 0 {
		c.receipts = nil
	}
	c.out.mu.Unlock()
	if len(places) > 0 {
		c.session.Received(places)
	}
	return answer
}
