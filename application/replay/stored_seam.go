package replay

import (
	"math"
	"slices"

	"chatting/application/history"
	"chatting/application/past"
	"chatting/domain"
)

// seam says, of each partition, what a login gets from the history and what from the log. The backlog begins at "from" and ends
// before "to"; what stands before "at" is in the history, the rest in the log. Nothing is asked of either beyond that, so nothing
// comes twice and nothing is left out.
type seam struct {
	from, at, to []domain.Place
	// limit is, of some partitions, the place up to which a client may confirm at most: something behind it is not delivered by
	// this login. It has the zero generation where there is no limit.
	limit []domain.Place
	// anew are the partitions whose topic was made anew, while the history does not know that yet. Their places are those of the
	// earlier topic.
	anew []bool
	// noHistory tells that nothing comes from the history.
	noHistory bool
}

// newSeam returns the seam of a login that ends at end. begin is to be called.
func newSeam(end history.LogEnd) *seam {
	partitions := len(end.Offsets)
	s := &seam{limit: make([]domain.Place, partitions), anew: make([]bool, partitions), to: make([]domain.Place, partitions)}
	for p, offset := range end.Offsets {
		s.to[p] = domain.Place{Partition: p, Offset: offset}
		if end.Before == nil {
			continue
		}
		s.to[p].Generation = end.Before[p].Generation
		if s.anew[p] = end.Before[p].Offset > offset; s.anew[p] {
			s.to[p] = end.Before[p]
		}
	}
	s.at = slices.Clone(end.Before)
	return s
}

// begin sets where the user's backlog begins, which is its cursor.
func (s *seam) begin(from []domain.Place) {
	s.from = from
	for p, cursor := range from {
		if s.to[p].Generation == 0 { // nobody knows: the log is the one that the cursor is in
			s.to[p].Generation = cursor.Generation
			if s.anew[p] = s.to[p].Offset < cursor.Offset; s.anew[p] {
				s.to[p] = cursor
			}
		}
		if !s.from[p].Before(s.to[p]) {
			s.from[p] = s.to[p]
		}
	}
	if s.at == nil {
		s.withoutHistory()
	}
}

// withoutHistory has everything come from the log. What was said in an earlier topic is in the history alone, and comes at
// another login.
func (s *seam) withoutHistory() {
	s.noHistory = true
	s.at = slices.Clone(s.from)
	clear(s.limit)
	for p := range s.at {
		if s.at[p].Generation != s.to[p].Generation {
			s.limit[p] = s.from[p]
			s.at[p] = domain.Place{Generation: s.to[p].Generation, Partition: p}
			s.from[p] = s.at[p]
		}
	}
}

// stretch returns what of the log is read: what the login needs and, if that is not too much, all that the history does not have.
func (s *seam) stretch(user domain.UserID, reaches func(past.Stretch) bool) past.Stretch {
	stretch := past.Stretch{User: user, From: make([]int64, len(s.to)), To: make([]int64, len(s.to)), BeginningFirst: true}
	for p := range s.to {
		if !s.anew[p] {
			stretch.From[p], stretch.To[p] = s.at[p].Offset, s.to[p].Offset
		}
	}
	if reaches(stretch) {
		return stretch
	}
	for p := range s.to {
		if !s.anew[p] {
			stretch.From[p] = s.needs(p).Offset
		}
	}
	return stretch
}

// needs returns from where on the login needs the log.
func (s *seam) needs(p int) domain.Place {
	if s.at[p].Before(s.from[p]) {
		return s.from[p]
	}
	return s.at[p]
}

// shorten notes that the log was asked for a stretch, and is read from these offsets on only. It tells whether something is
// left out by that. What is left out comes at another login, once the history has it: until then the cursor stays before it.
func (s *seam) shorten(asked past.Stretch, from []int64) (isShort bool) {
	for p, first := range from {
		needs := max(asked.From[p], s.needs(p).Offset)
		if s.anew[p] || first <= needs {
			continue
		}
		isShort = true
		if s.limit[p].Generation == 0 {
			s.limit[p] = domain.Place{Generation: s.to[p].Generation, Partition: p, Offset: needs}
		}
	}
	return isShort
}

// leavesOut notes that the login goes without these entries of the log. They come at another one, and until then the cursor stays before
// them. later tells that clients may know by now up to where they may confirm. Then it is false if that is past one of the entries.
func (s *seam) leavesOut(entries []history.Entry, later bool) bool {
	for _, e := range entries {
		limit := &s.limit[e.Place.Partition]
		switch isLimited := limit.Generation != 0 && !e.Place.Before(*limit); {
		case isLimited:
		case later:
			return false
		default:
			*limit = e.Place
		}
	}
	return true
}

// isCovered tells whether a history that has come to now has everything up to the end.
func (s *seam) isCovered(now []domain.Place) bool {
	for p := range s.to {
		if !s.anew[p] && now[p].Before(s.to[p]) {
			return false
		}
	}
	return true
}

// confirms returns up to where the cursor may move, of all that a client may have confirmed before a place. A nil seam limits
// nothing.
func (s *seam) confirms(at domain.Place) domain.Place {
	if s == nil {
		return at
	}
	if limit := s.limit[at.Partition]; limit.Generation != 0 && limit.Before(at) {
		return limit
	}
	return at
}

// isAnew tells whether places of a partition are none of the topic that the connection is served from.
func (s *seam) isAnew(partition int) bool { return s != nil && s.anew[partition] }

// limits returns, of each partition, the offset up to which a client has everything at most; nil if there is no limit.
func (s *seam) limits() (limits []int64) {
	if s == nil {
		return nil
	}
	for p, limit := range s.limit {
		if limit.Generation == 0 {
			continue
		}
		if limits == nil {
			limits = make([]int64, len(s.limit))
			for q := range limits {
				limits[q] = math.MaxInt64
			}
		}
		limits[p] = 0 // what is left out is in an earlier topic
		if limit.Generation == s.to[p].Generation {
			limits[p] = limit.Offset
		}
	}
	return limits
}
