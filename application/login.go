package application

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"chatting/application/async"
	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/application/presence"
	"chatting/application/replay"
	"chatting/domain"
)

// Connection is one authenticated socket, as the rooms see it.
type Connection interface {
	delivery.Connection
	presence.Connection
	// Address returns what the client's network address is counted under; "" if it is not known.
	Address() string
	// TokenExpires says until when the token counts, before the login is answered; the zero Time is never.
	TokenExpires(at time.Time)
}

// Login turns a socket whose first frame named a token into a connection of its user.
type Login struct {
	Authenticate *Authenticate
	// Lookup has the user's lists, as the database holds them.
	Lookup *LoginLookup
	// Turns let logins in at a pace while chat is delivered; nil for at once.
	Turns *async.Turns
	// Outbox and Log are for changes of the user's blocks that the log does not have yet.
	Outbox blocks.Outbox
	Log    port.ConversationLog
	// Friends tells whom the user watches; nil if the database does, with who hides from the user.
	Friends presence.FriendLists
	// Hide tells which of Friends hide their presence from the user; nil if nobody does.
	Hide     *blocks.HidePresence
	Ends     port.LogEnds
	Delivery *delivery.Delivery
	Presence *presence.SetPresence
	// Replays lead each connection from what its client missed, or what was stored for it, to what is live.
	Replays replay.Replays
	// Recheck verifies the tokens of open connections again; nil for never.
	Recheck *RecheckTokens
	// MaxPerUser caps the connections of one user on this node; 0 means no cap. The newest login wins: it gets in, and the
	// oldest connection is closed with CloseReplaced.
	MaxPerUser int
	// Rate bounds the logins of each user; nil bounds nothing.
	Rate LoginRate
	// Notices take the log lines that clients can cause in any number.
	Notices *notice.Log
}

// LoginRate bounds how often a user may log in.
type LoginRate interface {
	// Take counts a login of user from address and returns 0. If it comes too early, it returns by how much.
	Take(user domain.UserID, address string) time.Duration
}

// LoginError says whose login failed. It has the code of its cause.
type LoginError struct {
	User domain.UserID
	Err  error
}

// Error returns the cause's message.
func (e *LoginError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *LoginError) Unwrap() error { return e.Err }

// LoggedIn is a connection that is logged in. Close must be called once it ends, however it ends.
type LoggedIn struct {
	Identity Identity

	login      *Login
	conn       Connection
	attachment *delivery.Attachment
	membership *presence.Membership
	held       *heldToken
	replay     *replay.Replay
	closing    sync.Once
}

// Execute logs the connection in. It returns after LoggedIn was called on it; then come the stored messages, if there are any,
// and the live ones. On an error the connection has no part in anything. Errors: those of Tokens.Verify, CodeBanned; and, each within a
// LoginError, CodeRateLimited, CodeUnavailable, CodeUnconfirmed.
//
// The order of the steps keeps invariants 3 and 4: the node follows the log for the user, loads the lists, notes the end of the
// log, and only then does anybody see the user online. Logins share their questions to the database and the log, but each
// asks only when its own step has come.
func (l *Login) Execute(ctx context.Context, token string, conn Connection) (*LoggedIn, error) {
	identity, err := l.Authenticate.verify(ctx, token)
	user := identity.User
	if domain.CodeOf(err) == domain.CodeBanned {
		return nil, &LoginError{User: user, Err: err}
	}
	if err != nil {
		return nil, err
	}
	conn.TokenExpires(identity.Expires)
	if err := l.admit(user, conn); err != nil {
		return nil, &LoginError{User: user, Err: err}
	}
	if err := l.Turns.Await(ctx); err != nil {
		err = domain.WrapError(domain.CodeUnavailable, "Too many users log in at once.", err)
		return nil, &LoginError{User: user, Err: err}
	}
	session := &LoggedIn{Identity: identity, login: l, conn: conn}
	session.membership, err = l.Presence.Enter(user, conn)
	if err != nil {
		return nil, &LoginError{User: user, Err: err}
	}
	session.attachment = l.Delivery.Attach(user, conn)
	// From here on an act that the login does not know ends the connection.
	session.Identity.Acts = session.attachment.KnowsActs()
	session.held = l.Recheck.hold(token, user, conn)
	session.replay = l.Replays.Of(session.attachment)
	err = l.Authenticate.admit(ctx, identity)
	if err == nil {
		err = l.complete(ctx, session)
	}
	if err != nil {
		session.Close()
		return nil, &LoginError{User: user, Err: err}
	}
	session.replay.Start()
	return session, nil
}

