package application

import (
	"context"
	"slices"
	"sync"
	"time"

	"chatting/domain"
)

// SessionLog is the durable log of session records. The records of one user share a partition and keep their order.
type SessionLog interface {
	// Append queues record for its partition and returns at once; done as ConversationLog.Append says.
	Append(record domain.SessionRecord, done func(error))
	// Bury appends Dead of the incarnation to every partition. done is called once, with the first error if any.
	Bury(incarnation domain.Incarnation, done func(error))
	// PartitionOf returns the partition of a user's records.
	PartitionOf(user domain.UserID) int
	// Partitions returns how many there are.
	Partitions() int
}

// PresenceTimes are the durations of the presence protocol.
type PresenceTimes struct {
	Beat    time.Duration // between two heartbeats
	Lease   time.Duration // a node whose beats are missing for so long is dead
	Refresh time.Duration // every session is written again within this
}

// DefaultPresenceTimes are those that the lookback of a starting node is made for.
var DefaultPresenceTimes = PresenceTimes{Beat: time.Second, Lease: 6 * time.Second, Refresh: 10 * time.Minute}

// Lookback is how far back a starting node reads the sessions topic: every session has been written within the refresh
// interval, and as much again is left for a record that was late.
func (t PresenceTimes) Lookback() time.Duration { return 2 * t.Refresh }

// SetPresence makes users online and offline: it turns the connections of this node into session records, and the session
// records of all nodes into who is online, who is told so, and which nodes are dead.
//
// Nothing but the log changes who is online, on the writing node too. What this node wants (its connections) and what
// the log says are compared whenever either changes and at every beat, and the difference is appended; so a failed append
// heals by itself.
type SetPresence struct {
	// Forgotten, where it is set, is called when the log says that a user was forgotten, before the user may be remembered
	// again. It must not block.
	Forgotten func(domain.UserID)
	// HidesFromBlocked tells that the presence of a user is kept from those whom that user blocks; see HidePresence. It is set
	// before the first record comes.
	HidesFromBlocked bool
	// Name is what operators know this node by; other nodes' log lines name it so.
	Name string

	log     SessionLog
	now     Clock
	newID   IDs
	times   PresenceTimes
	notices *Notices

	mu         sync.RWMutex
	self       domain.Incarnation
	partitions []*domain.Sessions
	lease      *domain.Lease
	nodes      map[domain.Incarnation]*knownNode // that gave a beat and are not buried
	members    map[domain.UserID]*member
	watchers   map[domain.UserID]map[*member]struct{}
	lastCount  int64
	leaving    bool
	// beatSent is when the beat under way was sent, zero when there is none; beats counts them.
	beatSent time.Time
	beats    int64
	// stale holds the members whose friends have to be loaded again, failed those whose last load failed, and when, and
	// unknown those that have to be remembered before their friends are loaded; wake says that there are some stale ones.
	stale   *reloadQueue
	failed  map[domain.UserID]time.Time
	unknown map[domain.UserID]struct{}
	wake    chan struct{}
}

// knownNode is a node as the log knows it.
type knownNode struct {
	name    string
	beatAt  time.Time // when its latest beat was stamped; zero while there was none
	burying bool      // a burial was logged
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
	// start is the current session's; nil where none is wanted.
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
	erased   bool // its user was erased after it came
}

// appendStale is after how long an append that neither came back nor failed is tried again.
const appendStale = 15 * time.Second

// NewSetPresence returns the presence of a node without connections, under a new incarnation.
func NewSetPresence(log SessionLog, now Clock, newID IDs, times PresenceTimes, notices *Notices) *SetPresence {
	p := &SetPresence{
		log: log, now: now, newID: newID, times: times, notices: notices,
		members:  make(map[domain.UserID]*member),
		watchers: make(map[domain.UserID]map[*member]struct{}),
		nodes:    make(map[domain.Incarnation]*knownNode),
		stale:    newReloadQueue(),
		failed:   make(map[domain.UserID]time.Time),
		unknown:  make(map[domain.UserID]struct{}),
		wake:     make(chan struct{}, 1),
	}
	for range log.Partitions() {
		p.partitions = append(p.partitions, domain.NewSessions())
	}
	p.self = domain.Incarnation(newID())
	p.lease = domain.NewLease(p.self, times.Lease)
	return p
}

// Incarnation returns what the log knows this node by now.
func (p *SetPresence) Incarnation() domain.Incarnation {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.self
}

// LogTime returns the time that the log of sessions has come to: that of the latest beat of the node whose clock is the
// furthest behind. It is zero before the first beat. So one node whose clock is ahead does not move it.
func (p *SetPresence) LogTime() time.Time {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var least time.Time
	for _, node := range p.nodes {
		if !node.beatAt.IsZero() && (least.IsZero() || node.beatAt.Before(least)) {
			least = node.beatAt
		}
	}
	return least
}

// errLeaving is why nobody logs in on a node that departs.
var errLeaving = domain.NewError(domain.CodeUnavailable, "The node is going away.")

// Online tells whether user has a connection anywhere, according to the log as far as this node has read it.
func (p *SetPresence) Online(user domain.UserID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.online(user)
}

func (p *SetPresence) online(user domain.UserID) bool {
	return p.partitions[p.log.PartitionOf(user)].Online(user)
}

