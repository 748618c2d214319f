package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"

	"chatting/configs"
)

const (
	// maxLogQueue bounds the bytes of the lines that wait to be written.
	maxLogQueue = 1 << 20
	// logFlush is how long the last lines may take at the end of the process.
	logFlush = time.Second
)

// logQueue lets nobody wait for a slow reader of the log: lines wait in a queue, and a goroutine writes them. A line for
// which there is no room is lost, and counted: once there is room again, a line says how many were lost.
type logQueue struct {
	out  io.Writer
	lost func(lines int) // writes that line to out

	mu      sync.Mutex
	lines   [][]byte
	bytes   int
	dropped int
	wake    chan struct{} // has room for one: that lines were queued, or close was called
	closed  bool
	done    chan struct{} // closed once everything is written after close
}

// newLogQueue starts a queue for out. Its owner calls close.
func newLogQueue(c configs.Log, out io.Writer) *logQueue {
	direct := newLogger(c, out)
	q := &logQueue{
		out: out, wake: make(chan struct{}, 1), done: make(chan struct{}),
		lost: func(lines int) {
			direct.Warn("log lines were lost, because nobody read them in time", slog.Int("count", lines))
		},
	}
	go q.run()
	return q
}

// Write implements io.Writer: it takes one line, and never fails or waits.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if q.bytes+len(line) > maxLogQueue || q.closed {
		q.dropped++
	} else {
		q.lines = append(q.lines, bytes.Clone(line))
		q.bytes += len(line)
	}
	q.mu.Unlock()
	q.signal()
	return len(line), nil
}

func (q *logQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes what is queued until close was called and all is written.
func (q *logQueue) run() {
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

// close waits until the lines that are queued are written, for logFlush at most: who does not read the log does not keep the
// process from ending. Lines that come later are lost. If a write hangs, its goroutine ends with the process.
func (q *logQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
	timer := time.NewTimer(logFlush)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
}
