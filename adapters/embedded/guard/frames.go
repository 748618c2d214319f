package guard

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/sync/semaphore"

	"chatting/adapters/embedded/protocol"
)

// smallFrame is how much of a request or an answer may be held without room. The number of connections bounds that.
const smallFrame = protocol.MaxOtherFrame

// frames reads and writes the frames of a connection, within their deadlines and bounds.
type frames struct {
	conn   net.Conn
	reader *bufio.Reader
	own    bool // of the server itself: without deadlines, and without bounds
	times  deadlines
	room   room // for a large request
}

// deadlines are for how long a client may take.
type deadlines struct {
	frame time.Duration // from the first byte of a request to its last, and for writing one answer
	stall time.Duration // for smallFrame bytes of them
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

// frameHead is what read looks at before it makes room for a frame: size, API key, version.
const frameHead = 4 + 2 + 2

// read reads one frame and returns it without its size. Nothing is allocated for what does not come: a frame above
// smallFrame gets room once its first part is there. ctx bounds the wait for room.
func (f *frames) read(ctx context.Context) ([]byte, error) {
	var head [frameHead]byte
	if err := f.conn.SetReadDeadline(f.after(idleTimeout)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(f.reader, head[:1]); err != nil {
		return nil, err
	}
	deadline := f.after(f.times.frame)
	if err := f.conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(f.reader, head[1:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if err := protocol.CheckSize(size, protocol.KeyOf(head[4:]), f.own); err != nil {
		return nil, err
	}
	frame := make([]byte, min(size, smallFrame))
	copy(frame, head[4:])
	if _, err := io.ReadFull(f.reader, frame[frameHead-4:]); err != nil || size <= smallFrame {
		return frame, err
	}
	if !f.own {
		ctx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		if err := f.room.take(ctx, int64(size)); err != nil {
			return nil, protocol.Refuse("no room for a frame of %d bytes: %v", size, err)
		}
	}
	whole := make([]byte, size)
	for have := copy(whole, frame); have < len(whole); {
		if err := f.conn.SetReadDeadline(sooner(deadline, f.after(f.times.stall))); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(f.reader, whole[have:min(have+smallFrame, len(whole))])
		if err != nil {
			return nil, err
		}
		have += n
	}
	return whole, nil
}

// write writes an answer; nil is that there is none. A client that does not read is left.
func (f *frames) write(answer []byte) error {
	deadline := f.after(f.times.frame)
	for len(answer) > 0 {
		if err := f.conn.SetWriteDeadline(sooner(deadline, f.after(f.times.stall))); err != nil {
			return err
		}
		n, err := f.conn.Write(answer[:min(len(answer), smallFrame)])
		if isTimeout(err) {
			return protocol.Refuse("an answer of which %d bytes are left was not read in time", len(answer)-n)
		}
		if err != nil {
			return err
		}
		answer = answer[n:]
	}
	return nil
}

// after is the deadline for a client that is to do something within d. The server's own connections have none: whatever
// keeps the server from reading, its broker does not hang up on it.
func (f *frames) after(d time.Duration) time.Time {
	if f.own {
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

// untilGone watches the connection while a request waits: if the peer hangs up, it calls gone. What the peer sends
// meanwhile stays in the reader. stop must be called before the next read.
func (f *frames) untilGone(gone func()) (stop func()) {
	if f.reader.Buffered() > 0 || f.conn.SetReadDeadline(time.Time{}) != nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := f.reader.Peek(1); err != nil && !isTimeout(err) {
			gone()
		}
	}()
	return func() {
		_ = f.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, which ends Peek as well
		<-done
	}
}

// isTimeout tells whether a deadline has passed, of a connection of either kind.
func isTimeout(err error) bool {
	var of interface{ Timeout() bool }
	return errors.As(err, &of) && of.Timeout()
}
