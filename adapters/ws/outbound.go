package ws

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"chatting/application"
)

// Frame bits (RFC 6455 §5.2).
const (
	finalBit = 0x80
	opText   = 0x1
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// coalesce is how many bytes of whole frames go into one write, at least one frame.
const coalesce = 32 << 10

// keepBuffer is the largest buffer that goes back to the pool.
const keepBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// outbound is the queue of what is to be written to one socket, in bytes as they go out. It is the only writer of the
// socket. Its methods neither block nor call anything but the socket, so they may be called under any lock.
//
// Bound: limit bytes, frame headers included, of which one write of about coalesce bytes may be on its way; and what the
// ledger has room for. When a frame does not fit, all frames not yet on their way are dropped and the connection is closed
// as slow (invariants 4 and 8). The ledger may also tell it to go for the sake of others: see cut.
// One ping and one pong (the answer to the latest ping) may wait beside the frames; pings that ask for a receipt stand among
// them.
//
// A goroutine writes while there is something to write, and ends.
type outbound struct {
	sock  *socket
	limit int
	times *Times
	guard func(f, instead func())
	// held counts the bytes of the queue and of what the writer took from it.
	held   *application.Holding
	cutOff atomic.Bool // by the ledger

	mu sync.Mutex
	// changed is signalled when the writer ends or has made room that was waited for, when closing begins, and by the
	// connection, which shares the lock.
	changed sync.Cond

	queue   *[]byte // whole frames; nil when empty
	writing bool    // the writer runs
	waiting bool    // somebody waits for room, or for what is being written
	chunks  uint64  // how many writes were begun
	unsent  int     // bytes that the writer took from the queue and has not written
	total   uint64  // bytes that ever were in the queue

	pingDue  bool
	pongDue  bool
	pongData []byte

	// closing is set for good when nothing more is taken. code is sent last.
	closing bool
	code    closeCode
	reason  string    // why, for log lines
	closeBy time.Time // when closing: until when the rest must be written
	dropped bool      // what the writer has taken and not written is to be left out
	sent    bool      // the close frame was handed to the writer
	cancel  func()    // ends what the connection waits for, once closing; nil when it waits for nothing
}

func (o *outbound) init(
	sock *socket, limit int, times *Times, guard func(f, instead func()), ledger *application.ByteLedger,
) {
	o.sock, o.limit, o.times, o.guard = sock, limit, times, guard
	o.held = ledger.Open(o.cut)
	o.changed.L = &o.mu
}

// longAgo is a deadline that is over.
var longAgo = time.Unix(1, 0)

// cut makes the write under way fail, upon which the connection closes as slow. The ledger calls it, under any lock.
func (o *outbound) cut() {
	o.cutOff.Store(true)
	_ = o.sock.Conn.SetWriteDeadline(longAgo) // a socket that refuses one refuses the write, too
}

// send queues a text frame.
func (o *outbound) send(payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sendLocked(payload)
}

// sendLocked is send; false where the frame was not taken.
func (o *outbound) sendLocked(payload []byte) bool {
	if o.closing {
		return false
	}
	if o.pendingLocked()+len(payload)+maxHeader > o.limit || !o.queueLocked(opText, payload) {
		o.closeLocked(closeSlow, true)
		return false
	}
	return true
}

// pendingLocked returns how many bytes were queued and are not known to be written.
func (o *outbound) pendingLocked() int {
	if o.queue == nil {
		return o.unsent
	}
	return len(*o.queue) + o.unsent
}

// queueLocked queues a frame; false where the ledger has no room for it.
func (o *outbound) queueLocked(opcode byte, payload []byte) bool {
	size := headerLength(len(payload)) + len(payload)
	if !o.held.Hold(size) {
		return false
	}
	if o.queue == nil {
		o.queue = buffers.Get().(*[]byte)
	}
	*o.queue = appendFrame(*o.queue, opcode, payload)
	o.total += uint64(size)
	o.wakeLocked()
	return true
}

// awaitRoomLocked waits until so many bytes would take no more than half of the limit together with what is there, or have
// the queue for themselves: what others send meanwhile has the other half. False when ctx or the connection ended first.
func (o *outbound) awaitRoomLocked(ctx context.Context, bytes int) bool {
	full := func() bool {
		pending := o.pendingLocked()
		return pending > 0 && pending+bytes > o.limit/2
	}
	if full() {
		defer context.AfterFunc(ctx, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.changed.Broadcast()
		})()
	}
	for full() && !o.closing && ctx.Err() == nil {
		o.waiting = true
		o.changed.Wait()
	}
	return !o.closing && ctx.Err() == nil
}

