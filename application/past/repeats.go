package past

import (
	"context"
	"slices"
	"sync"

	"chatting/domain"
)

// Repeats tells which events stand in the log once more. A sender that has lost an echo sends its message again, under the same
// name, and the first record counts: what a block hid there stays hidden, though the second record stands behind an unblock
// (invariant 3).
//
// The history has each event at its first place, also those that a block hides. What it does not have yet, the log has. Without a
// history the log alone is asked, as far back as it is read for one user: an event that stood before that counts as new.
type Repeats struct {
	Log Log
	// History knows first places, and Progress how far it is; nil if none is kept.
	History  FirstPlaces
	Progress Progress
	// Acts and Verdicts tell what took no effect at its place; nil if everything did.
	Acts     Acts
	Verdicts *Verdicts
	// MayRead counts records of the log that are about to be read for a user; false if those of late were too many. nil bounds
	// nothing.
	MayRead func(user domain.UserID, records int64) bool

	mu sync.Mutex
	// said is what the log was found to have, where no history is kept, and names how many ids that are.
	said  map[saidKey]saidBefore
	names int
}

// FirstPlaces is a history that knows where events stand.
type FirstPlaces interface {
	// FirstPlaces returns the places of those events that the history has, in the conversations of user with their senders, also of
	// those that a block hides. Errors: CodeUnavailable.
	FirstPlaces(ctx context.Context, user domain.UserID, events []Named) (map[domain.EventID]domain.Place, error)
}

// Progress tells how far the history follows the log. *history.Progress is one.
type Progress interface {
	// Soon returns the next place to be projected of each partition. Errors: CodeUnavailable.
	Soon(ctx context.Context) ([]domain.Place, error)
}

// Named is an event that its sender named, as a user reads it in the log.
type Named struct {
	ID     domain.EventID
	Sender domain.UserID
	// At is its place, without a generation.
	At domain.Place
	// Version is that of the user's block of Sender by then, if its change stands before Before; else 0.
	Version int64
	// Before is the offset of its partition before which an earlier record would stand that the asker does not know of.
	Before int64
}

// saidKey is a direction of a conversation.
type saidKey struct{ user, sender domain.UserID }

// saidBefore are the first offsets of what a sender named, from before a version of the block. What stands behind that version no
// block hides, until there is another one.
type saidBefore struct {
	version int64
	first   map[domain.EventID]int64
}

// maxSaid bounds the ids that are remembered where no history is kept. Above it all are forgotten, and read again.
const maxSaid = 1 << 16

var errTooFarBehind = domain.NewError(domain.CodeUnavailable, "The history is too far behind the log.")

// Repeated returns the places of those events that stood in the log before. The tail of this node has read up to the places, or is
// about to. Errors: CodeUnavailable if that cannot be told now.
func (r *Repeats) Repeated(ctx context.Context, user domain.UserID, events []Named) (map[domain.Place]struct{}, error) {
	repeated := make(map[domain.Place]struct{})
	events = slices.DeleteFunc(slices.Clone(events), func(e Named) bool { return e.Before <= 0 })
	if len(events) == 0 {
		return repeated, nil
	}
	if r.History == nil {
		return repeated, r.inLogAlone(ctx, user, events, repeated)
	}
	projected, err := r.Progress.Soon(ctx) // first, so that the history has everything before these places
	if err != nil {
		return nil, err
	}
	places, err := r.History.FirstPlaces(ctx, user, events)
	if err != nil {
		return nil, err
	}
	behind := events[:0:0]
	for _, e := range events {
		own, next := e.At, projected[e.At.Partition]
		own.Generation = next.Generation
		switch first, known := places[e.ID]; {
		case known && first != own:
			repeated[e.At] = struct{}{}
		case !known && next.Offset < e.Before:
			behind = append(behind, e)
		}
	}
	if len(behind) == 0 {
		return repeated, nil
	}
	from := make([]int64, len(projected))
	for p, next := range projected {
		from[p] = next.Offset
	}
	said, err := r.read(ctx, user, from, behind, true)
	if err != nil {
		return nil, err
	}
	for _, e := range behind {
		said[saidKey{user, e.Sender}].note(e, repeated)
	}
	return repeated, nil
}

