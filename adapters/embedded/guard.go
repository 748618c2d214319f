package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

// Bounds of what all clients together can hold.
const (
	maxConnections = 1000
	// maxBytesInFlight bounds the frames above smallFrame that are being read; who finds no room waits, within
	// frameTimeout. Smaller frames are bounded by the number of connections.
	maxBytesInFlight = 64 << 20
	smallFrame       = 64 << 10
)

// Deadlines of one connection.
const (
	frameTimeout = 30 * time.Second // from the first byte of a frame to its last, and for writing one answer
	idleTimeout  = 10 * time.Minute // between frames: connections.max.idle.ms of Kafka
	acceptPause  = 50 * time.Millisecond
	// spareIdle is how long a connection keeps its place, whoever else needs one: the server's own connections, each of
	// which asks for something several times a second or is new, are never the ones to go.
	spareIdle   = 5 * time.Second
	noticeEvery = 10 * time.Second
)

// errShut is what the listener and its connections answer once they are shut.
var errShut = net.ErrClosed

// guardedListener hands kfake connections from which only whole, checked frames can be read. It owns them: each is
// closed by kfake, by a failed read or by shut, whichever comes first.
type guardedListener struct {
	net.Listener
	logger *slog.Logger
	budget *semaphore.Weighted
	done   chan struct{} // closed by stop

	limit        int           // maxConnections, less in tests
	frameTimeout time.Duration // likewise
	spareIdle    time.Duration // likewise

	refusals atomic.Int64
	notice   rate.Sometimes

	mu    sync.Mutex
	conns map[*guardedConn]struct{}
	open  sync.WaitGroup
}

func newGuardedListener(inner net.Listener, logger *slog.Logger) *guardedListener {
	return &guardedListener{
		Listener:     inner,
		logger:       logger,
		budget:       semaphore.NewWeighted(maxBytesInFlight),
		done:         make(chan struct{}),
		limit:        maxConnections,
		frameTimeout: frameTimeout,
		spareIdle:    spareIdle,
		notice:       rate.Sometimes{First: 1, Interval: noticeEvery},
		conns:        make(map[*guardedConn]struct{}),
	}
}

// Accept returns the next connection. Above the limit the one that has asked for nothing longest is closed, or, where all
// are busy, the new one. A failed accept (no more open files, say)
// is tried again after a pause, because kfake ends with the first error it sees here.
func (l *guardedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			select {
			case <-l.done:
				return nil, errShut
			case <-time.After(acceptPause):
			}
			l.refused("accept", l.Addr(), err)
			continue
		}
		guarded, err := l.admit(conn)
		if err != nil {
			l.refused("connection", conn.RemoteAddr(), errors.Join(err, conn.Close()))
			continue
		}
		return guarded, nil
	}
}

// admit takes conn under guard unless there are too many.
func (l *guardedListener) admit(conn net.Conn) (*guardedConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		return nil, errShut
	default:
	}
	if len(l.conns) >= l.limit {
		idle := l.idlest()
		if idle == nil {
			return nil, fmt.Errorf("there are %d already", l.limit)
		}
		_ = idle.Conn.Close() // its reader notices, and takes it out
	}
	ctx, cancel := context.WithCancel(context.Background())
	guarded := &guardedConn{Conn: conn, listener: l, ctx: ctx, cancel: cancel}
	guarded.asked.Store(time.Now().UnixNano())
	l.conns[guarded] = struct{}{}
	l.open.Add(1)
	return guarded, nil
}

// idlest returns the connection that has asked for nothing longest, if that is longer than spareIdle; else nil.
func (l *guardedListener) idlest() *guardedConn {
	var idlest *guardedConn
	oldest := time.Now().Add(-l.spareIdle).UnixNano()
	for conn := range l.conns {
		if asked := conn.asked.Load(); asked < oldest {
			idlest, oldest = conn, asked
		}
	}
	if idlest != nil {
		idlest.asked.Store(time.Now().UnixNano()) // chosen once
	}
	return idlest
}

// Close is kfake's: it ends Accept and leaves the connections to shut.
func (l *guardedListener) Close() error { l.stop(); return nil }

// stop ends Accept.
func (l *guardedListener) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
	default:
		close(l.done)
		_ = l.Listener.Close() // nothing was promised to who is not accepted yet
	}
}

