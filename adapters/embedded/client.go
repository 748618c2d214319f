package embedded

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// client is one connection, of a client or of the server itself. One goroutine serves it: it reads a request, has kfake
// answer it and writes the answer before it reads the next request.
type client struct {
	conn   net.Conn
	guard  *guard
	own    bool // of the server itself
	reader *bufio.Reader

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	// idleSince is when the last answer was written, or the connection came: as upFor. It is 0 while a
	// request is being answered.
	idleSince atomic.Int64

	mu     sync.Mutex
	gone   bool
	parked *lane // for requests that kfake may answer late; nil until one comes

	request, answer room // of the serving goroutine only
}

var began = time.Now()

// upFor is for how long this process has run, in nanoseconds: a time that does not leap. It is never 0.
func upFor() int64 { return int64(time.Since(began)) + 1 }

func newClient(g *guard, conn net.Conn, own bool) *client {
	ctx, cancel := context.WithCancel(g.ctx)
	c := &client{conn: conn, guard: g, own: own, reader: bufio.NewReader(conn), ctx: ctx, cancel: cancel}
	c.request.of, c.answer.of = g.requests, g.answers
	c.idleSince.Store(upFor())
	return c
}

// room is what a client holds of a bound on bytes.
type room struct {
	of   *semaphore.Weighted
	held int64
}

// take waits for room for n bytes more.
func (r *room) take(ctx context.Context, n int64) error {
	if err := r.of.Acquire(ctx, n); err != nil {
		return err
	}
	r.held += n
	return nil
}

// shrink gives back what is above n bytes.
func (r *room) shrink(n int64) {
	if r.held > n {
		r.of.Release(r.held - n)
		r.held = n
	}
}

// serve answers requests until the connection ends.
func (c *client) serve() {
	defer c.guard.forget(c)
	defer c.hangUp()
	defer c.request.shrink(0)
	defer c.answer.shrink(0)
	for {
		frame, err := c.readFrame()
		if err == nil {
			c.idleSince.Store(0)
			var answer []byte
			answer, err = c.respond(frame)
			c.request.shrink(0)
			if err == nil {
				err = c.write(answer)
			}
			c.answer.shrink(0)
			c.idleSince.Store(upFor())
		}
		if err != nil {
			var refusal refusalError
			if errors.As(err, &refusal) {
				c.guard.refused("request", c.conn.RemoteAddr(), err)
			}
			return
		}
	}
}

// hangUp closes the connection and its lane. It can be called from anywhere, and again.
func (c *client) hangUp() {
	c.cancel()
	_ = c.conn.Close() // the peer learns by it
	c.mu.Lock()
	lane := c.parked
	c.gone, c.parked = true, nil
	c.mu.Unlock()
	if lane != nil {
		lane.close()
	}
}

// ownLane returns the lane that only this client uses.
func (c *client) ownLane() (*lane, error) {
	c.mu.Lock()
	lane, gone := c.parked, c.gone
	c.mu.Unlock()
	if lane != nil || gone {
		if gone {
			return nil, errGone
		}
		return lane, nil
	}
	lane, err := c.guard.engine.dial(c.conn.RemoteAddr())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		lane.close()
		return nil, errGone
	}
	c.parked = lane
	return lane, nil
}

// untilGone watches the connection while a request waits: a peer that hangs up ends it. What the peer sends meanwhile
// stays in the reader. stop must be called before the next read.
func (c *client) untilGone() (stop func()) {
	if c.reader.Buffered() > 0 || c.conn.SetReadDeadline(time.Time{}) != nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := c.reader.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.hangUp()
		}
	}()
	return func() {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, which ends Peek as well
		<-done
	}
}

// frameHead is what readFrame looks at before it makes room for a frame: size, API key, version.
const frameHead = 4 + 2 + 2

