package ws

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/fasthttp/websocket"
	"golang.org/x/time/rate"

	"chatting/adapters/frame"
	"chatting/application"
	"chatting/domain"
)

const (
	// maxUnderWay bounds the appends without outcome of one connection. At the bound it is not read from until one has
	// its outcome.
	maxUnderWay = 256
	// maxBadJSON is how many frames in a row may be no JSON before the connection is closed with 1008.
	maxBadJSON = 10
	costBytes  = 4 << 10
	// systemBuffer is how many bytes the system takes for a client that does not read. By itself it would take some MiB for
	// each, which nobody counts.
	systemBuffer = 128 << 10
	// drainBytes bounds what is read and thrown away of a closing connection, for its peer to see the close frame: a
	// socket closed with unread bytes is reset.
	drainBytes = 4 << 20
)

// connection is a WebSocket connection from its upgrade on.
type connection struct {
	server *Server
	number uint64 // tells it from others in log lines
	sock   *socket
	inner  *websocket.Conn
	out    outbound
	frames *rate.Limiter // nil where there is no limit
	// address is the client's; the zero Addr if it is not known.
	address netip.Addr
	// receiving counts the bytes of the message that is being received and carried out.
	receiving    *application.Holding
	receivingCut atomic.Bool // by the ledger
	evicted      atomic.Bool // by Server.evict
	// stranger is its place among those not logged in; nil once it has none. Guarded by the server's lock.
	stranger *list.Element

	// features are those of the login, set before it begins and not changed after.
	features features

	// What follows belongs to the reading goroutine.
	session Session
	user    domain.UserID
	badJSON int
	refused *rate.Limiter // of frames over a rate; nil until there was one
	// notIn is why the login was refused; "" while it was not.
	notIn string

	// What follows is guarded by out.mu.
	began    time.Time
	named    bool          // the first frame came
	busy     bool          // not reading, for reasons of the server's
	leaving  bool          // takes no further messages, and closes once it has no append under way
	underWay int           // appends without outcome
	expires  time.Time     // of the token; zero for never
	pinged   time.Time     // when the keeper last sent a ping
	owner    domain.UserID // as user; set when the login is answered
	receipts *receipts     // nil while the client has confirmed all that it is to confirm
}

// start begins a session on an upgraded socket. The session calls release when it has ended.
func (s *Server) start(inner *websocket.Conn, sock *socket, release func()) {
	c := &connection{server: s, number: s.lastNumber.Add(1), sock: sock, inner: inner, address: sock.client, began: time.Now()}
	c.out.init(sock, s.options.QueueBytes, &s.options.Times, s.guard, s.deps.Bytes)
	c.receiving = s.deps.Bytes.Open(c.cutReceiving)
	if tcp, ok := sock.Conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = tcp.SetWriteBuffer(systemBuffer) // without it more waits in the system, which is no harm to one connection
	}
	if n := s.options.FramesPerSecond; n > 0 {
		c.frames = rate.NewLimiter(rate.Limit(n), 2*n)
	}
	inner.SetReadLimit(int64(s.options.MaxFrame))
	inner.SetPingHandler(c.pinging)
	inner.SetPongHandler(c.ponging)
	// The answer to a close frame is sent when reading returns it.
	inner.SetCloseHandler(func(int, string) error { return nil })
	s.register(c)
	go c.run(release)
}

// run reads until the connection ends, and cleans up.
func (c *connection) run(release func()) {
	defer release()
	defer c.server.unregister(c)
	c.server.guard(c.read, func() { c.out.close(closeInternal) })
	c.drain()
	c.out.awaitWriter()
	_ = c.sock.Close() // there is nothing left to do for a socket that fails to close
	c.out.held.Close()
	c.receiving.Close()
	if c.out.cutOff.Load() || c.receivingCut.Load() {
		c.server.deps.Notices.Warn("connection cut off: too many bytes are under way, and it was the slowest",
			c.who(), c.whence(), slog.Any("held", c.server.deps.Bytes.Held()))
	}
	if c.session != nil {
		c.server.guard(c.session.Close, func() {})
	}
	c.logEnd()
}

// read takes messages until one ends the connection, and begins its closing.
func (c *connection) read() {
	for {
		data, err := c.message()
		if c.out.isClosing() {
			c.closeAnswered(err)
			return
		}
		if err != nil {
			c.readFailed(err)
			return
		}
		if c.left() {
			c.letGo(data)
			return
		}
		ok := c.handle(data.Bytes())
		c.letGo(data)
		if !ok {
			return
		}
	}
}

// leave closes the connection as soon as what its client sent has its outcome: the echoes come before the close frame. A
// message that the client sends from now on has no answer. That is what it sends again elsewhere.
func (c *connection) leave() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.leaving = true
	if c.underWay == 0 {
		c.out.closeLocked(closeRestart, false)
	}
}

// left tells whether the connection is leaving, once it closes. Nothing is read meanwhile.
func (c *connection) left() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if !c.leaving {
		return false
	}
	c.busy = true
	for !c.out.closing {
		c.out.changed.Wait()
	}
	return true
}

