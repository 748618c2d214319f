package replay

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/application/notice"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/domain"
)

// Resumption lets clients take up where they stopped: whoever names a resume token at login gets everything of its user since
// then, both directions, before anything new. It is read from the log if that is little, and else from the history as far as
// that has it, and from the log behind.
type Resumption struct{ options ResumeOptions }

// ResumeOptions are the parts of a Resumption.
type ResumeOptions struct {
	// Tokens are those of the node's Delivery.
	Tokens *delivery.ResumeTokens
	Past   *past.Past
	// Missed is the history, and History tells how far it is; nil if none is kept.
	Missed  MissedHistory
	History *history.Progress
	// Retention is for how long the history keeps what was said.
	Retention time.Duration
	// Hold counts bytes that the node holds for a user until release is called; false if there is no room. If it has to be made
	// later, cut is called, as past.Log.Read says. nil bounds nothing.
	Hold func(user domain.UserID, bytes int, cut func()) (release func(), ok bool)
	// MayRead counts records of the log that are about to be read for a user; false if those of late were so many that the history
	// has to do: a token may be named again and again. nil bounds nothing.
	MayRead func(user domain.UserID, records int64) bool
	// Readable tells up to where the log can be read.
	Readable port.LogEnds
	Bounds   ResumeBounds
	Now      port.Clock
	Notices  *notice.Log
}

// ResumeBounds say from how far back a client may take up. Beyond them it reads the history itself.
type ResumeBounds struct {
	Events, Bytes int // in all conversations together; of bytes, those of the frames
	Age           time.Duration
}

// MissedHistory reads from the history what a user missed.
type MissedHistory interface {
	// Missed returns what user sees from the first place (included) to the second (excluded) of each partition: all kinds of
	// events, of both sides, those of a partition in their order. The arguments have one place for each partition, in the order
	// of their numbers. If it is more than the bounds, whole is false. The events have no ClientMessageID. Errors:
	// CodeUnavailable.
	//
	// hold is told how many entries are about to be loaded, and the bytes of their frames, perhaps again and again. Once it returns
	// false, nothing more is loaded, and whole is false.
	Missed(
		ctx context.Context, user domain.UserID, from, to []domain.Place, bounds history.PageBounds, hold func(entries, bytes int) bool,
	) (entries []past.Entry, whole bool, err error)
}

// NewResumption returns a resumption.
func NewResumption(options ResumeOptions) *Resumption { return &Resumption{options: options} }

// admits returns the point of a token that a user sent, who is known since then; false if it says nothing, or is too old.
func (r *Resumption) admits(token string, user domain.UserID, since time.Time) (domain.ResumePoint, bool) {
	point, ok := r.options.Tokens.Open(token, user, since)
	return point, ok && r.options.Now().Sub(point.Time) <= r.options.Bounds.Age
}

// missed is what a client that takes up gets.
type missed struct {
	entries []past.Entry // of a partition in their order; the others between them
	// again are those of which the log may have one once more, behind to.
	again []domain.EventID
	// to is up to where the log was read.
	to    []int64
	close func()
}

// note notes which entries of user the log may have once more: those that their senders named, system messages and read marks. What the
// history has may have had a name, too. Of an own message from there the client may still wait for the name, so it is shown once more.
func (m *missed) note(user domain.UserID, entries []past.Entry, history bool) {
	for _, e := range entries {
		_, isMark := e.Event.Body.(domain.ReadMark)
		if isMark || e.Sender() == domain.System || e.Event.ClientMessageID != "" || history && e.Sender() != user {
			m.again = append(m.again, e.Event.ID)
		}
	}
}

// missing is what a login asks a Resumption for.
type missing struct {
	past.Stretch

	age time.Duration // of the token: what was missed is not older, or hardly
	// projected is how far the history was before blocks were loaded; nil if it did not answer: unknown says why.
	projected []domain.Place
	unknown   error
	blocks    []blocks.Entry
	shows     func(past.Entry) bool // tells what is for the client at all
	cut       func()                // as past.Log.Read has it
}

const (
	// logPatience is how long a login waits for the log before it asks the history, and restPatience how long it waits for the log
	// behind the history. With history.Patience they leave some of a login's time.
	logPatience  = 4 * time.Second
	restPatience = 2 * time.Second
)

// read returns what the user saw in a stretch; nil if that is more than the bounds, or cannot be read. The only error is that ctx
// ended: a client that names the same token again and again would not get in otherwise.
func (r *Resumption) read(ctx context.Context, m missing) (*missed, error) {
	if r.options.Past.Reaches(m.Stretch) {
		found, err := r.fromLog(ctx, m, logPatience)
		if found != nil || err != nil {
			return found, err
		}
	}
	// A token may be held back by what was said a while before it, so there is a margin.
	if r.options.Missed == nil || m.age > r.options.Retention-r.options.Retention/4 {
		return nil, nil //nolint:nilnil // too far back
	}
	if m.projected == nil {
		r.without(m.User, m.unknown)
		return nil, nil //nolint:nilnil // it gets in all the same
	}
	if ofEarlierTopic(m.projected, m.To) {
		return nil, nil //nolint:nilnil // the history has nothing of this topic yet
	}
	from, to, rest := m.seam()
	if !r.options.Past.Reaches(rest.Stretch) {
		return nil, nil //nolint:nilnil // the history is too far behind
	}
	held := &heldHistory{resumption: r, m: m}
	entries, whole, err := r.fromHistory(ctx, held, from, to)
	if err != nil {
		r.without(m.User, err)
	}
	if err != nil || !whole {
		held.release()
		return nil, nil //nolint:nilerr,nilnil // it gets in all the same
	}
	found, err := r.fromLog(ctx, rest, restPatience)
	if found == nil || err != nil {
		held.release()
		return nil, err
	}
	found.note(m.User, entries, true)
	closeLog := found.close
	found.entries, found.close = append(entries, found.entries...), func() { closeLog(); held.release() }
	return r.bounded(m, found), nil
}

