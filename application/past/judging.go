package past

import (
	"cmp"
	"context"
	"slices"
	"time"

	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
)

// judging decides what a user saw in a stretch of the log.
type judging struct {
	user     domain.UserID
	verdicts *Verdicts
	acts     Acts // nil for none
	records  []openRecord
	// from and to are between which offsets all records are here, and what the blocks were is known. prepare writes them.
	from, to []int64

	// blocks is the user's list at the place that was reached, and targets are those whom it has.
	blocks  domain.BlockList
	targets []domain.UserID
	// changed are the offsets of those changes of the user's blocks that took effect.
	changed map[domain.Place]struct{}
	// named are the entries that may stand in the log before the stretch, where a block hid them.
	named []Named
}

// openRecord is a record of the stretch that is one of ours.
type openRecord struct {
	at      domain.Place
	written time.Time
	event   domain.Event
	frame   []byte
}

// openAll opens records, and sorts them by partition. It leaves out what is not ours: the tail has said so.
func openAll(records []port.Record) []openRecord {
	opened := make([]openRecord, 0, len(records))
	for _, record := range records {
		if event, frame, err := record.Open(); err == nil {
			opened = append(opened, openRecord{at: record.Place(), written: record.Time(), event: event, frame: frame})
		}
	}
	slices.SortStableFunc(opened, func(a, b openRecord) int { return cmp.Compare(a.at.Partition, b.at.Partition) })
	return opened
}

// prepare finds out which blocks the user had where the stretch begins, and which changes in it are real.
func (j *judging) prepare(ctx context.Context, versions GivenBlocks, list []blocks.Entry) error {
	// What became of the records has to be known.
	if err := j.verdicts.await(ctx, j.judged()); err != nil {
		return err
	}
	changes, err := j.realChanges(ctx, versions)
	if err != nil {
		return err
	}
	logged := make(map[domain.UserID]map[int64]struct{})
	newest := make(map[domain.UserID]int64)
	j.changed = make(map[domain.Place]struct{}, len(changes))
	for _, r := range changes {
		change, _ := r.event.Body.(domain.BlockChanged)
		if logged[change.Target] == nil {
			logged[change.Target] = make(map[int64]struct{})
		}
		logged[change.Target][change.Version] = struct{}{}
		newest[change.Target] = max(newest[change.Target], change.Version)
		j.changed[r.at] = struct{}{}
		if j.verdicts.of(r.at) == fateUnknown {
			j.beginBehind(r.at)
		}
	}
	stored := make(map[domain.UserID]blocks.Stored, len(list)+len(newest))
	for _, entry := range list {
		pair := blocks.Pair{Blocker: j.user, Target: entry.Target}
		stored[entry.Target] = blocks.Stored{State: blocks.State{Pair: pair, Blocked: entry.Blocked, Version: entry.Version}}
	}
	for target, version := range newest {
		if version > stored[target].Version { // it was changed while the list was loaded
			pair := blocks.Pair{Blocker: j.user, Target: target}
			stored[target] = blocks.Stored{State: blocks.State{Pair: pair, Blocked: version%2 == 1, Version: version}}
		}
	}
	for target, state := range stored {
		at := blocks.StateBefore(state.State, logged[target])
		j.blocks.Apply(target, at.Blocked, at.Version)
		j.targets = append(j.targets, target)
	}
	return nil
}

// beginBehind has the stretch begin behind a change of a block that may have stood in the log before: whether its target was hidden
// up to it nobody knows.
func (j *judging) beginBehind(at domain.Place) {
	p := at.Partition
	j.from[p] = max(j.from[p], at.Offset+1)
	j.to[p] = max(j.to[p], j.from[p])
}

// list returns the user's blocks at the place that was reached.
func (j *judging) list() []blocks.Entry {
	list := make([]blocks.Entry, 0, len(j.targets))
	for _, target := range j.targets {
		if version := j.blocks.Version(target); version > 0 {
			list = append(list, blocks.Entry{Target: target, Blocked: j.blocks.Hides(target), Version: version})
		}
	}
	return list
}

