package delivery

import "chatting/domain"

// storedDelivery is what an attachment has where messages are stored. It is guarded by the recipient's lock.
type storedDelivery struct {
	// had are the latest events that were replayed, and recent those that were said to the user shortly before the login: the log
	// may have one again past the end that was noted. The user has got it: by an earlier connection, or by the replay.
	had    seenEvents
	recent recentEvents
	// handed is, of each partition, the latest offset of a frame that was handed over after the replay.
	handed latestOffsets
}

// hadBefore tells whether the user has got the event before what stands past the end that was noted.
func (s *storedDelivery) hadBefore(id domain.EventID) bool {
	return s.recent.has(id) || s.had.has(id)
}

// latestOffsets has the latest offset of each partition. The zero value is empty.
type latestOffsets map[int]int64

// note notes a place, if it is later than what was noted of its partition.
func (l *latestOffsets) note(at domain.Place) {
	if *l == nil {
		*l = make(latestOffsets)
	}
	(*l)[at.Partition] = max((*l)[at.Partition], at.Offset)
}
