package socket

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"time"

	"chatting/adapters/ws/rfc6455"
	"chatting/application/ledger"
)

const (
	// coalesce is how many bytes of whole frames go into one write, at least one frame.
	coalesce = 32 << 10
	// keepBuffer is the largest buffer that goes back to the pool.
	keepBuffer = 64 << 10
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Buffer returns an empty buffer for frames. Recycle takes it back.
func Buffer() *[]byte { return buffers.Get().(*[]byte) }

// Recycle takes back a buffer that nobody uses any more.
func Recycle(buffer *[]byte) {
	if cap(*buffer) <= keepBuffer {
		*buffer = (*buffer)[:0]
		buffers.Put(buffer)
	}
}

// frameQueue is the frames that wait to be written, in bytes as they go out. It is data of an Outbound, whose lock guards it.
type frameQueue struct {
	// held counts the bytes of the queue and of what the writer took from it.
	held   *ledger.Holding
	frames *[]byte // whole frames; nil for none
	total  uint64  // bytes that ever were in frames
	unsent int     // bytes that the writer took from frames and has not written
}

// add queues a frame; false if the ledger has no room for it.
func (q *frameQueue) add(opcode byte, payload []byte) bool {
	size := rfc6455.Length(len(payload))
	if !q.held.Hold(size) {
		return false
	}
	if q.frames == nil {
		q.frames = Buffer()
	}
	*q.frames = rfc6455.Append(*q.frames, opcode, payload)
	q.total += uint64(size)
	return true
}

// pending returns how many bytes were queued and are not known to be written.
func (q *frameQueue) pending() int {
	if q.frames == nil {
		return q.unsent
	}
	return len(*q.frames) + q.unsent
}

// drop forgets the frames that the writer did not take.
func (q *frameQueue) drop() {
	if q.frames != nil {
		q.held.Release(len(*q.frames))
		Recycle(q.frames)
		q.frames = nil
	}
}

// controlFrames are the ping and the pong that are due. They do not wait for the frames of the queue. They are data of an
// Outbound, whose lock guards them.
type controlFrames struct {
	ping, pong bool
	answer     string // of the pong
}

// take returns the frames that are due, nil for none.
func (c *controlFrames) take() (frames []byte) {
	if c.ping {
		frames = rfc6455.Append(frames, rfc6455.Ping, nil)
	}
	if c.pong {
		frames = rfc6455.Append(frames, rfc6455.Pong, []byte(c.answer))
	}
	c.ping, c.pong = false, false
	return frames
}

// writer is the goroutine that writes to a socket, and the frames that it took from the queue. It ends when nothing is left.
type writer struct {
	out    *Outbound
	held   *ledger.Holding
	buffer *[]byte // the frames that it took; nil for none
	rest   []byte  // the part of them that was not written
}

func (w *writer) write() {
	for {
		chunk, last := w.out.next(w)
		if chunk == nil {
			return
		}
		n, err := w.out.sock.Conn.Write(chunk)
		if errors.Is(err, os.ErrDeadlineExceeded) && w.out.CloseAsSlow() {
			err = w.endFrame(bytes.Clone(rfc6455.Rest(chunk, n)))
		}
		if err != nil {
			w.out.Abort()
			continue
		}
		w.held.Progress()
		w.shrink()
		if last {
			w.out.sock.closeWrite()
			_ = w.out.sock.Conn.SetReadDeadline(time.Now().Add(w.out.options.Drain))
		}
	}
}

// refill takes the frames of the queue once the writer's own were written.
func (w *writer) refill(q *frameQueue) {
	if len(w.rest) > 0 {
		return
	}
	if w.buffer != nil {
		w.held.Release(len(*w.buffer))
		Recycle(w.buffer)
		w.buffer = nil
	}
	if q.frames != nil {
		w.buffer, q.frames = q.frames, nil
		w.rest = *w.buffer
	}
}

// chunk returns the frames of the next write.
func (w *writer) chunk() []byte {
	n := rfc6455.Fit(w.rest, coalesce)
	chunk := w.rest[:n]
	w.rest = w.rest[n:]
	return chunk
}

// shrink gives back the written part of many frames once that is more than half. So a slow reader does not hold what it has got.
func (w *writer) shrink() {
	if len(w.rest) == 0 || len(*w.buffer) <= keepBuffer {
		return
	}
	if written := len(*w.buffer) - len(w.rest); written > len(w.rest) {
		rest := bytes.Clone(w.rest)
		w.buffer, w.rest = &rest, rest
		w.held.Release(written)
	}
}

// endFrame writes the rest of a frame that was cut in the middle, without which the close frame could not be understood. It may
// take as long as closing may. Nothing else is held any more.
func (w *writer) endFrame(tail []byte) error {
	if w.buffer != nil {
		Recycle(w.buffer)
	}
	w.buffer, w.rest = nil, nil
	if !w.held.Keep(len(tail)) {
		return ErrNoRoom
	}
	_, err := w.out.sock.Conn.Write(tail)
	w.held.Keep(0)
	return err
}

// ErrNoRoom says that others hold too many bytes.
var ErrNoRoom = errors.New("no room for more bytes")
