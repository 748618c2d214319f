package kafka

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"chatting/application"
	"chatting/domain"
)

// loggedRecord is a record as its fingerprint sees it.
type loggedRecord struct {
	offset     int64
	at         time.Time
	key, value []byte
}

func (r loggedRecord) fingerprint() (f application.RecordFingerprint) {
	h := sha256.New()
	var number [8]byte
	for _, n := range []int64{r.offset, r.at.UnixMilli(), int64(len(r.key))} {
		binary.BigEndian.PutUint64(number[:], uint64(n))
		h.Write(number[:])
	}
	h.Write(r.key)
	h.Write(r.value)
	copy(f[:], h.Sum(nil))
	return f
}

// locate returns where the projection goes on. That is where it stopped, unless the log has lost what comes next, was made
// anew or was never projected: then it is the start of what the log has, with the blocks as they were there.
func (p *projectedPartition) locate(ctx context.Context) (application.Projection, error) {
	projected, to, err := p.compare(ctx)
	if err != nil {
		return application.Projection{}, err
	}
	if to != projected {
		if err := p.begin(ctx, projected, to); err != nil {
			return application.Projection{}, err
		}
	}
	p.pastEnd, p.lostUntil = time.Time{}, 0
	return to, nil
}

// compare returns how far the partition is projected and, by what the log is now, where the projection goes on.
func (p *projectedPartition) compare(ctx context.Context) (projected, to application.Projection, err error) {
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	if projected, err = p.stored(ctx); err != nil {
		return projected, to, err
	}
	topic, one := p.projector.options.Topic, []int{p.number}
	starts, err := p.projector.cluster.listOffsets(ctx, topic, one, timestampEarliest)
	if err != nil {
		return projected, to, err
	}
	ends, err := p.projector.cluster.logEnds(ctx, topic, one)
	if err != nil {
		return projected, to, err
	}
	anew, err := p.madeAnew(ctx, projected, starts[0], ends[0])
	if err != nil {
		return projected, to, err
	}
	start := max(starts[0], p.lostUntil)
	to = application.Projection{Last: -1, Next: application.LogPosition{
		Generation: projected.Next.Generation, Partition: p.number, Offset: start,
	}}
	switch {
	case projected.Next.Generation == 0:
		to.Next.Generation = 1
	case anew:
		to.Next.Generation++
		to.Next.Offset = starts[0]
		p.logger().Warn("history: the topic was made anew", "generation", to.Next.Generation)
	case projected.Next.Offset < start:
		p.logger().Error("history: the log lost records before they were projected",
			"from", projected.Next.Offset, "to", start)
	default:
		to = projected
	}
	return projected, to, nil
}

// stored returns how far the database says that the partition is projected.
func (p *projectedPartition) stored(ctx context.Context) (application.Projection, error) {
	all, err := p.projector.options.Store.Projections(ctx)
	if err != nil {
		return application.Projection{}, err
	}
	for _, projected := range all {
		if projected.Next.Partition == p.number {
			return projected, nil
		}
	}
	return application.Projection{Next: application.LogPosition{Partition: p.number}, Last: -1}, nil
}

// madeAnew tells whether the log is another one than that which was projected: by the last record, where the log has its
// offset, else by its end.
func (p *projectedPartition) madeAnew(
	ctx context.Context, projected application.Projection, start, end int64,
) (bool, error) {
	if projected.Next.Generation == 0 {
		return false, nil
	}
	if projected.Last >= start && projected.Last < end {
		found, other, err := p.recordAt(ctx, projected.Last)
		if err != nil || found && other != projected.Fingerprint {
			return err == nil, err
		}
	}
	switch {
	case projected.Next.Offset <= end:
		p.pastEnd = time.Time{}
		return false, nil
	case p.projector.options.Embedded:
		return true, nil
	case p.pastEnd.IsZero():
		p.pastEnd = now()
		fallthrough
	case time.Since(p.pastEnd) < pastEndPatience:
		return false, fmt.Errorf("%w: at %d, and %d is next", errPastEnd, end, projected.Next.Offset)
	default:
		return true, nil
	}
}

var errPastEnd = errors.New("the log ends before what was projected")

// recordAt returns the fingerprint of the record at an offset below the end of the log, where it can be read.
func (p *projectedPartition) recordAt(
	ctx context.Context, offset int64,
) (found bool, fingerprint application.RecordFingerprint, err error) {
	err = p.scan(ctx, offset, offset+1, func(r *TailRecord) error {
		if r.Offset != offset {
			return nil
		}
		found = true
		fingerprint = loggedRecord{offset: offset, at: r.Time, key: r.Key, value: r.Value}.fingerprint()
		return nil
	})
	return found, fingerprint, err
}

func (p *projectedPartition) scan(ctx context.Context, from, to int64, take func(*TailRecord) error) error {
	return p.projector.cluster.scan(ctx, p.projector.options.Topic,
		map[int]int64{p.number: from}, map[int]int64{p.number: to}, take)
}

