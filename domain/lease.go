package domain

import "time"

// Lease judges which other nodes are dead, from heartbeats in the order of the log. A node X is dead when, after its last
// beat, the judge's own beats that came back span a whole lease of the judge's own clock. So nobody is judged while the
// broker is away (no own beat comes back), and after a gap in the own beats, whose cause may have hit everybody, nobody
// is judged for three leases.
//
// The judge must have one own beat under way at most: beats that waited side by side in a stalled broker would come
// back in a burst and span a lease that nobody else could have answered in.
//
// It is not safe for concurrent use.
type Lease struct {
	self       Incarnation
	length     time.Duration
	others     map[Incarnation]silence // all that are not buried
	lastOwn    time.Time
	quietUntil time.Time
}

// silence is for how long another node has given no sign of life, and may give none.
type silence struct {
	// since is when the first own beat after its last sign of life was sent; zero while there was none.
	since time.Time
	// grace is what it asked for when it left; nil while it has not.
	grace *time.Duration
}

// rankDelay is how much longer each further node waits before it buries, so that usually one does.
const rankDelay = time.Second

// NewLease returns a judge for the node self that knows of no other yet.
func NewLease(self Incarnation, length time.Duration) *Lease {
	return &Lease{self: self, length: length, others: make(map[Incarnation]silence)}
}

// Alive notes a sign of life (a beat or a session record) of another node.
func (l *Lease) Alive(other Incarnation) {
	if other != l.self {
		l.others[other] = silence{grace: l.others[other].grace}
	}
}

// Leaving notes that another node goes away on purpose and has asked to be buried only after grace, counted like a lease:
// by then its users are elsewhere.
func (l *Lease) Leaving(other Incarnation, grace time.Duration) {
	if other != l.self {
		l.others[other] = silence{grace: &grace}
	}
}

// Continue goes on judging for the same node under a new name, which nobody has heard of, after its burial. The old name is
// one of the others from now on, until it is Buried; and the beats that were missing when the node was buried count as a gap.
func (l *Lease) Continue(self Incarnation) {
	old := l.self
	l.self = self
	l.Alive(old)
}

// Buried forgets a node.
func (l *Lease) Buried(other Incarnation) { delete(l.others, other) }

// OwnBeat notes that the own beat sent at sent (with its monotonic reading) came back, and returns the nodes that are to
// be buried now. They are returned again at each further beat until Buried.
func (l *Lease) OwnBeat(sent time.Time) []Incarnation {
	if !l.lastOwn.IsZero() && sent.Sub(l.lastOwn) > l.length/2 {
		l.quietUntil = sent.Add(3 * l.length)
		for other := range l.others {
			l.Alive(other)
		}
	}
	l.lastOwn = sent
	var dead []Incarnation
	delay := time.Duration(l.rank(sent)) * rankDelay
	for other, silent := range l.others {
		patience := l.length
		if silent.grace != nil {
			patience = *silent.grace
		}
		switch {
		case silent.since.IsZero():
			silent.since = sent
			l.others[other] = silent
		case sent.Before(l.quietUntil):
		case sent.Sub(silent.since) >= patience+delay:
			dead = append(dead, other)
		}
	}
	return dead
}

// rank counts the living nodes that stay and whose incarnation orders before the own one.
func (l *Lease) rank(now time.Time) int {
	rank := 0
	for other, silent := range l.others {
		living := silent.grace == nil && (silent.since.IsZero() || now.Sub(silent.since) < l.length)
		if living && other.Compare(l.self) < 0 {
			rank++
		}
	}
	return rank
}

// EachOther calls f with every other node that is known and not buried.
func (l *Lease) EachOther(f func(Incarnation)) {
	for other := range l.others {
		f(other)
	}
}
