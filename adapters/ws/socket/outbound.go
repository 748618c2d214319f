package socket

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"chatting/adapters/ws/rfc6455"
	"chatting/application/ledger"
)

// Options are what the connections of a server have in common.
type Options struct {
	// QueueBytes bounds what waits to be written to one connection.
	QueueBytes int
	// Write is for a write under way: one that takes longer makes the reader a slow one.
	Write time.Duration
	// Close is to write what is queued and the close frame.
	Close time.Duration
	// Drain is for the peer to end its side after the close frame.
	Drain time.Duration
	// Slow and Lost are the causes that a connection finds by itself: its reader is too slow, or cannot be written to.
	Slow, Lost Cause
	// Guard runs f. If f panics, Guard reports that and runs instead.
	Guard func(f, instead func())
}

// Outbound sends frames to one socket and ends the connection. It is the only writer of the socket. Its methods call nothing
// but the socket, the ledger and the connection's Reading, and only Await blocks. So they may be called under any lock.
//
// The queue is bounded by Options.QueueBytes, with the headers of frames and with what is being written, and by the room of the
// ledger. When a frame does not fit, all frames that are not being written are dropped and the connection closes as slow
// (invariants 4 and 8). The ledger may also cut the connection off for the sake of others. One ping and one pong, the answer to
// the latest ping, may wait beside the frames. Pings that ask for an answer stand among the frames.
//
// A goroutine, the writer, runs while there is something to write.
type Outbound struct {
	options *Options
	sock    *Conn
	reading *Reading // ends when the connection closes
	cutOff  atomic.Bool

	mu sync.Mutex
	// changed is signalled when the writer ends or has made room that somebody waits for, and when closing begins.
	changed sync.Cond
	queue   frameQueue
	control controlFrames
	ending  Ending
	writes  uint64 // how many writes were begun
	writing bool   // there is a writer
	waiting bool   // somebody waits for room, or for the end of a write
	// gathering tells that more frames follow soon: the writer need not start before they fill a write.
	gathering bool
}

// Init makes the outbound and the reading of a connection ready. held counts the bytes of the queue and of what is being
// written. The caller opened it with Cut, and closes it when nothing is being written any more.
func (o *Outbound) Init(options *Options, sock *Conn, reading *Reading, held *ledger.Holding) {
	o.options, o.sock, o.reading, o.queue.held = options, sock, reading, held
	o.reading.sock = sock
	o.changed.L = &o.mu
}

// Held returns where the bytes are counted.
func (o *Outbound) Held() *ledger.Holding { return o.queue.held }

// longAgo is a deadline that is over.
var longAgo = time.Unix(1, 0)

// Cut makes the write under way fail, and so the connection close as slow. The ledger calls it, under any lock.
func (o *Outbound) Cut() {
	o.cutOff.Store(true)
	_ = o.sock.Conn.SetWriteDeadline(longAgo) // a socket that refuses one refuses the write, too
}

// Send queues text frames, one after the other; false if not all were taken. It copies them.
func (o *Outbound) Send(frames ...[]byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, frame := range frames {
		if o.ending.Closing {
			return false
		}
		if o.queue.pending()+len(frame)+rfc6455.MaxHeader > o.options.QueueBytes || !o.queue.add(rfc6455.Text, frame) {
			o.closeLocked(o.options.Slow, "", true)
			return false
		}
		o.wakeLocked(o.gathering)
	}
	return !o.ending.Closing
}

// Ask queues a ping behind the frames, if there is room. Its pong brings back name: how many bytes were ever queued before it.
func (o *Outbound) Ask() (name uint64, asked bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name = o.queue.total
	data := binary.BigEndian.AppendUint64(nil, name)
	if o.ending.Closing || o.queue.pending()+len(data)+rfc6455.MaxHeader > o.options.QueueBytes {
		return 0, false
	}
	if !o.queue.add(rfc6455.Ping, data) {
		o.closeLocked(o.options.Slow, "", true)
		return 0, false
	}
	o.wakeLocked(o.gathering)
	return name, true
}

// Gather has frames wait for those that follow, until they fill a write or until Gather(false) has them written.
func (o *Outbound) Gather(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gathering = on; !on && o.queue.frames != nil {
		o.wakeLocked(false)
	}
}

// Ping queues a ping.
func (o *Outbound) Ping() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ending.Closing {
		o.control.ping = true
		o.wakeLocked(false)
	}
}