// messages are buffers for one message each; connections that wait for one have none.
var messages = sync.Pool{New: func() any { return new(bytes.Buffer) }}

var (
	errBinary  = errors.New("a binary message")
	errNotUTF8 = errors.New("a text message that is not UTF-8")
	errFlood   = errors.New("too many control frames")
)

// message reads the next message, in a buffer that goes back to the pool.
func (c *connection) message() (*bytes.Buffer, error) {
	c.permit()
	kind, reader, err := c.inner.NextReader()
	if err != nil {
		return nil, err
	}
	if kind != websocket.TextMessage {
		return nil, errBinary
	}
	data := messages.Get().(*bytes.Buffer)
	data.Reset()
	if err := c.receive(data, reader); err != nil {
		c.letGo(data)
		return nil, err
	}
	if !utf8.Valid(data.Bytes()) {
		c.letGo(data)
		return nil, errNotUTF8
	}
	return data, nil
}

const (
	// uncounted is how many bytes of a message every connection may have without asking the ledger.
	uncounted = 4 << 10
	// keepMessage is the largest buffer that goes back to the pool.
	keepMessage = 16 << 10
)

// receive reads a message. The buffer grows as its bytes come, not as they are announced, and only as the ledger has room.
func (c *connection) receive(data *bytes.Buffer, reader io.Reader) error {
	for n := uncounted; ; n *= 2 {
		if n > uncounted && !c.receiving.Hold(n) {
			return errNoRoom
		}
		data.Grow(n + bytes.MinRead)
		switch _, err := io.CopyN(data, reader, int64(n)); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// letGo gives a message's buffer back.
func (c *connection) letGo(data *bytes.Buffer) {
	if data.Len() >= uncounted {
		c.receiving.Keep(0)
	}
	if data.Cap() <= keepMessage {
		messages.Put(data)
	}
}

// cutReceiving makes reading fail, upon which the connection closes. The ledger calls it, under any lock.
func (c *connection) cutReceiving() {
	c.receivingCut.Store(true)
	_ = c.sock.Conn.SetReadDeadline(longAgo) // a socket that refuses one refuses to be read, too
}

// permit lets as much be received as the longest message takes when each of its bytes comes in its own fragment (which
// has a header of six bytes). Fragments without content therefore have an end.
func (c *connection) permit() { c.sock.permit(8*c.server.options.MaxFrame + 4096) }

// readFailed begins closing as the error of reading demands.
func (c *connection) readFailed(err error) {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		// RFC 6455 §5.5.1 has the code typically echoed; the contract has 1000 for every close of a client. Before it is
		// answered, so that a client that comes again at once does not get again what it got.
		c.receivedBeforeClose()
		c.out.close(closeNormal)
	case c.receivingCut.Load(), errors.Is(err, errNoRoom):
		c.out.close(closeTryLater)
	case c.sock.refusal != 0:
		c.out.close(closeCode(c.sock.refusal))
	case errors.Is(err, websocket.ErrReadLimit):
		c.out.close(closeTooBig)
	case errors.Is(err, errBinary) && c.session == nil, errors.Is(err, errNotUTF8) && c.session == nil:
		c.server.deps.Notices.Warn(notALogin, c.whence())
		c.notIn = noToken
		c.out.close(closeUnauthenticated)
	case errors.Is(err, errBinary):
		c.out.close(closeUnsupported)
	case errors.Is(err, errNotUTF8):
		c.out.close(closeNotUTF8)
	case errors.Is(err, errFlood), errors.Is(err, errTooMuch):
		c.server.deps.Notices.Warn("connection closed: "+err.Error(), c.who(), c.whence())
		c.out.close(closePolicy)
	default:
		c.out.abort()
	}
}

// drain reads on for a while after the close frame was queued, so that the peer sees it, not a reset. The deadline that
// closing set ends it, or the peer's end.
func (c *connection) drain() {
	c.sock.permit(drainBytes)
	buffer := buffers.Get().(*[]byte)
	defer recycle(buffer)
	for {
		if _, err := c.sock.Read((*buffer)[:cap(*buffer)]); err != nil {
			return
		}
	}
}

// abort cuts the connection at once.
func (c *connection) abort() { c.out.abort() }

// pinging answers a ping. It runs on the reading goroutine, as ponging does.
func (c *connection) pinging(data string) error {
	if err := c.control(); err != nil {
		return err
	}
	c.out.pong(data)
	return nil
}

// ponging takes a pong. One that confirms something was asked for, and does not count as a frame of the client's.
func (c *connection) ponging(data string) error {
	if c.received(data) {
		c.permit()
		return nil
	}
	return c.control()
}

// control counts a control frame. One over the user's rate is taken, as long as the connection does not send many: it may
// be another connection that sends too much.
func (c *connection) control() error {
	c.permit()
	if c.frames != nil && !c.frames.Allow() {
		return errFlood
	}
	if c.session != nil && c.takeUser(1) > 0 && !c.mayBeRefused() {
		return errFlood
	}
	return nil
}

// handle takes a message; false when it ended the connection.
func (c *connection) handle(data []byte) bool {
	if c.session == nil {
		return c.logIn(data)
	}
	req, err := parseFrame(data, c.features)
	if domain.CodeOf(err) == domain.CodeBadJSON {
		if c.badJSON++; c.badJSON >= maxBadJSON {
			c.out.close(closePolicy)
			return false
		}
	} else {
		c.badJSON = 0
	}
	if wait := c.take(len(data)); wait > 0 {
		c.server.deps.Notices.Warn("frame refused: over the rate", c.who(), c.whence())
		if !c.mayBeRefused() {
			c.server.deps.Notices.Warn("connection closed: it kept sending over the rate", c.who(), c.whence())
			c.out.close(closePolicy)
			return false
		}
		err = domain.NewRateLimited("Too many frames.", wait)
	}
	if err != nil {
		c.refuse(req, err)
		return true
	}
	switch req.kind {
	case renewal:
		return c.renew(req)
	case ping:
		c.out.send(frame.Pong(c.server.deps.Now()))
		return true
	default:
		return c.submit(req)
	}
}

// notALogin is what the log says of a first frame that is no login.
const notALogin = "login refused: the first frame holds no token"

// logIn takes the first message.
func (c *connection) logIn(data []byte) bool {
	c.out.mu.Lock()
	c.named = true
	c.out.mu.Unlock()
	// Before the token is looked at: to check a bad one costs as much.
	if wait := c.server.takeLogin(c.address); wait > 0 {
		c.server.deps.Notices.Warn("login refused: too many from its address", c.whence())
		c.notIn = "too many logins from its address"
		c.refuseLogin()
		return false
	}
	token, named, ok := parseLogin(data)
	if !ok {
		c.server.deps.Notices.Warn(notALogin, c.whence())
		c.notIn = noToken
		c.out.close(closeUnauthenticated)
		return false
	}
	c.features = named
	c.server.named(c)
	var (
		session  Session
		identity application.Identity
		err      error
	)
	c.waiting(func(ctx context.Context) { session, identity, err = c.server.deps.Login(ctx, token, c) })
	if err != nil {
		c.loginFailed(err)
		return false
	}
	c.session, c.user = session, identity.User
	c.out.held.Of(c.user)
	c.receiving.Of(c.user)
	c.expireAt(identity.Expires)
	c.server.deps.Logins.LoggedIn(c.visitor())
	return true
}

// renew takes another token of the same user. One that cannot be checked now leaves the earlier one in force.
func (c *connection) renew(req request) bool {
	var (
		identity application.Identity
		err      error
	)
	c.waiting(func(ctx context.Context) { identity, err = c.session.Renew(ctx, req.token) })
	switch domain.CodeOf(err) {
	case "":
		c.expireAt(identity.Expires)
	case domain.CodeUnauthenticated:
		c.out.closeBecause(closeUnauthenticated, "its new token was refused: "+application.WhyRefused(err))
		return false
	default:
		c.refuse(req, err)
	}
	return true
}

// waiting runs f, which checks a token, with a deadline that also the connection's closing brings. Nothing is read
// meanwhile: what the client sends waits in its socket, in order.
func (c *connection) waiting(f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), c.server.options.Times.Login)
	defer cancel()
	c.out.mu.Lock()
	c.busy = true
	if c.out.closing {
		cancel()
	}
	c.out.cancel = cancel
	c.out.mu.Unlock()
	defer c.resume()
	f(application.WithClientAddress(ctx, c.Address()))
}

