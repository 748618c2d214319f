package domain

import (
	"cmp"
	"slices"
	"time"
)

// Incarnation names one life of a node process: a UUID taken at start, and again when the node finds itself buried.
type Incarnation EventID

// String returns the UUID.
func (i Incarnation) String() string { return EventID(i).String() }

// MarshalText returns the UUID, for logs.
func (i Incarnation) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// Compare orders incarnations by their bytes; the order ranks the nodes that could bury a dead one.
func (i Incarnation) Compare(j Incarnation) int { return slices.Compare(i[:], j[:]) }

// SessionKind says what a record of the sessions topic reports.
type SessionKind string

// The kinds of session records; older nodes ignore those that they do not know. Beat, Leaving and what is not about sessions stand
// in partition 0, Dead in every partition, all others in the partition of their User.
const (
	SessionUp      SessionKind = "up"      // the first connection of User on Incarnation; Count grows by one each time
	SessionDown    SessionKind = "down"    // the end of the last one: ends Up of this and lower Counts
	SessionAway    SessionKind = "away"    // the last one ended, and Down follows after a while: User is shown as online until then
	SessionBeat    SessionKind = "beat"    // Incarnation lives
	SessionLeaving SessionKind = "leaving" // Incarnation goes away on purpose, and is to be buried after Grace
	SessionDead    SessionKind = "dead"    // Incarnation's sessions end here, and it is ignored for ever
	FriendsChanged SessionKind = "friends" // User's list of friends changed: nodes that serve User load it again
	UserErased     SessionKind = "erased"  // User is to be forgotten: nodes that serve User end its connections
	// UserForgotten: User was forgotten. Nodes that serve User since UserErased remember it as a new user.
	UserForgotten SessionKind = "forgotten"
	UserBlocked   SessionKind = "blocked"   // User blocks Target: from here on User's presence may be kept from Target
	UserUnblocked SessionKind = "unblocked" // and no longer
	// FlushWanted is not about sessions: somebody waits for the history, so projectors flush what they have.
	FlushWanted SessionKind = "history"
	// ConnectionsAsked and ConnectionsTold are not about sessions either: somebody asks for the connections of a user, and Incarnation
	// tells of those that it has, sealed. Both stand in partition 0.
	ConnectionsAsked SessionKind = "connections_asked"
	ConnectionsTold  SessionKind = "connections_told"
)

// SessionRecord is one record of the sessions topic.
type SessionRecord struct {
	Kind        SessionKind
	Incarnation Incarnation
	User        UserID
	Target      UserID // of UserBlocked and UserUnblocked
	Count       int64
	Grace       time.Duration
	// Node is the name that operators know the node by, in Beat and Leaving: see NodeName. "" if it is not known.
	Node string
	// Question names the question of ConnectionsAsked and ConnectionsTold, and Sealed is the answer, which only nodes can read.
	Question EventID
	Sealed   string
}

// maxNodeName is the longest name of a node, in bytes.
const maxNodeName = 300

// NodeName returns name if log lines can name a node by it: it has at most 300 bytes, which are printable ASCII. Otherwise
// it returns "". Anybody who may write the topic could have written it.
func NodeName(name string) string {
	if len(name) > maxNodeName {
		return ""
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return ""
		}
	}
	return name
}

// Transition is a user's change between offline and online, as every node derives it from the log.
type Transition struct {
	User   UserID
	Online bool
	At     time.Time
}

// Sessions is who is online according to one partition of the sessions topic. Every node that applies the same records
// in the same order derives the same transitions in the same order. It is not safe for concurrent use.
type Sessions struct {
	users map[UserID][]session
	dead  map[Incarnation]struct{}
}

// session is a user's presence on one node.
type session struct {
	incarnation Incarnation
	count       int64
	away        bool // its last connection has ended
}

// NewSessions returns the state of an empty partition: everybody is offline.
func NewSessions() *Sessions {
	return &Sessions{users: make(map[UserID][]session), dead: make(map[Incarnation]struct{})}
}

// Online tells whether user has a session on any node not known to be dead. It may be away.
func (s *Sessions) Online(user UserID) bool { return len(s.users[user]) > 0 }

// Reachable tells whether user has a connection: a session that is not away.
func (s *Sessions) Reachable(user UserID) bool {
	return slices.ContainsFunc(s.users[user], func(held session) bool { return !held.away })
}

// IsAway tells whether user's session on incarnation is away.
func (s *Sessions) IsAway(incarnation Incarnation, user UserID) bool {
	return slices.ContainsFunc(s.users[user], func(held session) bool { return held.incarnation == incarnation && held.away })
}

// Count returns the count of user's session on incarnation, 0 if it has none.
func (s *Sessions) Count(incarnation Incarnation, user UserID) int64 {
	for _, held := range s.users[user] {
		if held.incarnation == incarnation {
			return held.count
		}
	}
	return 0
}

// IsDead tells whether the incarnation was buried in this partition.
func (s *Sessions) IsDead(incarnation Incarnation) bool {
	_, dead := s.dead[incarnation]
	return dead
}

// Apply takes over the next record, stamped at, and returns the transitions that it causes, in ascending order of users.
func (s *Sessions) Apply(record SessionRecord, at time.Time) []Transition {
	if s.IsDead(record.Incarnation) {
		return nil
	}
	switch record.Kind {
	case SessionUp:
		return s.up(record, at)
	case SessionDown:
		return s.remove(record.User, at, func(held session) bool {
			return held.incarnation == record.Incarnation && held.count <= record.Count
		})
	case SessionAway:
		s.leave(record)
	case SessionDead:
		return s.bury(record.Incarnation, at)
	case SessionBeat, SessionLeaving, FriendsChanged, UserErased, UserForgotten, UserBlocked, UserUnblocked, FlushWanted,
		ConnectionsAsked, ConnectionsTold:
	}
	return nil
}

func (s *Sessions) up(record SessionRecord, at time.Time) []Transition {
	held := s.users[record.User]
	for i := range held {
		if held[i].incarnation == record.Incarnation {
			if record.Count > held[i].count {
				held[i].count, held[i].away = record.Count, false
			}
			return nil
		}
	}
	s.users[record.User] = append(held, session{incarnation: record.Incarnation, count: record.Count})
	if len(held) > 0 {
		return nil
	}
	return []Transition{{User: record.User, Online: true, At: at}}
}

// leave notes that a session is away, unless a later one has begun.
func (s *Sessions) leave(record SessionRecord) {
	held := s.users[record.User]
	for i := range held {
		if held[i].incarnation == record.Incarnation && held[i].count <= record.Count {
			held[i].away = true
		}
	}
}

func (s *Sessions) remove(user UserID, at time.Time, ends func(session) bool) []Transition {
	held := s.users[user]
	if len(held) == 0 {
		return nil
	}
	held = slices.DeleteFunc(held, ends)
	if len(held) > 0 {
		s.users[user] = held
		return nil
	}
	delete(s.users, user)
	return []Transition{{User: user, At: at}}
}

func (s *Sessions) bury(incarnation Incarnation, at time.Time) []Transition {
	s.dead[incarnation] = struct{}{}
	var transitions []Transition
	for user := range s.users {
		transitions = append(transitions, s.remove(user, at, func(held session) bool {
			return held.incarnation == incarnation
		})...)
	}
	slices.SortFunc(transitions, func(a, b Transition) int { return cmp.Compare(a.User, b.User) })
	return transitions
}
