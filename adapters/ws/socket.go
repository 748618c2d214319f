package ws

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"chatting/adapters/ws/rfc6455"
)

// WrapListener returns a listener for the app to be served on. The connections of inner hand the HTTP server whole
// requests, one by one, and end that by Upgraded: those of httpconn.Listener do. Upgrades on other connections are refused.
func (s *Server) WrapListener(inner net.Listener) net.Listener { return listener{inner} }

type listener struct{ net.Listener }

// Accept makes a connection a socket.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &socket{Conn: conn}, nil
}

// upgradable is a connection that hands the HTTP server nothing beyond a request.
type upgradable interface {
	// Upgraded ends that: the next Read returns what was received after the request. False if the connection is closed.
	Upgraded() bool
}

// upgradable tells whether the connection below can be upgraded.
func (s *socket) upgradable() bool {
	_, ok := s.Conn.(upgradable)
	return ok
}

// socket is an accepted connection. It first serves HTTP, then one session.
//
// If the buffered reader of a request holds any byte, fasthttp gives it to the hijacked connection. Version 1.52 also put it back
// into its pool when the hijack handler returned; version 1.78 leaves it to the connection. A session outlives the handler and
// must never get that reader: it would keep a buffer as large as a request head or, with 1.52, read another connection's bytes.
// So:
//
//   - while the connection serves HTTP, no Read returns bytes on both sides of the end of a request: see upgradable. With
//     ReduceMemoryUsage fasthttp lets go of the reader when it is empty after the request;
//   - requests that could leave something in it nonetheless (a body, a folded header) are not upgraded: see bare;
//   - before the session begins, isDirect proves that reads come here with nothing between.
//
// Once upgraded, what the WebSocket library writes on its own (close frames after a violation) is not sent but noted, so
// that the outbound queue alone writes.
type socket struct {
	net.Conn

	// client is the address that limits and logs count the connection under. It is set before the upgrade.
	client netip.Addr
	// upgraded is set before the session's goroutines start.
	upgraded bool
	// probe is, during isDirect, the byte to be read to.
	probe  *byte
	direct bool
	// allowance is how many bytes the session may still receive: see permit.
	allowance int
	// refusal is the code of the close frame that the library wanted to send, 0 for none.
	refusal int

	heard atomic.Int64 // when something was last received, in nanoseconds since started

	mu      sync.Mutex
	closed  bool
	onClose func() // takes the admission back; nil once a session has taken it over
}

// Head passes on what the connection below knows of the request that it hands to the HTTP server.
func (s *socket) Head() (method, path []byte, origins [][]byte, length int64) {
	if inner, ok := s.Conn.(interface {
		Head() (method, path []byte, origins [][]byte, length int64)
	}); ok {
		return inner.Head()
	}
	return nil, nil, nil, 0
}

// errTooMuch says that a peer sends fragments or control frames without end.
var errTooMuch = errors.New("too many bytes for one message")

// Read implements net.Conn: see socket.
func (s *socket) Read(p []byte) (int, error) {
	switch {
	case s.probe != nil:
		s.direct = len(p) == 1 && &p[0] == s.probe
		return 0, io.EOF
	case s.upgraded:
		return s.readSession(p)
	default:
		return s.Conn.Read(p)
	}
}

func (s *socket) readSession(p []byte) (n int, err error) {
	if s.allowance <= 0 {
		return 0, errTooMuch
	}
	if n, err = s.Conn.Read(p); n > 0 {
		s.allowance -= n
		s.noteHeard()
	}
	return n, err
}

// started is the origin of monotonic times that are kept as numbers.
var started = time.Now()

func (s *socket) noteHeard() { s.heard.Store(int64(time.Since(started))) }

// lastHeard returns how long after started something was last received.
func (s *socket) lastHeard() time.Duration { return time.Duration(s.heard.Load()) }

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
	if len(p) >= 4 && p[0] == rfc6455.FinalBit|rfc6455.Close {
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

// takeOver gives the socket, and the release that hold was given, to a session; false if the socket was closed meanwhile.
func (s *socket) takeOver() (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.onClose == nil {
		return nil, false
	}
	if conn, ok := s.Conn.(upgradable); !ok || !conn.Upgraded() {
		return nil, false
	}
	release, s.onClose = s.onClose, nil
	s.upgraded = true
	s.noteHeard()
	return release, true
}

// hold has release called if the socket is closed before a session takes it over; false if it is closed already.
func (s *socket) hold(release func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.onClose != nil {
		return false
	}
	s.onClose = release
	return true
}

// drop calls the release that hold was given, unless a session has taken the socket over.
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

// closeWrite ends the server's side, so that the peer knows that nothing follows the close frame.
func (s *socket) closeWrite() {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // where it fails, the connection is gone, as the reader will notice
	}
}
