package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// Special timestamps of ListOffsets (https://kafka.apache.org/protocol#The_Messages_ListOffsets). The latest offset is that
// of the isolation level: up to where committed records can be read, or where the next record will stand.
const (
	timestampLatest   int64 = -1
	timestampEarliest int64 = -2
)

// listOffsets asks the leaders for an offset of each of the partitions: the end, the start, or the first record
// stamped at or after a time in milliseconds (the end where there is none). The end is the last stable offset, up to which a
// tail can read: it stands still while a transaction is open. It tries again until ctx ends, because a leader that was just
// elected may not know yet.
func (c *Cluster) listOffsets(ctx context.Context, topic string, partitions []int, timestamp int64) ([]int64, error) {
	return c.awaitOffsets(ctx, topic, partitions, timestamp, readCommitted)
}

// logEnds asks the leaders where the next record of each partition will stand: past all that was appended, also what no tail
// can read yet because a transaction is open.
func (c *Cluster) logEnds(ctx context.Context, topic string, partitions []int) ([]int64, error) {
	return c.awaitOffsets(ctx, topic, partitions, timestampLatest, readUncommitted)
}

// stableEnds asks the leaders up to where each partition can be read.
func (c *Cluster) stableEnds(ctx context.Context, topic string, partitions []int) ([]int64, error) {
	return c.listOffsets(ctx, topic, partitions, timestampLatest)
}

func (c *Cluster) awaitOffsets(
	ctx context.Context, topic string, partitions []int, timestamp int64, isolation int8,
) ([]int64, error) {
	retry := backoff{}
	for {
		offsets, err := c.tryListOffsets(ctx, topic, partitions, timestamp, isolation)
		if err == nil {
			return offsets, nil
		}
		retry.wait(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("asking for the offsets of %s: %w", topic, err)
		}
	}
}

func (c *Cluster) tryListOffsets(
	ctx context.Context, topic string, partitions []int, timestamp int64, isolation int8,
) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	request := &listoffsets.Request{
		ReplicaID: -1, IsolationLevel: isolation, Topics: []listoffsets.RequestTopic{{Topic: topic}},
	}
	index := make(map[int32]int, len(partitions))
	for i, partition := range partitions {
		index[int32(partition)] = i
		request.Topics[0].Partitions = append(request.Topics[0].Partitions, listoffsets.RequestPartition{
			Partition: int32(partition), CurrentLeaderEpoch: -1, Timestamp: timestamp,
		})
	}
	response, err := c.transport.RoundTrip(ctx, c.addr, request)
	if err != nil {
		return nil, err
	}
	answer, ok := response.(*listoffsets.Response)
	if !ok || len(answer.Topics) != 1 {
		return nil, errors.New("an answer that is none to the request")
	}
	offsets := make([]int64, len(partitions))
	answered := 0
	var missing []int
	for _, p := range answer.Topics[0].Partitions {
		i, asked := index[p.Partition]
		switch {
		case !asked:
			continue
		case p.ErrorCode != 0:
			return nil, fmt.Errorf("%s/%d: %w", topic, p.Partition, kafka.Error(p.ErrorCode))
		case p.Offset < 0:
			missing = append(missing, i)
		}
		offsets[i] = p.Offset
		answered++
	}
	if answered != len(partitions) {
		return nil, fmt.Errorf("%d of %d partitions answered", answered, len(partitions))
	}
	if len(missing) == 0 {
		return offsets, nil
	}
	// No record is as young as the timestamp: the end it is.
	ends, err := c.tryListOffsets(ctx, topic, partitions, timestampLatest, isolation)
	if err != nil {
		return nil, err
	}
	for _, i := range missing {
		offsets[i] = ends[i]
	}
	return offsets, nil
}

// endOffsets answers many callers who want to know where a topic ends with few requests: all who ask while one round of
// requests is under way share the next.
type endOffsets struct {
	// ask is logEnds, or stableEnds, of a cluster.
	ask        func(ctx context.Context, topic string, partitions []int) ([]int64, error)
	topic      string
	partitions []int

	mu      sync.Mutex
	running bool
	next    *endRound
	done    sync.WaitGroup
}

type endRound struct {
	done    chan struct{}
	offsets []int64
	err     error
}

// endTimeout bounds a round.
const endTimeout = 5 * time.Second

// get returns the end of each partition as of some time after the call began. The caller must not change the slice.
func (e *endOffsets) get(ctx context.Context) ([]int64, error) {
	e.mu.Lock()
	if e.next == nil {
		e.next = &endRound{done: make(chan struct{})}
	}
	round := e.next
	if !e.running {
		e.running = true
		e.done.Go(e.run)
	}
	e.mu.Unlock()
	select {
	case <-round.done:
		return round.offsets, round.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run serves rounds until nobody waits for one.
func (e *endOffsets) run() {
	for {
		e.mu.Lock()
		round := e.next
		e.next = nil
		if round == nil {
			e.running = false
			e.mu.Unlock()
			return
		}
		e.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		round.offsets, round.err = e.ask(ctx, e.topic, e.partitions)
		cancel()
		close(round.done)
	}
}

// wait waits for the round under way, if any.
func (e *endOffsets) wait() { e.done.Wait() }

// timeOf returns when the record at an offset was stamped: now where the log ends there, the zero time where it could not
// be read.
func (c *Cluster) timeOf(ctx context.Context, topic string, partition int, offset int64) (time.Time, error) {
	ends, err := c.logEnds(ctx, topic, []int{partition})
	if err != nil || offset >= ends[0] {
		return now(), err
	}
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	handler := &firstRecord{end: ends[0], found: cancel}
	err = NewTail(c, TailOptions{
		Topic: topic, From: map[int]int64{partition: offset}, Handler: handler, Logger: slog.New(slog.DiscardHandler),
		uncommitted: true, // a record has its time whatever becomes of its transaction
	}).Run(ctx)
	return handler.at, err
}

// firstRecord is a TailHandler that stops its tail once it has read a record.
type firstRecord struct {
	end   int64 // of the log: what is before it may be no records at all, but the marks of transactions
	found func()
	seen  bool
	at    time.Time
}

// Record implements TailHandler.
func (f *firstRecord) Record(r *TailRecord) {
	if !f.seen {
		f.seen, f.at = true, r.Time
	}
}

// BatchEnd implements TailHandler.
func (f *firstRecord) BatchEnd(_ int, next int64) {
	if !f.seen && next >= f.end {
		f.seen, f.at = true, now()
	}
	if f.seen {
		f.found()
	}
}

// LeftOut implements TailHandler.
func (f *firstRecord) LeftOut(left LeftOut) {
	if !f.seen {
		f.seen, f.at = true, left.Time
	}
}

// Hole implements TailHandler.
func (f *firstRecord) Hole(int, int64, int64) { f.found() }