// readFrame reads one frame and returns it without its size. Nothing is allocated for what does not come: a frame above
// smallFrame gets room once its first part is there.
func (c *client) readFrame() ([]byte, error) {
	var head [frameHead]byte
	if err := c.conn.SetReadDeadline(c.after(idleTimeout)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c.reader, head[:1]); err != nil {
		return nil, err
	}
	deadline := c.after(c.guard.frameTimeout)
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c.reader, head[1:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if err := checkSize(size, int16(binary.BigEndian.Uint16(head[4:])), c.own); err != nil {
		return nil, err
	}
	frame := make([]byte, min(size, smallFrame))
	copy(frame, head[4:])
	if _, err := io.ReadFull(c.reader, frame[frameHead-4:]); err != nil || size <= smallFrame {
		return frame, err
	}
	if !c.own {
		ctx, cancel := context.WithDeadline(c.ctx, deadline)
		defer cancel()
		if err := c.request.take(ctx, int64(size)); err != nil {
			return nil, refuse("no room for a frame of %d bytes: %v", size, err)
		}
	}
	whole := make([]byte, size)
	for have := copy(whole, frame); have < len(whole); {
		if err := c.conn.SetReadDeadline(sooner(deadline, c.after(c.guard.stallTimeout))); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(c.reader, whole[have:min(have+smallFrame, len(whole))])
		if err != nil {
			return nil, err
		}
		have += n
	}
	return whole, nil
}

// after is the deadline for a client that is to do something within d. The server's own connections have none: whatever
// keeps the server from reading, its broker does not hang up on it.
func (c *client) after(d time.Duration) time.Time {
	if c.own {
		return time.Time{}
	}
	return time.Now().Add(d)
}

func sooner(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// write writes an answer; nil is that there is none. A client that does not read is left.
func (c *client) write(answer []byte) error {
	deadline := c.after(c.guard.frameTimeout)
	for len(answer) > 0 {
		if err := c.conn.SetWriteDeadline(sooner(deadline, c.after(c.guard.stallTimeout))); err != nil {
			return err
		}
		n, err := c.conn.Write(answer[:min(len(answer), smallFrame)])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return refuse("an answer of which %d bytes are left was not read in time", len(answer)-n)
		}
		if err != nil {
			return err
		}
		answer = answer[n:]
	}
	return nil
}

// respond returns the answer to a request. An error ends the connection.
func (c *client) respond(frame []byte) ([]byte, error) {
	if c.own {
		return c.pass(frame)
	}
	if keyOf(frame) == kmsg.Fetch {
		return c.fetch(frame)
	}
	if err := c.pace(keyOf(frame)); err != nil {
		return nil, err
	}
	var answer []byte
	var late bool
	err := c.turn(func(l *lane) (err error) {
		answer, late, err = c.answerIn(l, frame)
		return err
	})
	if late && err == nil {
		if answer, err = c.wait(frame); err == nil {
			err = c.makeRoom(answer)
		}
	}
	return answer, err
}

// pass has kfake answer a request of the server's own as it is.
func (c *client) pass(frame []byte) ([]byte, error) {
	answer, err := c.wait(frame)
	if err != nil {
		return nil, err
	}
	switch keyOf(frame) {
	case kmsg.Produce:
		if request, err := parse(frame); err == nil {
			if produced, ok := request.body.(*kmsg.ProduceRequest); ok {
				c.guard.appends.happened(producedTo(produced))
			}
		}
	case kmsg.CreateTopics, kmsg.IncrementalAlterConfigs:
		c.guard.topicsChanged()
	}
	return answer, nil
}

// wait has kfake answer a request over the client's own lane, which may take long.
func (c *client) wait(frame []byte) ([]byte, error) {
	lane, err := c.ownLane()
	if err != nil {
		return nil, err
	}
	switch keyOf(frame) {
	case kmsg.Fetch, kmsg.JoinGroup, kmsg.SyncGroup:
		defer c.untilGone()()
	}
	return lane.send(frame, 0)
}

// laneLimit is how long kfake may take for one request of a client. It answers those at once, so that this ends what no
// foresight covers.
const laneLimit = 30 * time.Second

// turn calls do with a lane when it is the client's turn.
func (c *client) turn(do func(*lane) error) error {
	lane, err := c.guard.turns.take(c.ctx.Done())
	if err != nil {
		return err
	}
	err = do(lane)
	var refusal refusalError
	if errors.As(err, &refusal) { // the lane was not used
		c.guard.turns.giveBack(lane, nil)
		return err
	}
	c.guard.turns.giveBack(lane, err)
	return err
}

// makeRoom waits for room for an answer that was not foreseen to be large.
func (c *client) makeRoom(answer []byte) error {
	if more := int64(len(answer)) - smallFrame - c.answer.held; more > 0 {
		ctx, cancel := context.WithTimeout(c.ctx, c.guard.stallTimeout)
		defer cancel()
		if err := c.answer.take(ctx, more); err != nil {
			return refuse("no room for an answer of %d bytes", len(answer))
		}
	}
	return nil
}