// heldHistory counts what comes from the history, before it is loaded. What comes from the log counts there.
type heldHistory struct {
	resumption *Resumption
	m          missing
	releases   []func()
}

// hold counts so many entries, with the bytes of their frames; false if there is no room.
func (h *heldHistory) hold(entries, bytes int) bool {
	if h.resumption.options.Hold == nil {
		return true
	}
	release, ok := h.resumption.options.Hold(h.m.User, bytes+entries*delivery.HeldBytes, h.m.cut)
	if ok {
		h.releases = append(h.releases, release)
	}
	return ok
}

// release gives everything back. It may be called again.
func (h *heldHistory) release() {
	for _, release := range h.releases {
		release()
	}
	h.releases = nil
}

// without logs that a client does not take up, because the history does not answer.
func (r *Resumption) without(user domain.UserID, err error) {
	r.options.Notices.Warn("a client does not take up where it stopped: the history does not answer",
		slog.Any("user", user), slog.Any("error", err))
}

// seam returns the places between which the history has a part of the stretch, and the rest, which is in the log.
func (m missing) seam() (from, to []domain.Place, rest missing) {
	from, to, rest = make([]domain.Place, len(m.projected)), slices.Clone(m.projected), m
	rest.From = make([]int64, len(to))
	for p, first := range m.From {
		from[p] = domain.Place{Generation: to[p].Generation, Partition: p, Offset: first}
		to[p].Partition, to[p].Offset = p, max(first, min(to[p].Offset, m.To[p]))
		rest.From[p] = to[p].Offset
	}
	return from, to, rest
}

// fromLog reads a stretch of the log; nil if not all of it is there in time, or it is too much, or too much was read for the user of
// late. The only error is that ctx ended.
func (r *Resumption) fromLog(ctx context.Context, m missing, patience time.Duration) (*missed, error) {
	if may := r.options.MayRead; may != nil && !may(m.User, m.Length()) {
		return nil, nil //nolint:nilnil // the history may have it
	}
	reading, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m.AllOrNothing = true
	read, err := r.options.Past.Entries(reading, m.Stretch, m.blocks, m.cut)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		r.options.Notices.Warn("the log is not read again for a client that takes up where it stopped",
			slog.Any("user", m.User), slog.Any("error", err))
		return nil, nil //nolint:nilnil // the history may have it
	}
	if !read.IsWhole() {
		read.Close()
		return nil, nil //nolint:nilnil // too far back
	}
	found := r.bounded(m, &missed{entries: read.Entries, to: m.To, close: read.Close})
	if found != nil {
		found.note(m.User, found.entries, false)
	}
	return found, nil
}

// bounded returns found without the repetitions in it, and what is not for the client; nil if it is more than the bounds.
func (r *Resumption) bounded(m missing, found *missed) *missed {
	seen := make(map[domain.EventID]struct{}, len(found.entries))
	bytes := 0
	found.entries = slices.DeleteFunc(found.entries, func(e past.Entry) bool {
		if !m.shows(e) {
			return true
		}
		_, again := seen[e.Event.ID]
		seen[e.Event.ID] = struct{}{}
		if !again {
			bytes += len(e.Frame)
		}
		return again
	})
	if len(found.entries) > r.options.Bounds.Events || bytes > r.options.Bounds.Bytes {
		found.close()
		return nil
	}
	return found
}

// fromHistory reads what the history has of a stretch.
func (r *Resumption) fromHistory(ctx context.Context, held *heldHistory, from, to []domain.Place) ([]past.Entry, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, history.Patience)
	defer cancel()
	return r.options.Missed.Missed(ctx, held.m.User, from, to,
		history.PageBounds{Entries: r.options.Bounds.Events, Bytes: r.options.Bounds.Bytes}, held.hold)
}

// merged returns the entries by their times, those of a partition in their order.
func (m *missed) merged() []past.Entry {
	lists := make(map[int][]past.Entry)
	for _, e := range m.entries {
		lists[e.Place.Partition] = append(lists[e.Place.Partition], e)
	}
	merged := make([]past.Entry, 0, len(m.entries))
	for len(lists) > 0 {
		next := -1
		for p, list := range lists {
			if next < 0 || cmp.Or(list[0].Event.Time.Compare(lists[next][0].Event.Time), cmp.Compare(p, next)) < 0 {
				next = p
			}
		}
		merged = append(merged, lists[next][0])
		if lists[next] = lists[next][1:]; len(lists[next]) == 0 {
			delete(lists, next)
		}
	}
	return merged
}
