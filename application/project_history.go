package application

import (
	"context"
	"errors"
	"slices"
	"time"

	"chatting/domain"
)

// Projection is how far one partition of the log is projected into the history.
type Projection struct {
	// Next is the place that is projected next. Its generation is 0 where the partition was never projected.
	Next LogPosition
	// Last is the offset of the last record that was read before Next, and Fingerprint tells it from any other; -1 where
	// none is known.
	Last        int64
	Fingerprint RecordFingerprint
}

// RecordFingerprint tells a record of the log from others that stood at its offset, in an earlier topic of the same name.
type RecordFingerprint [16]byte

// ErrProjectionMoved says that a partition is not projected up to where the caller thought: another projector, a rebuild
// or the caller itself, whose last word got lost, has moved it.
var ErrProjectionMoved = errors.New("the history was projected by somebody else meanwhile")

// ProjectionStore keeps the history and how far it follows the log. Its methods do all they say in one transaction.
type ProjectionStore interface {
	// Projections returns how far each partition is projected; those that never were are missing.
	Projections(ctx context.Context) ([]Projection, error)
	// Project replaces what the history has from batch.From.Next to batch.To.Next by what batch.Judge makes of it, and moves
	// the projection there. An entry that the history has from an earlier place stays as it is. The batches are of different
	// partitions: all of them are written, or none. ErrProjectionMoved where one of the projections is not at batch.From.
	Project(ctx context.Context, batches ...ProjectionBatch) error
	// MoveProjection has the partition's projection go on elsewhere: to a place from which it was projected before, or over
	// a gap, and then with what is known of the blocks there. ErrProjectionMoved as above.
	MoveProjection(ctx context.Context, from, to Projection, blocks []BlockState) error
	// StoredBlocks returns the state of every pair that ever changed and whether (and since which version) the log may not
	// have it.
	StoredBlocks(ctx context.Context) ([]StoredBlock, error)
}

// BlockPair is who blocks whom.
type BlockPair struct{ Blocker, Target domain.UserID }

// BlockState is the state of a directed pair as of some place in the log.
type BlockState struct {
	BlockPair

	Blocked bool
	Version int64
}

// StoredBlock is the state of a pair in the database. The outbox holds its changes from version Pending on; 0 where it
// holds none.
type StoredBlock struct {
	BlockState

	Pending int64
}

// ProjectionBatch is a stretch of one partition of the log.
type ProjectionBatch struct {
	From, To Projection
	Events   []ProjectedEvent // in the log's order, with places from From.Next to To.Next
	// Oldest is the time before which the history does not reach back. With a Retention the store finds it: so long before
	// what its RetentionClock last trusted.
	Oldest    time.Time
	Retention time.Duration
	// Supersedes names changes of blocks that need not be kept once a later one takes effect: the offset of that one, and the
	// offset of the change that it replaces, which may stand before the batch. Nothing was said between the two in their
	// conversation.
	Supersedes map[int64]int64
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
)

// JudgedEntry is an entry of the history with who sees it.
type JudgedEntry struct {
	HistoryEntry

	Conversation domain.Conversation
	Recipient    domain.UserID
	Kind         EntryKind
	// Hidden tells that the recipient blocked the sender by then.
	Hidden bool
}

// JudgedChange is a change of a block that took effect at its place.
type JudgedChange struct {
	BlockState

	At LogPosition
}

// Replaced returns the place of the change that need not be kept any more because of one that took effect; false if there is
// none.
func (b ProjectionBatch) Replaced(by JudgedChange) (at LogPosition, ok bool) {
	at = by.At
	at.Offset, ok = b.Supersedes[by.At.Offset]
	return at, ok
}