// note adds the place of an event that was said before.
func (s saidBefore) note(e Named, repeated map[domain.Place]struct{}) {
	if first, known := s.first[e.ID]; known && first < e.At.Offset {
		repeated[e.At] = struct{}{}
	}
}

// inLogAlone adds the places of repeated events by what the log has, as far as it is read. Of each version of a block that is read
// once.
func (r *Repeats) inLogAlone(ctx context.Context, user domain.UserID, events []Named, repeated map[domain.Place]struct{}) error {
	unread := events[:0:0]
	r.mu.Lock()
	for _, e := range events {
		said, known := r.said[saidKey{user, e.Sender}]
		if !known || said.version != e.Version || e.Version == 0 {
			unread = append(unread, e)
			continue
		}
		said.note(e, repeated)
	}
	r.mu.Unlock()
	if len(unread) == 0 {
		return nil
	}
	said, err := r.read(ctx, user, nil, unread, false)
	if err != nil {
		return err
	}
	for _, e := range unread {
		said[saidKey{user, e.Sender}].note(e, repeated)
	}
	r.remember(said)
	return nil
}

// remember keeps what was read.
func (r *Repeats) remember(said map[saidKey]saidBefore) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range said {
		if s.version == 0 {
			continue // what stands between here and the change may be hidden, too
		}
		if r.said == nil || r.names > maxSaid {
			r.said, r.names = make(map[saidKey]saidBefore), 0
		}
		r.names += len(s.first) + 1 - len(r.said[key].first)
		r.said[key] = s
	}
}

// read returns what the senders of events named in the log, from an offset of each partition on up to where the events say. from is nil
// for the beginning. whole tells that a part of that is not enough.
func (r *Repeats) read(
	ctx context.Context, user domain.UserID, from []int64, events []Named, whole bool,
) (map[saidKey]saidBefore, error) {
	said := make(map[saidKey]saidBefore)
	wanted := Stretch{User: user}
	for _, e := range events {
		said[saidKey{user, e.Sender}] = saidBefore{e.Version, make(map[domain.EventID]int64)}
		for p := e.At.Partition; len(wanted.To) <= p; {
			wanted.From, wanted.To = append(wanted.From, 0), append(wanted.To, 0)
		}
		wanted.To[e.At.Partition] = max(wanted.To[e.At.Partition], e.Before)
	}
	for p := range wanted.To {
		if p < len(from) {
			wanted.From[p] = min(from[p], wanted.To[p])
		}
	}
	if whole && !r.Log.Reaches(wanted) {
		return nil, errTooFarBehind
	}
	if r.MayRead != nil && !r.MayRead(user, wanted.Length()) {
		return nil, errReadTooMuch
	}
	records, err := r.Log.Read(ctx, wanted, func() {}) // they are given back at once
	if err != nil {
		return nil, err
	}
	defer records.Close()
	if whole && !slices.Equal(records.From, wanted.From) {
		return nil, errTooFarBehind
	}
	opened := openAll(records.Records)
	if err := r.awaitVerdicts(ctx, opened); err != nil {
		return nil, err
	}
	for _, record := range opened {
		before, asked := said[saidKey{user, record.event.Body.Actor()}]
		if _, again := before.first[record.event.ID]; asked && !again && record.event.ClientMessageID != "" && r.tookEffect(record) {
			before.first[record.event.ID] = record.at.Offset
		}
	}
	return said, nil
}

var errReadTooMuch = domain.NewError(domain.CodeUnavailable, "The log was read too often for the user.")

// awaitVerdicts waits until it is known what became of records.
func (r *Repeats) awaitVerdicts(ctx context.Context, records []openRecord) error {
	if r.Verdicts == nil {
		return nil
	}
	offsets := make(map[int]int64)
	for _, record := range records {
		if record.event.ClientMessageID != "" {
			offsets[record.at.Partition] = record.at.Offset + 1
		}
	}
	return r.Verdicts.await(ctx, offsets)
}

// tookEffect tells whether a record said something at its place: the history leaves out what did not.
func (r *Repeats) tookEffect(record openRecord) bool {
	if r.Acts != nil && r.Acts.Judge(record.event, record.at, record.written) != nil {
		return false
	}
	_, isInvite := record.event.Body.(domain.GameInvite)
	return !isInvite || r.Verdicts == nil || r.Verdicts.of(record.at) != fateVoid
}
