package httpconn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
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
	place    place // in the listener's books

	// What follows belongs to the goroutine that reads.
	phase phase
	first [1]byte
	// in was received and not handed out. buffer is what it lies in, to go back to the pool; nil if it does not come from there.
	in     []byte
	buffer *[]byte
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
}

type phase int

const (
	waiting phase = iota // for a request
	headPhase
	bodyPhase
	serving  // the HTTP server has the whole request
	upgraded // no HTTP any more
)

// headBuffer is the size of the buffers that heads are read into. Longer heads get a larger one of their own.
const headBuffer = 2 << 10

var headBuffers = sync.Pool{New: func() any { b := make([]byte, 0, headBuffer); return &b }}

// Read implements net.Conn as the type's comment says. A request that is refused is answered here; the HTTP server sees the
// end of the connection.
func (c *Conn) Read(p []byte) (int, error) {
	if c.phase == upgraded {
		return c.readRaw(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if c.answered {
		return 0, io.EOF
	}
	if c.phase == serving {
		if !c.listener.served(c) {
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
		n := copy(p, c.in[:c.head])
		c.in = c.in[n:]
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

// readRaw returns what was received, without looking at it.
func (c *Conn) readRaw(p []byte) (int, error) {
	if len(c.in) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.in)
	if c.in = c.in[n:]; len(c.in) == 0 {
		c.in = nil
	}
	return n, nil
}

// awaitHead waits for a request and reads its head. Any error ends the connection.
func (c *Conn) awaitHead() error {
	patience := c.listener.options.IdleTimeout
	if c.requests == 0 {
		patience = c.listener.options.ReadTimeout
	}
	c.requests++
	c.setDeadline(time.Now().Add(patience))
	if len(c.in) == 0 {
		if _, err := io.ReadFull(c.Conn, c.first[:]); err != nil {
			return io.EOF // nothing was asked
		}
		c.grow()
		c.in = append(c.in, c.first[0])
	}
	// The deadline is for the whole request, so that a byte now and then does not move it.
	c.setDeadline(time.Now().Add(c.listener.options.ReadTimeout))
	if !c.listener.began(c) {
		return io.EOF
	}
	refusal, err := c.readHead()
	if err == nil && refusal == nil {
		// A request that has no place is refused before the HTTP server gets anything of it.
		c.body = newBody(c.request)
		refusal = c.listener.admits(c, c.body.done())
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

// readHead reads into in until a whole head is there, and checks it.
func (c *Conn) readHead() (*Refusal, error) {
	var seen scanned
	skipped := false
	for {
		end, refusal := seen.scan(c.in)
		switch {
		case refusal != nil:
			return refusal, nil
		case end > c.listener.options.HeaderLimit || end == 0 && len(c.in) >= c.listener.options.HeaderLimit:
			return &Refusal{
				http.StatusRequestHeaderFieldsTooLarge,
				fmt.Sprintf("The head is longer than %d bytes.", c.listener.options.HeaderLimit),
			}, nil
		case end == len(crlf) && !skipped:
			// One empty line before a request is some old client's end of the request before (RFC 9112 §2.2).
			c.in, skipped, seen = c.in[end:], true, scanned{}
			continue
		case end > 0:
			c.head, c.received = end, c.in[:end]
			if c.request, refusal = parseHead(c.received); c.request.slash > 0 {
				// The HTTP server gets the path that an empty one stands for (RFC 9110 §4.2.3).
				c.in = slices.Insert(c.in, c.request.slash, '/')
				c.head++
				c.received = c.in[:c.head]
			}
			return refusal, nil
		}
		c.grow()
		n, err := c.Conn.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+n]
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

// grow makes room in the buffer for what is read next.
func (c *Conn) grow() {
	switch {
	case c.in == nil:
		c.buffer = headBuffers.Get().(*[]byte)
		c.in = (*c.buffer)[:0]
	case len(c.in) == cap(c.in):
		larger := make([]byte, len(c.in), 2*cap(c.in)+headBuffer)
		copy(larger, c.in)
		c.in = larger
	}
}

// release gives the buffer back. What was received of the next request gets one of its own.
func (c *Conn) release() {
	c.request, c.received = head{}, nil
	if len(c.in) == 0 {
		c.in = nil
	} else {
		c.in = bytes.Clone(c.in)
	}
	if c.buffer != nil {
		headBuffers.Put(c.buffer)
		c.buffer = nil
	}
}

// readBody hands out what there is of the request's body.
func (c *Conn) readBody(p []byte) (n int, err error) {
	if len(c.in) > 0 {
		n = copy(p, c.in)
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
	if len(c.in) > 0 {
		c.in = c.in[whole:]
	} else if whole < n {
		c.in = bytes.Clone(p[whole:n])
	}
	if c.body.done() {
		if refusal = c.listener.completed(c); refusal != nil {
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
		c.listener.answersEarly(c)
	}
	if c.phase == serving && !c.answering {
		c.answering = true
		c.listener.answers(c)
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

// setDeadline sets the connection's own.
func (c *Conn) setDeadline(t time.Time) {
	_ = c.Conn.SetReadDeadline(t) // a connection that refuses one fails at the next read
}

// Upgraded ends the connection's use for HTTP. From then on it takes no place in the listener, and the caller bounds it.
// Upgraded returns false if the connection was closed meanwhile.
func (c *Conn) Upgraded() bool {
	c.phase = upgraded
	c.release()
	if !c.listener.upgraded(c) {
		return false
	}
	return c.Conn.SetDeadline(time.Time{}) == nil
}

// Close closes the connection. It may be called again, and from any goroutine. If the request was answered before it was
// complete, the first call waits until the client has read the answer, but not longer than lingerTime. Who makes room and who
// waits when the listener is closed ends at once.
func (c *Conn) Close() error {
	if c.listener.lingers(c) {
		_ = c.Conn.SetDeadline(time.Now().Add(lingerTime))
		c.linger()
	}
	c.listener.left(c)
	return c.Conn.Close()
}

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
	c.listener.refused(c, refusal)
	if c.received == nil {
		c.received = c.in
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
	c.in = nil
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
