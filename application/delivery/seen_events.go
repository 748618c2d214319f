package delivery

import (
	"bytes"
	"slices"
	"time"

	"chatting/domain"
)

// maxSeen bounds the ids that the node remembers for a local user. An event that is repeated after so many others may reach a
// connection a second time.
const maxSeen = 1024

// seenEvents remembers where the latest events of a user that may be repeated were seen. The zero value is empty.
type seenEvents struct {
	latest map[domain.EventID][]domain.Place // the latest of each partition
	order  []domain.EventID                  // a ring once full
	next   int
}

// note remembers that an event stands at a place, and returns where it stood before: the latest place in each partition. The
// result is the caller's.
func (s *seenEvents) note(id domain.EventID, at domain.Place) []domain.Place {
	if latest, ok := s.latest[id]; ok {
		earlier := slices.Clone(latest)
		same := slices.IndexFunc(latest, func(p domain.Place) bool { return p.Partition == at.Partition })
		if same >= 0 {
			latest[same] = at
		} else {
			s.latest[id] = append(latest, at)
		}
		return earlier
	}
	if s.latest == nil {
		s.latest = make(map[domain.EventID][]domain.Place)
	}
	s.latest[id] = []domain.Place{at}
	if len(s.order) < maxSeen {
		s.order = append(s.order, id)
		return nil
	}
	delete(s.latest, s.order[s.next])
	s.order[s.next] = id
	s.next = (s.next + 1) % maxSeen
	return nil
}

// forget forgets what was seen in a partition.
func (s *seenEvents) forget(partition int) {
	for id, places := range s.latest {
		s.latest[id] = slices.DeleteFunc(places, func(p domain.Place) bool { return p.Partition == partition })
	}
}

// knows tells whether a place of the event is remembered.
func (s *seenEvents) knows(id domain.EventID) bool { return len(s.latest[id]) > 0 }

// has tells whether the event is remembered.
func (s *seenEvents) has(id domain.EventID) bool {
	_, ok := s.latest[id]
	return ok
}

// recentEvents are events that the log may have once more, until that is no longer likely. The zero value is empty.
type recentEvents struct {
	ids   []domain.EventID // in order
	until time.Time
}

// newRecentEvents takes ids over.
func newRecentEvents(ids []domain.EventID) recentEvents {
	slices.SortFunc(ids, compareIDs)
	return recentEvents{ids: ids, until: time.Now().Add(RepeatedWithin)}
}

// has tells whether the event is one of them. It forgets them once their time is over.
func (r *recentEvents) has(id domain.EventID) bool {
	if len(r.ids) > 0 && time.Now().After(r.until) {
		r.ids = nil
	}
	_, found := slices.BinarySearchFunc(r.ids, id, compareIDs)
	return found
}

func compareIDs(a, b domain.EventID) int { return bytes.Compare(a[:], b[:]) }
