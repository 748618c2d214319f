package ws

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"chatting/adapters/network"
	"chatting/adapters/wire"
	"chatting/adapters/ws/socket"
	"chatting/application"
	"chatting/application/port"
	"chatting/domain"
)

// connection is a WebSocket connection from its upgrade on, as all goroutines see it: when it began, and how it ends. What
// delivery and presence show to the client is in feed. What only its reading goroutine touches is in reader.
type connection struct {
	feed

	server  *Server
	number  uint64     // tells it from others in log lines
	address netip.Addr // of the client; the zero Addr if it is not known
	sock    *socket.Conn
	out     outbound
	reading socket.Reading
	token   validity

	began   time.Duration // socket.Elapsed at the upgrade
	pinged  time.Duration // socket.Elapsed when the keeper, whose this is, last sent a ping; 0 for never
	named   atomic.Bool   // the first frame came
	evicted atomic.Bool   // to make room for another
	owner   atomic.Int64  // the user, once the login is answered
}

func (c *connection) init(server *Server, sock *socket.Conn, address netip.Addr) {
	c.server, c.number, c.sock, c.address, c.began = server, server.lastNumber.Add(1), sock, address, socket.Elapsed()
	c.out.observer = server.deps.Observer
	c.out.Init(&server.sockets, sock, &c.reading, server.deps.Bytes.Open(c.out.Cut))
	c.feed.init(&c.out, server.options.QueueBytes, server.deps.Now)
	c.token.init(&c.out, server.options.Times.TokenWarning, server.deps.Now)
}

// leave closes the connection as soon as what its client sent has its outcome: the echoes come before the close frame. A
// message that the client sends from now on has no answer. The client sends it again elsewhere.
func (c *connection) leave() {
	if c.reading.Leave() {
		c.out.Close(closeRestart, "")
	}
}

// abort cuts the connection at once.
func (c *connection) abort() { c.out.Abort() }

// checking runs f, which checks a token, with a deadline that also the connection's closing brings. Nothing is read meanwhile.
func (c *connection) checking(f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), c.server.options.Times.Login)
	defer cancel()
	c.reading.Pause(cancel)
	defer c.reading.Resume()
	f(application.WithClientAddress(ctx, c.Address()))
}

// keep does what is due: end a connection that did not log in, whose token expired or whose peer is silent, warn it that its
// token expires, ping it, ask it what it has received, cut one that does not end.
//
// The original server pings after 20 s of silence and drops the connection 30 s later without a close frame. Here it is
// closed with 1001, which a peer that is gone does not see either. now is socket.Elapsed.
func (c *connection) keep(now time.Duration) {
	times := &c.server.options.Times
	c.receipts.ask(times.Receipt)
	heard, state := c.sock.LastHeard(), c.out.State()
	switch {
	case state.Closing:
		// Deadlines of the socket do this. The keeper is there for a socket whose deadlines fail.
		if time.Since(state.By) > 2*times.Drain+times.Scan {
			c.abort()
		}
	case !c.named.Load() && now-c.began >= times.FirstFrame:
		c.out.Close(closeNoLogin, "")
	case c.token.isExpired():
		c.out.Close(closeExpired, "")
	case c.reading.IsPaused() || now-heard < times.Silence:
	case c.pinged == 0 || c.pinged <= heard:
		c.pinged = now
		c.out.Ping()
	case now-c.pinged >= times.Pong:
		c.out.Close(closeGone, "")
	}
}

// from names the client's address in log lines.
func (c *connection) from() slog.Attr { return slog.Any("address", c.address) }

// A connection is what delivery and presence write to.
var _ application.Connection = (*connection)(nil)

// Address implements application.Connection.
func (c *connection) Address() string { return addressText(network.Of(c.address)) }

// TokenExpires implements application.Connection.
func (c *connection) TokenExpires(at time.Time) { c.token.until(at) }

// Client implements application.Connection.
func (c *connection) Client() port.Client {
	return port.Client{Address: c.Address(), Features: slices.Sorted(maps.Keys(c.features))}
}

// LoggedIn implements application.Connection.
func (c *connection) LoggedIn(user domain.UserID, onlineFriends []domain.UserID, at time.Time) {
	c.server.roster.known(c) // before the client knows: from then on it makes room for nobody
	c.owner.Store(int64(user))
	if recovered, named := c.recovered(); named {
		c.server.counts.resumed(recovered)
	}
	answer := c.resume.answer(wire.LoginFrame(user, onlineFriends, at))
	c.token.answerLogin(user, answer, c.Has(port.FeatureTokenRenewal))
}

// Refuse implements application.Connection.
func (c *connection) Refuse(why error) {
	c.out.send(refusalFrame(domain.UserID(c.owner.Load()), why, c.server.deps.Now()))
}

// Close implements application.Connection.
func (c *connection) Close(reason port.CloseReason) {
	switch reason {
	case port.CloseSlow:
		c.out.CloseAsSlow()
	case port.CloseReplaced:
		c.out.Close(closeReplaced, "")
		c.server.deps.Notices.Warn("connection closed: replaced by a newer one of its user",
			slog.Any("user", domain.UserID(c.owner.Load())), c.from())
	case port.CloseCut:
		c.abort()
	default:
		c.out.Close(causeOfReason(reason), string(reason))
	}
}
