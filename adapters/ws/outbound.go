package ws

import (
	"cmp"
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"chatting/adapters/wire"
	"chatting/adapters/ws/rfc6455"
)

// outbound sends frames to one socket and ends the connection. It is the only writer of the socket. Its methods call nothing
// but the socket, the ledger and reading, and only await blocks. So they may be called under any lock.
//
// The queue is bounded by Options.QueueBytes, with the headers of frames and with what is being written, and by the room of the
// ledger. When a frame does not fit, all frames that are not being written are dropped and the connection closes as slow
// (invariants 4 and 8). The ledger may also cut the connection off for the sake of others. One ping and one pong, the answer to
// the latest ping, may wait beside the frames. Pings that ask for a receipt stand among the frames.
//
// A goroutine, the writer, runs while there is something to write.
type outbound struct {
	server  *Server
	sock    *socket
	reading *reading // ends when the connection closes
	cutOff  atomic.Bool
	// stringIDs has the ids of users in frames become decimal strings. It is set before the login begins, and not changed after.
	stringIDs bool

	mu sync.Mutex
	// changed is signalled when the writer ends or has made room that somebody waits for, and when closing begins.
	changed sync.Cond
	queue   frameQueue
	control controlFrames
	ending  ending
	writes  uint64 // how many writes were begun
	writing bool   // there is a writer
	waiting bool   // somebody waits for room, or for the end of a write
	// gathering tells that more frames follow soon: the writer need not start before they fill a write.
	gathering bool
}

func (o *outbound) init(server *Server, sock *socket, reading *reading) {
	o.server, o.sock, o.reading = server, sock, reading
	o.queue.held = server.deps.Bytes.Open(o.cut)
	o.changed.L = &o.mu
}

// longAgo is a deadline that is over.
var longAgo = time.Unix(1, 0)

// cut makes the write under way fail, and so the connection close as slow. The ledger calls it, under any lock.
func (o *outbound) cut() {
	o.cutOff.Store(true)
	_ = o.sock.Conn.SetWriteDeadline(longAgo) // a socket that refuses one refuses the write, too
}

// send queues text frames, one after the other; false if not all were taken.
func (o *outbound) send(frames ...[]byte) bool {
	if o.stringIDs {
		return o.sendWithStringIDs(frames)
	}
	return o.enqueue(frames)
}

// sendWithStringIDs is send of frames that are written anew for this connection. Frames have few readers, and the queue copies
// them anyway: it costs less than a second form of each frame that connections share.
func (o *outbound) sendWithStringIDs(frames [][]byte) bool {
	buffer := buffers.Get().(*[]byte)
	defer recycle(buffer)
	written := make([][]byte, len(frames))
	for i, frame := range frames {
		start := len(*buffer)
		*buffer = wire.AppendWithStringIDs(*buffer, frame)
		written[i] = (*buffer)[start:len(*buffer):len(*buffer)] // stays as it is if the buffer grows into another
	}
	return o.enqueue(written)
}

func (o *outbound) enqueue(frames [][]byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, frame := range frames {
		if o.ending.closing {
			return false
		}
		if o.queue.pending()+len(frame)+rfc6455.MaxHeader > o.server.options.QueueBytes || !o.queue.add(rfc6455.Text, frame) {
			o.closeLocked(closeSlow, "", true)
			return false
		}
		o.wakeLocked(o.gathering)
	}
	return !o.ending.closing
}

// ask queues a ping behind the frames, if there is room. Its pong brings back name: how many bytes were ever queued before it.
func (o *outbound) ask() (name uint64, asked bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name = o.queue.total
	data := binary.BigEndian.AppendUint64(nil, name)
	if o.ending.closing || o.queue.pending()+len(data)+rfc6455.MaxHeader > o.server.options.QueueBytes {
		return 0, false
	}
	if !o.queue.add(rfc6455.Ping, data) {
		o.closeLocked(closeSlow, "", true)
		return 0, false
	}
	o.wakeLocked(o.gathering)
	return name, true
}

// gather has frames wait for those that follow, until they fill a write or until gather(false) has them written.
func (o *outbound) gather(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gathering = on; !on && o.queue.frames != nil {
		o.wakeLocked(false)
	}
}

// ping queues a ping.
func (o *outbound) ping() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ending.closing {
		o.control.ping = true
		o.wakeLocked(false)
	}
}

// pong queues the answer to a ping, instead of one to an earlier ping that still waits (RFC 6455 §5.5.3).
func (o *outbound) pong(data string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ending.closing {
		o.control.pong, o.control.answer = true, data
		o.wakeLocked(false)
	}
}

// sending is the state of an outbound at one moment.
type sending struct {
	ending

	written, total int64  // bytes; while control frames are being written, written is less than it could be
	writes         uint64 // how many writes were begun
	writing        bool   // something is being written
}