// ping queues a ping.
func (o *outbound) ping() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closing {
		o.pingDue = true
		o.wakeLocked()
	}
}

// pong queues the answer to a ping, instead of one to an earlier ping that still waits (RFC 6455 §5.5.3).
func (o *outbound) pong(data string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closing {
		o.pongDue, o.pongData = true, append(o.pongData[:0], data...)
		o.wakeLocked()
	}
}

// close ends the connection once what is queued has been written, with a close frame. Only the first call counts.
func (o *outbound) close(code closeCode) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeLocked(code, false)
}

// closeBecause is close for a reason that log lines name: a constant of the code.
func (o *outbound) closeBecause(code closeCode, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closing {
		o.reason = reason
	}
	o.closeLocked(code, false)
}

// closeDropping is close without what is queued.
func (o *outbound) closeDropping(code closeCode) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeLocked(code, true)
}

func (o *outbound) closeLocked(code closeCode, drop bool) {
	if o.closing {
		return
	}
	o.closing, o.code = true, code
	if o.reason == "" {
		o.reason = code.why()
	}
	now := time.Now()
	o.closeBy = now.Add(o.times.Close)
	o.pingDue, o.pongDue = false, false
	if drop {
		o.dropped = true
		o.recycleLocked()
	}
	// The reader goes on for a while, so that the peer can end its side; a write under way is not given longer either.
	_ = o.sock.Conn.SetReadDeadline(o.closeBy.Add(o.times.Drain))
	if o.writing {
		_ = o.sock.Conn.SetWriteDeadline(o.closeBy)
	}
	if o.cancel != nil {
		o.cancel()
	}
	o.changed.Broadcast()
	o.wakeLocked()
}

// abort ends the connection without a close frame.
func (o *outbound) abort() {
	o.mu.Lock()
	if !o.closing {
		o.closing, o.code, o.reason = true, closeAbnormal, closeAbnormal.why()
		if o.cancel != nil {
			o.cancel()
		}
	}
	o.sent = true
	o.dropped = true
	o.recycleLocked()
	o.changed.Broadcast()
	o.mu.Unlock()
	_ = o.sock.Close()
}

// awaitWriter waits until nothing is left to be written, which takes until closeBy at most.
func (o *outbound) awaitWriter() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		o.changed.Wait()
	}
}

// isClosing tells whether the connection is ending.
func (o *outbound) isClosing() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closing
}

// awaitWriteLocked waits until the write under way is done, or so long: what it writes may have reached the client, whose
// answer then comes before the writer says so.
func (o *outbound) awaitWriteLocked(patience time.Duration) {
	begun, end := o.chunks, time.Now().Add(patience)
	defer time.AfterFunc(patience, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.changed.Broadcast()
	}).Stop()
	for o.writing && o.chunks == begun && time.Now().Before(end) {
		o.waiting = true
		o.changed.Wait()
	}
}

func (o *outbound) recycleLocked() {
	if o.queue != nil {
		o.held.Release(len(*o.queue))
		recycle(o.queue)
		o.queue = nil
	}
}

func recycle(buffer *[]byte) {
	if cap(*buffer) <= keepBuffer {
		*buffer = (*buffer)[:0]
		buffers.Put(buffer)
	}
}

// wakeLocked starts the writer if there is none.
func (o *outbound) wakeLocked() {
	if o.writing {
		return
	}
	o.writing = true
	go o.guard(o.write, o.writerFailed)
}

// writerFailed ends the connection after a panic of the writer.
func (o *outbound) writerFailed() {
	o.abort()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = false
	o.changed.Broadcast()
}

