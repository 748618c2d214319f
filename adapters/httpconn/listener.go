package httpconn

import (
	"container/list"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
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

	mu     sync.Mutex
	closed bool
	// open are the connections that serve HTTP. waiting are those of them that wait, oldest first.
	open    int
	waiting list.List
	// answering are those whose request is answered, by when that began. They wait for their client.
	answering list.List
	hosts     map[netip.Addr]*host
	// requests are those being served, and health those of them that have places of their own, which requests does not
	// count.
	requests, health int
	unlogged         []func() // lines for the log, which unlock writes
}

// host is an address with connections.
type host struct {
	open, requests int
	waiting        list.List
}

// place is a connection's entry in the books, guarded by the listener's lock.
type place struct {
	address netip.Addr
	host    *host
	// element is where it stands among those that wait or are answered, and ofHost where among those of its host that wait;
	// nil while it does not.
	element, ofHost *list.Element
	since           time.Time // when it began to wait
	begun           bool      // something of a request has come
	lingers         bool      // Close waits for the client, because it may still write when it is answered
	requested       bool      // its request counts among requests
	isHealth        bool      // its request counts among health
	gone            bool      // is in no books any more
}

// Listen returns a listener that accepts from inner.
func Listen(inner net.Listener, options Options) *Listener {
	return &Listener{
		Listener: inner, options: options.withDefaults(), hosts: make(map[netip.Addr]*host),
	}
}

const (
	// acceptPause is how long accepting rests after it failed for want of something that others will give back.
	acceptPause = 50 * time.Millisecond
	// courtesy is how long a connection may wait before it makes room for a new one. Clients send their request a moment
	// after they have connected.
	courtesy = 50 * time.Millisecond
	// answerPatience is how long a client may take for its answer before it makes room for others.
	answerPatience = time.Second
	// looks bounds how many connections are looked at for the sake of one new one.
	looks = 64
	// roomPause is how long accepting rests while all places are taken by connections that have not waited that long.
	roomPause = 5 * time.Millisecond
	// closedInShortage is how many connections are closed when the process has no more files: some for other uses.
	closedInShortage = 16
)

// Accept waits for a connection. If the process or the system has no more files or buffers, it closes connections that wait
// and tries again.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err == nil {
			return l.enter(inner), nil
		}
		if !isShortage(err) {
			return nil, err
		}
		l.mu.Lock()
		l.note("HTTP connections are closed: no more files or buffers", netip.Addr{}, slog.Any("error", err))
		evicted := l.evict(closedInShortage, &l.waiting, 0)
		l.unlock()
		closeAll(evicted)
		// What was closed is given back once its reader has noticed.
		time.Sleep(acceptPause)
	}
}

// Close ends accepting, and closes the connections that wait. Requests that are served go on, and their connections end once
// they are answered. It may be called again.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.unlock()
		return nil
	}
	l.closed = true
	waiting := l.evict(l.waiting.Len(), &l.waiting, 0)
	l.unlock()
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

// enter takes a new connection in, and closes others for it. It waits until it has a place.
func (l *Listener) enter(inner net.Conn) *Conn {
	c := &Conn{Conn: inner, listener: l}
	c.place.address = Network(addressOf(inner.RemoteAddr()))
	for {
		l.mu.Lock()
		if l.closed {
			c.place.gone = true
			l.unlock()
			_ = inner.Close() // its reader notices
			return c
		}
		evicted := l.makeRoom(c.place.address)
		room := l.open < l.places()
		if room {
			l.take(c)
		}
		l.unlock()
		closeAll(evicted)
		if room {
			return c
		}
		time.Sleep(roomPause)
	}
}

// makeRoom takes out of the books what a new connection of an address takes the place of.
func (l *Listener) makeRoom(address netip.Addr) (evicted []*Conn) {
	if limit, h := l.perAddress(address), l.hosts[address]; limit > 0 && h != nil && h.open >= limit {
		if evicted = l.evict(h.open-limit+1, &h.waiting, courtesy); len(evicted) > 0 {
			l.note("idle HTTP connection closed: its address has too many", address)
		}
	}
	if l.open >= l.places() {
		oldest := l.evict(l.open-l.places()+1, &l.waiting, courtesy)
		if len(oldest) == 0 {
			oldest = l.evict(1, &l.answering, answerPatience)
		}
		if len(oldest) > 0 {
			l.note("idle HTTP connection closed to make room", address)
		}
		evicted = append(evicted, oldest...)
	}
	return evicted
}

// take enters a connection into the books.
func (l *Listener) take(c *Conn) {
	h := l.hosts[c.place.address]
	if h == nil {
		h = &host{}
		l.hosts[c.place.address] = h
	}
	c.place.host = h
	l.open++
	h.open++
	l.wait(c)
}

func (l *Listener) places() int { return l.options.Requests + l.options.Reserve }

// perAddress returns the cap for an address, 0 for none.
func (l *Listener) perAddress(address netip.Addr) int {
	if l.options.Proxies.Trusts(address) {
		return 0
	}
	return l.options.PerAddress
}

// evict takes up to n connections out of the books, the first in a list of those that wait that have waited for so long.
// The caller closes them. A connection that has sent something that was not read yet is not silent, and waits anew.
func (l *Listener) evict(n int, waiting *list.List, patience time.Duration) (evicted []*Conn) {
	for range n + looks {
		if len(evicted) == n || waiting.Len() == 0 {
			break
		}
		c := waiting.Front().Value.(*Conn)
		if time.Since(c.place.since) < patience {
			break
		}
		if !l.closed && !c.place.begun && waiting != &l.answering && hasUnread(c.Conn) {
			l.wait(c)
			c.place.begun = true // counts so once, however long its reader takes
			continue
		}
		l.leave(c)
		evicted = append(evicted, c)
	}
	return evicted
}
