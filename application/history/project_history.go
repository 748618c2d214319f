package history

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"chatting/application/blocks"
	"chatting/domain"
)

// Projection is how far one partition of the log is projected into the history.
type Projection struct {
	// Next is the place that is projected next. Its generation is 0 if the partition was never projected.
	Next domain.Place
	// Last is the offset of the last record that was read before Next, and Fingerprint tells it from any other; -1 where
	// none is known.
	Last        int64
	Fingerprint RecordFingerprint
}

// RecordFingerprint tells a record of the log from others that stood at its offset, in an earlier topic of the same name.
type RecordFingerprint [16]byte

// ErrProjectionMoved says that a partition is not projected up to where the caller thought. Another projector or a rebuild has
// moved it, or the caller itself, if the answer got lost.
var ErrProjectionMoved = errors.New("the history was projected by somebody else meanwhile")

// ProjectionStore keeps the history and how far it follows the log. Its methods do all they say in one transaction.
type ProjectionStore interface {
	// Projections returns how far each partition is projected; those that never were are missing.
	Projections(ctx context.Context) ([]Projection, error)
	// Project replaces what the history has from batch.From.Next to batch.To.Next by what batch.Judge makes of it, and moves
	// the projection there. An entry that the history has from an earlier place stays as it is. The batches are of different
	// partitions: all of them are written, or none. ErrProjectionMoved if one of the projections is not at batch.From.
	Project(ctx context.Context, batches ...ProjectionBatch) error
	// MoveProjection has the partition's projection go on elsewhere: at a place from which it was projected before, or behind a
	// gap, with the blocks that are known there. ErrProjectionMoved as above.
	MoveProjection(ctx context.Context, from, to Projection, states []blocks.State) error
	// StoredBlocks returns the state of every pair that ever changed and whether (and since which version) the log may not
	// have it.
	StoredBlocks(ctx context.Context) ([]blocks.Stored, error)
}

// ProjectionBatch is a stretch of one partition of the log.
type ProjectionBatch struct {
	From, To Projection
	Events   []ProjectedEvent // in the log's order, with places from From.Next to To.Next
	// Acts are the acts of the platform that stand in the stretch, in the log's order. What they keep back is not among Events.
	Acts []StandingAct
	// Oldest is the time before which the history does not reach back. With a Retention the store finds it: so long before
	// what its RetentionClock last trusted.
	Oldest    time.Time
	Retention time.Duration
	// Supersedes maps the offset of a change of a block to the offset of the earlier change that need not be kept once it takes
	// effect. Nothing was said between the two in their conversation. The earlier one may stand before the batch.
	Supersedes map[int64]int64
}

// StandingAct is an act of the platform at its place in the log.
type StandingAct struct {
	Offset int64
	Act    domain.Act
}

// ProjectedEvent is an event at its place in the log, with the frame that clients get of it (nil for block changes).
type ProjectedEvent struct {
	Offset int64
	Event  domain.Event
	Frame  []byte
	// Unseen tells that only the one who acts sees it: see domain.InviteUnseen.
	Unseen bool
}

// EntryKind tells what an entry of the history is.
type EntryKind int

// The kinds of entries, as the database numbers them.
const (
	EntryChat EntryKind = iota + 1
	EntryInvite
	EntrySystem
	// EntryReadMark is no entry of a conversation: pages do not show it.
	EntryReadMark
)

// JudgedEntry is an entry of the history with who sees it.
type JudgedEntry struct {
	Entry

	Conversation domain.Conversation
	Recipient    domain.UserID
	Kind         EntryKind
	// Hidden tells that the recipient blocked the sender by then.
	Hidden bool
	// Unread is that of a read mark.
	Unread int
}

// JudgedChange is a change of a block that took effect at its place.
type JudgedChange struct {
	blocks.State

	At domain.Place
}

// Replaced returns the place of the change that need not be kept any more because of one that took effect; false if there is
// none.
func (b ProjectionBatch) Replaced(by JudgedChange) (at domain.Place, ok bool) {
	at = by.At
	at.Offset, ok = b.Supersedes[by.At.Offset]
	return at, ok
}

// Marks takes the read marks out of what Judge returned: the latest of each reader in a conversation, in no order.
func Marks(judged []JudgedEntry) (entries, marks []JudgedEntry) {
	if !slices.ContainsFunc(judged, isMark) {
		return judged, nil
	}
	type mark struct{ reader, partner domain.UserID }
	latest := make(map[mark]JudgedEntry)
	for _, e := range judged {
		if !isMark(e) {
			entries = append(entries, e)
			continue
		}
		latest[mark{e.Sender, e.Recipient}] = e
	}
	return entries, slices.Collect(maps.Values(latest))
}

func isMark(e JudgedEntry) bool { return e.Kind == EntryReadMark }