// write writes until nothing is left.
func (o *outbound) write() {
	var batch *[]byte // taken from the queue
	var rest []byte   // what is left of it
	for {
		o.mu.Lock()
		if o.closing && o.cutOff.Load() && !o.dropped {
			o.dropped = true // what is queued goes at once, too
			o.recycleLocked()
		}
		if o.dropped {
			rest = nil
		}
		if len(rest) == 0 && batch != nil {
			o.held.Release(len(*batch))
			recycle(batch)
			batch = nil
		}
		if batch == nil && o.queue != nil {
			batch, o.queue = o.queue, nil
			rest = *batch
		}
		var chunk []byte
		last := false
		switch {
		case o.pingDue || o.pongDue:
			chunk = o.controlLocked()
		case len(rest) > 0:
			n := wholeFrames(rest)
			chunk, rest = rest[:n], rest[n:]
		case o.closing && !o.sent:
			o.sent, last = true, true
			chunk = appendFrame(nil, opClose, o.code.payload())
		default:
			o.writing, o.unsent = false, 0
			o.changed.Broadcast()
			o.mu.Unlock()
			return
		}
		o.unsent = len(chunk) + len(rest)
		o.chunks++
		if o.waiting {
			o.waiting = false
			o.changed.Broadcast()
		}
		o.deadlineLocked()
		o.mu.Unlock()

		n, err := o.sock.Conn.Write(chunk)
		if errors.Is(err, os.ErrDeadlineExceeded) && o.tooSlow() {
			tail := bytes.Clone(restOfFrame(chunk, n))
			if batch != nil {
				recycle(batch)
			}
			batch, rest = nil, nil
			err = o.endFrame(tail)
		}
		if err != nil {
			o.abort()
			continue
		}
		o.held.Progress()
		if len(rest) > 0 {
			batch, rest = o.shrink(batch, rest)
		}
		if last {
			o.sock.closeWrite()
			_ = o.sock.Conn.SetReadDeadline(time.Now().Add(o.times.Drain))
		}
	}
}

// shrink gives back what was written of a long batch once that is more than half: a slow reader is not to hold what it has
// got already.
func (o *outbound) shrink(batch *[]byte, rest []byte) (*[]byte, []byte) {
	if written := len(*batch) - len(rest); len(*batch) > keepBuffer && written > len(rest) {
		rest = bytes.Clone(rest)
		o.held.Release(written)
		return &rest, rest
	}
	return batch, rest
}

// controlLocked returns the control frames that are due.
func (o *outbound) controlLocked() []byte {
	var buffer []byte
	if o.pingDue {
		buffer = appendFrame(buffer, opPing, nil)
	}
	if o.pongDue {
		buffer = appendFrame(buffer, opPong, o.pongData)
	}
	o.pingDue, o.pongDue = false, false
	return buffer
}

// deadlineLocked sets the deadline of the next write. It is done under the lock so that it never undoes the shorter one
// that closing sets.
func (o *outbound) deadlineLocked() {
	deadline := o.closeBy
	if !o.closing {
		deadline = time.Now().Add(o.times.Write)
	}
	_ = o.sock.Conn.SetWriteDeadline(deadline) // a socket that refuses one refuses the write, too
	if !o.closing && o.cutOff.Load() {
		_ = o.sock.Conn.SetWriteDeadline(longAgo) // as cut did, before this undid it
	}
}

// endFrame writes the rest of a frame that was cut in the middle, which must be ended for the close frame to be understood.
// It may take until closeBy. Of all that was held nothing else is left.
func (o *outbound) endFrame(tail []byte) error {
	if !o.held.Keep(len(tail)) {
		return errNoRoom
	}
	_, err := o.sock.Conn.Write(tail)
	o.held.Keep(0)
	return err
}

// errNoRoom says that others hold too many bytes.
var errNoRoom = errors.New("no room for more bytes")

// tooSlow closes an open connection as slow; false when it was closing already.
func (o *outbound) tooSlow() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return false
	}
	o.closeLocked(closeSlow, true)
	return true
}

// restOfFrame returns what is left of the frame within which the first n bytes of whole frames end.
func restOfFrame(frames []byte, n int) []byte {
	end := 0
	for end < n {
		end += frameLength(frames[end:])
	}
	return frames[n:end]
}

// headerLength returns the length of the header of a frame with so long a payload.
func headerLength(payload int) int {
	switch {
	case payload < 126:
		return 2
	case payload < 1<<16:
		return 4
	default:
		return maxHeader
	}
}

// maxHeader is the longest header of a frame without a mask, in bytes.
const maxHeader = 10

// appendFrame appends an unfragmented, unmasked frame (RFC 6455 §5.2).
func appendFrame(b []byte, opcode byte, payload []byte) []byte {
	b = append(b, finalBit|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = append(b, 127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, payload...)
}

// wholeFrames returns the length of the frames at the beginning of b that go into one write: as many as fit into
// coalesce bytes, one at least. b holds whole frames as appendFrame makes them.
func wholeFrames(b []byte) int {
	if len(b) <= coalesce {
		return len(b)
	}
	n := 0
	for n < len(b) {
		next := n + frameLength(b[n:])
		if next > coalesce && n > 0 {
			break
		}
		n = next
	}
	return n
}

func frameLength(b []byte) int {
	switch b[1] {
	case 126:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return 10 + int(binary.BigEndian.Uint64(b[2:]))
	default:
		return 2 + int(b[1])
	}
}
