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
// The history has each event at its first place, also those that a block hides. If it has the unblock, it has all that was hidden. What
// it does not have yet, the log has. Without a history the log alone is asked, as far back as it is read for one user: an event that
// stood before that counts as new.
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
	// said is what was read of the log, and names how many ids that are.
	said  map[saidKey]said
	names int
	// restarts is how often a partition was made anew: what was read before is not of this log.
	restarts int
}

// FirstPlaces is a history that knows where events stand.
type FirstPlaces interface {
	// FirstPlaces tells what the history has of events in the conversations of user with their senders. Errors: CodeUnavailable.
	FirstPlaces(ctx context.Context, user domain.UserID, events []Named) (Firsts, error)
}

// Firsts is what a history has of events.
type Firsts struct {
	// Places are those of the events that it has, also of those that a block hides.
	Places map[domain.EventID]domain.Place
	// Changes are the newest versions of the user's blocks that it has, by whom they are about. It had everything that stands before
	// these changes when Places was read.
	Changes map[domain.UserID]int64
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
	// Version is that of the user's block of Sender there: the end of the block. 0 if nobody knows.
	Version int64
	// Before is the offset of its partition before which an earlier record would stand that the asker does not know of.
	Before int64
}

// saidKey is a partition as a user sees it.
type saidKey struct {
	user      domain.UserID
	partition int
}

// said are the first places of what others named in a conversation with the user.
type said struct {
	// from and to are between which offsets all of it was read. Without a history, whoever asks about what stands before an offset
	// from "from" to "to" has no more to read.
	from, to int64
	first    map[nameKey]int64
}

// nameKey is an event in the conversation of a user with sender.
type nameKey struct {
	sender domain.UserID
	id     domain.EventID
}

// maxSaid bounds the ids that are remembered. Above it all are forgotten, and read again.
const maxSaid = 1 << 16

var errTooFarBehind = domain.NewError(domain.CodeUnavailable, "The history is too far behind the log.")

// Repeated returns the places of those events that stood in the log before. The tail of this node has read up to the places, or is
// about to. Errors: CodeUnavailable if that cannot be told now.
func (r *Repeats) Repeated(ctx context.Context, user domain.UserID, events []Named) (map[domain.Place]struct{}, error) {
	repeated, untold, err := r.tell(ctx, user, events)
	if len(untold) > 0 {
		return nil, err
	}
	return repeated, nil
}

// tell is Repeated for a caller that does without what cannot be told now: untold are these events, and why says the reason.
func (r *Repeats) tell(
	ctx context.Context, user domain.UserID, events []Named,
) (repeated map[domain.Place]struct{}, untold []Named, why error) {
	repeated = make(map[domain.Place]struct{})
	events = slices.DeleteFunc(slices.Clone(events), func(e Named) bool { return e.Before <= 0 })
	var projected []domain.Place
	if r.History != nil && len(events) > 0 {
		if events, projected, why = r.inHistory(ctx, user, events, repeated); why != nil {
			return repeated, events, why
		}
	}
	untold, why = r.inLog(ctx, user, projected, events, repeated)
	return repeated, untold, why
}

// inHistory adds the places of the repeated events that the history has. It returns those of which it may lack an earlier record, and
// up to where it is projected. On an error all are returned.
func (r *Repeats) inHistory(
	ctx context.Context, user domain.UserID, events []Named, repeated map[domain.Place]struct{},
) (behind []Named, projected []domain.Place, err error) {
	projected, err = r.Progress.Soon(ctx) // first, so that the history has everything before these places
	if err != nil {
		return events, nil, err
	}
	has, err := r.History.FirstPlaces(ctx, user, events)
	if err != nil {
		return events, nil, err
	}
	for _, e := range events {
		own, next := e.At, projected[e.At.Partition]
		own.Generation = next.Generation
		// What stands behind the end of the block no block has hidden.
		hasAll := next.Offset >= e.Before || e.Version > 0 && has.Changes[e.Sender] >= e.Version
		switch first, known := has.Places[e.ID]; {
		case known && first != own:
			repeated[e.At] = struct{}{}
		case !known && !hasAll:
			behind = append(behind, e)
		}
	}
	return behind, projected, nil
}

