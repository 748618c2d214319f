package bench

import (
	"net"
	"sync"
	"time"
)

// wire is the network connection below a client's WebSocket. What is written waits for a flush, and a read flushes first:
// all frames that a client writes while it works through what it has read leave in one system call.
type wire struct {
	net.Conn
	// readAt is when the last read returned, since began: the time of arrival of all frames that it brought.
	readAt  time.Duration
	began   time.Time
	mu      sync.Mutex
	pending []byte
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if err := w.flush(); err != nil {
		return 0, err
	}
	n, err := w.Conn.Read(p)
	w.readAt = time.Since(w.began)
	return n, err
}

// Write implements net.Conn. It keeps the bytes for the next flush.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.pending = append(w.pending, p...)
	w.mu.Unlock()
	return len(p), nil
}

// SetWriteDeadline implements net.Conn. The library sets a deadline before each frame. Here the end of the run ends a write
// that hangs, by closing the connection.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.pending)
	w.pending = w.pending[:0]
	return err
}
