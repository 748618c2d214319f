package replay

import (
	"context"
	"slices"
	"time"

	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/domain"
)

// takeUp is the replay for a client that takes up where it stopped.
type takeUp struct {
	to       *delivery.Handover
	missed   *missed
	confirms bool // what the client confirms is noted
}

// close gives back what the replay holds. It may be called again.
func (t *takeUp) close() {
	t.missed.entries = nil
	t.missed.close()
}

// replay hands everything over, in steps that the client's connection has room for.
func (t *takeUp) replay(ctx context.Context) error {
	entries := t.missed.merged()
	behind := nextOf(entries, t.missed.to)
	stamp := t.to.StampBytes()
	for len(entries) > 0 {
		n, bytes := 0, 0
		for n < len(entries) && (n == 0 || bytes+len(entries[n].Frame)+stamp <= delivery.ReplayBytes) {
			bytes += len(entries[n].Frame) + stamp
			n++
		}
		if err := t.to.Conn.AwaitRoom(ctx, bytes); err != nil {
			return err
		}
		t.hand(entries[:n], behind[:n])
		entries, behind = entries[n:], behind[n:]
	}
	return nil
}

// nextOf returns for each entry where the next one of its partition stands: everything before that was handed over with the entry.
// Behind the last one it is the end of the partition.
func nextOf(entries []past.Entry, to []int64) []domain.Place {
	next, behind := make(map[int]int64), make([]domain.Place, len(entries))
	for i := len(entries) - 1; i >= 0; i-- {
		at := entries[i].Place
		behind[i] = domain.Place{Partition: at.Partition, Offset: to[at.Partition]}
		if offset, follows := next[at.Partition]; follows {
			behind[i].Offset = offset
		}
		next[at.Partition] = at.Offset
	}
	return behind
}

// begin returns before which offsets nothing was missed.
func (m *missed) begin() []int64 {
	begin := slices.Clone(m.to)
	for _, e := range m.entries {
		begin[e.Place.Partition] = min(begin[e.Place.Partition], e.Place.Offset)
	}
	return begin
}

// hand hands entries over.
func (t *takeUp) hand(entries []past.Entry, behind []domain.Place) {
	batch := make([]delivery.Replayed, len(entries))
	last := make(map[int]int) // by partition
	for i, e := range entries {
		batch[i] = delivery.Replayed{Frame: e.Frame, EchoOf: e.EchoOf}
		mark, isMark := e.Event.Body.(domain.ReadMark)
		if batch[i].OwnMark = isMark && mark.Reader == t.to.User; batch[i].OwnMark {
			batch[i].Unread = mark.Unread
		}
		last[e.Place.Partition] = i
	}
	if t.confirms {
		for p, i := range last {
			batch[i].At = &domain.Place{Partition: p, Offset: behind[i].Offset - 1}
		}
	}
	t.to.HandMissed(batch, behind)
}

// KnownSince says since when the user is known: what a token says of the time before is another user's. It is called before
// Prepare.
func (r *Replay) KnownSince(at time.Time) { r.knownSince = at }

// takeUp finds out what the client missed, and activates the attachment behind it; false if that is too far back, or the client
// does not say where it stopped. Then nothing was done.
func (r *Replay) takeUp(ctx context.Context, ends port.LogEnds, list []blocks.Entry) (bool, error) {
	to, resumption := r.to, r.resumption
	token, _ := to.Conn.Resumes()
	point, ok := resumption.admits(token, to.User, r.knownSince)
	if !ok {
		return false, nil
	}
	end, from, err := history.ReadableUpTo(ctx, ends, resumption.options.Readable)
	if err != nil {
		return false, err
	}
	for p := range end {
		if point.Next[p] > end[p] {
			return false, nil // the log lost what the client has seen
		}
	}
	found, err := resumption.read(ctx, missing{
		Stretch:   past.Stretch{User: to.User, From: point.Next, To: end},
		age:       resumption.options.Now().Sub(point.Time),
		projected: r.projected, unknown: r.unknown, blocks: list, cut: func() { r.cancel(errNoRoom) },
		shows: func(e past.Entry) bool { return to.Shows(e.Event.Body) },
	})
	if found == nil || err != nil {
		return false, err
	}
	r.takesUp = &takeUp{to: to, missed: found}
	r.takesUp.confirms = r.messages != nil && r.projected != nil && !ofEarlierTopic(r.projected, end)
	if r.takesUp.confirms {
		r.messages.recall(ctx, to, r.projected, r.notices)
	}
	to.TakesUp(found.again)
	to.Resumes(found.begin(), end, nil)
	to.Activate(list, from, end)
	to.Conn.Resumed(delivery.ResumeAnswer{Token: to.Token(), Named: true, Recovered: true})
	return true, nil
}

// ofEarlierTopic tells whether a history has come farther than the log was read, which was made anew since.
func ofEarlierTopic(projected []domain.Place, to []int64) bool {
	for p, at := range projected {
		if at.Offset > to[p] {
			return true
		}
	}
	return false
}
