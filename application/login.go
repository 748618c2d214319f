package application

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"chatting/domain"
)

// LogEnds tells where the conversation log ends.
type LogEnds interface {
	// EndOffsets returns, for each partition, the offset that the next record will get, as the broker says after the
	// call began; or, of what can be read of the log only, up to where it can be read.
	EndOffsets(ctx context.Context) ([]int64, error)
}

// Login turns a socket whose first frame named a token into a connection of its user.
type Login struct {
	Authenticate *Authenticate
	Blocks       BlockStore
	Log          ConversationLog
	Friends      FriendLists
	// Hide tells which friends hide their presence from the user; nil where nobody does.
	Hide     *HidePresence
	Ends     LogEnds
	Delivery *Delivery
	Presence *SetPresence
	// Stored is nil where messages to users who are offline are refused.
	Stored *StoredMessages
	// Recheck verifies the tokens of open connections again; nil for never.
	Recheck *RecheckTokens
	// MaxPerUser caps the connections of one user on this node; 0 means no cap. The newest login wins: it gets in, and the
	// oldest connection is closed with CloseReplaced.
	MaxPerUser int
	// Rate bounds the logins of each user; nil bounds nothing.
	Rate LoginRate
	// Notices take the log lines that clients can cause in any number.
	Notices *Notices
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

// Session is a connection that is logged in. Close must be called once it ends, however it ends.
type Session struct {
	Identity Identity

	login      *Login
	conn       Connection
	attachment *Attachment
	membership *Membership
	held       *heldToken
	stored     *storedSession // nil where messages to users who are offline are refused
	closing    sync.Once
}

// Execute logs the connection in: it returns after LoggedIn was called on it, and frames follow: where messages are stored,
// those that were not delivered before, then the live ones. On an error the connection has no part in anything. Errors:
// those of Authenticate.Execute; and, each within a LoginError, CodeRateLimited, CodeUnavailable, CodeUnconfirmed.
//
// The order of its steps is what makes invariants 3 and 4 hold: first the node follows the log for the user, then the
// lists are loaded, then the end of the log is noted, and only then does anybody see the user online.
func (l *Login) Execute(ctx context.Context, token string, conn Connection) (*Session, error) {
	identity, err := l.Authenticate.Execute(ctx, token)
	if err != nil {
		return nil, err
	}
	user := identity.User
	if err := l.admit(user, conn); err != nil {
		return nil, &LoginError{User: user, Err: err}
	}
	session := &Session{Identity: identity, login: l, conn: conn}
	session.membership, err = l.Presence.Enter(user, conn)
	if err != nil {
		return nil, &LoginError{User: user, Err: err}
	}
	session.attachment = l.Delivery.Attach(user, conn)
	session.held = l.Recheck.hold(token, user, conn)
	backlog, err := l.complete(ctx, session)
	if err != nil {
		session.Close()
		return nil, &LoginError{User: user, Err: err}
	}
	if backlog == nil || backlog.isEmpty() && session.attachment.holdsLittle() {
		session.attachment.Release()
	} else {
		session.stored.replay(backlog, session.attachment, conn)
	}
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

// complete returns what was not delivered before; nil where nothing is stored.
func (l *Login) complete(ctx context.Context, session *Session) (*backlog, error) {
	user := session.Identity.User
	if l.Stored != nil {
		session.attachment.storing()
	}
	blocks, err := l.loadBlocks(ctx, user)
	if err != nil {
		return nil, err
	}
	friends, hiding, err := watchList(ctx, l.Friends, l.Hide, user)
	if err != nil {
		// The user gets in without friends rather than not at all; the list is loaded again in the background.
		l.Notices.Warn("login without friends: the list could not be loaded", slog.Any("user", user), slog.Any("error", err))
		session.membership.FriendsMissing()
	} else {
		session.membership.SetFriends(friends, hiding...)
	}
	var backlog *backlog
	if l.Stored == nil {
		ends, err := l.Ends.EndOffsets(ctx)
		if err != nil {
			return nil, err
		}
		session.attachment.Activate(blocks, ends)
	} else {
		end, ends, err := l.Stored.progress.noteEndUpTo(ctx, l.Ends)
		if err != nil {
			return nil, err
		}
		session.attachment.replays(end.offsets)
		session.attachment.Activate(blocks, ends)
		if backlog, err = l.Stored.backlog(ctx, session.attachment, end); err != nil {
			return nil, err
		}
		session.stored = &storedSession{messages: l.Stored, places: backlog.to}
	}
	return backlog, session.membership.Online(ctx, l.MaxPerUser)
}

// loadBlocks returns the user's blocks as the log has them by the time it returns, or later. What the outbox still holds of
// them is published first: else the database would judge records in whose place the log says otherwise.
func (l *Login) loadBlocks(ctx context.Context, user domain.UserID) ([]BlockEntry, error) {
	blocks, err := l.Blocks.Blocks(ctx, user)
	if err != nil {
		return nil, err
	}
	for _, entry := range blocks {
		if !entry.Pending {
			continue
		}
		events, err := l.Blocks.PendingOf(ctx, user, entry.Target)
		if err != nil {
			return nil, err
		}
		if err := publish(ctx, l.Blocks, l.Log, events); err != nil {
			return nil, err
		}
	}
	return blocks, nil
}

// Renew takes another token of the same user: its expiry counts from now. It counts as a login. Errors: CodeUnauthenticated
// for a bad or expired token and for one of another user; CodeRateLimited; CodeUnavailable.
func (s *Session) Renew(ctx context.Context, token string) (Identity, error) {
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
func (s *Session) Received(upTo []Position) {
	if s.stored != nil {
		s.stored.received(s.Identity.User, upTo)
	}
}

// Close ends the connection's part in delivery and presence. When it was the user's last one, the user goes offline. It
// does not wait for the log. It may be called again.
func (s *Session) Close() {
	s.closing.Do(func() {
		if s.stored != nil {
			s.stored.close(s.Identity.User)
		}
		s.held.release()
		s.attachment.Detach()
		s.membership.Leave()
	})
}
