package kafka

import (
	"context"
	"maps"
	"slices"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/domain"
)

// Lookback returns where a node that starts at a time begins to read a topic, at the first record not older than lookback, and
// up to where it must read before it knows who is online and which invites are pending. An open transaction does not hold it up.
func Lookback(
	ctx context.Context, cluster *logclient.Cluster, topic string, partitions int, at time.Time, lookback time.Duration,
) (from, to map[int]int64, err error) {
	starts, ends, err := cluster.Bounds(
		ctx, topic, logclient.PartitionNumbers(partitions), logclient.Since(at.Add(-lookback)), logclient.ReadableEnd)
	if err != nil {
		return nil, nil, err
	}
	return logclient.ByPartition(starts), logclient.ByPartition(ends), nil
}

// SessionRetention is for how long the sessions topic holds what happened.
const SessionRetention = time.Hour

// Unburied returns the nodes that beat in partition 0 of the sessions topic before an offset, where a starting node begins to
// read, and were not buried up to there. If all nodes were away for longer than a starting one reads back, nobody else would bury
// them, and chatting.presence would not tell of the end of their sessions. It reads no further back than SessionRetention.
func Unburied(ctx context.Context, cluster *logclient.Cluster, topic string, before int64) ([]domain.Incarnation, error) {
	at, err := timeBefore(ctx, cluster, topic, before)
	if err != nil {
		return nil, err
	}
	starts, err := cluster.Offsets(ctx, topic, []int{0}, logclient.Since(at.Add(-SessionRetention)))
	if err != nil {
		return nil, err
	}
	// A node that hung may have given a sign of life after its burial, which counts for ever.
	unburied, buried := make(map[domain.Incarnation]struct{}), make(map[domain.Incarnation]struct{})
	reading := logclient.TailOptions{Topic: topic, From: map[int]int64{0: starts[0]}}
	err = logclient.Scan(ctx, cluster, reading, map[int]int64{0: before}, func(r *recordbatch.StoredRecord) error {
		record, err := decodeSession(r.Value)
		if err != nil || record.Incarnation == (domain.Incarnation{}) {
			return nil //nolint:nilerr // it says nothing of a node
		}
		if record.Kind == domain.SessionDead {
			buried[record.Incarnation] = struct{}{}
		} else {
			unburied[record.Incarnation] = struct{}{}
		}
		return nil
	})
	for node := range buried {
		delete(unburied, node)
	}
	return slices.Collect(maps.Keys(unburied)), err
}

// timeBefore returns when the record before an offset of partition 0 was stamped, but no later than now, or now if there is none.
func timeBefore(ctx context.Context, cluster *logclient.Cluster, topic string, before int64) (time.Time, error) {
	starts, err := cluster.Offsets(ctx, topic, []int{0}, logclient.Start)
	if err != nil || before <= starts[0] {
		return time.Now(), err
	}
	at, err := logclient.TimeOf(ctx, cluster, topic, 0, before-1)
	if own := time.Now(); err != nil || at.IsZero() || own.Before(at) {
		return own, err
	}
	return at, nil
}
