package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// WrapListener returns a listener for the app to be served on. Upgrades on connections of any other listener are refused.
func (s *Server) WrapListener(inner net.Listener) net.Listener { return listener{inner} }

type listener struct{ net.Listener }

// acceptPause is how long accepting rests after it failed for want of something that others will give back.
const acceptPause = 50 * time.Millisecond

// Accept waits for a connection and makes it a socket. Where the process or the system has no more files or buffers, it
// tries again: the HTTP server would end, and with it the node.
func (l listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err == nil {
			return &socket{Conn: conn}, nil
		}
		if !isShortage(err) {
			return nil, err
		}
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

// socket is an accepted connection. It first serves HTTP, then one session.
//
// fasthttp 1.52 gives a hijacked connection the buffered reader that it read the request with, if that holds any byte,
// and puts it back into its pool when the hijack handler returns. A session that lives longer than the handler must
// therefore never get that reader: it would read another connection's bytes from it, or crash. So:
//
//   - while the connection serves HTTP, no Read returns bytes on both sides of the empty line that ends a request head:
//     with ReduceMemoryUsage fasthttp lets go of the reader when it is empty after the request;
//   - requests that could leave something in it nonetheless (a body, a folded header) are not upgraded: see bare;
//   - before the session begins, isDirect proves that reads come here with nothing between.
//
// Once upgraded, what the WebSocket library writes on its own (close frames after a violation) is not sent but noted, so
// that the outbound queue alone writes.
type socket struct {
	net.Conn

	// client is what the client is counted under, set at the upgrade; the zero Addr if it is not known.
	client netip.Addr
	// surplus was received and not yet read. It is touched by whoever reads: fasthttp's worker, then the session.
	surplus []byte
	// head is where in a request head the last byte stood that Read returned for HTTP.
	head headState
	// upgraded is set before the session's goroutines start.
	upgraded bool
	// probe is, during isDirect, the byte to be read to.
	probe  *byte
	direct bool
	// allowance is how many bytes may still be received before the session makes progress; see permit.
	allowance int
	// refusal is the code of the close frame that the library wanted to send, 0 for none.
	refusal int

	heard atomic.Int64 // when something was last received, in nanoseconds since started

	mu      sync.Mutex
	closed  bool
	onClose func() // takes the admission back; nil once a session has taken it over
}

// errTooMuch says that a peer sends fragments or control frames without end.
var errTooMuch = errors.New("too many bytes for one message")

// Read implements net.Conn as the type's comment says.
func (s *socket) Read(p []byte) (int, error) {
	switch {
	case s.probe != nil:
		s.direct = len(p) == 1 && &p[0] == s.probe
		return 0, io.EOF
	case s.upgraded:
		return s.readSession(p)
	case len(p) == 0:
		return 0, nil
	case len(s.surplus) > 0:
		n := copy(p, s.surplus)
		n = s.head.advance(p[:n])
		s.skip(n)
		return n, nil
	}
	n, err := s.Conn.Read(p)
	if whole := s.head.advance(p[:n]); whole < n {
		s.surplus = bytes.Clone(p[whole:n])
		// An error would hide the surplus; it will come again after it.
		return whole, nil
	}
	return n, err
}

// headState follows the lines of a byte stream to find the ends of request heads in it. It takes for one every empty line
// (a line feed with or without a carriage return before it, as fasthttp has it) that follows a line which is not empty.
// Each head ends with such a line, because it begins with a line that is not empty; bodies may have more of them.
type headState struct {
	line  lineState
	lines bool // there was a line that is not empty since the last end
}

type lineState int

const (
	lineEmpty  lineState = iota
	lineReturn           // a carriage return and nothing else
	lineText
)

// advance goes through b until a head ends, at most, and returns how far it came.
func (h *headState) advance(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\n' && h.line == lineText:
			h.line, h.lines = lineEmpty, true
		case b[i] == '\n':
			h.line = lineEmpty
			if h.lines {
				h.lines = false
				return i + 1
			}
		case b[i] == '\r' && h.line == lineEmpty:
			h.line = lineReturn
		default:
			h.line = lineText
			if feed := bytes.IndexByte(b[i:], '\n'); feed > 0 {
				i += feed - 1
			} else {
				return len(b)
			}
		}
	}
	return len(b)
}

func (s *socket) skip(n int) {
	if s.surplus = s.surplus[n:]; len(s.surplus) == 0 {
		s.surplus = nil
	}
}

func (s *socket) readSession(p []byte) (n int, err error) {
	if s.allowance <= 0 {
		return 0, errTooMuch
	}
	if len(s.surplus) > 0 {
		n = copy(p, s.surplus)
		s.skip(n)
	} else {
		n, err = s.Conn.Read(p)
	}
	if n > 0 {
		s.allowance -= n
		s.noteHeard()
	}
	return n, err
}

// started is the origin of monotonic times that are kept as numbers.
var started = time.Now()

func (s *socket) noteHeard() { s.heard.Store(int64(time.Since(started))) }

// lastHeard returns when something was last received.
func (s *socket) lastHeard() time.Time { return started.Add(time.Duration(s.heard.Load())) }

// permit lets the session receive n more bytes from now on.
func (s *socket) permit(n int) { s.allowance = n }

// isDirect tells whether reading from conn, which fasthttp made of s, reads from s itself, not from a buffer between.
// Nothing is consumed from s.
func (s *socket) isDirect(conn io.Reader) bool {
	var probe [1]byte
	s.probe, s.direct = &probe[0], false
	n, _ := conn.Read(probe[:])
	s.probe = nil
	return s.direct && n == 0
}

// Write serves HTTP. Once upgraded, only the WebSocket library calls it, on the session's reading goroutine.
func (s *socket) Write(p []byte) (int, error) {
	if !s.upgraded {
		return s.Conn.Write(p)
	}
	if len(p) >= 4 && p[0] == finalBit|opClose {
		s.refusal = int(binary.BigEndian.Uint16(p[2:]))
	}
	return len(p), nil
}

// SetWriteDeadline serves HTTP. Once upgraded, only the WebSocket library calls it, to no effect.
func (s *socket) SetWriteDeadline(t time.Time) error {
	if s.upgraded {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}

// takeOver ends the socket's time with HTTP and returns the admission, false when the socket was closed meanwhile.
func (s *socket) takeOver() (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.onClose == nil {
		return nil, false
	}
	release, s.onClose = s.onClose, nil
	s.upgraded = true
	s.noteHeard()
	return release, true
}

// hold makes release be called when the socket is closed before a session took it over. False when it is closed.
func (s *socket) hold(release func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.onClose != nil {
		return false
	}
	s.onClose = release
	return true
}

// drop calls the release given to hold, if that still stands.
func (s *socket) drop() {
	s.mu.Lock()
	release := s.onClose
	s.onClose = nil
	s.mu.Unlock()
	if release != nil {
		release()
	}
}

// Close closes the connection. It may be called again.
func (s *socket) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	defer s.drop()
	return s.Conn.Close()
}

// closeWrite ends the own side, so that a peer who got the close frame knows that nothing follows.
func (s *socket) closeWrite() {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // where it fails, the connection is gone, as the reader will notice
	}
}
