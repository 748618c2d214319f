package httpconn

import (
	"net/http"
	"time"
)

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
		l.waiting.Remove(c.place.element) // does nothing if it stands in the other list
		l.answering.Remove(c.place.element)
		c.place.element = nil
	}
	if c.place.ofHost != nil {
		c.place.host.waiting.Remove(c.place.ofHost)
		c.place.ofHost = nil
	}
}

// settle gives back what a request took.
func (l *Listener) settle(c *Conn) {
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

// answers notes that the answer to a request has begun.
func (l *Listener) answers(c *Conn) {
	l.mu.Lock()
	defer l.unlock()
	if !c.place.gone {
		l.ready(c)
		c.place.since = time.Now()
		c.place.element = l.answering.PushBack(c)
	}
}

// answersEarly notes that an answer has begun before its request is complete. The connection waits as before.
func (l *Listener) answersEarly(c *Conn) {
	l.mu.Lock()
	defer l.unlock()
	c.place.lingers = true
}

// lingers tells whether a connection that is being closed waits for its client, and that only once. One that had to go does
// not.
func (l *Listener) lingers(c *Conn) bool {
	l.mu.Lock()
	defer l.unlock()
	lingers := c.place.lingers && !c.place.gone
	c.place.lingers = false
	return lingers
}

// served notes that a request was answered; false if the connection ends: it was closed, or the listener was.
func (l *Listener) served(c *Conn) bool {
	l.mu.Lock()
	defer l.unlock()
	if c.place.gone {
		return false
	}
	if l.closed {
		l.leave(c)
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
	var evicted []*Conn
	defer func() { closeAll(evicted) }()
	defer l.unlock()
	if l.requests >= l.options.Requests {
		evicted = l.evict(1, &l.answering, answerPatience)
	}
	if complete {
		return l.serve(c)
	}
	return l.full(c)
}

// completed decides on a request whose body is there.
func (l *Listener) completed(c *Conn) *Refusal {
	l.mu.Lock()
	defer l.unlock()
	return l.serve(c)
}

var (
	errGone    = &Refusal{http.StatusServiceUnavailable, "The connection is closed."}
	errBusy    = &Refusal{http.StatusServiceUnavailable, "The server is busy."}
	errLate    = &Refusal{http.StatusRequestTimeout, "The request did not arrive in time."}
	errTooMany = &Refusal{http.StatusTooManyRequests, "There are too many requests from this address."}
)

// full returns why a request has no place, nil if it has one.
func (l *Listener) full(c *Conn) *Refusal {
	limit := l.perAddress(c.place.address)
	switch {
	case c.place.gone:
		return errGone
	case l.isVital(c.request):
		return nil
	case limit > 0 && c.place.host.requests >= limit:
		l.note("HTTP request refused: too many from its address", c.place.address)
		return errTooMany
	case l.requests >= l.options.Requests:
		l.note("HTTP request refused: too many are served", c.place.address)
		return errBusy
	}
	return nil
}

// serve gives a complete request its place.
func (l *Listener) serve(c *Conn) *Refusal {
	if refusal := l.full(c); refusal != nil {
		return refusal
	}
	if l.isVital(c.request) {
		c.place.isHealth = true
		l.health++
	} else {
		c.place.requested = true
		l.requests++
		c.place.host.requests++
	}
	l.ready(c)
	return nil
}

// isVital tells whether a request is for health and has a place of its own.
func (l *Listener) isVital(h head) bool { return l.health < l.options.Reserve && l.isHealth(h) }

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
