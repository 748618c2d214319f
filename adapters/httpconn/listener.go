package httpconn

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"chatting/adapters/network"
)

// Listener accepts connections and keeps the books of those that serve HTTP.
//
// A connection waits while its request is not complete: it is new and silent, idle between two requests, or slow with one.
// Connections that wait make room, those first that have waited longest since they were opened, were answered, or began
// their request. Connections whose request is served, and those that were upgraded, never do. If no connection waits, those
// make room whose client has not taken its answer for a while. So:
//
//   - a new connection is always accepted. If all places are taken, the oldest that waits is closed. When very many come at
//     once, accepting rests until the oldest has had time to say something;
//   - a request is served unless Requests are served already. So many health requests as the Reserve are served all the same;
//   - if an address has all its connections, its oldest that waits is closed, and if none waits its newest is answered
//     with 429;
//   - if the process has no more files, some of the oldest that wait are closed;
//   - once the listener is closed, no connection waits any more.
type Listener struct {
	net.Listener

	options Options
	books   *books
	pace    pace
}

// Listen returns a listener that accepts from inner.
func Listen(inner net.Listener, options Options) *Listener {
	options = options.withDefaults()
	return &Listener{Listener: inner, options: options, books: newBooks(options)}
}

// PaceWhile has connections accepted at a pace while live, which is called by Accept alone, tells that chat is delivered. Call it before
// the first Accept.
func (l *Listener) PaceWhile(live func() bool) { l.pace.live = live }

// RefusedOfAddress returns how many requests were refused because their address had all its connections.
func (l *Listener) RefusedOfAddress() uint64 { return l.books.refusedAddress.Load() }

const (
	// acceptPause is how long accepting rests after it failed for want of something that others will give back.
	acceptPause = 50 * time.Millisecond
	// roomPause is how long accepting rests while all places are taken by connections that have not waited for long.
	roomPause = 5 * time.Millisecond
	// closedInShortage is how many connections are closed when the process has no more files: some for other uses.
	closedInShortage = 16
)

// Accept waits for a connection. If the process or the system has no more files or buffers, it closes connections that wait
// and tries again.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		l.pace.await()
		inner, err := l.Listener.Accept()
		if err == nil {
			return l.enter(inner), nil
		}
		if !isShortage(err) {
			return nil, err
		}
		l.options.warn("HTTP connections are closed: no more files or buffers", netip.Addr{}, slog.Any("error", err))
		closeAll(l.books.evictOldest(closedInShortage))
		// What was closed is given back once its reader has noticed.
		time.Sleep(acceptPause)
	}
}

// pace keeps connections that come all at once, as when another node has died, from taking the processors from live chat: each has to
// be upgraded and its token checked. While chat is delivered, acceptsATurn are accepted for each processor in an acceptTurn. The
// others wait in the system's queue; a client whom that has no room for tries again after a second (RFC 6298, 2.1).
type pace struct {
	live func() bool // nil for never
	left int
	next time.Time // when the next turn may begin
}

const (
	acceptTurn   = 5 * time.Millisecond
	acceptsATurn = 8
)

// await returns when the next connection may be accepted.
func (p *pace) await() {
	if p.live == nil {
		return
	}
	if p.left == 0 {
		if wait := time.Until(p.next); wait > 0 && p.live() {
			time.Sleep(wait)
		}
		p.left, p.next = acceptsATurn*runtime.GOMAXPROCS(0), time.Now().Add(acceptTurn)
	}
	p.left--
}

// enter takes a new connection in, and closes others for it. It waits until it has a place.
func (l *Listener) enter(inner net.Conn) *Conn {
	c := &Conn{Conn: inner, listener: l}
	c.place.address = network.Of(addressOf(inner.RemoteAddr()))
	for {
		evicted, entered, closed := l.books.enter(c)
		closeAll(evicted)
		switch {
		case closed:
			_ = inner.Close() // its reader notices
			return c
		case entered:
			return c
		}
		time.Sleep(roomPause)
	}
}

// Close ends accepting, and closes the connections that wait. Requests that are served go on, and their connections end once
// they are answered. It may be called again.
func (l *Listener) Close() error {
	waiting, first := l.books.close()
	if !first {
		return nil
	}
	closeAll(waiting)
	return l.Listener.Close()
}

// isShortage tells whether accepting may work again later.
func isShortage(err error) bool {
	for _, shortage := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, shortage) {
			return true
		}
	}
	return false
}

func closeAll(conns []*Conn) {
	for _, c := range conns {
		_ = c.Conn.Close() // it is in no books any more, and its reader notices
	}
}
