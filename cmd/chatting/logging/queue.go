package logging

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"

	"chatting/configs"
)

const (
	// maxQueue bounds the bytes of the lines that wait to be written.
	maxQueue = 1 << 20
	// lastLines is how long the last lines may take at the end of the process.
	lastLines = time.Second
)

// Queue writes log lines in a goroutine, so that nobody waits for a slow reader of the log. A line for which there is no room
// is lost and counted. Once there is room again, a line says how many were lost.
type Queue struct {
	out  io.Writer
	lost func(lines int) // writes that line to out

	mu      sync.Mutex
	lines   [][]byte
	bytes   int
	dropped int
	wake    chan struct{} // has room for one: that lines were queued, or Close was called
	closed  bool
	done    chan struct{} // closed once everything is written after Close
}

// NewQueued returns a logger whose lines go through a queue to w, as New would write them there. Close ends the queue.
func NewQueued(c configs.Log, w io.Writer) (*slog.Logger, *Queue) {
	if c.Format == configs.LogAuto && IsTerminal(w) { // the queue is none
		c.Format = configs.LogText
	}
	direct := New(c, w)
	q := &Queue{
		out: w, wake: make(chan struct{}, 1), done: make(chan struct{}),
		lost: func(lines int) {
			direct.Warn("log lines were lost, because nobody read them in time", slog.Int("count", lines))
		},
	}
	go q.run()
	return New(c, q), q
}

// Write takes one line. It never fails or waits.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if q.bytes+len(line) > maxQueue || q.closed {
		q.dropped++
	} else {
		q.lines = append(q.lines, bytes.Clone(line))
		q.bytes += len(line)
	}
	q.mu.Unlock()
	q.signal()
	return len(line), nil
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes what is queued until Close was called and all is written.
func (q *Queue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		lines, dropped, closed := q.lines, q.dropped, q.closed
		q.lines, q.dropped = nil, 0
		q.mu.Unlock()
		for _, line := range lines {
			_, _ = q.out.Write(line) // a log that cannot be written is nobody's concern
			q.mu.Lock()
			q.bytes -= len(line)
			q.mu.Unlock()
		}
		if dropped > 0 {
			q.lost(dropped)
		}
		switch {
		case len(lines) > 0 || dropped > 0:
		case closed:
			return
		default:
			<-q.wake
		}
	}
}

// Close waits until the queued lines are written, for a second at most: a reader that does not read must not keep the process
// from ending. Later lines are lost. If a write hangs, its goroutine ends with the process.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
	timer := time.NewTimer(lastLines)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
}
