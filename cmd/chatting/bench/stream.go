package bench

import "slices"

// stream follows the messages of one sender as one connection sees them. They are numbered from 0, and each should come once,
// after those before it.
type stream struct {
	next    uint32 // the number after the highest one seen
	gaps    []span // what is missing below next, in ascending order
	doubled int64  // messages that came again
	swapped int64  // messages that came after a later one
}

// span is the numbers from first up to, without, end.
type span struct{ first, end uint32 }

// saw takes note of a message. It returns whether this is the first time.
func (s *stream) saw(number uint32) bool {
	if number >= s.next {
		if number > s.next {
			s.gaps = append(s.gaps, span{s.next, number})
		}
		s.next = number + 1
		return true
	}
	for i, gap := range s.gaps {
		if number < gap.first || number >= gap.end {
			continue
		}
		s.swapped++
		var rest []span
		if gap.first < number {
			rest = append(rest, span{gap.first, number})
		}
		if number+1 < gap.end {
			rest = append(rest, span{number + 1, gap.end})
		}
		s.gaps = slices.Replace(s.gaps, i, i+1, rest...)
		return true
	}
	s.doubled++
	return false
}

// missing returns the numbers below sent that were not seen.
func (s *stream) missing(sent uint32) []span {
	if s.next >= sent {
		return s.gaps
	}
	return append(slices.Clone(s.gaps), span{s.next, sent})
}

// size counts the numbers in spans.
func size(spans []span) (n int64) {
	for _, s := range spans {
		n += int64(s.end - s.first)
	}
	return n
}

// common counts the numbers that are in both.
func common(a, b []span) (n int64) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		first, end := max(a[i].first, b[j].first), min(a[i].end, b[j].end)
		if first < end {
			n += int64(end - first)
		}
		if a[i].end < b[j].end {
			i++
		} else {
			j++
		}
	}
	return n
}
