package guard

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/logdir"
	"chatting/adapters/embedded/protocol"
)

// client is one connection, of a client or of the server itself. One goroutine serves it: it reads a request, has kfake
// answer it and writes the answer before it reads the next request.
type client struct {
	frames
	guard *Guard

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	// idleSince is when the last answer was written, or the connection came: as upFor. It is 0 while a
	// request is being answered.
	idleSince atomic.Int64

	// What follows is the serving goroutine's only.
	parked   *lane        // for requests that kfake may answer late; nil until one comes
	answer   room         // for a large answer
	appended []logdir.End // what the next answer tells of
}

var began = time.Now()

// upFor is for how long this process has run, in nanoseconds: a time that does not leap. It is never 0.
func upFor() int64 { return int64(time.Since(began)) + 1 }

func newClient(g *Guard, conn net.Conn, own bool) *client {
	ctx, cancel := context.WithCancel(g.ctx)
	c := &client{
		frames: frames{conn: conn, reader: bufio.NewReader(conn), own: own, times: g.times, room: room{of: g.requests}},
		guard:  g, ctx: ctx, cancel: cancel, answer: room{of: g.answers},
	}
	c.idleSince.Store(upFor())
	return c
}

// serve answers requests until the connection ends.
func (c *client) serve() {
	defer c.guard.forget(c)
	defer c.hangUp()
	defer c.room.shrink(0)
	defer c.answer.shrink(0)
	for {
		frame, err := c.read(c.ctx)
		if err == nil {
			c.idleSince.Store(0)
			var answer []byte
			answer, err = c.respond(frame)
			c.room.shrink(0)
			if err == nil {
				err = c.write(answer)
			}
			c.answer.shrink(0)
			c.idleSince.Store(upFor())
		}
		if err != nil {
			var refusal protocol.RefusalError
			if errors.As(err, &refusal) {
				c.refused("request", err)
			}
			return
		}
	}
}

// hangUp closes the connection and its lane. It can be called from anywhere, and again.
func (c *client) hangUp() {
	c.cancel()
	_ = c.conn.Close() // the peer learns by it
}

// ownLane returns the lane that only this client uses. It is closed when the client is hung up on.
func (c *client) ownLane() (*lane, error) {
	if c.parked == nil {
		lane, err := c.guard.engine.dial(c.conn.RemoteAddr())
		if err != nil {
			return nil, err
		}
		context.AfterFunc(c.ctx, lane.close)
		c.parked = lane
	}
	return c.parked, nil
}

// respond returns the answer to a request. An error ends the connection.
func (c *client) respond(frame []byte) ([]byte, error) {
	key := protocol.KeyOf(frame)
	if key == kmsg.Fetch {
		return c.fetch(frame)
	}
	if c.own {
		return c.pass(frame)
	}
	if err := c.pace(key); err != nil {
		return nil, err
	}
	var answer []byte
	var late bool
	err := c.turn(func(l *lane) (err error) {
		r, err := protocol.Parse(frame)
		if err != nil {
			return err
		}
		answer, late, err = question{r, c, l}.answer()
		return err
	})
	if late && err == nil {
		if answer, err = c.wait(frame); err == nil {
			err = c.makeRoom(answer)
		}
	}
	if err != nil {
		return nil, err
	}
	return answer, c.settle(key)
}

// settle returns nil once what the client is about to be told is synced. It is no longer the client's turn meanwhile.
func (c *client) settle(key kmsg.Key) error {
	ends := c.appended
	c.appended = nil
	switch key {
	case kmsg.Produce:
		return c.guard.log.Await(ends, c.ctx.Done())
	case kmsg.OffsetCommit, kmsg.OffsetFetch, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.LeaveGroup:
		return c.guard.log.AwaitGroups(c.ctx.Done())
	}
	return nil
}

// pass has kfake answer a request of the server's own as it is.
func (c *client) pass(frame []byte) ([]byte, error) {
	key := protocol.KeyOf(frame)
	answer, err := c.wait(frame)
	if err != nil {
		return nil, err
	}
	switch key {
	case kmsg.Produce:
		answered := kmsg.NewPtrProduceResponse()
		r, err := readBoth(frame, answer, answered)
		if err != nil {
			return nil, err
		}
		if body, ok := r.Body.(*kmsg.ProduceRequest); ok {
			c.appended = producedTo(body, answered)
		}
	case kmsg.ListOffsets:
		answered := kmsg.NewPtrListOffsetsResponse()
		if _, err := readBoth(frame, answer, answered); err != nil {
			return nil, err
		}
		c.guard.shown.offsets(answered)
		answer = protocol.FrameAnswer(protocol.CorrelationOf(answer), answered)
	case kmsg.CreateTopics, kmsg.IncrementalAlterConfigs:
		c.guard.topicsChanged()
	}
	return answer, c.settle(key)
}

// readBoth reads a request and kfake's answer to it.
func readBoth(frame, answer []byte, response kmsg.Response) (protocol.Request, error) {
	r, err := protocol.Parse(frame)
	if err != nil {
		return r, err
	}
	return r, protocol.ReadAnswer(answer, r.Body.GetVersion(), response)
}

// wait has kfake answer a request over the client's own lane, which may take long.
func (c *client) wait(frame []byte) ([]byte, error) {
	lane, err := c.ownLane()
	if err != nil {
		return nil, err
	}
	switch protocol.KeyOf(frame) {
	case kmsg.JoinGroup, kmsg.SyncGroup:
		defer c.untilGone(c.hangUp)()
	}
	return lane.send(frame, 0)
}

// turn calls do with a lane when it is the client's turn.
func (c *client) turn(do func(*lane) error) error {
	lane, err := c.guard.turns.take(c.ctx.Done())
	if err != nil {
		return err
	}
	err = do(lane)
	var refusal protocol.RefusalError
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
		ctx, cancel := context.WithTimeout(c.ctx, c.times.stall)
		defer cancel()
		if err := c.answer.take(ctx, more); err != nil {
			return protocol.Refuse("no room for an answer of %d bytes", len(answer))
		}
	}
	return nil
}

// refused counts what the client did that is not let through.
func (c *client) refused(what string, err error) { c.guard.refused(what, c.conn.RemoteAddr(), err) }
