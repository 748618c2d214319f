package projector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
)

// loggedRecord is a record as its fingerprint sees it.
type loggedRecord struct {
	offset     int64
	at         time.Time
	key, value []byte
}

func (r loggedRecord) fingerprint() (f history.RecordFingerprint) {
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

// locate returns where the projection goes on: where it stopped or, if the log lost what comes next, was made anew or was never
// projected, at the start of the log, with the blocks as they were there.
func (p *partition) locate(ctx context.Context) (history.Projection, error) {
	projected, to, err := p.compare(ctx)
	if err != nil {
		return history.Projection{}, err
	}
	if to != projected {
		if err := p.begin(ctx, projected, to); err != nil {
			return history.Projection{}, err
		}
	}
	p.pastEnd, p.lostUntil = time.Time{}, 0
	return to, nil
}

// compare returns how far the partition is projected and, by what the log is now, where the projection goes on.
func (p *partition) compare(ctx context.Context) (projected, to history.Projection, err error) {
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	if projected, err = p.stored(ctx); err != nil {
		return projected, to, err
	}
	start, end, err := p.bounds(ctx, logclient.Start, logclient.End)
	if err != nil {
		return projected, to, err
	}
	anew, err := p.madeAnew(ctx, projected, start, end)
	if err != nil {
		return projected, to, err
	}
	from := max(start, p.lostUntil)
	to = history.Projection{Last: -1, Next: domain.Place{
		Generation: projected.Next.Generation, Partition: p.number, Offset: from,
	}}
	switch {
	case projected.Next.Generation == 0:
		to.Next.Generation = 1
	case anew:
		to.Next.Generation++
		to.Next.Offset = start
		p.logger.Warn("history: the topic was made anew", "generation", to.Next.Generation)
	case projected.Next.Offset < from:
		p.logger.Error("history: the log lost records before they were projected",
			"from", projected.Next.Offset, "to", from)
	default:
		to = projected
	}
	return projected, to, nil
}

// stored returns how far the database says that the partition is projected.
func (p *partition) stored(ctx context.Context) (history.Projection, error) {
	all, err := p.projector.options.Store.Projections(ctx)
	if err != nil {
		return history.Projection{}, err
	}
	for _, projected := range all {
		if projected.Next.Partition == p.number {
			return projected, nil
		}
	}
	return history.Projection{Next: domain.Place{Partition: p.number}, Last: -1}, nil
}

// madeAnew tells whether the log is another one than that which was projected: by its record at the last offset or, if it has none
// there, by its end.
func (p *partition) madeAnew(
	ctx context.Context, projected history.Projection, start, end int64,
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
		p.pastEnd = time.Now()
		fallthrough
	case time.Since(p.pastEnd) < logclient.PastEndPatience:
		return false, fmt.Errorf("%w: at %d, and %d is next", errPastEnd, end, projected.Next.Offset)
	default:
		return true, nil
	}
}

var errPastEnd = errors.New("the log ends before what was projected")

// recordAt returns the fingerprint of the record at an offset below the end of the log, where it can be read.
func (p *partition) recordAt(
	ctx context.Context, offset int64,
) (found bool, fingerprint history.RecordFingerprint, err error) {
	err = p.scan(ctx, offset, offset+1, func(r *recordbatch.StoredRecord) error {
		if r.Offset != offset {
			return nil
		}
		found = true
		fingerprint = loggedRecord{offset: offset, at: r.Time, key: r.Key, value: r.Value}.fingerprint()
		return nil
	})
	return found, fingerprint, err
}

func (p *partition) scan(ctx context.Context, from, to int64, take func(*recordbatch.StoredRecord) error) error {
	reading := logclient.TailOptions{Topic: p.projector.options.Topic, From: map[int]int64{p.number: from}}
	return logclient.Scan(ctx, p.projector.cluster, reading, map[int]int64{p.number: to}, take)
}

// bounds returns the offsets of two places in the log.
func (p *partition) bounds(ctx context.Context, from, to logclient.Place) (start, end int64, err error) {
	starts, ends, err := p.projector.cluster.Bounds(ctx, p.projector.options.Topic, []int{p.number}, from, to)
	if err != nil {
		return 0, 0, err
	}
	return starts[0], ends[0], nil
}

// begin moves the projection to a place whose past was not projected. The blocks there are those of the database now, without the
// changes in the log from there on. The database is asked first, so that each change is in one of the two.
func (p *partition) begin(ctx context.Context, from, to history.Projection) error {
	stored, err := p.projector.options.Store.StoredBlocks(ctx)
	if err != nil {
		return err
	}
	var ours []blocks.Stored
	for _, block := range stored {
		if p.projector.partitionOf([]byte(domain.Between(block.Blocker, block.Target).Key())) == p.number {
			ours = append(ours, block)
		}
	}
	logged := make(map[blocks.Pair]map[int64]struct{})
	if len(ours) > 0 {
		if logged, err = p.loggedBlocks(ctx, to.Next.Offset); err != nil {
			return err
		}
	}
	return p.projector.options.Store.MoveProjection(ctx, from, to, blocks.StatesAt(ours, logged))
}