// shut ends Accept and closes every connection. It does not wait.
func (l *guardedListener) shut() {
	l.stop()
	l.mu.Lock()
	conns := make([]*guardedConn, 0, len(l.conns))
	for conn := range l.conns {
		conns = append(conns, conn)
	}
	l.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close() // the peer learns by it; there is nobody else to tell
	}
}

// wait returns when every connection is closed.
func (l *guardedListener) wait() { l.open.Wait() }

// refused counts what a client did that is not let through, and logs it now and then.
func (l *guardedListener) refused(what string, peer net.Addr, err error) {
	total := l.refusals.Add(1)
	l.notice.Do(func() {
		l.logger.Warn("embedded Kafka broker: refused", "what", what, "address", peer, "reason", err, "refusals", total)
	})
}

// guardedConn is a connection whose Read yields only whole frames that admit let through. kfake reads from one
// goroutine and writes from another; Close may come from anywhere.
type guardedConn struct {
	net.Conn
	listener *guardedListener
	ctx      context.Context // ends with the connection: waiting for room in the budget must
	cancel   context.CancelFunc
	closing  sync.Once
	asked    atomic.Int64 // when the last frame came whole, or the connection: Unix time in nanoseconds

	// Of the reading goroutine only.
	pending []byte // of the current frame, what kfake has not taken yet
	held    int64  // of the budget, for the current frame
}

// Read implements net.Conn.
func (c *guardedConn) Read(p []byte) (int, error) {
	if len(c.pending) == 0 {
		if err := c.nextFrame(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	if len(c.pending) == 0 {
		c.pending = nil
		c.release()
	}
	return n, nil
}

// nextFrame reads the next frame to its end and has it checked. After an error the connection is closed.
func (c *guardedConn) nextFrame() error {
	frame, err := c.readFrame()
	if err == nil {
		frame, err = admit(frame, time.Now())
	}
	if err != nil {
		c.release()
		var refusal refusalError
		if errors.As(err, &refusal) {
			c.listener.refused("request", c.RemoteAddr(), err)
		}
		_ = c.Close() // kfake closes as well; the refused client is not to wait for that
		return err
	}
	c.pending = binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(frame)), uint32(len(frame)))
	c.pending = append(c.pending, frame...)
	c.asked.Store(time.Now().UnixNano())
	return nil
}

// frameHead is what readFrame looks at before it makes room for a frame: size, API key, version.
const frameHead = 4 + 2 + 2

// readFrame reads one frame and returns it without its size. No more is allocated than the sender's API may have.
func (c *guardedConn) readFrame() ([]byte, error) {
	var head [frameHead]byte
	if err := c.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c.Conn, head[:1]); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(c.listener.frameTimeout)
	if err := c.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c.Conn, head[1:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if err := checkSize(size, int16(binary.BigEndian.Uint16(head[4:]))); err != nil {
		return nil, err
	}
	if err := c.acquire(int64(size), deadline); err != nil {
		return nil, err
	}
	frame := make([]byte, size)
	copy(frame, head[4:])
	if _, err := io.ReadFull(c.Conn, frame[frameHead-4:]); err != nil {
		return nil, err
	}
	return frame, nil
}

// acquire waits for room for a frame of size bytes.
func (c *guardedConn) acquire(size int64, deadline time.Time) error {
	if size <= smallFrame {
		return nil
	}
	ctx, cancel := context.WithDeadline(c.ctx, deadline)
	defer cancel()
	if err := c.listener.budget.Acquire(ctx, size); err != nil {
		return refuse("no room for a frame of %d bytes: %v", size, err)
	}
	c.held = size
	return nil
}

// release gives back the room of the current frame.
func (c *guardedConn) release() {
	if c.held > 0 {
		c.listener.budget.Release(c.held)
		c.held = 0
	}
}

// Write implements net.Conn. kfake writes one whole answer at a time; a client that does not read it in time is closed.
func (c *guardedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.listener.frameTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *guardedConn) Close() error {
	err := errShut
	c.closing.Do(func() {
		err = c.Conn.Close()
		c.cancel()
		l := c.listener
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
		l.open.Done()
	})
	return err
}