// inLog adds the places of the events that were said in the log before, from projected on, which is nil if no history is kept. It
// returns those of which that cannot be told, and why. No part of the log is read again for one user.
func (r *Repeats) inLog(
	ctx context.Context, user domain.UserID, projected []domain.Place, events []Named, repeated map[domain.Place]struct{},
) (untold []Named, why error) {
	unread, wanted, restarts := r.recall(user, projected, events, repeated)
	if len(unread) == 0 {
		return nil, nil
	}
	found, err := r.read(ctx, wanted, projected != nil)
	if err != nil {
		return unread, err
	}
	for _, e := range unread {
		p := e.At.Partition
		found[p].note(e, repeated)
		if s := found[p]; projected == nil { // it was read as far back as it is read
			s.from = min(s.from, e.Before)
			found[p] = s
		}
	}
	r.remember(user, found, projected != nil, restarts)
	return nil, nil
}

// note adds the place of an event that was said before, and tells whether it did.
func (s said) note(e Named, repeated map[domain.Place]struct{}) bool {
	first, known := s.first[nameKey{e.Sender, e.ID}]
	if known = known && first < e.At.Offset; known {
		repeated[e.At] = struct{}{}
	}
	return known
}

// recall is inLog by what was read before. It returns the other events, and what of the log has to be read for them, for remember with
// the number of restarts by then.
func (r *Repeats) recall(
	user domain.UserID, projected []domain.Place, events []Named, repeated map[domain.Place]struct{},
) (unread []Named, wanted Stretch, restarts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted.User = user
	for _, e := range events {
		p := e.At.Partition
		var begin int64
		need := e.Before
		if projected != nil {
			begin = projected[p].Offset
			need = begin
		}
		s, known := r.said[saidKey{user, p}]
		if known = known && s.from <= need; known && (s.note(e, repeated) || e.Before <= s.to) {
			continue
		}
		if known {
			begin = max(begin, s.to)
		}
		unread = append(unread, e)
		for len(wanted.To) <= p {
			wanted.From, wanted.To = append(wanted.From, 0), append(wanted.To, 0)
		}
		if wanted.To[p] == 0 {
			wanted.From[p] = begin
		}
		wanted.From[p], wanted.To[p] = min(wanted.From[p], begin), max(wanted.To[p], e.Before)
	}
	return unread, wanted, r.restarts
}

// remember keeps what was read. whole tells that a part may not be missing between that and what was read before.
func (r *Repeats) remember(user domain.UserID, found map[int]said, whole bool, restarts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if restarts != r.restarts {
		return
	}
	for p, s := range found {
		key := saidKey{user, p}
		if r.said == nil || r.names > maxSaid {
			r.said, r.names = make(map[saidKey]said), 0
		}
		before, known := r.said[key]
		if known {
			r.names -= len(before.first) + 1
		}
		if known && (!whole || s.from <= before.to && before.from <= s.to) {
			for name, offset := range before.first {
				if first, again := s.first[name]; !again || offset < first {
					s.first[name] = offset
				}
			}
			s.from, s.to = min(s.from, before.from), max(s.to, before.to)
		}
		r.names += len(s.first) + 1
		r.said[key] = s
	}
}

// Restart forgets what was read of a partition that was made anew.
func (r *Repeats) Restart(partition int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restarts++
	for key, s := range r.said {
		if key.partition == partition {
			r.names -= len(s.first) + 1
			delete(r.said, key)
		}
	}
}

// read returns what others named in a stretch of the log, by partition. whole tells that a part of the stretch is not enough.
func (r *Repeats) read(ctx context.Context, wanted Stretch, whole bool) (map[int]said, error) {
	if whole && !r.Log.Reaches(wanted) {
		return nil, errTooFarBehind
	}
	if r.MayRead != nil && !r.MayRead(wanted.User, wanted.Length()) {
		return nil, errReadTooMuch
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	records, err := r.Log.Read(ctx, wanted, func() { cancel(errNoRoom) })
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
	found := make(map[int]said)
	for p, to := range wanted.To {
		if wanted.From[p] >= to {
			continue
		}
		s := said{from: records.From[p], to: to, first: make(map[nameKey]int64)}
		if s.from > wanted.From[p] {
			s.from = to // for which questions that is enough, the caller knows
		}
		found[p] = s
	}
	for _, record := range opened {
		sender := record.event.Body.Actor()
		if record.event.ClientMessageID == "" || sender == wanted.User || !r.tookEffect(record) {
			continue
		}
		first, name := found[record.at.Partition].first, nameKey{sender, record.event.ID}
		if _, again := first[name]; !again && first != nil {
			first[name] = record.at.Offset
		}
	}
	return found, nil
}

var (
	errReadTooMuch = domain.NewError(domain.CodeUnavailable, "The log was read too often for the user.")
	errNoRoom      = domain.NewError(domain.CodeUnavailable, "Too much waits for clients.")
)

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
