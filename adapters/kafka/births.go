package kafka

import (
	"context"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
)

// Births returns, of each partition of a topic that still has its first record, when that record was written. By it an offset that
// was noted earlier is known to be one of another topic of the same name.
func Births(ctx context.Context, cluster *logclient.Cluster, topic string, partitions int) (map[int]time.Time, error) {
	starts, ends, err := cluster.Bounds(
		ctx, topic, logclient.PartitionNumbers(partitions), logclient.Start, logclient.ReadableEnd)
	if err != nil {
		return nil, err
	}
	from, to := make(map[int]int64), make(map[int]int64)
	for partition, start := range starts {
		if start == 0 && ends[partition] > 0 {
			from[partition], to[partition] = 0, 1
		}
	}
	births := make(map[int]time.Time, len(from))
	err = logclient.Scan(ctx, cluster, logclient.TailOptions{Topic: topic, From: from}, to, func(r *recordbatch.StoredRecord) error {
		births[r.Partition] = r.Time
		return nil
	})
	return births, err
}
