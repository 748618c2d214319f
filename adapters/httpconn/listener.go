package httpconn

import (
	"container/list"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// Listener accepts connections and keeps the books of those that serve HTTP.
//
// A connection waits while its request is not complete: it is new and silent, idle between two requests, or slow with one.
// Connections that wait make room, those first that have waited longest since they were opened, were answered, or began
// their request. Connections whose request is served, and those that were upgraded, never do. So:
//
//   - a new connection is always accepted. If all places are taken, the oldest that waits is closed. When very many come at
//     once, accepting rests until the oldest has had time to say something;
//   - a request is served unless Requests are served already. A health request is served all the same;
//   - if an address has all its connections, its oldest that waits is closed, and if none waits its newest is answered
//     with 429;
//   - if the process has no more files, some of the oldest that wait are closed.
type Listener struct {
	net.Listener

	options Options

	mu sync.Mutex
	// open are the connections that serve HTTP. waiting are those of them that wait, oldest first.
	open    int
	waiting list.List
	hosts   map[netip.Addr]*host
	// requests are those being served, without health requests. bodies is what is held of bodies, in bytes.
	requests, bodies int
	notices          map[string]*notice
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
	// element and ofHost are where it stands among those that wait; nil while it does not wait.
	element, ofHost *list.Element
	since           time.Time // when it began to wait
	begun           bool      // something of a request has come
	requested       bool      // its request counts among requests
	held            int       // bytes of its request's body
	gone            bool      // is in no books any more
}

// notice counts what happened of one kind since it was logged last, at most once a second.
type notice struct {
	count int
	limit rate.Sometimes
}

// Listen returns a listener that accepts from inner.
func Listen(inner net.Listener, options Options) *Listener {
	return &Listener{
		Listener: inner, options: options.withDefaults(), hosts: make(map[netip.Addr]*host), notices: make(map[string]*notice),
	}
}

const (
	// acceptPause is how long accepting rests after it failed for want of something that others will give back.
	acceptPause = 50 * time.Millisecond
	// courtesy is how long a connection may wait before it makes room for a new one. Clients send their request a moment
	// after they have connected.
	courtesy = 50 * time.Millisecond
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
		l.note("connections: no more files or buffers", netip.Addr{}, "error", err)
		evicted := l.evict(closedInShortage, &l.waiting, 0)
		l.unlock()
		closeAll(evicted)
		// What was closed is given back once its reader has noticed.
		time.Sleep(acceptPause)
	}
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
			l.note("idle connections: their address has too many", address)
		}
	}
	if l.open >= l.places() {
		oldest := l.evict(l.open-l.places()+1, &l.waiting, courtesy)
		if len(oldest) > 0 {
			l.note("idle connections, to make room", address)
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
		if !c.place.begun && hasUnread(c.Conn) {
			l.wait(c)
			c.place.begun = true // counts so once, however long its reader takes
			continue
		}
		l.leave(c)
		evicted = append(evicted, c)
	}
	return evicted
}

// wait puts a connection at the end of those that wait.
func (l *Listener) wait(c *Conn) {
	l.ready(c)
	c.place.since = time.Now()
	c.place.element = l.waiting.PushBack(c)
	c.place.ofHost = c.place.host.waiting.PushBack(c)
}

// ready takes a connection out of those that wait.
func (l *Listener) ready(c *Conn) {
	if c.place.element != nil {
		l.waiting.Remove(c.place.element)
		c.place.host.waiting.Remove(c.place.ofHost)
		c.place.element, c.place.ofHost = nil, nil
	}
}

// settle gives back what a request took.
func (l *Listener) settle(c *Conn) {
	if c.place.requested {
		c.place.requested = false
		l.requests--
		c.place.host.requests--
	}
	l.bodies -= c.place.held
	c.place.held = 0
}

// leave takes a connection out of the books.
func (l *Listener) leave(c *Conn) {
	if c.place.gone {
		return
	}
	c.place.gone = true
	l.ready(c)
	l.settle(c)
	l.open--
	if c.place.host.open--; c.place.host.open == 0 {
		delete(l.hosts, c.place.address)
	}
}

// left notes that a connection is closed.
func (l *Listener) left(c *Conn) {
	l.mu.Lock()
	defer l.unlock()
	l.leave(c)
}

// upgraded notes that a connection serves HTTP no longer; false if it was closed.
func (l *Listener) upgraded(c *Conn) bool {
	l.mu.Lock()
	defer l.unlock()
	open := !c.place.gone
	l.leave(c)
	return open
}

// began notes that a request has begun; false if the connection was closed.
func (l *Listener) began(c *Conn) bool {
	l.mu.Lock()
	defer l.unlock()
	if c.place.gone {
		return false
	}
	l.wait(c)
	c.place.begun = true
	return true
}

// served notes that a request was answered; false if the connection was closed.
func (l *Listener) served(c *Conn) bool {
	l.mu.Lock()
	defer l.unlock()
	if c.place.gone {
		return false
	}
	l.settle(c)
	l.wait(c)
	c.place.begun = false
	return true
}

// admits decides on a request whose head is there; complete tells that it has no body.
func (l *Listener) admits(c *Conn, complete bool) *Refusal {
	l.mu.Lock()
	defer l.unlock()
	if complete {
		return l.serve(c)
	}
	return l.full(c)
}

// holds counts bytes of a request's body; complete tells that they are the last ones.
func (l *Listener) holds(c *Conn, n int, complete bool) *Refusal {
	l.mu.Lock()
	var evicted []*Conn
	defer func() { closeAll(evicted) }()
	defer l.unlock()
	if c.place.gone {
		return errGone
	}
	l.bodies += n
	c.place.held += n
	for element := l.waiting.Front(); l.bodies > l.options.BodyBytes && element != nil; {
		slow := element.Value.(*Conn)
		if element = element.Next(); slow != c && slow.place.held > 0 {
			l.leave(slow)
			evicted = append(evicted, slow)
		}
	}
	if l.bodies > l.options.BodyBytes {
		l.note("requests: the bodies of all together are too long", c.place.address)
		return errBusy
	}
	if complete {
		return l.serve(c)
	}
	return nil
}

var (
	errGone    = &Refusal{http.StatusServiceUnavailable, "The connection is closed."}
	errBusy    = &Refusal{http.StatusServiceUnavailable, "The server is busy."}
	errTooMany = &Refusal{http.StatusTooManyRequests, "There are too many requests from this address."}
)

// full returns why a request has no place, nil if it has one.
func (l *Listener) full(c *Conn) *Refusal {
	limit := l.perAddress(c.place.address)
	switch {
	case c.place.gone:
		return errGone
	case l.isHealth(c.request):
		return nil
	case limit > 0 && c.place.host.requests >= limit:
		l.note("requests: too many from one address", c.place.address)
		return errTooMany
	case l.requests >= l.options.Requests:
		l.note("requests: too many are served", c.place.address)
		return errBusy
	}
	return nil
}

// serve gives a complete request its place.
func (l *Listener) serve(c *Conn) *Refusal {
	if refusal := l.full(c); refusal != nil {
		return refusal
	}
	if !l.isHealth(c.request) {
		c.place.requested = true
		l.requests++
		c.place.host.requests++
	}
	l.ready(c)
	return nil
}

func (l *Listener) isHealth(h head) bool {
	if string(h.method) != http.MethodGet && string(h.method) != http.MethodHead {
		return false
	}
	path := h.path
	if n := len(path); n > 1 && path[n-1] == '/' {
		path = path[:n-1]
	}
	for _, health := range l.options.Health {
		if string(path) == health {
			return !h.chunked && h.length == 0
		}
	}
	return false
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