// Pairs returns the pairs whose state before the batch Judge needs, each once.
func (b ProjectionBatch) Pairs() []BlockPair {
	seen := make(map[BlockPair]struct{})
	var pairs []BlockPair
	for _, e := range b.Events {
		var pair BlockPair
		if change, ok := e.Event.Body.(domain.BlockChanged); ok {
			pair = BlockPair{change.Blocker, change.Target}
		} else {
			_, recipient := addressed(e.Event.Body)
			pair = BlockPair{recipient, e.Event.Body.Actor()}
		}
		if pair.Blocker == pair.Target || pair.Target == domain.System {
			continue // nobody blocks itself, or the system
		}
		if _, again := seen[pair]; !again {
			seen[pair] = struct{}{}
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// GivenVersions is what the database says of the versions of a pair. Only it gives them out, before their changes enter the
// log.
type GivenVersions struct {
	// Newest is the newest that it gave out, 0 if it gave out none.
	Newest int64
	// EventOf returns the event of a version after Random. nil if all versions are of the other kind.
	EventOf func(version int64) domain.EventID
	// Random is the newest version whose event a server of an earlier release named at random. The database does not know
	// such events any more, except for those of Events, which wait in the outbox.
	Random int64
	Events map[int64]domain.EventID
	// Places are those where versions are known to stand, from the beginning of the batch on.
	Places map[int64]LogPosition
}

// gave tells whether an event is the one of a version. Of versions up to Random that can be told only if their event is known
// or stands elsewhere.
func (g GivenVersions) gave(version int64, id domain.EventID, at LogPosition) bool {
	if g.EventOf != nil && version > g.Random {
		return version <= g.Newest && g.EventOf(version) == id
	}
	if event, known := g.Events[version]; known && event != id {
		return false
	}
	known, stands := g.Places[version]
	return version <= g.Newest && (!stands || known == at)
}

// Changes returns the pairs whose changes stand in the batch, each once.
func (b ProjectionBatch) Changes() []BlockPair {
	var pairs []BlockPair
	for _, e := range b.Events {
		change, ok := e.Event.Body.(domain.BlockChanged)
		if pair := (BlockPair{change.Blocker, change.Target}); ok && !slices.Contains(pairs, pair) {
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// WithoutForged returns the batch without the changes of blocks that the database never gave out, and how many they are.
// Anybody who may write the log can write one. given has an entry for each of Changes.
func (b ProjectionBatch) WithoutForged(given map[BlockPair]GivenVersions) (ProjectionBatch, int) {
	events := make([]ProjectedEvent, 0, len(b.Events))
	for _, e := range b.Events {
		if change, ok := e.Event.Body.(domain.BlockChanged); ok {
			at := b.From.Next
			at.Offset = e.Offset
			if !given[BlockPair{change.Blocker, change.Target}].gave(change.Version, e.Event.ID, at) {
				continue
			}
		}
		events = append(events, e)
	}
	forged := len(b.Events) - len(events)
	b.Events = events
	return b, forged
}

// Judge decides what the history gets: each event at its first place, seen by its recipient unless that had blocked the
// sender by that place (invariant 3). blocks are the states of Pairs before the batch, where there are any; erased are the
// places before which nothing of a user is kept. It is a function of its arguments: projected again, a stretch of the log
// comes out the same.
func (b ProjectionBatch) Judge(
	blocks map[BlockPair]BlockState, erased map[domain.UserID]LogPosition,
) (entries []JudgedEntry, changes []JudgedChange) {
	states := make(map[BlockPair]BlockState, len(blocks))
	for pair, state := range blocks {
		states[pair] = state
	}
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
			state := BlockState{
				BlockPair: BlockPair{change.Blocker, change.Target}, Blocked: change.Blocked, Version: change.Version,
			}
			if change.Blocker != change.Target && state.Version > states[state.BlockPair].Version {
				states[state.BlockPair] = state
				changes = append(changes, JudgedChange{BlockState: state, At: at})
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
			HistoryEntry: HistoryEntry{ID: e.Event.ID, Position: at, Sender: sender, At: said, Frame: e.Frame},
			Conversation: conversation, Recipient: recipient, Kind: kind,
			Hidden: sender != recipient && (e.Unseen || states[BlockPair{recipient, sender}].Blocked),
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
	default:
		return 0, 0
	}
}

// Addressee returns who finds the entry unread until it has read it, and undelivered until it was delivered: the recipient
// of what another one, or the platform, said; System for nobody.
func (e JudgedEntry) Addressee() domain.UserID {
	if e.Hidden || e.Kind == EntryInvite || e.Sender == e.Recipient {
		return domain.System
	}
	return e.Recipient
}

// SeenBy tells whether user, a side of the conversation, sees the entry.
func (e JudgedEntry) SeenBy(user domain.UserID) bool { return !e.Hidden || user != e.Recipient }

// BlocksAt returns the blocks as they were where a stretch of the log begins whose past was not projected: the log has lost
// it, or no history was kept then. stored is what the database said, and logged the versions of each pair that stand in the
// stretch up to the end that the log had after that. The changes of a pair enter the log in the order of their versions, so
// the state at the beginning is the newest that stands neither in the stretch nor in the outbox. Versions of a pair block
// and unblock in turn.
func BlocksAt(stored []StoredBlock, logged map[BlockPair]map[int64]struct{}) []BlockState {
	var states []BlockState
	for _, block := range stored {
		state := block.BlockState
		if block.Pending > 0 {
			state = state.before(block.Pending)
		}
		for {
			if _, later := logged[state.BlockPair][state.Version]; !later {
				break
			}
			state = state.before(state.Version)
		}
		if state.Version > 0 {
			states = append(states, state)
		}
	}
	return states
}

// before returns the pair's state before its change of a version.
func (s BlockState) before(version int64) BlockState {
	if (s.Version-version+1)%2 != 0 {
		s.Blocked = !s.Blocked
	}
	s.Version = version - 1
	return s
}