// begin moves the projection to a place whose past was not projected. The blocks there are found by what the database says
// now and what the log says between there and its end: noted in this order, so that each change is in one of the two.
func (p *projectedPartition) begin(ctx context.Context, from, to application.Projection) error {
	stored, err := p.projector.options.Store.StoredBlocks(ctx)
	if err != nil {
		return err
	}
	var ours []application.StoredBlock
	for _, block := range stored {
		if p.projector.partitionOf([]byte(domain.Between(block.Blocker, block.Target).Key())) == p.number {
			ours = append(ours, block)
		}
	}
	logged := make(map[application.BlockPair]map[int64]struct{})
	if len(ours) > 0 {
		if logged, err = p.loggedBlocks(ctx, to.Next.Offset); err != nil {
			return err
		}
	}
	return p.projector.options.Store.MoveProjection(ctx, from, to, application.BlocksAt(ours, logged))
}

// blockMark is in every frame of a change of a block, and in few others.
var blockMark = []byte("blocked")

// loggedBlocks returns the versions of the changes of blocks that the log has from an offset on.
func (p *projectedPartition) loggedBlocks(
	ctx context.Context, from int64,
) (map[application.BlockPair]map[int64]struct{}, error) {
	asking, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	// What stands behind a transaction that is open counts: the database has it. The scan waits until it can be read.
	ends, err := p.projector.cluster.logEnds(asking, p.projector.options.Topic, []int{p.number})
	if err != nil {
		return nil, err
	}
	logged := make(map[application.BlockPair]map[int64]struct{})
	err = p.scan(ctx, from, ends[0], func(r *TailRecord) error {
		if !bytes.Contains(r.Value, blockMark) {
			return nil
		}
		event, _, err := p.open(r.Key, r.Value)
		change, ok := event.Body.(domain.BlockChanged)
		if err != nil || !ok {
			return nil //nolint:nilerr // none of ours
		}
		pair := application.BlockPair{Blocker: change.Blocker, Target: change.Target}
		if logged[pair] == nil {
			logged[pair] = make(map[int64]struct{})
		}
		logged[pair][change.Version] = struct{}{}
		return nil
	})
	return logged, err
}

// BeginAnew has the projection of a partition go on at the start of this log, under a generation that no place in the
// history has yet, with the blocks as they are. It is for a database that was projected from another log, while no server
// runs on it. It returns where the partition ends.
func (p *Projector) BeginAnew(ctx context.Context, number int, generation int64) (end int64, err error) {
	partition := &projectedPartition{projector: p, number: number}
	asking, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	starts, err := p.cluster.listOffsets(asking, p.options.Topic, []int{number}, timestampEarliest)
	if err != nil {
		return 0, err
	}
	ends, err := p.cluster.listOffsets(asking, p.options.Topic, []int{number}, timestampLatest)
	if err != nil {
		return 0, err
	}
	from, err := partition.stored(asking)
	if err != nil {
		return 0, err
	}
	to := application.Projection{Last: -1, Next: application.LogPosition{
		Generation: generation, Partition: number, Offset: starts[0],
	}}
	return ends[0], partition.begin(ctx, from, to)
}

// Rebuilt tells what of a partition's history is projected again: what stands at or past From and before To.
type Rebuilt struct{ From, To application.LogPosition }

// Rebuild has the history of a partition projected again from the start of what the log has (see rebuildFrom), by whoever
// projects it: each stretch is replaced in one transaction, and reads as before until then. What the log has no more stays
// as it is. A partition that was never projected is left alone, with the zero Rebuilt.
func (p *Projector) Rebuild(ctx context.Context, number int) (Rebuilt, error) {
	partition := &projectedPartition{projector: p, number: number}
	retry := backoff{}
	for {
		rebuilt, err := partition.rebuild(ctx)
		// One that projects moves it all the time; and a log is past its end for a while.
		if !errors.Is(err, application.ErrProjectionMoved) && !errors.Is(err, errPastEnd) || ctx.Err() != nil {
			return rebuilt, err
		}
		retry.wait(ctx)
	}
}

func (p *projectedPartition) rebuild(ctx context.Context) (Rebuilt, error) {
	before, err := p.stored(ctx)
	if err != nil || before.Next.Generation == 0 {
		return Rebuilt{}, err
	}
	from, err := p.locate(ctx)
	if err != nil {
		return Rebuilt{}, err
	}
	start, err := p.rebuildFrom(ctx)
	if err != nil {
		return Rebuilt{}, err
	}
	to := application.Projection{Next: from.Next, Last: -1}
	to.Next.Offset = min(start, from.Next.Offset)
	return Rebuilt{From: to.Next, To: from.Next}, p.projector.options.Store.MoveProjection(ctx, from, to, nil)
}

// rebuildFrom returns from where on the log says all that it said: from its start, or where that is gone, from where the
// invites that were made before it have ended.
func (p *projectedPartition) rebuildFrom(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	cluster, topic, one := p.projector.cluster, p.projector.options.Topic, []int{p.number}
	starts, err := cluster.listOffsets(ctx, topic, one, timestampEarliest)
	if err != nil || starts[0] == 0 {
		return 0, err
	}
	at, err := cluster.timeOf(ctx, topic, p.number, starts[0])
	if err != nil {
		return 0, err
	}
	ended, err := cluster.listOffsets(ctx, topic, one, at.Add(domain.InviteLookback).UnixMilli())
	if err != nil {
		return 0, err
	}
	return max(starts[0], ended[0]), nil
}
