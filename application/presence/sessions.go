package presence

import (
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// sessions is who is online by what the log says, and what this node wants the log to say of its own users. It is guarded by
// the lock of its SetPresence.
type sessions struct {
	log        port.SessionLog
	nodes      *nodes // which know this node's incarnation
	times      Times
	now        port.Clock
	reloads    *reloads
	partitions []*domain.Sessions
	members    map[domain.UserID]*member
	lastCount  int64
	leaving    bool
}

func newSessions(log port.SessionLog, nodes *nodes, times Times, now port.Clock, reloads *reloads) sessions {
	s := sessions{
		log: log, nodes: nodes, times: times, now: now, reloads: reloads,
		partitions: make([]*domain.Sessions, log.Partitions()), members: make(map[domain.UserID]*member),
	}
	s.forget()
	return s
}

// forget drops who is online.
func (s *sessions) forget() {
	for partition := range s.partitions {
		s.partitions[partition] = domain.NewSessions()
	}
}

// appendStale is after how long an append that neither came back nor failed is tried again.
const appendStale = 15 * time.Second

func (s *sessions) of(user domain.UserID) *domain.Sessions {
	return s.partitions[s.log.PartitionOf(user)]
}

func (s *sessions) online(user domain.UserID) bool { return s.of(user).Online(user) }

// member returns what is kept of a user here, from now on.
func (s *sessions) member(user domain.UserID) *member {
	m := s.members[user]
	if m == nil {
		m = &member{user: user}
		s.members[user] = m
	}
	return m
}

// allBuried tells whether a burial stands in every partition.
func (s *sessions) allBuried(incarnation domain.Incarnation) bool {
	for _, partition := range s.partitions {
		if !partition.IsDead(incarnation) {
			return false
		}
	}
	return true
}

// start wants a session for a user with a connection, and returns the wait for it; nil if the node is going away.
func (s *sessions) start(m *member) (*sessionStart, actions) {
	if s.leaving {
		return nil, nil
	}
	if m.start == nil {
		s.lastCount++
		m.count = s.lastCount
		m.start = &sessionStart{done: make(chan struct{})}
	}
	return m.start, s.reconcile(m)
}

// freeze ends the writing of sessions.
func (s *sessions) freeze() {
	s.leaving = true
	for _, m := range s.members {
		m.settle(errLeaving)
	}
}

// erased ends the connections of a user here, which may take a while. Nobody is shown as online who is to be forgotten.
func (s *sessions) erased(user domain.UserID) {
	if m := s.members[user]; m != nil {
		m.leftAt = time.Time{}
		for _, membership := range m.memberships {
			membership.erased = true
			membership.conn.Close(port.CloseErased)
		}
	}
}

// reconcile compares what this node wants for a user with what the log says, and returns the append that is missing.
func (s *sessions) reconcile(m *member) actions {
	self := s.nodes.self
	written := s.of(m.user).Count(self, m.user)
	wanted := len(m.memberships) > 0 && m.start != nil
	now := s.now()
	underWay := now.Sub(m.appending) < appendStale
	switch {
	case s.leaving || underWay:
		return nil
	case wanted && (written < m.count || now.Sub(m.written) > s.times.Refresh*4/5):
		return s.write(m, domain.SessionRecord{Kind: domain.SessionUp, Incarnation: self, User: m.user, Count: m.count}, now)
	case wanted:
		m.settle(nil)
	case written > 0 && now.Sub(m.leftAt) < s.times.OfflineGrace:
		if !s.of(m.user).IsAway(self, m.user) {
			return s.write(m, domain.SessionRecord{Kind: domain.SessionAway, Incarnation: self, User: m.user, Count: written}, now)
		}
	case written > 0:
		return s.write(m, domain.SessionRecord{Kind: domain.SessionDown, Incarnation: self, User: m.user, Count: written}, now)
	case len(m.memberships) == 0 && len(m.replaced) == 0:
		delete(s.members, m.user)
		s.reloads.forget(m.user)
	}
	return nil
}

func (s *sessions) reconcileAll() (decided actions) {
	for _, m := range s.members {
		decided = append(decided, s.reconcile(m)...)
	}
	return decided
}

// writeAgain writes the sessions under the node's new incarnation.
func (s *sessions) writeAgain() actions {
	for _, m := range s.members {
		m.appending = time.Time{}
	}
	return s.reconcileAll()
}

// write returns the append of a record of m, and notes that it is under way. What counts is that the record comes back from
// the log.
func (s *sessions) write(m *member, record domain.SessionRecord, now time.Time) actions {
	m.appending = now
	return actions{func(p *SetPresence) {
		p.log.Append(record, func(err error) {
			if err != nil {
				p.decide(func() actions {
					s.failed(m, record, err)
					return nil
				})
			}
		})
	}}
}

// failed notes that an append of m's failed.
func (s *sessions) failed(m *member, record domain.SessionRecord, err error) {
	if record.Incarnation != s.nodes.self {
		return // a burial came between: another record is under way
	}
	m.appending = time.Time{}
	if record.Kind == domain.SessionUp && record.Count == m.count {
		m.settle(err)
	}
}

// cameBack handles a session record of this node, stamped at, that came back from the log. Nobody here may remember the
// session, because its append was given up: then it is ended.
func (s *sessions) cameBack(record domain.SessionRecord, at time.Time) actions {
	m := s.member(record.User)
	m.appending = time.Time{}
	if record.Kind == domain.SessionUp {
		// By the record's own time, which a log that was away may have kept waiting: nodes that start read from a time on.
		if m.written = s.now(); at.Before(m.written) {
			m.written = at
		}
	}
	return s.reconcile(m)
}
