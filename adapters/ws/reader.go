package ws

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/fasthttp/websocket"
	"golang.org/x/time/rate"

	"chatting/adapters/ws/socket"
)

// systemBuffer is how many bytes the system takes for a client that does not read. By itself it would take some MiB for each,
// which nobody counts.
const systemBuffer = 128 << 10

// reader is the goroutine that reads from a connection, and what only it touches. Its visit logs the client in, and then it hands
// frames to requests.
type reader struct {
	connection
	requests

	messages socket.MessageReader
	visit    visit
}

// start begins a session on an upgraded socket. The session calls release when it has ended.
func (s *Server) start(inner *websocket.Conn, h handover, release func()) {
	r := s.newReader(inner, h.sock, h.client)
	r.trace = h.trace
	if tcp, ok := h.sock.Conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = tcp.SetWriteBuffer(systemBuffer) // without it more waits in the system, which is no harm to one connection
	}
	inner.SetReadLimit(int64(s.options.MaxFrame))
	inner.SetPingHandler(r.pinging)
	inner.SetPongHandler(r.ponging)
	// The answer to a close frame is sent when reading returns it.
	inner.SetCloseHandler(func(int, string) error { return nil })
	if draining := s.roster.register(&r.connection); draining {
		r.leave()
	}
	go r.run(release)
}

func (s *Server) newReader(inner *websocket.Conn, sock *socket.Conn, address netip.Addr) *reader {
	r := &reader{}
	r.connection.init(s, sock, address)
	r.requests.conn, r.throttle.Rates, r.throttle.OverRate = &r.connection, &s.deps.Rates, &s.counts.overRate
	r.visit.conn, r.visit.requests = &r.connection, &r.requests
	r.messages.Init(inner, sock, s.deps.Bytes.Open(r.messages.Cut))
	if n := s.options.FramesPerSecond; n > 0 {
		r.throttle.Frames = rate.NewLimiter(rate.Limit(n), 2*n)
	}
	return r
}

// run reads until the connection ends, and cleans up.
func (r *reader) run(release func()) {
	defer release()
	defer r.server.roster.unregister(&r.connection)
	guard(r.server.deps.Notices, r.read, func() { r.out.Close(closeInternal, "") })
	r.messages.Drain()
	r.out.Await(context.Background(), func(now socket.State) bool { return !now.Writing })
	_ = r.sock.Close() // there is nothing left to do for a socket that fails to close
	r.out.Held().Close()
	r.messages.Held().Close()
	if r.isCutOff() {
		r.server.deps.Notices.Warn("connection cut off: too many bytes are under way, and it was the slowest",
			r.who(), r.from(), slog.Any("held", r.server.deps.Bytes.Held()))
	}
	if r.session != nil {
		guard(r.server.deps.Notices, r.session.Close, func() {})
	}
	r.visit.logEnd(r.isCutOff())
}

// isCutOff tells whether the ledger cut the connection off.
func (r *reader) isCutOff() bool { return r.out.State().CutOff || r.messages.IsCutOff() }

var errFlood = errors.New("too many control frames")

// read takes messages until one ends the connection, and begins its closing.
func (r *reader) read() {
	for {
		r.permit()
		data, err := r.messages.Next()
		if r.out.State().Closing {
			r.closeAnswered(err)
			return
		}
		if err != nil {
			r.readFailed(err)
			return
		}
		if r.reading.IsLeaving() {
			r.messages.Free(data)
			r.reading.AwaitEnd()
			return
		}
		ok := r.take(data.Bytes())
		r.messages.Free(data)
		if !ok {
			return
		}
	}
}

// permit lets as much be received as the longest message takes when each of its bytes comes in its own fragment, which has a
// header of six bytes. So fragments without content have an end.
func (r *reader) permit() { r.sock.Permit(8*r.server.options.MaxFrame + 4096) }

// take takes a message; false when it ended the connection.
func (r *reader) take(data []byte) bool {
	if r.session != nil {
		return r.handle(data)
	}
	if !r.visit.logInAside(data) {
		return false
	}
	r.messages.Held().Of(r.user)
	return true
}

// readFailed begins closing as the error of reading demands.
func (r *reader) readFailed(err error) {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		// Before the close is answered, so that a client that comes again at once does not get again what it got.
		r.received(r.receipts.closedByClient())
		// RFC 6455 §5.5.1 typically echoes the code. The contract has 1000 for every close of a client.
		r.out.Close(closeNormal, "")
	case r.messages.IsCutOff(), errors.Is(err, socket.ErrNoRoom):
		r.out.Close(closeOverload, "")
	case r.sock.Refusal != 0:
		r.out.Close(causeOfRefusal(r.sock.Refusal), "")
	case errors.Is(err, websocket.ErrReadLimit):
		r.out.Close(closeTooBig, "")
	case r.session == nil && (errors.Is(err, socket.ErrBinary) || errors.Is(err, socket.ErrNotUTF8)):
		r.visit.refuseFirst()
	case errors.Is(err, socket.ErrBinary):
		r.out.Close(closeUnsupported, "")
	case errors.Is(err, socket.ErrNotUTF8):
		r.out.Close(closeNotUTF8, "")
	case errors.Is(err, errFlood):
		r.misbehaved(closeControls, err)
	case errors.Is(err, socket.ErrTooMuch):
		r.misbehaved(closeFragments, err)
	default:
		r.out.Abort()
	}
}

// misbehaved closes the connection of a client that would cost too much.
func (r *reader) misbehaved(cause closeCause, err error) {
	r.server.deps.Notices.Warn("connection closed: "+err.Error(), r.who(), r.from())
	r.out.Close(cause, "")
}

// closeAnswered looks whether an error of reading is the client's answer to the server's close frame.
func (r *reader) closeAnswered(err error) {
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		r.received(r.receipts.closeAnswered(closed.Code))
	}
}

// pinging answers a ping. The library calls it and ponging while it reads.
func (r *reader) pinging(data string) error {
	if err := r.controlled(); err != nil {
		return err
	}
	r.out.Pong(data)
	return nil
}

// ponging takes a pong. One that confirms something was asked for, and does not count as a frame of the client's.
func (r *reader) ponging(data string) error {
	if r.session == nil {
		return r.controlled()
	}
	places, answer := r.receipts.answered(data)
	if !answer {
		return r.controlled()
	}
	r.received(places)
	r.permit()
	return nil
}

// controlled counts a control frame.
func (r *reader) controlled() error {
	r.permit()
	if !r.throttle.Control(r.user, r.session != nil) {
		return errFlood
	}
	return nil
}
