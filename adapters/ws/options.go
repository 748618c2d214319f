package ws

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"chatting/adapters/ws/throttle"
	"chatting/application"
	"chatting/application/invites"
	"chatting/application/ledger"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// Options are the limits of a Server.
type Options struct {
	// AllowedOrigins are further origins, as origins.NewSet takes them, from which browsers may connect. The host of the request
	// itself, and requests without an Origin, are always accepted.
	AllowedOrigins []string
	// MaxConnections caps the sockets from their upgrade on, logged in or not; 0 means no cap.
	MaxConnections int
	// MaxPerAddress caps those of one client address, or of one IPv6 network of 64 bits, which one host commonly has to
	// itself; 0 means no cap.
	MaxPerAddress int
	// ClientAddress returns the address of a client from its TCP peer and its X-Forwarded-For headers.
	ClientAddress func(peer net.Addr, forwardedFor [][]byte) netip.Addr
	// FramesPerSecond is how many messages and control frames a second one connection may send for long, twice as many
	// at once; 0 means no limit.
	FramesPerSecond int
	// MaxFrame is the longest message accepted, in bytes of all its fragments together.
	MaxFrame int
	// QueueBytes bounds what waits to be written to one connection.
	QueueBytes int
	// CloseOver is over how much time Shutdown spreads the closing of connections, so that not all of their clients come
	// to the other nodes at once; 0 means at once.
	CloseOver time.Duration
	// Times are the deadlines.
	Times Times
}

// Times are the deadlines of a connection. They are looked at every Scan, so each may take up to that much longer.
type Times struct {
	FirstFrame time.Duration // from the upgrade to the end of the login frame
	Silence    time.Duration // without a byte received until the ping
	Pong       time.Duration // without a byte received after the ping until the end
	Write      time.Duration // a write that takes longer makes the reader a slow one
	// TokenWarning is for how long before its token expires a client knows, if it asked for it; 0 means that it is not told.
	TokenWarning time.Duration

	// No operator sets what follows. 0 means the default, which is behind it.

	Login   time.Duration // for checking a token and going online: 10 s
	Close   time.Duration // to write what is queued and the close frame: 5 s
	Drain   time.Duration // for the peer to end its side after the close frame: 2 s
	Receipt time.Duration // from a frame whose receipt matters until the client is asked for it: 5 s
	Scan    time.Duration // 1 s
}

func (t Times) withDefaults() Times {
	t.Login = cmp.Or(t.Login, 10*time.Second)
	t.Close = cmp.Or(t.Close, 5*time.Second)
	t.Drain = cmp.Or(t.Drain, 2*time.Second)
	t.Receipt = cmp.Or(t.Receipt, 5*time.Second)
	t.Scan = cmp.Or(t.Scan, time.Second)
	return t
}

// Session is what a logged-in connection has in the application: *application.LoggedIn.
type Session interface {
	// Renew takes another token of the same user.
	Renew(ctx context.Context, token string) (application.Identity, error)
	// Received tells that the client has got everything up to the given places. The server calls it in order, and not after
	// Close.
	Received(upTo []domain.Place)
	// Pong answers a ping of a client that has the feature resume; false if the client does not have it. Then the server answers.
	Pong() bool
	// Close ends it. The server calls it exactly once, when the socket has ended.
	Close()
}

// Login turns a socket into a connection of its user, as application.Login.Execute says; see LoginWith. It must return
// soon after ctx ends.
type Login func(ctx context.Context, token string, conn application.Connection) (Session, application.Identity, error)

// LoginWith makes the use case a Login.
func LoginWith(login *application.Login) Login {
	return func(ctx context.Context, token string, conn application.Connection) (Session, application.Identity, error) {
		session, err := login.Execute(ctx, token, conn)
		if err != nil {
			return nil, application.Identity{}, err
		}
		return session, session.Identity, nil
	}
}

// Messages sends chat messages: *messaging.SendMessage.
type Messages interface {
	// Execute returns at once and calls done exactly once, on any goroutine, with nil after the connection got its echo.
	// Calls of one connection come in order.
	Execute(command messaging.ChatCommand, done func(error))
}

// TextChecks decide about messages before they are sent: *messaging.CheckText.
type TextChecks interface {
	// Execute returns what to send instead, or an error for the sender. It may take a while, and ends soon after ctx does. Calls
	// of one connection come one after the other, in order.
	Execute(ctx context.Context, command messaging.ChatCommand) (messaging.ChatCommand, error)
}

// Invites sends game invites: *invites.Invite.
type Invites interface {
	// Execute is as that of Messages.
	Execute(command invites.Command, done func(error))
}

// Deps are what a Server calls. All but Ready, Checks, Logins, Rates, Observer and Traces are needed.
type Deps struct {
	// Ready returns an error while nobody can log in yet. Until then upgrades are refused. nil: everybody can, from the start.
	Ready func() error
	Login Login
	// Checks are asked before Messages; nil if every message is sent as it is.
	Checks   TextChecks
	Messages Messages
	Invites  Invites
	// Bytes bounds what all connections hold together.
	Bytes  *ledger.ByteLedger
	Now    port.Clock
	Logger *slog.Logger
	// Notices take the log lines that clients can cause in any number.
	Notices *notice.Log
	// Logins logs who logs in and out; nil for no log.
	Logins *application.LoginLog
	Rates  throttle.Rates
	// Observer is told what happens on the connections; nil: nobody is.
	Observer Observer
	// Traces has the spans of logins and frames.
	Traces port.Traces
}