// blockMark is in every frame of a change of a block, and in few others.
var blockMark = []byte("blocked")

// loggedBlocks returns the versions of the changes of blocks that the log has from an offset on.
func (p *partition) loggedBlocks(
	ctx context.Context, from int64,
) (map[blocks.Pair]map[int64]struct{}, error) {
	asking, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	// What stands behind a transaction that is open counts: the database has it. The scan waits until it can be read.
	ends, err := p.projector.cluster.Offsets(asking, p.projector.options.Topic, []int{p.number}, logclient.End)
	if err != nil {
		return nil, err
	}
	logged := make(map[blocks.Pair]map[int64]struct{})
	err = p.scan(ctx, from, ends[0], func(r *recordbatch.StoredRecord) error {
		if !bytes.Contains(r.Value, blockMark) {
			return nil
		}
		event, _, err := p.open(r.Key, r.Value)
		change, ok := event.Body.(domain.BlockChanged)
		if err != nil || !ok {
			return nil //nolint:nilerr // none of ours
		}
		pair := blocks.Pair{Blocker: change.Blocker, Target: change.Target}
		if logged[pair] == nil {
			logged[pair] = make(map[int64]struct{})
		}
		logged[pair][change.Version] = struct{}{}
		return nil
	})
	return logged, err
}

// BeginAnew has the projection of a partition go on at the start of this log, under a new generation, with the blocks as they
// are. It is for a database that was projected from another log, while no server runs on it. It returns where the partition ends.
func (p *Projector) BeginAnew(ctx context.Context, number int, generation int64) (end int64, err error) {
	partition := p.partition(number)
	asking, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	start, end, err := partition.bounds(asking, logclient.Start, logclient.ReadableEnd)
	if err != nil {
		return 0, err
	}
	from, err := partition.stored(asking)
	if err != nil {
		return 0, err
	}
	to := history.Projection{Last: -1, Next: domain.Place{
		Generation: generation, Partition: number, Offset: start,
	}}
	return end, partition.begin(ctx, from, to)
}

// Rebuilt tells what of a partition's history is projected again: what stands at or past From and before To.
type Rebuilt struct{ From, To domain.Place }

// Rebuild has the history of a partition projected again from where rebuildFrom says, by whoever projects it. Each stretch is
// replaced in one transaction. What the log no longer has stays as it is. A partition that was never projected is left alone.
func (p *Projector) Rebuild(ctx context.Context, number int) (Rebuilt, error) {
	partition := p.partition(number)
	retry := logclient.Backoff{}
	for {
		rebuilt, err := partition.rebuild(ctx)
		// One that projects moves it all the time; and a log is past its end for a while.
		if !errors.Is(err, history.ErrProjectionMoved) && !errors.Is(err, errPastEnd) || ctx.Err() != nil {
			return rebuilt, err
		}
		retry.Wait(ctx)
	}
}

func (p *partition) rebuild(ctx context.Context) (Rebuilt, error) {
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
	to := history.Projection{Next: from.Next, Last: -1}
	to.Next.Offset = min(start, from.Next.Offset)
	return Rebuilt{From: to.Next, To: from.Next}, p.projector.options.Store.MoveProjection(ctx, from, to, nil)
}

// rebuildFrom returns from where on the log is complete: from its start or, if that is gone, from where all invites that were made
// before it have ended.
func (p *partition) rebuildFrom(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	cluster, topic, one := p.projector.cluster, p.projector.options.Topic, []int{p.number}
	starts, err := cluster.Offsets(ctx, topic, one, logclient.Start)
	if err != nil || starts[0] == 0 {
		return 0, err
	}
	at, err := logclient.TimeOf(ctx, cluster, topic, p.number, starts[0])
	if err != nil {
		return 0, err
	}
	ended, err := cluster.Offsets(ctx, topic, one, logclient.Since(at.Add(domain.InviteLookback)))
	if err != nil {
		return 0, err
	}
	return max(starts[0], ended[0]), nil
}

// recallSince returns from when on the log has what is pending at a record of a time. A record of a clock that is ahead is no later
// than now.
func recallSince(at, now time.Time) time.Time {
	if now.Before(at) {
		at = now
	}
	return at.Add(-domain.InviteLookback)
}

// recall returns what became of the invites of the partition before an offset, so that the history judges later ones as live chat
// did.
func (p *partition) recall(ctx context.Context, offset int64) (*domain.InviteRegister, error) {
	invites := domain.NewInviteRegister()
	cluster, topic := p.projector.cluster, p.projector.options.Topic
	at, err := logclient.TimeOf(ctx, cluster, topic, p.number, offset)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	from, err := cluster.Offsets(asking, topic, []int{p.number}, logclient.Since(recallSince(at, time.Now())))
	if err != nil || from[0] >= offset {
		return invites, err
	}
	err = p.scan(ctx, from[0], offset, func(r *recordbatch.StoredRecord) error {
		if !kafka.ConcernsInvites(r.Value) {
			return nil
		}
		if event, _, err := p.open(r.Key, r.Value); err == nil {
			invites.Apply(event, r.Time)
		}
		return nil
	})
	return invites, err
}
