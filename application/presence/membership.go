package presence

import (
	"context"
	"slices"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// Connection is a socket as presence sees it. Its methods only enqueue.
type Connection interface {
	// LoggedIn answers the login. It is the first frame that the connection gets.
	LoggedIn(user domain.UserID, onlineFriends []domain.UserID, at time.Time)
	// StatusChanged tells to that one of its friends came online or went offline.
	StatusChanged(to domain.UserID, change domain.Transition)
	// Close ends the connection, once what is queued has been written.
	Close(reason port.CloseReason)
	// Client says who is at the other end.
	Client() port.Client
}

// member is a user with a connection here, or one whose session the log still has to end.
type member struct {
	user domain.UserID
	// memberships are those of the connections that count, those in a login included. The ones that are logged in are in the
	// order of their logins.
	memberships []*Membership
	// replaced are those of connections that had to make room and have not ended, oldest first. They count for nothing.
	replaced []*Membership
	// count is that of the user's current session; a session in the log with a lower one is an earlier one.
	count int64
	// appending is when an up or down of this user was handed to the log and is not back; zero when none is.
	appending time.Time
	// written is when the session's last up came back.
	written time.Time
	// leftAt is when the last connection of a session ended; zero if the session is to end at once.
	leftAt time.Time
	// start is the current session's; nil if none is wanted.
	start *sessionStart

	friends  []domain.UserID
	hiding   map[domain.UserID]struct{} // those of friends whose presence is kept from the user
	epoch    listEpoch
	loadedAt time.Time
	// reloadAfter is the share of the longest age after which the list is loaded again.
	reloadAfter float64
}

// listEpoch grows when a user's list changes somewhere: what is loaded is compared with what was read meanwhile.
type listEpoch struct {
	friends int64 // the list itself: an older one that is being loaded is not taken
	blocks  int64 // who blocks the user: an older one is taken, and loaded again at once
}

// sessionStart is the wait for a session: done is closed once the session came back from the log, or failed with err.
type sessionStart struct {
	done chan struct{}
	err  error
}

// Membership is one connection's part in its user's presence.
type Membership struct {
	presence *SetPresence
	member   *member
	conn     Connection
	epoch    listEpoch
	live     bool
	since    time.Time // when the login was answered
	erased   bool      // its user was erased after it came
}

// SetFriends names whom the user watches and, of these, who hide their presence from the user, as loaded since Enter. Where
// that changed meanwhile, it is loaded again.
func (s *Membership) SetFriends(friends []domain.UserID, hiding ...domain.UserID) {
	p := s.presence
	p.decide(func() actions {
		if s.epoch.friends != s.member.epoch.friends {
			p.reloads.changed(s.member.user)
			if !s.member.loadedAt.IsZero() {
				return nil // what is known is no older
			}
		}
		p.watchers.set(s.member, s.epoch, friends, hiding, p.TellsAdded)
		return nil
	})
}

// FriendsMissing tells that the list could not be loaded now: it will be tried again.
func (s *Membership) FriendsMissing() { s.presence.reloads.changed(s.member.user) }

// Online makes the user online, waits until this node has read so from the log, and answers the login. If the user then has
// more than limit connections on this node (0: no limit), the one whose login is the oldest is closed. Its user stays online:
// the newer connection counts before the older one ceases to. Errors: CodeUnavailable, CodeUnconfirmed (also when ctx ends
// first).
func (s *Membership) Online(ctx context.Context, limit int) error {
	var start *sessionStart
	s.presence.decide(func() (decided actions) {
		start, decided = s.presence.sessions.start(s.member)
		return decided
	})
	if start == nil {
		return errLeaving
	}
	select {
	case <-start.done:
	case <-ctx.Done():
		return domain.WrapError(domain.CodeUnconfirmed, "The session could not be confirmed.", ctx.Err())
	}
	var err error
	s.presence.decide(func() actions {
		if err = start.err; err == nil {
			s.answer(limit)
		}
		return nil
	})
	return err
}

// answer answers the login.
func (s *Membership) answer(limit int) {
	m, sessions := s.member, &s.presence.sessions
	online := make([]domain.UserID, 0, len(m.friends))
	for _, friend := range m.friends {
		if sessions.online(friend) && !m.hides(friend) {
			online = append(online, friend)
		}
	}
	s.live, s.since = true, sessions.now.Stamp()
	s.conn.LoggedIn(m.user, online, s.since)
	if i := slices.Index(m.memberships, s); i >= 0 { // else the connection has ended meanwhile
		m.memberships = append(slices.Delete(m.memberships, i, i+1), s)
	}
	m.makeRoom(limit)
}

// Leave ends the connection's part; with the last one of its user the user's session is ended in the log. Again, it does
// nothing.
func (s *Membership) Leave() {
	p := s.presence
	p.decide(func() actions {
		m := s.member
		if i := slices.Index(m.replaced, s); i >= 0 {
			m.replaced = slices.Delete(m.replaced, i, i+1)
			return p.sessions.reconcile(m) // forgets a user of whom nothing is left
		}
		i := slices.Index(m.memberships, s)
		if i < 0 {
			return nil
		}
		m.memberships = slices.Delete(m.memberships, i, i+1)
		if len(m.memberships) > 0 {
			return nil
		}
		switch {
		case s.erased:
			m.leftAt = time.Time{}
		case m.start != nil: // else nothing has begun: what was before counts
			m.leftAt = p.sessions.now()
		}
		m.start = nil
		p.watchers.remove(m)
		return p.sessions.reconcile(m)
	})
}

// makeRoom closes the oldest connections above the limit. They cease to count at once, although their sockets may take some
// seconds to close. At most limit sockets of a user are closing so: of more, the oldest is cut.
func (m *member) makeRoom(limit int) {
	if limit == 0 {
		return
	}
	live := 0
	for _, membership := range m.memberships {
		if membership.live {
			live++
		}
	}
	for ; live > limit; live-- {
		i := slices.IndexFunc(m.memberships, func(membership *Membership) bool { return membership.live })
		oldest := m.memberships[i]
		m.memberships = slices.Delete(m.memberships, i, i+1)
		m.replaced = append(m.replaced, oldest)
		oldest.conn.Close(port.CloseReplaced)
	}
	for len(m.replaced) > limit {
		m.replaced[0].conn.Close(port.CloseCut)
		m.replaced = slices.Delete(m.replaced, 0, 1)
	}
}

// settle answers the logins that wait for the session. After a failure the next login starts another session, so that
// what may still appear of this one is known to be an earlier one.
func (m *member) settle(err error) {
	if m.start == nil {
		return
	}
	select {
	case <-m.start.done: // answered long ago: this is a refresh
		return
	default:
	}
	m.start.err = err
	close(m.start.done)
	if err != nil {
		m.start = nil
	}
}

// hides tells whether the presence of a friend is kept from the user.
func (m *member) hides(friend domain.UserID) bool {
	_, hides := m.hiding[friend]
	return hides
}

// show shows a transition to the user's connections that are logged in.
func (m *member) show(transition domain.Transition) {
	for _, membership := range m.memberships {
		if membership.live {
			membership.conn.StatusChanged(m.user, transition)
		}
	}
}

// cameSinceErased tells whether the user has a connection here that is not one of those that its erasure ends.
func (m *member) cameSinceErased() bool {
	return slices.ContainsFunc(m.memberships, func(membership *Membership) bool { return !membership.erased })
}
