package past

import (
	"context"
	"maps"
	"slices"
	"time"

	"chatting/application/blocks"
	"chatting/domain"
)

// Past tells what a user saw in a stretch of the log before its login: the same as a connection that was there. It reads the log
// itself, so it does not depend on how far the history is.
//
// Each event is judged by its own place (invariant 3), by the blocks of the user there and by what became of invites. Changes
// of blocks count only if the database gave them out.
type Past struct {
	Log Log
	// Versions tells which changes of blocks are real; if it is nil, every change counts.
	Versions GivenBlocks
	// Erasures tells whose messages are forgotten; nil for nobody's.
	Erasures Erasures
	// Acts decides what the platform keeps back; nil for nothing.
	Acts Acts
	// Repeats tells which events stand in the log before the stretch; nil if none does.
	Repeats *Repeats
	// Verdicts are those of the node's Delivery, which has read the log up to the ends of all stretches, or is about to.
	Verdicts *Verdicts
}

// Acts decides, by the acts of the platform and their places in the log, what is shown of what users say. *moderation.Register is
// one.
type Acts interface {
	// Judge returns nil for an event that takes effect at its place, or why it does not. written is the time of the record. The node
	// has read what stands before the place.
	Judge(event domain.Event, at domain.Place, written time.Time) error
}

// GivenBlocks tells which versions of blocks the database has given out.
type GivenBlocks interface {
	// VersionsOf returns what the database has given out for pairs by now, without places: one question, however many pairs. A
	// pair that never changed is missing.
	VersionsOf(ctx context.Context, pairs []blocks.Pair) (map[blocks.Pair]blocks.GivenVersions, error)
}

// Erasures tells what the platform has asked to be forgotten.
type Erasures interface {
	// ErasedBefore returns, of those users who were erased, the offset of each partition before which nothing of them may be
	// shown any more, neither to them nor to others.
	ErasedBefore(ctx context.Context, users []domain.UserID) (map[domain.UserID]map[int]int64, error)
}

// Entry is an event that the user saw, at its place in the log.
type Entry struct {
	Place domain.Place // without a generation
	Event domain.Event
	// Frame is what clients get of it, and must not be changed.
	Frame []byte
	// EchoOf is the name that the user itself gave to it; "" for what others sent.
	EchoOf domain.ClientMessageID
}

// Sender returns who made the event happen: System for what the platform said.
func (e Entry) Sender() domain.UserID { return e.Event.Body.Actor() }

// IsKept tells whether the event is one that would have been stored for a recipient who was offline.
func (e Entry) IsKept() bool { return domain.IsKept(e.Event.Body) }

// Entries are what a user saw in a stretch of the log. Close has to be called once they are not needed any more.
type Entries struct {
	// Entries are those of a partition in their order, the partitions in the order of their numbers. Both sides of the user's
	// conversations are there, each event once, also what is only for connections with some feature.
	Entries []Entry
	// From and To are, of each partition, between which offsets Entries has everything. From is behind the changes of the user's
	// blocks from before this node's memory: some may have stood in the log before.
	From, To []int64
	// Blocks are the user's blocks at To.
	Blocks []blocks.Entry
	// InvitesUnknown tells that the stretch has events about the user's invites from before what this node knows of invites. They
	// are left out.
	InvitesUnknown bool
	// LeftOut are those that are left out of Entries because nobody can tell now whether a block hid them: they may stand in the log
	// before. Why says why not.
	LeftOut []Entry
	Why     error

	wanted Stretch
	close  func()
}

// IsWhole tells whether Entries has all of the stretch: it did not reach too far back.
func (e *Entries) IsWhole() bool {
	return !e.InvitesUnknown && len(e.LeftOut) == 0 && slices.Equal(e.From, e.wanted.From) && slices.Equal(e.To, e.wanted.To)
}

// Close gives back the bytes that the entries take. It may be called again.
func (e *Entries) Close() { e.close() }

// Reaches tells, at no cost, that a stretch has no more records than Entries would read. Entries may still be too many.
func (p *Past) Reaches(wanted Stretch) bool { return p.Log.Reaches(wanted) }

// Entries returns what the user saw in a stretch of the log. list are the user's blocks as the database held them after the user
// was attached, after From was in the log, and before To was noted: a change that stands between the list and From would be missed.
// cut is Log.Read's. Errors: CodeUnavailable.
func (p *Past) Entries(ctx context.Context, wanted Stretch, list []blocks.Entry, cut func()) (*Entries, error) {
	records, err := p.Log.Read(ctx, wanted, cut)
	if err != nil {
		return nil, err
	}
	entries := &Entries{From: slices.Clone(records.From), To: slices.Clone(records.To), wanted: wanted, close: records.Close}
	if wanted.AllOrNothing && !entries.IsWhole() {
		return entries, nil
	}
	j := judging{
		user: wanted.User, verdicts: p.Verdicts, acts: p.Acts, records: openAll(records.Records), from: entries.From, to: entries.To,
	}
	if err := j.prepare(ctx, p.Versions, list); err != nil {
		records.Close()
		return nil, err
	}
	entries.Entries, entries.InvitesUnknown = j.judge()
	entries.Blocks = j.list()
	if wanted.AllOrNothing && !entries.IsWhole() {
		entries.Entries = nil
	}
	if entries.Entries, err = p.withoutErased(ctx, entries.Entries); err == nil {
		err = p.leaveOutRepeated(ctx, entries, j.named)
	}
	if err != nil {
		records.Close()
		return nil, err
	}
	return entries, nil
}

// repeatsPatience is for how long a login waits to be told what is repeated, before it does without what that may be.
const repeatsPatience = 3 * time.Second

// leaveOutRepeated leaves out those of named that stand in the log before, and those of which that cannot be told. The only error is
// that ctx ended, or what AllOrNothing wants cannot be told.
func (p *Past) leaveOutRepeated(ctx context.Context, entries *Entries, named []Named) error {
	if p.Repeats == nil || len(named) == 0 || len(entries.Entries) == 0 {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, repeatsPatience)
	defer cancel()
	out, untold, why := p.Repeats.tell(asking, entries.wanted.User, named)
	if why != nil && (ctx.Err() != nil || entries.wanted.AllOrNothing) {
		return why
	}
	doubtful := make(map[domain.Place]struct{}, len(untold))
	for _, e := range untold {
		doubtful[e.At] = struct{}{}
	}
	entries.Entries = slices.DeleteFunc(entries.Entries, func(e Entry) bool {
		_, isOut := out[e.Place]
		_, isDoubtful := doubtful[e.Place]
		if isDoubtful {
			entries.LeftOut, entries.Why = append(entries.LeftOut, e), why
		}
		return isOut || isDoubtful
	})
	return nil
}

// withoutErased returns the entries without what is forgotten.
func (p *Past) withoutErased(ctx context.Context, entries []Entry) ([]Entry, error) {
	if p.Erasures == nil || len(entries) == 0 {
		return entries, nil
	}
	sides := make(map[domain.UserID]struct{})
	for _, e := range entries {
		between := e.Event.Body.Conversation()
		sides[between.Low()], sides[between.High()] = struct{}{}, struct{}{}
	}
	erased, err := p.Erasures.ErasedBefore(ctx, slices.Sorted(maps.Keys(sides)))
	if err != nil || len(erased) == 0 {
		return entries, err
	}
	return slices.DeleteFunc(entries, func(e Entry) bool {
		between, at := e.Event.Body.Conversation(), e.Place
		return at.Offset < erased[between.Low()][at.Partition] || at.Offset < erased[between.High()][at.Partition]
	}), nil
}
