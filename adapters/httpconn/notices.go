package httpconn

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// notice counts what happened of one kind since it was logged last, at most once a second.
type notice struct {
	count int
	limit rate.Sometimes
}

// refused logs that a request was refused for what it is.
func (l *Listener) refused(c *Conn, refusal *Refusal) {
	if refusal == errGone || refusal == errBusy || refusal == errTooMany {
		return // logged already
	}
	l.mu.Lock()
	defer l.unlock()
	l.note("requests: malformed or late", c.place.address, "status", refusal.Status, "reason", refusal.Sentence)
}

// note has unlock log what happened, at most once a second for each kind, with how often it has happened since.
func (l *Listener) note(what string, address netip.Addr, more ...any) {
	n := l.notices[what]
	if n == nil {
		n = &notice{limit: rate.Sometimes{First: 1, Interval: time.Second}}
		l.notices[what] = n
	}
	n.count++
	n.limit.Do(func() {
		attributes := append([]any{"what", what, "times", n.count}, more...)
		if address.IsValid() {
			attributes = append(attributes, "address", address.String())
		}
		n.count = 0
		l.unlogged = append(l.unlogged, func() { l.options.Logger.Warn("HTTP refuses or closes", attributes...) })
	})
}

// unlock frees the lock and then writes to the log, which may block.
func (l *Listener) unlock() {
	lines := l.unlogged
	l.unlogged = nil
	l.mu.Unlock()
	for _, write := range lines {
		write()
	}
}
