package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/guard"
	"chatting/adapters/embedded/logdir"
	"chatting/adapters/embedded/protocol"
	"chatting/domain"
)

const (
	retentionEvery   = 5 * time.Minute
	defaultRetention = 7 * 24 * time.Hour
	never            = 100 * 365 * 24 * time.Hour
)

// retention removes what is older than its topic's retention.ms, at start and every five minutes. kfake's own would
// remove everything before the last batch that is too old, so that one record with an old time empties a partition; it
// ticks hourly and only after a topic was created; and it lets a partition run empty, which then begins at offset 0
// again after a restart. Here the last record of a partition always stays.
type retention struct {
	cluster *kfake.Cluster
	guard   *guard.Guard
	logger  *slog.Logger

	dir   string
	now   func() time.Time
	clock domain.TrustedClock
}

// run works until ctx ends.
func (r *retention) run(ctx context.Context) {
	ticker := time.NewTicker(retentionEvery)
	defer ticker.Stop()
	for {
		// That a broker which serves nobody any more does not serve this either is no news.
		if err := r.round(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
			r.logger.Warn("embedded Kafka broker: retention", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// round removes what is too old by the clock, unless that leapt.
func (r *retention) round(ctx context.Context) error {
	trusted, err := r.advance(r.now())
	if !trusted {
		return err
	}
	return errors.Join(err, r.apply(ctx, r.clock.At)) // a full disk is no reason to delete nothing
}

// apply removes what is too old at now.
func (r *retention) apply(ctx context.Context, now time.Time) error {
	topics, err := r.guard.Topics(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	var all error
	for _, topic := range topics {
		if ctx.Err() != nil {
			break
		}
		all = errors.Join(all, r.applyTopic(ctx, topic, now))
	}
	return all
}

func (r *retention) applyTopic(ctx context.Context, topic string, now time.Time) error {
	info := r.cluster.TopicInfo(topic)
	if info == nil {
		return nil
	}
	keep := defaultRetention.Milliseconds()
	if value := info.Configs["retention.ms"]; value != nil {
		ms, err := strconv.ParseInt(*value, 10, 64)
		if err != nil {
			return fmt.Errorf("topic %s: retention.ms: %w", topic, err)
		}
		keep = ms
	}
	oldest := now.UnixMilli() - keep
	if keep < 0 || oldest < 0 {
		return nil
	}
	// One record at least is left in each partition, so only partitions with more are asked about.
	ends := make(map[int32]*kfake.PartitionInfo)
	for _, partition := range r.cluster.PartitionInfos(topic) {
		if partition.LogStartOffset < partition.HighWatermark-1 {
			ends[partition.Partition] = partition
		}
	}
	if len(ends) == 0 {
		return nil
	}
	first, err := r.firstSince(ctx, topic, ends, oldest)
	if err != nil {
		return fmt.Errorf("topic %s: %w", topic, err)
	}
	for number, partition := range ends {
		begin, known := first[number]
		if !known {
			continue
		}
		if begin < 0 || begin >= partition.HighWatermark { // all are too old
			begin = partition.HighWatermark - 1
		}
		if begin <= partition.LogStartOffset {
			continue
		}
		if err := r.cluster.DeleteRecords(topic, number, begin); err != nil {
			return fmt.Errorf("topic %s, partition %d: %w", topic, number, err)
		}
	}
	return nil
}

// firstSince returns for each partition the offset of its first record not older than the time in ms, -1 where all are.
func (r *retention) firstSince(
	ctx context.Context, topic string, partitions map[int32]*kfake.PartitionInfo, ms int64,
) (map[int32]int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.SetVersion(protocol.MaxVersion(kmsg.ListOffsets))
	asked := kmsg.ListOffsetsRequestTopic{Topic: topic}
	for number := range partitions {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = number, ms
		asked.Partitions = append(asked.Partitions, partition)
	}
	request.Topics = append(request.Topics, asked)
	var response kmsg.ListOffsetsResponse
	if err := r.guard.Ask(ctx, request, &response); err != nil {
		return nil, err
	}
	first := make(map[int32]int64)
	for _, answered := range response.Topics {
		for _, partition := range answered.Partitions {
			if partition.ErrorCode == 0 {
				first[partition.Partition] = partition.Offset
			}
		}
	}
	return first, nil
}

// advance has the clock of retention go on to now, keeps it, and tells whether it is trusted.
func (r *retention) advance(now time.Time) (trusted bool, err error) {
	before := r.clock
	r.clock = before.Next(now)
	if !r.clock.At.IsZero() {
		err = logdir.KeepClock(r.dir, r.clock)
	}
	trusted = r.clock.Refused.IsZero()
	switch {
	case !trusted && before.Refused.IsZero():
		r.logger.Error("embedded Kafka broker: the clock leapt: no records are deleted for their age until it is right again, "+
			"or has gone on for a day", "from", r.clock.At.UTC(), "to", now.UTC())
	case trusted && !before.Refused.IsZero():
		r.logger.Info("embedded Kafka broker: the clock is trusted again", "clock", now.UTC())
	}
	return trusted, err
}
