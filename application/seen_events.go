package application

import "chatting/domain"

// maxSeen bounds the ids that the node remembers for a local user. A message that is sent again after more than this many
// named ones may reach a connection a second time.
const maxSeen = 1024

// seenEvents remembers where the latest named events of a user were first seen. The zero value is empty.
type seenEvents struct {
	first map[domain.EventID]Position
	order []domain.EventID // a ring once full
	next  int
}

// note remembers an event and returns where it was seen first: at, unless it was seen before.
func (s *seenEvents) note(id domain.EventID, at Position) Position {
	if first, ok := s.first[id]; ok {
		return first
	}
	if s.first == nil {
		s.first = make(map[domain.EventID]Position)
	}
	s.first[id] = at
	if len(s.order) < maxSeen {
		s.order = append(s.order, id)
		return at
	}
	delete(s.first, s.order[s.next])
	s.order[s.next] = id
	s.next = (s.next + 1) % maxSeen
	return at
}
