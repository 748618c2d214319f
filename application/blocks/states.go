package blocks

import "chatting/domain"

// Pair is who blocks whom.
type Pair struct{ Blocker, Target domain.UserID }

// PairOf returns the pair of a change.
func PairOf(change domain.BlockChanged) Pair {
	return Pair{Blocker: change.Blocker, Target: change.Target}
}

// State is the state of a directed pair as of some place in the log.
type State struct {
	Pair

	Blocked bool
	Version int64
}

// Stored is the state of a pair in the database. The outbox holds its changes from version Pending on; 0 if it
// holds none.
type Stored struct {
	State

	Pending int64
}

// GivenVersions is what the database says of the versions of a pair. Only it gives them out, before their changes enter the
// log.
type GivenVersions struct {
	// Newest is the newest that it gave out, 0 if it gave out none.
	Newest int64
	// EventOf returns the event of a version after Random. nil if all versions are of the other kind.
	EventOf func(version int64) domain.EventID
	// Random is the newest version whose event a server of an earlier release named at random. The database does not know
	// such events any more, except for those of Events, which wait in the outbox.
	Random int64
	Events map[int64]domain.EventID
	// Places are those where versions are known to stand, from the beginning of the batch on.
	Places map[int64]domain.Place
}

// Gave tells whether an event is the one of a version. For versions up to Random it can only tell if their event is known or
// stands elsewhere.
func (g GivenVersions) Gave(version int64, id domain.EventID, at domain.Place) bool {
	if g.EventOf != nil && version > g.Random {
		return version <= g.Newest && g.EventOf(version) == id
	}
	if event, known := g.Events[version]; known && event != id {
		return false
	}
	known, stands := g.Places[version]
	return version <= g.Newest && (!stands || known == at)
}

// StatesAt returns the blocks at the beginning of a stretch of the log whose past was not projected, because the log has lost it
// or no history was kept then. stored is what the database said; logged has the versions of each pair that stand in the
// stretch, up to the end that the log had after that. Changes of a pair enter the log in the order of their versions. So the
// state at the beginning is the newest that stands neither in the stretch nor in the outbox. Versions block and unblock in
// turn.
func StatesAt(stored []Stored, logged map[Pair]map[int64]struct{}) []State {
	var states []State
	for _, block := range stored {
		state := block.State
		if block.Pending > 0 {
			state = state.before(block.Pending)
		}
		state = StateBefore(state, logged[state.Pair])
		if state.Version > 0 {
			states = append(states, state)
		}
	}
	return states
}

// StateBefore returns the state of a pair at the beginning of a stretch of the log. now is its newest state, and logged has the
// versions of the pair that stand in the stretch.
func StateBefore(now State, logged map[int64]struct{}) State {
	for {
		if _, later := logged[now.Version]; !later {
			return now
		}
		now = now.before(now.Version)
	}
}

// before returns the pair's state before its change of a version.
func (s State) before(version int64) State {
	if (s.Version-version+1)%2 != 0 {
		s.Blocked = !s.Blocked
	}
	s.Version = version - 1
	return s
}