// Pong queues the answer to a ping, instead of one to an earlier ping that still waits (RFC 6455 §5.5.3).
func (o *Outbound) Pong(data string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ending.Closing {
		o.control.pong, o.control.answer = true, data
		o.wakeLocked(false)
	}
}

// State returns how it is at this moment.
func (o *Outbound) State() State {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stateLocked()
}

func (o *Outbound) stateLocked() State {
	total := int64(o.queue.total)
	return State{
		Ending: o.ending, Written: total - int64(o.queue.pending()), Total: total, Writes: o.writes, Writing: o.writing,
		CutOff: o.cutOff.Load(),
	}
}

// Await waits until done, or until ctx ends, and returns the state then. Writes that begin or end, and closing, change it.
func (o *Outbound) Await(ctx context.Context, done func(State) bool) State {
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

// Close ends the connection once what is queued has been written, with a close frame. Only the first call counts. why is for log
// lines, "" for what the cause says.
func (o *Outbound) Close(cause Cause, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeLocked(cause, why, false)
}

// CloseAsSlow is Close without what is queued; false if the connection was closing already.
func (o *Outbound) CloseAsSlow() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closeLocked(o.options.Slow, "", true)
}

func (o *Outbound) closeLocked(cause Cause, why string, drop bool) bool {
	if o.ending.Closing {
		return false
	}
	if why == "" {
		why = cause.String()
	}
	o.ending = Ending{Closing: true, Cause: cause, Dropped: drop, Why: why, By: time.Now().Add(o.options.Close)}
	o.control = controlFrames{}
	if drop {
		o.queue.drop()
	}
	// The reader goes on for a while, so that the peer can end its side. A write under way is not given longer either.
	_ = o.sock.Conn.SetReadDeadline(o.ending.By.Add(o.options.Drain))
	if o.writing {
		_ = o.sock.Conn.SetWriteDeadline(o.ending.By)
	}
	o.reading.end()
	o.changed.Broadcast()
	o.wakeLocked(false)
	return true
}

// Abort ends the connection without a close frame.
func (o *Outbound) Abort() {
	o.mu.Lock()
	if !o.ending.Closing {
		o.ending = Ending{Closing: true, Cause: o.options.Lost, Why: o.options.Lost.String()}
		o.reading.end()
	}
	o.ending.Sent, o.ending.Dropped = true, true
	o.queue.drop()
	o.changed.Broadcast()
	o.mu.Unlock()
	_ = o.sock.Close()
}

// wakeLocked starts the writer if there is none. With gathering, it first lets frames fill a write, or half of the queue.
func (o *Outbound) wakeLocked(gathering bool) {
	if !o.writing && (!gathering || len(*o.queue.frames) >= min(coalesce, o.options.QueueBytes/2)) {
		o.writing = true
		go o.run()
	}
}

// run is the writer.
func (o *Outbound) run() {
	w := writer{out: o, held: o.queue.held}
	o.options.Guard(w.write, o.writerFailed)
}

// writerFailed ends the connection after a panic of the writer.
func (o *Outbound) writerFailed() {
	o.Abort()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = false
	o.changed.Broadcast()
}

// next returns what the writer is to write now, and sets the deadline for it; last tells that it is the close frame. It returns
// nil if nothing is left: then there is no writer any more.
func (o *Outbound) next(w *writer) (chunk []byte, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ending.Closing && o.cutOff.Load() && !o.ending.Dropped {
		o.ending.Dropped = true // what is queued, too
		o.queue.drop()
	}
	if o.ending.Dropped {
		w.rest = nil
	}
	w.refill(&o.queue)
	chunk = o.control.take()
	switch {
	case chunk != nil:
	case len(w.rest) > 0:
		chunk = w.chunk()
	case o.ending.Closing && !o.ending.Sent:
		o.ending.Sent, last = true, true
		chunk = CloseFrame(o.ending.Cause)
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
	deadline := o.ending.By
	if !o.ending.Closing {
		deadline = time.Now().Add(o.options.Write)
	}
	_ = o.sock.Conn.SetWriteDeadline(deadline) // a socket that refuses one refuses the write, too
	if !o.ending.Closing && o.cutOff.Load() {
		_ = o.sock.Conn.SetWriteDeadline(longAgo) // as Cut did, before this undid it
	}
	return chunk, last
}
