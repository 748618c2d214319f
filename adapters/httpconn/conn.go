package httpconn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"chatting/adapters/origins"
	"chatting/adapters/problem"
)

// Conn is an accepted connection. While it serves HTTP it hands the HTTP server one whole, checked request head, then the
// request's body, and no byte beyond them until the server reads again, which it does once it has answered. Read and Write
// are for one goroutine at a time. Deadlines for reading are the connection's own until Upgraded.
//
// An idle connection holds no buffer.
type Conn struct {
	net.Conn

	listener *Listener
	place    place // the books' own

	// What follows belongs to the goroutine that reads.
	phase phase
	first [1]byte
	in    input
	// head is how many bytes of in are left of the request's head.
	head    int
	body    body
	request head
	// received is the head of the request that is read or served, as it came. It is nil before all of it is there.
	received []byte
	requests int
	// answered tells that an answer was begun before the request was complete. What is left of the request would be read
	// as another one, so the connection ends.
	answered bool
	// answering tells that the answer to the request that is served was begun.
	answering bool

	// lingers tells that Close waits for the client, because it may still write when it is answered.
	lingers atomic.Bool
}

type phase int

const (
	waiting phase = iota // for a request
	headPhase
	bodyPhase
	serving  // the HTTP server has the whole request
	upgraded // no HTTP any more
)

// Read implements net.Conn as the type's comment says. A request that is refused is answered here; the HTTP server sees the
// end of the connection.
func (c *Conn) Read(p []byte) (int, error) {
	if c.phase == upgraded {
		if len(c.in.unread) == 0 {
			return c.Conn.Read(p)
		}
		return c.in.take(p), nil
	}
	if len(p) == 0 {
		return 0, nil
	}
	if c.answered {
		return 0, io.EOF
	}
	if c.phase == serving {
		if !c.listener.books.served(c) {
			return 0, io.EOF
		}
		c.release()
		c.phase, c.answering = waiting, false
	}
	if c.phase == waiting {
		if err := c.awaitHead(); err != nil {
			return 0, err
		}
	}
	if c.phase == headPhase {
		n := copy(p, c.in.unread[:c.head])
		c.in.unread = c.in.unread[n:]
		if c.head -= n; c.head == 0 {
			c.phase = bodyPhase
			if c.body.done() {
				c.phase = serving
			}
		}
		return n, nil
	}
	return c.readBody(p)
}

// awaitHead waits for a request and reads its head. Any error ends the connection.
func (c *Conn) awaitHead() error {
	patience := c.listener.options.IdleTimeout
	if c.requests == 0 {
		patience = c.listener.options.ReadTimeout
	}
	c.requests++
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience)) // a connection that refuses one fails at the next read
	if len(c.in.unread) == 0 {
		if _, err := io.ReadFull(c.Conn, c.first[:]); err != nil {
			return io.EOF // nothing was asked
		}
		c.in.grow()
		c.in.unread = append(c.in.unread, c.first[0])
	}
	// The deadline is for the whole request, so that a byte now and then does not move it.
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.listener.options.ReadTimeout))
	if !c.listener.books.began(c) {
		return io.EOF
	}
	request, size, refusal, err := c.in.readHead(c.Conn, c.listener.options.HeaderLimit)
	if size > 0 {
		c.request, c.head, c.received = request, size, c.in.unread[:size]
	}
	if err == nil && refusal == nil {
		// A request that has no place is refused before the HTTP server gets anything of it.
		c.body = newBody(c.request)
		refusal = c.listener.books.admits(c, c.body.done())
	}
	switch {
	case refusal != nil:
		c.refuse(refusal)
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.refuse(errLate)
		return io.EOF
	case err != nil:
		return io.EOF
	}
	c.phase = headPhase
	return nil
}

// release forgets the request that was served.
func (c *Conn) release() {
	c.request, c.received = head{}, nil
	c.in.release()
}

// readBody hands out what there is of the request's body.
func (c *Conn) readBody(p []byte) (n int, err error) {
	if len(c.in.unread) > 0 {
		n = copy(p, c.in.unread)
	} else if n, err = c.Conn.Read(p); n == 0 {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.refuse(errLate)
			err = io.EOF
		}
		return 0, err
	}
	whole, refusal := c.body.advance(p[:n])
	if refusal != nil {
		c.refuse(refusal)
		return 0, io.EOF
	}
	if len(c.in.unread) > 0 {
		c.in.unread = c.in.unread[whole:]
	} else if whole < n {
		c.in.unread = bytes.Clone(p[whole:n])
	}
	if c.body.done() {
		if refusal = c.listener.books.completed(c); refusal != nil {
			c.refuse(refusal)
			return 0, io.EOF
		}
		c.phase = serving
	}
	return whole, nil
}

// Write writes for the HTTP server, and once upgraded for the session.
func (c *Conn) Write(p []byte) (int, error) {
	interim := c.request.expects && bytes.HasPrefix(p, []byte("HTTP/1.1 100 "))
	if !c.answered && (c.phase == headPhase || c.phase == bodyPhase && !interim) {
		c.answered = true
		c.lingers.Store(true)
	}
	if c.phase == serving && !c.answering {
		c.answering = true
		c.listener.books.answers(c)
	}
	return c.Conn.Write(p)
}