// judged returns, by partition, the place behind the last record about an invite or one of the user's blocks, or of a text: before
// it an act of the platform may stand.
func (j *judging) judged() map[int]int64 {
	places := make(map[int]int64)
	for _, r := range j.records {
		_, isInvite := r.event.Body.(domain.GameInvite)
		_, isText := r.event.Body.(domain.ChatMessage)
		if isInvite || isText && j.acts != nil || j.changes(r) {
			places[r.at.Partition] = r.at.Offset + 1
		}
	}
	return places
}

// changes tells whether a record says that it changes one of the user's blocks.
func (j *judging) changes(r openRecord) bool {
	change, ok := r.event.Body.(domain.BlockChanged)
	return ok && change.Blocker == j.user
}

// realChanges returns the changes of the user's blocks that the database gave out, without those that stood in the log before.
func (j *judging) realChanges(ctx context.Context, versions GivenBlocks) ([]openRecord, error) {
	var changes []openRecord
	var pairs []blocks.Pair
	for _, r := range j.records {
		if !j.changes(r) || j.verdicts.of(r.at) == fateRepeated {
			continue
		}
		changes = append(changes, r)
		change, _ := r.event.Body.(domain.BlockChanged)
		if pair := blocks.PairOf(change); !slices.Contains(pairs, pair) {
			pairs = append(pairs, pair)
		}
	}
	if versions == nil || len(changes) == 0 {
		return changes, nil
	}
	given, err := versions.VersionsOf(ctx, pairs)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(changes, func(r openRecord) bool {
		change, _ := r.event.Body.(domain.BlockChanged)
		return !given[blocks.PairOf(change)].Gave(change.Version, r.event.ID, domain.Place{})
	}), nil
}

// judge returns what the user saw, and whether something is left out because nobody knows what became of it.
func (j *judging) judge() (entries []Entry, unknown bool) {
	type key struct {
		conversation domain.Conversation
		id           domain.EventID
	}
	seen := make(map[key]struct{}, len(j.records))
	for _, r := range j.records {
		if r.at.Offset >= j.to[r.at.Partition] {
			continue // it only tells what the blocks were before it
		}
		if change, ok := r.event.Body.(domain.BlockChanged); ok {
			if _, isReal := j.changed[r.at]; isReal {
				j.blocks.Apply(change.Target, change.Blocked, change.Version)
			}
			continue
		}
		if r.at.Offset < j.from[r.at.Partition] {
			continue
		}
		sender := r.event.Body.Actor()
		if j.acts != nil && j.acts.Judge(r.event, r.at, r.written) != nil {
			continue
		}
		if _, isInvite := r.event.Body.(domain.GameInvite); isInvite {
			switch verdict := j.verdicts.of(r.at); {
			case verdict == fateUnknown:
				unknown = true
				continue
			case verdict == fateVoid, verdict == fateUnseen && sender != j.user:
				continue
			}
		}
		event := key{r.event.Body.Conversation(), r.event.ID}
		if _, again := seen[event]; again || r.frame == nil {
			continue
		}
		seen[event] = struct{}{} // also if it is hidden: the first place counts
		if sender != j.user && j.blocks.Hides(sender) {
			continue
		}
		if r.event.ClientMessageID != "" && j.blocks.Unblocked(sender) {
			j.note(sender, r)
		}
		entry := Entry{Place: r.at, Event: r.event, Frame: r.frame}
		if sender == j.user {
			entry.EchoOf = r.event.ClientMessageID
		}
		entries = append(entries, entry)
	}
	return entries, unknown
}

// note notes an event that may stand in the log before the stretch.
func (j *judging) note(sender domain.UserID, r openRecord) {
	j.named = append(j.named, Named{
		ID: r.event.ID, Sender: sender, At: r.at, Version: j.blocks.Version(sender), Before: j.from[r.at.Partition],
	})
}
