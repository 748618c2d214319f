package kafka

import (
	"context"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/application/async"
	"chatting/domain"
)

// endOffsets tells where a topic ends: an port.LogEnds. Callers that ask while one round of requests is under way share
// the next.
type endOffsets struct {
	*async.Rounds[struct{}, []int64]
}

// endTimeout bounds a round.
const endTimeout = 5 * time.Second

// newEndOffsets returns the ends of all partitions of a topic: logclient.End or logclient.ReadableEnd.
func newEndOffsets(cluster *logclient.Cluster, topic string, partitions int, end logclient.Place) endOffsets {
	numbers := logclient.PartitionNumbers(partitions)
	return sharedEnds(func(ctx context.Context) ([]int64, error) { return cluster.Offsets(ctx, topic, numbers, end) })
}

func sharedEnds(ask func(context.Context) ([]int64, error)) endOffsets {
	return endOffsets{async.NewRounds(0, func([]struct{}) ([]int64, error) {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		return ask(ctx)
	})}
}

// EndOffsets implements port.LogEnds: the ends as of some time after the call began.
func (e endOffsets) EndOffsets(ctx context.Context) ([]int64, error) {
	offsets, _, err := e.Ask(ctx, struct{}{})
	if err != nil {
		return nil, domain.WrapError(domain.CodeUnavailable, "The log does not answer.", err)
	}
	return offsets, nil
}

// ReadBarrier waits for a tail to have read what was in its topic when somebody asked. Calls that come together share their
// requests.
type ReadBarrier struct {
	ends endOffsets
	tail *logclient.Tail
}

// NewReadBarrier returns a barrier for a tail that reads all partitions of topic.
func NewReadBarrier(cluster *logclient.Cluster, topic string, partitions int, tail *logclient.Tail) *ReadBarrier {
	return &ReadBarrier{ends: newEndOffsets(cluster, topic, partitions, logclient.ReadableEnd), tail: tail}
}

// Wait returns once the tail has handed over every record that could be read when Wait was called. What stands behind a
// transaction that is open was not visible to anybody by then.
func (b *ReadBarrier) Wait(ctx context.Context) error {
	ends, _, err := b.ends.Ask(ctx, struct{}{})
	if err != nil {
		return err
	}
	return b.tail.WaitFor(ctx, logclient.ByPartition(ends))
}

// Close waits for the requests under way.
func (b *ReadBarrier) Close() { b.ends.Wait() }
