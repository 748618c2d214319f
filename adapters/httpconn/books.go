package httpconn

import (
	"container/list"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// books say which connections serve HTTP and what each of them does. They decide who makes room and which requests are
// served. Their lock guards all of it, the place of each connection included; nobody else takes it.
type books struct {
	options Options

	// refusedAddress counts requests that Options.PerAddress refused.
	refusedAddress atomic.Uint64

	mu     sync.Mutex
	closed bool
	crowd  crowd
	load   load
	lines  lines // unlock writes them
}

// lines are for the log.
type lines []func()

// note adds a line that says what happened to a connection of an address.
func (l *lines) note(o *Options, what string, address netip.Addr) {
	*l = append(*l, func() { o.warn(what, address) })
}

func newBooks(options Options) *books {
	return &books{options: options, crowd: crowd{hosts: make(map[netip.Addr]*host)}, load: load{options: options}}
}

// place is a connection's entry in the books.
type place struct {
	address netip.Addr
	host    *host
	// element is where it stands among those that wait or are answered, and ofHost where among those of its host that wait;
	// nil while it does not.
	element, ofHost *list.Element
	since           time.Time // when it began to wait
	begun           bool      // something of a request has come
	requested       bool      // its request counts among those served
	isHealth        bool      // its request counts among those of health
	gone            bool      // is in no books any more
}

const (
	// courtesy is how long a connection may wait before it makes room for a new one. Clients send their request a moment
	// after they have connected.
	courtesy = 50 * time.Millisecond
	// answerPatience is how long a client may take for its answer before it makes room for others.
	answerPatience = time.Second
	// looks bounds how many connections are looked at for the sake of one new one.
	looks = 64
)

// unlock frees the lock and then writes to the log, which may block.
func (b *books) unlock() {
	lines := b.lines
	b.lines = nil
	b.mu.Unlock()
	for _, write := range lines {
		write()
	}
}

// enter enters a connection if there is a place. The caller closes who makes room for it. closed tells that there never will
// be a place.
func (b *books) enter(c *Conn) (evicted []*Conn, entered, closed bool) {
	b.mu.Lock()
	defer b.unlock()
	if b.closed {
		c.place.gone = true
		return nil, false, true
	}
	evicted = b.makeRoom(c.place.address)
	if entered = b.crowd.open < b.options.places(); entered {
		b.crowd.enter(c)
	}
	return evicted, entered, false
}

// makeRoom takes out of the books what a new connection of an address takes the place of.
func (b *books) makeRoom(address netip.Addr) (evicted []*Conn) {
	if limit, h := b.options.perAddress(address), b.crowd.hosts[address]; limit > 0 && h != nil && h.open >= limit {
		if evicted = b.evict(h.open-limit+1, &h.waiting, courtesy); len(evicted) > 0 {
			b.lines.note(&b.options, "idle HTTP connection closed: its address has too many", address)
		}
	}
	if places := b.options.places(); b.crowd.open >= places {
		oldest := b.evict(b.crowd.open-places+1, &b.crowd.waiting, courtesy)
		if len(oldest) == 0 {
			oldest = b.evict(1, &b.crowd.answering, answerPatience)
		}
		if len(oldest) > 0 {
			b.lines.note(&b.options, "idle HTTP connection closed to make room", address)
		}
		evicted = append(evicted, oldest...)
	}
	return evicted
}

// evict takes up to n connections out of the books, the first in a list of those that wait that have waited for so long.
// The caller closes them. A connection that has sent something that was not read yet is not silent, and waits anew.
func (b *books) evict(n int, waiting *list.List, patience time.Duration) (evicted []*Conn) {
	for range n + looks {
		if len(evicted) == n || waiting.Len() == 0 {
			break
		}
		c := waiting.Front().Value.(*Conn)
		if time.Since(c.place.since) < patience {
			break
		}
		if !b.closed && !c.place.begun && waiting != &b.crowd.answering && hasUnread(c.Conn) {
			b.crowd.wait(c)
			c.place.begun = true // counts so once, however long its reader takes
			continue
		}
		b.leave(c)
		evicted = append(evicted, c)
	}
	return evicted
}

// evictOldest takes out up to n of those that wait. The caller closes them.
func (b *books) evictOldest(n int) []*Conn {
	b.mu.Lock()
	defer b.unlock()
	return b.evict(n, &b.crowd.waiting, 0)
}

// close takes out all that wait, for the caller to close them, and has nobody wait from now on. first tells that it was not
// called before.
func (b *books) close() (waiting []*Conn, first bool) {
	b.mu.Lock()
	defer b.unlock()
	if b.closed {
		return nil, false
	}
	b.closed = true
	return b.evict(b.crowd.waiting.Len(), &b.crowd.waiting, 0), true
}

// leave takes a connection out of the books.
func (b *books) leave(c *Conn) {
	if !c.place.gone {
		b.load.settle(c)
		b.crowd.leave(c)
	}
}

// left notes that a connection serves HTTP no longer; false if it was closed before.
func (b *books) left(c *Conn) bool {
	b.mu.Lock()
	defer b.unlock()
	open := !c.place.gone
	b.leave(c)
	return open
}

// has tells whether a connection is in the books.
func (b *books) has(c *Conn) bool {
	b.mu.Lock()
	defer b.unlock()
	return !c.place.gone
}

// began notes that a request has begun; false if the connection was closed.
func (b *books) began(c *Conn) bool {
	b.mu.Lock()
	defer b.unlock()
	if c.place.gone {
		return false
	}
	b.crowd.wait(c)
	c.place.begun = true
	return true
}

// admits decides on a request whose head is there; complete tells that it has no body.
func (b *books) admits(c *Conn, complete bool) *Refusal {
	b.mu.Lock()
	var evicted []*Conn
	defer func() { closeAll(evicted) }()
	defer b.unlock()
	if b.load.requests >= b.options.Requests {
		evicted = b.evict(1, &b.crowd.answering, answerPatience)
	}
	return b.decide(c, complete)
}

// completed decides on a request whose body is there.
func (b *books) completed(c *Conn) *Refusal {
	b.mu.Lock()
	defer b.unlock()
	return b.decide(c, true)
}

// decide returns why a request has no place, nil if it has one. A complete request takes it.
func (b *books) decide(c *Conn, complete bool) *Refusal {
	switch refusal := b.load.full(c); {
	case refusal == errTooMany:
		b.refusedAddress.Add(1)
		b.lines.note(&b.options, "HTTP request refused: too many from its address", c.place.address)
		return refusal
	case refusal == errBusy:
		b.lines.note(&b.options, "HTTP request refused: too many are served", c.place.address)
		return refusal
	case refusal != nil:
		return refusal
	}
	if complete {
		b.load.serve(c)
		b.crowd.ready(c)
	}
	return nil
}

// answers notes that the answer to a request has begun.
func (b *books) answers(c *Conn) {
	b.mu.Lock()
	defer b.unlock()
	if !c.place.gone {
		b.crowd.answer(c)
	}
}

// served notes that a request was answered; false if the connection ends: it was closed, or the listener was.
func (b *books) served(c *Conn) bool {
	b.mu.Lock()
	defer b.unlock()
	if c.place.gone {
		return false
	}
	if b.closed {
		b.leave(c)
		return false
	}
	b.load.settle(c)
	b.crowd.wait(c)
	c.place.begun = false
	return true
}

// crowd are the connections that serve HTTP.
type crowd struct {
	open    int
	waiting list.List // those that wait, oldest first
	// answering are those whose request is answered, by when that began. They wait for their client.
	answering list.List
	hosts     map[netip.Addr]*host
}

// host is an address with connections.
type host struct {
	open, requests int
	waiting        list.List
}

// enter takes a connection in, which waits.
func (w *crowd) enter(c *Conn) {
	h := w.hosts[c.place.address]
	if h == nil {
		h = &host{}
		w.hosts[c.place.address] = h
	}
	c.place.host = h
	w.open++
	h.open++
	w.wait(c)
}

// leave takes a connection out.
func (w *crowd) leave(c *Conn) {
	c.place.gone = true
	w.ready(c)
	w.open--
	if c.place.host.open--; c.place.host.open == 0 {
		delete(w.hosts, c.place.address)
	}
}

// wait puts a connection at the end of those that wait.
func (w *crowd) wait(c *Conn) {
	w.ready(c)
	c.place.since = time.Now()
	c.place.element = w.waiting.PushBack(c)
	c.place.ofHost = c.place.host.waiting.PushBack(c)
}

// answer puts a connection at the end of those that are answered.
func (w *crowd) answer(c *Conn) {
	w.ready(c)
	c.place.since = time.Now()
	c.place.element = w.answering.PushBack(c)
}

// ready takes a connection out of those that wait.
func (w *crowd) ready(c *Conn) {
	if c.place.element != nil {
		w.waiting.Remove(c.place.element) // does nothing if it stands in the other list
		w.answering.Remove(c.place.element)
		c.place.element = nil
	}
	if c.place.ofHost != nil {
		c.place.host.waiting.Remove(c.place.ofHost)
		c.place.ofHost = nil
	}
}

// load counts the requests that are served.
type load struct {
	options Options
	// health are the requests that have places of their own, which requests does not count.
	requests, health int
}

var (
	errGone    = &Refusal{http.StatusServiceUnavailable, "The connection is closed."}
	errBusy    = &Refusal{http.StatusServiceUnavailable, "The server is busy."}
	errLate    = &Refusal{http.StatusRequestTimeout, "The request did not arrive in time."}
	errTooMany = &Refusal{http.StatusTooManyRequests, "There are too many requests from this address."}
)

// full returns why a request has no place, nil if it has one.
func (l *load) full(c *Conn) *Refusal {
	limit := l.options.perAddress(c.place.address)
	switch {
	case c.place.gone:
		return errGone
	case l.isVital(c.request):
		return nil
	case limit > 0 && c.place.host.requests >= limit:
		return errTooMany
	case l.requests >= l.options.Requests:
		return errBusy
	}
	return nil
}

// serve gives a complete request its place.
func (l *load) serve(c *Conn) {
	if l.isVital(c.request) {
		c.place.isHealth = true
		l.health++
	} else {
		c.place.requested = true
		l.requests++
		c.place.host.requests++
	}
}

// settle gives back what a request took.
func (l *load) settle(c *Conn) {
	if c.place.requested {
		c.place.requested = false
		l.requests--
		c.place.host.requests--
	}
	if c.place.isHealth {
		c.place.isHealth = false
		l.health--
	}
}

// isVital tells whether a request is for health and has a place of its own.
func (l *load) isVital(h head) bool { return l.health < l.options.Reserve && l.options.isHealth(h) }
