package past

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"chatting/domain"
)

// fate is what Past has to know of a record about an invite or a block.
type fate int

const (
	fateStands fate = iota
	// fateVoid and fateUnseen are domain.InviteVoid and domain.InviteUnseen.
	fateVoid
	fateUnseen
	// fateRepeated is a change of a block that stood in the log before.
	fateRepeated
	// fateUnknown is anything from before this node's memory, and a change of a block that may have stood there.
	fateUnknown
)

// Verdicts remembers the latest records about invites and blocks that were not what they seem: the register of invites judges
// only in the order of the log, and whoever reads a part of the log again cannot. Almost all records are what they seem, so few
// are remembered. It is told of the records by one goroutine, the tail, and asked by many.
type Verdicts struct {
	mu         sync.Mutex
	partitions map[int]*partitionVerdicts
	// changes are the latest changes of blocks, and order is the order in which they leave.
	changes map[domain.EventID]struct{}
	order   []domain.EventID // a ring once full
	oldest  int
	// moved is closed when a partition has moved on; nil while nobody waits.
	moved chan struct{}
}

// partitionVerdicts is the memory of one partition.
type partitionVerdicts struct {
	// floor is the offset from which on it is complete.
	floor int64
	// next is the offset before which every record was judged.
	next int64
	odd  []oddRecord // in the order of their offsets
}

// oddRecord is a record that is not what it seems.
type oddRecord struct {
	offset  int64
	verdict fate
}

const (
	// maxOdd bounds the memory of a partition. Beyond it the floor rises.
	maxOdd = 1 << 12
	// maxKnownChanges bounds the changes of blocks that are known again.
	maxKnownChanges = 1 << 13
	// changeDelay is how long after it was made a change of a block is written at the latest, almost always. One that comes later
	// may have been written in time, too, before this node's memory.
	changeDelay = time.Minute
)

// Begin says that the records of a partition are known from an offset on, and that those before next need not be waited for.
func (v *Verdicts) Begin(partition int, floor, next int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.partitions == nil {
		v.partitions = make(map[int]*partitionVerdicts)
	}
	v.partitions[partition] = &partitionVerdicts{floor: floor, next: next}
	v.wakeLocked()
}

// Note takes over the next event about an invite or a block, which was written at a time, and its verdict.
func (v *Verdicts) Note(at domain.Place, event domain.Event, written time.Time, verdict domain.InviteVerdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var odd fate
	switch _, isChange := event.Body.(domain.BlockChanged); {
	case isChange && v.knowsLocked(event.ID):
		odd = fateRepeated
	case isChange && written.Sub(event.Time) > changeDelay:
		odd = fateUnknown
	case verdict == domain.InviteVoid:
		odd = fateVoid
	case verdict == domain.InviteUnseen:
		odd = fateUnseen
	default:
		return
	}
	p := v.partitions[at.Partition]
	if p == nil || at.Offset < p.floor {
		return
	}
	if len(p.odd) == maxOdd {
		half := len(p.odd) / 2
		p.floor = p.odd[half-1].offset + 1
		p.odd = slices.Delete(p.odd, 0, half)
	}
	p.odd = append(p.odd, oddRecord{at.Offset, odd})
}

// knowsLocked notes a change of a block, and tells whether it was noted before.
func (v *Verdicts) knowsLocked(change domain.EventID) bool {
	if _, known := v.changes[change]; known {
		return true
	}
	if v.changes == nil {
		v.changes = make(map[domain.EventID]struct{})
	}
	v.changes[change] = struct{}{}
	if len(v.order) < maxKnownChanges {
		v.order = append(v.order, change)
		return false
	}
	delete(v.changes, v.order[v.oldest])
	v.order[v.oldest] = change
	v.oldest = (v.oldest + 1) % maxKnownChanges
	return false
}

// Passed says that everything before an offset was judged.
func (v *Verdicts) Passed(partition int, next int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if p := v.partitions[partition]; p != nil {
		p.next = next
		v.wakeLocked()
	}
}

func (v *Verdicts) wakeLocked() {
	if v.moved != nil {
		close(v.moved)
		v.moved = nil
	}
}

// await waits until everything before the given offsets, by partition, was judged. CodeUnavailable if ctx ends first.
func (v *Verdicts) await(ctx context.Context, offsets map[int]int64) error {
	for {
		moved := v.behind(offsets)
		if moved == nil {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return domain.WrapError(domain.CodeUnavailable, "This node is behind the log.", ctx.Err())
		}
	}
}

// behind returns a channel that is closed once a partition moves on; nil if all have reached the offsets, or are not read.
func (v *Verdicts) behind(offsets map[int]int64) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	for partition, offset := range offsets {
		if p := v.partitions[partition]; p != nil && p.next < offset {
			if v.moved == nil {
				v.moved = make(chan struct{})
			}
			return v.moved
		}
	}
	return nil
}

// of returns what became of a record about an invite or a block.
func (v *Verdicts) of(at domain.Place) fate {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.partitions[at.Partition]
	if p == nil || at.Offset < p.floor {
		return fateUnknown
	}
	i, found := slices.BinarySearchFunc(p.odd, at.Offset, func(odd oddRecord, offset int64) int { return cmp.Compare(odd.offset, offset) })
	if !found {
		return fateStands
	}
	return p.odd[i].verdict
}

// Restart forgets a partition, whose log begins anew at an offset.
func (v *Verdicts) Restart(partition int, at int64) { v.Begin(partition, at, at) }