// resume notes that reading goes on; the silence so far was not the client's.
func (c *connection) resume() {
	c.sock.noteHeard()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.busy = false
	c.out.cancel = nil
}

func (c *connection) expireAt(expires time.Time) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.expires = expires
}

// submit hands a command to its use case. It waits while too many have no outcome; false when the connection closed
// meanwhile.
func (c *connection) submit(req request) bool {
	if !c.claim() {
		return false
	}
	done := func(err error) { c.server.guard(func() { c.settle(req, err) }, c.abort) }
	switch req.kind {
	case invite:
		c.server.deps.Invites.Execute(application.InviteCommand{
			Sender: c.user, Target: req.target, Status: req.status, Room: req.room, ClientMessageID: req.name,
		}, done)
	default:
		c.server.deps.Messages.Execute(application.ChatCommand{
			Sender: c.user, Target: req.target, Text: req.text, ClientMessageID: req.name,
		}, done)
	}
	return true
}

// claim counts one more append, once there is room for it.
func (c *connection) claim() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.underWay >= maxUnderWay {
		c.busy = true
		for c.underWay >= maxUnderWay && !c.out.closing {
			c.out.changed.Wait()
		}
		c.busy = false
		c.sock.noteHeard()
	}
	if c.out.closing {
		return false
	}
	c.underWay++
	return true
}

// settle takes the outcome of an append, on any goroutine.
func (c *connection) settle(req request, err error) {
	if err != nil {
		c.refuse(req, err)
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.underWay--
	switch {
	case c.leaving && c.underWay == 0:
		c.out.closeLocked(closeRestart, false)
	case c.underWay == maxUnderWay-1:
		c.out.changed.Broadcast()
	}
}
