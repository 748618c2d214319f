package application

import (
	"slices"

	"chatting/domain"
)

// maxSeen bounds the ids that the node remembers for a local user. An event that is repeated after more than this many
// others that could be may reach a connection a second time.
const maxSeen = 1024

// seenEvents remembers where the latest events of a user that may be repeated were seen. The zero value is empty.
type seenEvents struct {
	latest map[domain.EventID][]Position // the latest of each partition
	order  []domain.EventID              // a ring once full
	next   int
}

// note remembers that an event stands at, and returns where it stood latest before, in each partition where it did. The
// result is the caller's.
func (s *seenEvents) note(id domain.EventID, at Position) []Position {
	if latest, ok := s.latest[id]; ok {
		earlier := slices.Clone(latest)
		same := slices.IndexFunc(latest, func(p Position) bool { return p.Partition == at.Partition })
		if same >= 0 {
			latest[same] = at
		} else {
			s.latest[id] = append(latest, at)
		}
		return earlier
	}
	if s.latest == nil {
		s.latest = make(map[domain.EventID][]Position)
	}
	s.latest[id] = []Position{at}
	if len(s.order) < maxSeen {
		s.order = append(s.order, id)
		return nil
	}
	delete(s.latest, s.order[s.next])
	s.order[s.next] = id
	s.next = (s.next + 1) % maxSeen
	return nil
}

// has tells whether the event is remembered.
func (s *seenEvents) has(id domain.EventID) bool {
	_, ok := s.latest[id]
	return ok
}