// admit counts a login of the user; CodeRateLimited if it comes too early.
func (l *Login) admit(user domain.UserID, conn Connection) error {
	if l.Rate == nil {
		return nil
	}
	if wait := l.Rate.Take(user, conn.Address()); wait > 0 {
		return domain.NewRateLimited("The user logs in too often.", wait)
	}
	return nil
}

// complete takes the steps of a login after the connection was made known.
func (l *Login) complete(ctx context.Context, session *LoggedIn) error {
	user := session.Identity.User
	session.replay.Begin(ctx)
	facts, err := l.Lookup.of(ctx, user)
	if err != nil {
		return err
	}
	if err := l.publishPending(ctx, user, facts.Blocks); err != nil {
		return err
	}
	friends, hiding := facts.Friends, facts.Hiding
	if l.Friends != nil {
		friends, hiding, err = presence.WatchList(ctx, l.Friends, l.Hide, user)
	}
	if err != nil {
		// The user gets in without friends rather than not at all; the list is loaded again in the background.
		l.Notices.Warn("login without friends: the list could not be loaded", slog.Any("user", user), slog.Any("error", err))
		session.membership.FriendsMissing()
	} else {
		session.membership.SetFriends(friends, hiding...)
	}
	session.replay.KnownSince(facts.Since)
	if err := session.replay.Prepare(ctx, l.Ends, facts.Blocks); err != nil {
		return err
	}
	return session.membership.Online(ctx, l.MaxPerUser)
}

// publishPending publishes what the outbox still holds of the user's blocks. Otherwise this login would judge records by a state
// that the log does not have yet.
func (l *Login) publishPending(ctx context.Context, user domain.UserID, list []blocks.Entry) error {
	for _, entry := range list {
		if !entry.Pending {
			continue
		}
		events, err := l.Outbox.PendingOf(ctx, user, entry.Target)
		if err != nil {
			return err
		}
		if err := blocks.Publish(ctx, l.Outbox, l.Log, events); err != nil {
			return err
		}
	}
	return nil
}

// Renew takes another token of the same user: its expiry counts from now. It counts as a login. Errors: CodeUnauthenticated
// for a bad or expired token and for one of another user; CodeRateLimited; CodeUnavailable.
func (s *LoggedIn) Renew(ctx context.Context, token string) (Identity, error) {
	if err := s.login.admit(s.Identity.User, s.conn); err != nil {
		return Identity{}, err
	}
	identity, err := s.login.Authenticate.Execute(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	if identity.User != s.Identity.User {
		err := RefuseToken("The token is another user's.", RefusedAnotherUser, identity.User)
		noteRefusal(ctx, s.login.Authenticate.Notices, err)
		return Identity{}, err
	}
	s.held.replace(token)
	return identity, nil
}

// Received tells that the client has confirmed everything that was delivered at the given places, or before them in their
// partitions.
func (s *LoggedIn) Received(upTo []domain.Place) { s.replay.Received(upTo) }

// Pong answers a ping of the client, with a resume token; false if the client has none, and gets another answer.
func (s *LoggedIn) Pong() (answered bool) { return s.attachment.Pong() }

// Close ends the connection's part in delivery and presence. When it was the user's last one, the user goes offline. It
// does not wait for the log. It may be called again.
func (s *LoggedIn) Close() {
	s.closing.Do(func() {
		s.replay.Close()
		s.held.release()
		s.attachment.Detach()
		s.membership.Leave()
	})
}
