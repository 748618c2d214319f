package httpconn

import (
	"log/slog"
	"net/netip"
)

// refused logs that a request was refused for what it is.
func (l *Listener) refused(c *Conn, refusal *Refusal) {
	if refusal == errGone || refusal == errBusy || refusal == errTooMany {
		return // logged already
	}
	l.mu.Lock()
	defer l.unlock()
	l.note("HTTP request refused: malformed or late", c.place.address,
		slog.Int("status", refusal.Status), slog.String("reason", refusal.Sentence))
}

// note has unlock log what happened.
func (l *Listener) note(what string, address netip.Addr, more ...slog.Attr) {
	if address.IsValid() {
		more = append(more, slog.Any("address", address))
	}
	l.unlogged = append(l.unlogged, func() { l.options.Notices.Warn(what, more...) })
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