// Enter notes a connection of user that is being logged in; CodeUnavailable if the node is going away. The caller calls
// SetFriends or FriendsMissing, then Online; and Leave in any case.
func (p *SetPresence) Enter(user domain.UserID, conn Connection) (*Membership, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaving {
		return nil, errLeaving
	}
	m := p.members[user]
	if m == nil {
		m = &member{user: user}
		p.members[user] = m
	}
	membership := &Membership{presence: p, member: m, conn: conn, epoch: m.epoch}
	m.memberships = append(m.memberships, membership)
	return membership, nil
}

// SetFriends names whom the user watches and, of these, who hide their presence from the user, as loaded since Enter. Where
// that changed meanwhile, it is loaded again.
func (s *Membership) SetFriends(friends []domain.UserID, hiding ...domain.UserID) {
	p := s.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.epoch.friends != s.member.epoch.friends {
		p.markStale(s.member.user)
		if !s.member.loadedAt.IsZero() {
			return // what is known is no older
		}
	}
	p.setFriends(s.member, s.epoch, friends, hiding)
}

// FriendsMissing tells that the list could not be loaded now: it will be tried again.
func (s *Membership) FriendsMissing() {
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	s.presence.markStale(s.member.user)
}

// Online makes the user online, waits until this node has read so from the log, and answers the login. If the user then has
// more than limit connections on this node (0: no limit), the one whose login is the oldest is closed. Its user stays online:
// the newer connection counts before the older one ceases to. Errors: CodeUnavailable, CodeUnconfirmed (also when ctx ends
// first).
func (s *Membership) Online(ctx context.Context, limit int) error {
	p := s.presence
	p.mu.Lock()
	if p.leaving {
		p.mu.Unlock()
		return errLeaving
	}
	m := s.member
	if m.start == nil {
		p.lastCount++
		m.count = p.lastCount
		m.start = &sessionStart{done: make(chan struct{})}
	}
	start := m.start
	actions := p.reconcile(m)
	p.mu.Unlock()
	actions.run()

	select {
	case <-start.done:
	case <-ctx.Done():
		return domain.WrapError(domain.CodeUnconfirmed, "The session could not be confirmed.", ctx.Err())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if start.err != nil {
		return start.err
	}
	online := make([]domain.UserID, 0, len(m.friends))
	for _, friend := range m.friends {
		if p.online(friend) && !m.hides(friend) {
			online = append(online, friend)
		}
	}
	s.live = true
	s.conn.LoggedIn(m.user, online, p.now.stamp())
	if i := slices.Index(m.memberships, s); i >= 0 { // else the connection has ended meanwhile
		m.memberships = append(slices.Delete(m.memberships, i, i+1), s)
	}
	m.makeRoom(limit)
	return nil
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
		oldest.conn.Close(CloseReplaced)
	}
	for len(m.replaced) > limit {
		m.replaced[0].conn.Close(CloseCut)
		m.replaced = slices.Delete(m.replaced, 0, 1)
	}
}

// Leave ends the connection's part; with the last one of its user the user's session is ended in the log. Again, it does
// nothing.
func (s *Membership) Leave() {
	p := s.presence
	p.mu.Lock()
	m := s.member
	if i := slices.Index(m.replaced, s); i >= 0 {
		m.replaced = slices.Delete(m.replaced, i, i+1)
		actions := p.reconcile(m) // forgets a user of whom nothing is left
		p.mu.Unlock()
		actions.run()
		return
	}
	i := slices.Index(m.memberships, s)
	if i < 0 {
		p.mu.Unlock()
		return
	}
	m.memberships = slices.Delete(m.memberships, i, i+1)
	var actions actions
	if len(m.memberships) == 0 {
		m.start = nil
		p.unwatch(m)
		actions = p.reconcile(m)
	}
	p.mu.Unlock()
	actions.run()
}

// actions are appends decided on under the lock and done after it: an append may call back at once.
type actions []func()

func (a actions) run() {
	for _, do := range a {
		do()
	}
}

// reconcile compares what this node wants for a user with what the log says, and returns the append that is missing.
func (p *SetPresence) reconcile(m *member) actions {
	written := p.partitions[p.log.PartitionOf(m.user)].Count(p.self, m.user)
	wanted := len(m.memberships) > 0 && m.start != nil
	now := p.now()
	underWay := now.Sub(m.appending) < appendStale
	switch {
	case p.leaving || underWay:
		return nil
	case wanted && (written < m.count || now.Sub(m.written) > p.times.Refresh*4/5):
		return p.write(m, domain.SessionRecord{Kind: domain.SessionUp, Incarnation: p.self, User: m.user, Count: m.count}, now)
	case wanted:
		p.settle(m, nil)
	case written > 0:
		return p.write(m, domain.SessionRecord{Kind: domain.SessionDown, Incarnation: p.self, User: m.user, Count: written}, now)
	case len(m.memberships) == 0 && len(m.replaced) == 0:
		delete(p.members, m.user)
		delete(p.failed, m.user)
	}
	return nil
}

// write returns the append of a record of m, and notes that it is under way.
func (p *SetPresence) write(m *member, record domain.SessionRecord, now time.Time) actions {
	m.appending = now
	return actions{func() {
		p.log.Append(record, func(err error) {
			if err == nil {
				return // what counts is that it comes back from the log
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if record.Incarnation != p.self {
				return // a burial came between: another record is under way
			}
			m.appending = time.Time{}
			if record.Kind == domain.SessionUp && record.Count == m.count {
				p.settle(m, err)
			}
		})
	}}
}

// settle answers the logins that wait for m's session. After a failure the next login starts another session, so that
// what may still appear of this one is known to be an earlier one.
func (p *SetPresence) settle(m *member, err error) {
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