// Head returns the method, the path and the values of the Origin lines of the request that is read or served, also if the HTTP
// server could not read the request and has forgotten them. length is how many bytes of its body are announced so far. Head is for
// the goroutine that reads. The slices are good until the next request.
func (c *Conn) Head() (method, path []byte, origins [][]byte, length int64) {
	return c.request.method, c.request.path, originsIn(c.received), c.body.length
}

// SetReadDeadline does nothing while the connection serves HTTP: see Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.phase != upgraded {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline sets the deadline for writing, and for reading as SetReadDeadline does.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.Conn.SetWriteDeadline(t))
}

// Upgraded ends the connection's use for HTTP. From then on it takes no place in the listener, and the caller bounds it.
// Upgraded returns false if the connection was closed meanwhile.
func (c *Conn) Upgraded() bool {
	c.phase = upgraded
	c.release()
	if !c.listener.books.left(c) {
		return false
	}
	return c.Conn.SetDeadline(time.Time{}) == nil
}

// Close closes the connection. It may be called again, and from any goroutine. If the request was answered before it was
// complete, the first call waits until the client has read the answer, but not longer than lingerTime. Who makes room and who
// waits when the listener is closed ends at once.
func (c *Conn) Close() error {
	if c.waitsForClient() {
		_ = c.Conn.SetDeadline(time.Now().Add(lingerTime))
		c.linger()
	}
	c.listener.books.left(c)
	return c.Conn.Close()
}

// waitsForClient tells whether a connection that is being closed waits for its client, and that only once. One that had to go
// does not.
func (c *Conn) waitsForClient() bool { return c.lingers.Swap(false) && c.listener.books.has(c) }

// CloseWrite ends the own side.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetWriteBuffer bounds what the system takes of what was written and not received, in bytes. errors.ErrUnsupported if the
// connection is not TCP.
func (c *Conn) SetWriteBuffer(bytes int) error {
	if tcp, ok := c.Conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		return tcp.SetWriteBuffer(bytes)
	}
	return errors.ErrUnsupported
}

const (
	// lingerTime bounds how long the answer to a refused request is written, and the peer's end is waited for.
	lingerTime = 2 * time.Second
	// drained bounds what is read and thrown away meanwhile, in bytes. Many clients read no answer before they have written
	// the whole body.
	drained = 16 << 20
)

// linger ends the own side, and throws away what still comes until the peer ends its side (RFC 9112 §9.6). A socket that is
// closed with unread bytes is reset, and the peer may lose the answer. It is bounded by drained and the deadline.
func (c *Conn) linger() {
	if c.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, drained)
	}
}

// refuse answers a request that the HTTP server does not get, and closes the connection.
func (c *Conn) refuse(refusal *Refusal) {
	c.answered = true
	if refusal != errGone && refusal != errBusy && refusal != errTooMany { // those are logged already
		c.listener.options.warn("HTTP request refused: malformed or late", c.place.address,
			slog.Int("status", refusal.Status), slog.String("reason", refusal.Sentence))
	}
	if c.received == nil {
		c.received = c.in.unread
	}
	path := c.request.path
	if path == nil {
		path = pathIn(c.received) // of a head that is not whole
	}
	var cors []origins.Header
	if !origins.IsForServers(string(path)) {
		cors = c.listener.options.CORS.Headers(originsIn(c.received))
	}
	answer := refusal.answer(isHead(c.received), cors)
	c.in.unread = nil
	_ = c.Conn.SetDeadline(time.Now().Add(lingerTime))
	if _, err := c.Conn.Write(answer); err == nil {
		c.linger()
	}
	_ = c.Close() // there is nothing left to do for it
}

// answer is a whole response with problem details (RFC 9457) and further headers. That to a HEAD request has no body.
func (r *Refusal) answer(toHead bool, more []origins.Header) []byte {
	body, _ := json.Marshal(problem.Of(r.Status, r.Sentence)) // strings and numbers can always be encoded
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", r.Status, http.StatusText(r.Status))
	headers := []origins.Header{
		{Name: "Content-Type", Value: problem.MediaType},
		{Name: "Content-Length", Value: strconv.Itoa(len(body))},
		{Name: "X-Content-Type-Options", Value: "nosniff"},
		{Name: "Cache-Control", Value: "no-store"},
		{Name: "Connection", Value: "close"},
		{Name: "Date", Value: time.Now().UTC().Format(http.TimeFormat)},
	}
	if r.Status == http.StatusServiceUnavailable || r.Status == http.StatusTooManyRequests {
		headers = append(headers, origins.Header{Name: "Retry-After", Value: "5"})
	}
	for _, header := range append(headers, more...) {
		fmt.Fprintf(&b, "%s: %s\r\n", header.Name, header.Value)
	}
	b.WriteString("\r\n")
	if !toHead {
		b.Write(body)
	}
	return b.Bytes()
}