func (o *outbound) state() sending {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stateLocked()
}

func (o *outbound) stateLocked() sending {
	total := int64(o.queue.total)
	return sending{o.ending, total - int64(o.queue.pending()), total, o.writes, o.writing}
}

// await waits until done, or until ctx ends, and returns the state then. Writes that begin or end, and closing, change it.
func (o *outbound) await(ctx context.Context, done func(sending) bool) sending {
	o.mu.Lock()
	defer o.mu.Unlock()
	if state := o.stateLocked(); done(state) {
		return state
	}
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.changed.Broadcast()
		})()
	}
	for {
		if state := o.stateLocked(); ctx.Err() != nil || done(state) {
			return state
		}
		o.waiting = true
		o.changed.Wait()
	}
}

// close ends the connection once what is queued has been written, with a close frame. Only the first call counts. why is for log
// lines, "" for what the cause says.
func (o *outbound) close(cause closeCause, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeLocked(cause, why, false)
}

// closeAsSlow is close without what is queued; false if the connection was closing already.
func (o *outbound) closeAsSlow() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closeLocked(closeSlow, "", true)
}

func (o *outbound) closeLocked(cause closeCause, why string, drop bool) bool {
	if o.ending.closing {
		return false
	}
	o.ending = ending{
		closing: true, cause: cause, dropped: drop, why: cmp.Or(why, closings[cause].why),
		by: time.Now().Add(o.server.options.Times.Close),
	}
	o.control = controlFrames{}
	if drop {
		o.queue.drop()
	}
	// The reader goes on for a while, so that the peer can end its side. A write under way is not given longer either.
	_ = o.sock.Conn.SetReadDeadline(o.ending.by.Add(o.server.options.Times.Drain))
	if o.writing {
		_ = o.sock.Conn.SetWriteDeadline(o.ending.by)
	}
	o.reading.end()
	o.changed.Broadcast()
	o.wakeLocked(false)
	return true
}

// abort ends the connection without a close frame.
func (o *outbound) abort() {
	o.mu.Lock()
	if !o.ending.closing {
		o.ending = ending{closing: true, cause: closeAbnormal, why: closings[closeAbnormal].why}
		o.reading.end()
	}
	o.ending.sent, o.ending.dropped = true, true
	o.queue.drop()
	o.changed.Broadcast()
	o.mu.Unlock()
	_ = o.sock.Close()
}

// wakeLocked starts the writer if there is none. With gathering, it first lets frames fill a write, or half of the queue.
func (o *outbound) wakeLocked(gathering bool) {
	if !o.writing && (!gathering || len(*o.queue.frames) >= min(coalesce, o.server.options.QueueBytes/2)) {
		o.writing = true
		go o.run()
	}
}

// run is the writer.
func (o *outbound) run() {
	w := writer{out: o, held: o.queue.held}
	guard(o.server.deps.Notices, w.write, o.writerFailed)
}

// writerFailed ends the connection after a panic of the writer.
func (o *outbound) writerFailed() {
	o.abort()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = false
	o.changed.Broadcast()
}

// next returns what the writer is to write now, and sets the deadline for it; last tells that it is the close frame. It returns
// nil if nothing is left: then there is no writer any more.
func (o *outbound) next(w *writer) (chunk []byte, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ending.closing && o.cutOff.Load() && !o.ending.dropped {
		o.ending.dropped = true // what is queued, too
		o.queue.drop()
	}
	if o.ending.dropped {
		w.rest = nil
	}
	w.refill(&o.queue)
	chunk = o.control.take()
	switch {
	case chunk != nil:
	case len(w.rest) > 0:
		chunk = w.chunk()
	case o.ending.closing && !o.ending.sent:
		o.ending.sent, last = true, true
		chunk = rfc6455.Append(nil, rfc6455.Close, o.ending.cause.payload())
	default:
		o.writing, o.queue.unsent = false, 0
		o.changed.Broadcast()
		return nil, false
	}
	o.queue.unsent = len(chunk) + len(w.rest)
	o.writes++
	if o.waiting {
		o.waiting = false
		o.changed.Broadcast()
	}
	// Under the lock, so that it does not undo the shorter deadline that closing sets.
	deadline := o.ending.by
	if !o.ending.closing {
		deadline = time.Now().Add(o.server.options.Times.Write)
	}
	_ = o.sock.Conn.SetWriteDeadline(deadline) // a socket that refuses one refuses the write, too
	if !o.ending.closing && o.cutOff.Load() {
		_ = o.sock.Conn.SetWriteDeadline(longAgo) // as cut did, before this undid it
	}
	return chunk, last
}
