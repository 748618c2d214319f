package socket

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"chatting/adapters/ws/rfc6455"
)

// Listen returns a listener whose connections are each a *Conn. They take over those of inner, which hand the HTTP server whole
// requests, one by one, and end that by Upgraded: those of httpconn.Listener do. Others cannot be upgraded.
func Listen(inner net.Listener) net.Listener { return listener{inner} }

type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: conn}, nil
}

// upgradable is a connection that hands the HTTP server nothing beyond a request.
type upgradable interface {
	// Upgraded ends that: the next Read returns what was received after the request. False if the connection is closed.
	Upgraded() bool
}

// CanUpgrade tells whether the connection below can be upgraded.
func (s *Conn) CanUpgrade() bool {
	_, ok := s.Conn.(upgradable)
	return ok
}

// Conn is an accepted connection. It first serves HTTP, then one session: what the server and its client say by WebSocket.
//
// If the buffered reader of a request holds any byte, fasthttp gives it to the hijacked connection. Version 1.52 also put it back
// into its pool when the hijack handler returned; version 1.78 leaves it to the connection. A session outlives the handler and
// must never get that reader: it would keep a buffer as large as a request head or, with 1.52, read another connection's bytes.
// So:
//
//   - while the connection serves HTTP, no Read returns bytes on both sides of the end of a request: see upgradable. With
//     ReduceMemoryUsage fasthttp lets go of the reader when it is empty after the request;
//   - requests that could leave something in it nonetheless (a body, a folded header) must not be upgraded. Those who
//     upgrade see to that;
//   - before the session begins, IsDirect proves that reads come here with nothing between.
//
// Once upgraded, what the WebSocket library writes on its own (close frames after a violation) is not sent but noted, so
// that Outbound alone writes.
type Conn struct {
	net.Conn

	// Refusal is the code of the close frame that the library wanted to send, 0 for none. It belongs to the reading goroutine.
	Refusal int

	// upgraded is set before the session's goroutines start.
	upgraded bool
	// probe is, during IsDirect, the byte to be read to.
	probe  *byte
	direct bool
	// allowance is how many bytes the session may still receive: see Permit.
	allowance int

	heard atomic.Int64 // when something was last received, in nanoseconds since started

	mu      sync.Mutex
	closed  bool
	onClose func() // takes the admission back; nil once a session has taken it over
}

// Head passes on what the connection below knows of the request that it hands to the HTTP server.
func (s *Conn) Head() (method, path []byte, origins [][]byte, length int64) {
	if inner, ok := s.Conn.(interface {
		Head() (method, path []byte, origins [][]byte, length int64)
	}); ok {
		return inner.Head()
	}
	return nil, nil, nil, 0
}

// ErrTooMuch says that a peer sends fragments or control frames without end.
var ErrTooMuch = errors.New("too many bytes for one message")

// Read implements net.Conn: see Conn.
func (s *Conn) Read(p []byte) (int, error) {
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

func (s *Conn) readSession(p []byte) (n int, err error) {
	if s.allowance <= 0 {
		return 0, ErrTooMuch
	}
	if n, err = s.Conn.Read(p); n > 0 {
		s.allowance -= n
		s.noteHeard()
	}
	return n, err
}

// started is the origin of monotonic times that are kept as numbers.
var started = time.Now()

// Elapsed returns how long the program has been running. It does not leap.
func Elapsed() time.Duration { return time.Since(started) }

func (s *Conn) noteHeard() { s.heard.Store(int64(Elapsed())) }

// LastHeard returns what Elapsed was when something was last received, or when the wait for something of the server's ended.
func (s *Conn) LastHeard() time.Duration { return time.Duration(s.heard.Load()) }

// Permit lets the session receive n more bytes from now on.
func (s *Conn) Permit(n int) { s.allowance = n }

// IsDirect tells whether reading from conn, which fasthttp made of s, reads from s itself, not from a buffer between.
// Nothing is consumed from s.
func (s *Conn) IsDirect(conn io.Reader) bool {
	var probe [1]byte
	s.probe, s.direct = &probe[0], false
	n, _ := conn.Read(probe[:])
	s.probe = nil
	return s.direct && n == 0
}

// Write serves HTTP. Once upgraded, only the WebSocket library calls it, on the session's reading goroutine.
func (s *Conn) Write(p []byte) (int, error) {
	if !s.upgraded {
		return s.Conn.Write(p)
	}
	if len(p) >= 4 && p[0] == rfc6455.FinalBit|rfc6455.Close {
		s.Refusal = int(binary.BigEndian.Uint16(p[2:]))
	}
	return len(p), nil
}

// SetWriteDeadline serves HTTP. Once upgraded, only the WebSocket library calls it, to no effect.
func (s *Conn) SetWriteDeadline(t time.Time) error {
	if s.upgraded {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}

// TakeOver gives the connection, and the release that Hold was given, to a session; false if the connection was closed meanwhile.
func (s *Conn) TakeOver() (release func(), ok bool) {
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

// Hold has release called if the connection is closed before a session takes it over; false if it is closed already.
func (s *Conn) Hold(release func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.onClose != nil {
		return false
	}
	s.onClose = release
	return true
}

// Drop calls the release that Hold was given, unless a session has taken the connection over.
func (s *Conn) Drop() {
	s.mu.Lock()
	release := s.onClose
	s.onClose = nil
	s.mu.Unlock()
	if release != nil {
		release()
	}
}

// Close closes the connection. It may be called again.
func (s *Conn) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	defer s.Drop()
	return s.Conn.Close()
}

// closeWrite ends the server's side, so that the peer knows that nothing follows the close frame.
func (s *Conn) closeWrite() {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // where it fails, the connection is gone, as the reader will notice
	}
}
