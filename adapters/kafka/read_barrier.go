package kafka

import "context"

// ReadBarrier waits for a tail to have read what was in its topic when somebody asked. Calls that come together share their
// requests.
type ReadBarrier struct {
	ends *endOffsets
	tail *Tail
}

// NewReadBarrier returns a barrier for a tail that reads all partitions of topic.
func NewReadBarrier(cluster *Cluster, topic string, partitions int, tail *Tail) *ReadBarrier {
	return &ReadBarrier{
		ends: &endOffsets{ask: cluster.stableEnds, topic: topic, partitions: partitionNumbers(partitions)}, tail: tail,
	}
}

// Wait returns once the tail has handed over every record that could be read when Wait was called. What stands behind a
// transaction that is open was not visible to anybody by then.
func (b *ReadBarrier) Wait(ctx context.Context) error {
	ends, err := b.ends.get(ctx)
	if err != nil {
		return err
	}
	return b.tail.WaitFor(ctx, byPartition(ends))
}

// Close waits for the requests under way.
func (b *ReadBarrier) Close() { b.ends.wait() }
