package delivery

import (
	"context"
	"slices"
	"time"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/application/port"
	"chatting/domain"
)

// takeUp is the replay for a client that takes up where it stopped.
type takeUp struct {
	attachment *Attachment
	missed     *missed
	confirms   bool // what the client confirms is noted
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
	stamp := 0
	t.attachment.do(func() { stamp = t.attachment.stampBytes() })
	for len(entries) > 0 {
		n, bytes := 0, 0
		for n < len(entries) && (n == 0 || bytes+len(entries[n].Frame)+stamp <= replayBytes) {
			bytes += len(entries[n].Frame) + stamp
			n++
		}
		if err := t.attachment.conn.AwaitRoom(ctx, bytes); err != nil {
			return err
		}
		t.attachment.do(func() { t.hand(entries[:n], behind[:n]) })
		entries, behind = entries[n:], behind[n:]
	}
	return nil
}

// nextOf returns for each entry where the next one of its partition stands: everything before that was handed over with the entry.
// Behind the last one it is the end of the partition.
func nextOf(entries []PastEntry, to []int64) []int64 {
	next, behind := make(map[int]int64), make([]int64, len(entries))
	for i := len(entries) - 1; i >= 0; i-- {
		at := entries[i].Place
		behind[i] = to[at.Partition]
		if offset, follows := next[at.Partition]; follows {
			behind[i] = offset
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

// hand hands entries over. It is called under the recipient's lock.
func (t *takeUp) hand(entries []PastEntry, behind []int64) {
	a := t.attachment
	batch := make([]Replayed, len(entries))
	last := make(map[int]int) // by partition
	for i, e := range entries {
		a.resume.point[e.Place.Partition] = behind[i]
		batch[i] = Replayed{Frame: e.Frame, EchoOf: e.EchoOf}
		mark, isMark := e.Event.Body.(domain.ReadMark)
		if batch[i].OwnMark = isMark && mark.Reader == a.recipient.user; batch[i].OwnMark {
			batch[i].Unread = mark.Unread
		}
		batch[i].Resume = a.token()
		last[e.Place.Partition] = i
	}
	if t.confirms {
		for p, i := range last {
			batch[i].At = &domain.Place{Partition: p, Offset: behind[i] - 1}
		}
	}
	a.conn.Replay(batch)
}

// KnownSince says since when the user is known: what a token says of the time before is another user's. It is called before
// Prepare.
func (r *Replay) KnownSince(at time.Time) { r.knownSince = at }

// takeUp finds out what the client missed, and activates the attachment behind it; false if that is too far back, or the client
// does not say where it stopped. Then nothing was done.
func (r *Replay) takeUp(ctx context.Context, ends port.LogEnds, list []blocks.Entry) (bool, error) {
	a := r.attachment
	resumption, user := r.resumption(), a.recipient.user
	token, _ := a.conn.Resumes()
	seal := resumption.sealOf(user)
	point, ok := resumption.admits(token, seal, r.knownSince)
	if !ok {
		return false, nil
	}
	to, from, err := history.ReadableUpTo(ctx, ends, resumption.options.Readable)
	if err != nil {
		return false, err
	}
	for p := range to {
		if point.Next[p] > to[p] {
			return false, nil // the log lost what the client has seen
		}
	}
	found, err := resumption.read(ctx, missing{
		PastStretch: PastStretch{User: user, From: point.Next, To: to},
		age:         resumption.options.Now().Sub(point.Time),
		projected:   r.projected, unknown: r.unknown, blocks: list, cut: func() { r.cancel(errNoRoom) },
		shows: func(e PastEntry) bool { return isFor(a.conn, user, e.Event.Body) },
	})
	if found == nil || err != nil {
		return false, err
	}
	r.takesUp = &takeUp{attachment: a, missed: found}
	r.takesUp.confirms = r.messages != nil && r.projected != nil && !ofEarlierTopic(r.projected, to)
	if r.takesUp.confirms {
		r.messages.recall(ctx, a, r.projected)
	}
	had := newRecentEvents(found.again)
	a.do(func() { a.resume.replays, a.resume.had = true, had })
	a.resumes(seal, found.begin(), to, nil)
	a.replays(to)
	a.Activate(list, from)
	a.conn.Resumed(ResumeAnswer{Token: a.currentToken(), Named: true, Recovered: true})
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

// currentToken is token, for those who do not have the lock; "" once the attachment has ended.
func (a *Attachment) currentToken() (token string) {
	a.do(func() { token = a.token() })
	return token
}