// Pairs returns the pairs whose state before the batch Judge needs, each once.
func (b ProjectionBatch) Pairs() []blocks.Pair {
	seen := make(map[blocks.Pair]struct{})
	var pairs []blocks.Pair
	for _, e := range b.Events {
		var pair blocks.Pair
		if change, ok := e.Event.Body.(domain.BlockChanged); ok {
			pair = blocks.PairOf(change)
		} else {
			_, recipient := addressed(e.Event.Body)
			pair = blocks.Pair{Blocker: recipient, Target: e.Event.Body.Actor()}
		}
		if pair.Blocker == pair.Target || pair.Target == domain.System || pair.Blocker == domain.System {
			continue // nobody blocks itself, or the system, which blocks nobody
		}
		if _, again := seen[pair]; !again {
			seen[pair] = struct{}{}
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// Changes returns the pairs whose changes stand in the batch, each once.
func (b ProjectionBatch) Changes() []blocks.Pair {
	var pairs []blocks.Pair
	for _, e := range b.Events {
		change, ok := e.Event.Body.(domain.BlockChanged)
		if pair := blocks.PairOf(change); ok && !slices.Contains(pairs, pair) {
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// WithoutForged returns the batch without the changes of blocks that the database never gave out, and how many they are.
// Anybody who may write the log can write one. given has an entry for each of Changes.
func (b ProjectionBatch) WithoutForged(given map[blocks.Pair]blocks.GivenVersions) (ProjectionBatch, int) {
	events := make([]ProjectedEvent, 0, len(b.Events))
	for _, e := range b.Events {
		if change, ok := e.Event.Body.(domain.BlockChanged); ok {
			at := b.From.Next
			at.Offset = e.Offset
			if !given[blocks.PairOf(change)].Gave(change.Version, e.Event.ID, at) {
				continue
			}
		}
		events = append(events, e)
	}
	forged := len(b.Events) - len(events)
	b.Events = events
	return b, forged
}

// Judge decides what the history gets: each event at its first place. The recipient sees it unless it had blocked the sender by
// that place (invariant 3). before are the states of Pairs before the batch; erased are the places before which nothing of a
// user is kept. It is a function of its arguments: projected again, a stretch of the log comes out the same.
func (b ProjectionBatch) Judge(
	before map[blocks.Pair]blocks.State, erased map[domain.UserID]domain.Place,
) (entries []JudgedEntry, changes []JudgedChange) {
	states := make(map[blocks.Pair]blocks.State, len(before))
	maps.Copy(states, before)
	type place struct {
		conversation domain.Conversation
		id           domain.EventID
	}
	seen := make(map[place]struct{}, len(b.Events))
	at := b.From.Next
	for _, e := range b.Events {
		at.Offset = e.Offset
		conversation := e.Event.Body.Conversation()
		if change, ok := e.Event.Body.(domain.BlockChanged); ok {
			state := blocks.State{Pair: blocks.PairOf(change), Blocked: change.Blocked, Version: change.Version}
			if change.Blocker != change.Target && state.Version > states[state.Pair].Version {
				states[state.Pair] = state
				changes = append(changes, JudgedChange{State: state, At: at})
			}
			continue
		}
		kind, recipient := addressed(e.Event.Body)
		_, again := seen[place{conversation, e.Event.ID}]
		said := b.saidAt(e.Event)
		if again || kind == 0 || said.Before(b.Oldest) ||
			at.Before(erased[conversation.Low()]) || at.Before(erased[conversation.High()]) {
			continue
		}
		seen[place{conversation, e.Event.ID}] = struct{}{}
		sender := e.Event.Body.Actor()
		entries = append(entries, JudgedEntry{
			Entry:        Entry{ID: e.Event.ID, Place: at, Sender: sender, At: said, Frame: e.Frame},
			Conversation: conversation, Recipient: recipient, Kind: kind,
			Hidden: sender != recipient && (e.isUnseen() || states[blocks.Pair{Blocker: recipient, Target: sender}].Blocked),
			Unread: unreadOf(e.Event.Body),
		})
	}
	return entries, changes
}

// saidAt returns the time by which an event is kept and deleted: its own, unless the clock of the node that stamped it was not set.
// Such an event counts as said now. It would be deleted at once otherwise.
func (b ProjectionBatch) saidAt(event domain.Event) time.Time {
	if event.Time.Before(domain.EarliestTime) && !b.Oldest.IsZero() {
		return b.Oldest.Add(b.Retention)
	}
	return event.Time
}

// addressed tells what kind of entry an event is, 0 for none, and to whom it is said.
func addressed(body domain.Body) (EntryKind, domain.UserID) {
	switch e := body.(type) {
	case domain.ChatMessage:
		return EntryChat, e.To
	case domain.GameInvite:
		return EntryInvite, e.To
	case domain.SystemMessage:
		return EntrySystem, e.To
	case domain.ReadMark:
		return EntryReadMark, e.Partner
	default:
		return 0, 0
	}
}

// isUnseen tells whether only the one who acts sees the event, whatever is blocked.
func (e *ProjectedEvent) isUnseen() bool {
	mark, ok := e.Event.Body.(domain.ReadMark)
	return e.Unseen || ok && !mark.Receipt
}

func unreadOf(body domain.Body) int {
	mark, _ := body.(domain.ReadMark)
	return mark.Unread
}

// Addressee returns for whom the entry counts as unread and undelivered: the recipient of what another user, or the platform,
// said. It is System for nobody.
func (e JudgedEntry) Addressee() domain.UserID {
	if e.Hidden || e.Kind == EntryInvite || e.Kind == EntryReadMark || e.Sender == e.Recipient {
		return domain.System
	}
	return e.Recipient
}

// SeenBy tells whether user, a side of the conversation, sees the entry.
func (e JudgedEntry) SeenBy(user domain.UserID) bool { return !e.Hidden || user != e.Recipient }
