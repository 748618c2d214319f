package notice

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"chatting/application/port"
)

// noticeEvery is the shortest time between two lines of one message.
const noticeEvery = time.Second

// Log writes the log lines that clients, or writers of a topic, can cause in any number, such as refusals. Each message is
// written at most once a second. A line has the attributes of the latest occurrence, "count", the number of occurrences since
// the line before it, and "total", their number since the start. Log may be used by many goroutines.
//
// A message is a constant of the code: some bytes are kept for each one for ever.
type Log struct {
	logger *slog.Logger
	now    port.Clock

	mu       sync.Mutex
	messages map[string]*notice
}

// notice is the state of one message.
type notice struct {
	level       slog.Level
	written     time.Time // when its last line was written
	held, total int64     // occurrences since that line, and since the start
	attrs       []slog.Attr
}

// NewLog returns a Log that writes to logger. Run writes what is held back.
func NewLog(logger *slog.Logger, now port.Clock) *Log {
	return &Log{logger: logger, now: now, messages: make(map[string]*notice)}
}

// Info counts an occurrence of message, and writes it unless it was written within the last second. Its attributes are those
// of Warn.
func (n *Log) Info(message string, attrs ...slog.Attr) { n.note(slog.LevelInfo, message, attrs) }

// Warn counts an occurrence of message, and writes it as a warning unless it was written within the last second. attrs must
// hold no secrets and no texts of messages. They are read up to a second later, so they must not change, nor refer to memory
// that is used again.
func (n *Log) Warn(message string, attrs ...slog.Attr) { n.note(slog.LevelWarn, message, attrs) }

// Error is Warn for faults of the server.
func (n *Log) Error(message string, attrs ...slog.Attr) { n.note(slog.LevelError, message, attrs) }

// Always writes a line at once, whatever was written before. It is for what clients cannot cause.
func (n *Log) Always(level slog.Level, message string, attrs ...slog.Attr) {
	n.logger.LogAttrs(context.Background(), level, message, attrs...) //nolint:sloglint // the caller's is a constant
}

func (n *Log) note(level slog.Level, message string, attrs []slog.Attr) {
	n.mu.Lock()
	kind := n.messages[message]
	if kind == nil {
		kind = &notice{}
		n.messages[message] = kind
	}
	kind.level, kind.attrs = level, attrs
	kind.held++
	kind.total++
	line := kind.due(n.now())
	n.mu.Unlock()
	n.write(message, line)
}

// Run writes what was held back, once a second, until ctx ends. What is held back then is written as well.
func (n *Log) Run(ctx context.Context) {
	ticker := time.NewTicker(noticeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			n.flush(true)
			return
		case <-ticker.C:
			n.flush(false)
		}
	}
}

// flush writes the lines that are due; with all, also those whose second has not passed.
func (n *Log) flush(all bool) {
	n.mu.Lock()
	now := n.now()
	lines := make(map[string]*notice)
	for message, kind := range n.messages {
		if all {
			kind.written = time.Time{}
		}
		if line := kind.due(now); line != nil {
			lines[message] = line
		}
	}
	n.mu.Unlock()
	for message, line := range lines {
		n.write(message, line)
	}
}

// due returns the line to write now, nil for none, and counts it as written.
func (k *notice) due(now time.Time) *notice {
	if k.held == 0 || now.Sub(k.written) < noticeEvery {
		return nil
	}
	line := *k
	k.held, k.written, k.attrs = 0, now, nil
	return &line
}

func (n *Log) write(message string, line *notice) {
	if line == nil {
		return
	}
	attrs := append(line.attrs[:len(line.attrs):len(line.attrs)], slog.Int64("count", line.held), slog.Int64("total", line.total))
	n.logger.LogAttrs(context.Background(), line.level, message, attrs...) //nolint:sloglint // the caller's is a constant
}
