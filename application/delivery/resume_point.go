package delivery

import (
	"slices"
	"sync/atomic"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// logPosition is up to where the tail has applied each partition. The tail writes it, many read it.
type logPosition struct {
	next []atomic.Int64
	now  port.Clock
	// latest is the point that was encoded last. Most connections that get a frame of one record share it.
	latest atomic.Pointer[encodedPoint]
}

// encodedPoint is a domain.ResumePoint as its tokens have it sealed.
type encodedPoint struct {
	next  []int64
	at    time.Time
	bytes []byte
}

// pointAge is for how long an encoded point keeps its time: tokens of connections on which nothing happens grow old otherwise.
const pointAge = time.Minute

// point returns the encoded point at these offsets, now. It must not be changed. since is when the connection came: an older point
// says of its user that it may be another one.
func (l *logPosition) point(next []int64, since time.Time) []byte {
	now := l.now()
	latest := l.latest.Load()
	if latest != nil && slices.Equal(latest.next, next) && now.Sub(latest.at) < pointAge && !latest.at.Before(since) {
		return latest.bytes
	}
	point := domain.ResumePoint{Time: now, Next: slices.Clone(next)}
	encoded := &encodedPoint{next: point.Next, at: now, bytes: point.Append(nil)}
	l.latest.Store(encoded)
	return encoded.bytes
}

// resuming is what an attachment has whose client may take up later where it stops. It is guarded by the recipient's lock.
type resuming struct {
	position *logPosition
	seal     domain.ResumeSeal // of the client's tokens
	since    time.Time
	// start is from where on everything was, or is, handed over as the tail reads it: nothing before it is missing once the
	// attachment is released. It is nil before Prepare.
	start []int64
	// point is, until the attachment is released, before which offsets everything was handed over.
	point []int64
	// passed is up to where frames that were held were handed over.
	passed []int64
	// limit is, of each partition, up to where the client has everything at most: a part of what was stored comes later. nil if
	// there is none.
	limit []int64
	// replays tells that what is held waits for a replay.
	replays bool
	// had are the events of the replay. The log may have one again behind it.
	had recentEvents
}

// stamps tells whether frames carry tokens.
func (a *Attachment) stamps() bool { return a.resume != nil && a.resume.start != nil }

// token returns a token of what was handed over by now. Each is another one: the client must not see whether the log has moved,
// which it does also when somebody blocks the user.
func (a *Attachment) token() string {
	var room [64]int64
	next := append(room[:0], a.resume.point...)
	r := a.recipient
	if a.released {
		for p, start := range a.resume.start {
			next[p] = max(start, a.resume.position.next[p].Load())
		}
		if p := r.latest.Partition; p < len(next) {
			next[p] = max(next[p], r.latest.Offset)
		}
	}
	// What waits for the database was not handed over, though the tail has passed it.
	for _, doubt := range r.doubts {
		// What stands before start, the change itself perhaps, is not for this connection.
		for _, w := range doubt.waiting {
			if p := w.at.Partition; p < len(next) && w.at.Offset >= a.resume.start[p] {
				next[p] = min(next[p], w.at.Offset)
				break
			}
		}
	}
	for p, limit := range a.resume.limit {
		next[p] = min(next[p], limit)
	}
	return a.resume.seal.Token(a.resume.position.point(next, a.resume.since))
}

// stampBytes returns how much longer a frame is for its token.
func (a *Attachment) stampBytes() int {
	if !a.stamps() {
		return 0
	}
	return len(`,"resume":""`) + domain.ResumeTokenLength(len(a.resume.start))
}

// Pong answers a ping of the client; false if the answer has no token, and is the caller's.
func (a *Attachment) Pong() (answered bool) {
	a.do(func() {
		if a.stamps() {
			a.conn.Pong(a.token())
			answered = true
		}
	})
	return answered
}

// handHeld hands over the first n of the frames that are held.
func (a *Attachment) handHeld(n int) {
	earliest := earliestBehind(a.held, n)
	for i, h := range a.held[:n] {
		if a.stamps() {
			a.resume.pass(h.at, earliest[i])
		}
		a.hand(h, earliest[i])
	}
}

// earliestBehind returns, of each of the first n frames, the least offset of its partition among all that follow; -1 if there is
// none. A frame that waited for the database may stand before frames that came ahead of it.
func earliestBehind(held []heldFrame, n int) []int64 {
	earliest := make([]int64, n)
	least := make(map[int]int64)
	for i := len(held) - 1; i >= 0; i-- {
		at := held[i].at
		before, follows := least[at.Partition]
		if i < n {
			earliest[i] = -1
			if follows {
				earliest[i] = before
			}
		}
		if !follows || at.Offset < before {
			least[at.Partition] = at.Offset
		}
	}
	return earliest
}

// pass moves the point over a frame that is handed over next. earliest is the least offset of its partition that is still to
// come; -1 for none.
func (r *resuming) pass(at domain.Place, earliest int64) {
	p := at.Partition
	r.passed[p] = max(r.passed[p], at.Offset+1)
	r.point[p] = r.passed[p]
	if earliest >= 0 {
		r.point[p] = min(r.point[p], earliest)
	}
}

// keepBefore has the point not be past a frame that is held. It may be: what waited for the database comes behind frames that were
// handed over.
func (r *resuming) keepBefore(at domain.Place) {
	p := at.Partition
	r.point[p] = min(r.point[p], max(r.start[p], at.Offset)) // what stands before start is the replay's
}
