package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

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
	engine  *engine
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
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
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
	topics, err := r.topics()
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

// topics names all topics. kfake's file is not asked: it may be gone.
func (r *retention) topics() (names []string, err error) {
	lane, err := r.engine.dial(r.engine.addr)
	if err != nil {
		return nil, err
	}
	defer lane.close()
	request := kmsg.NewPtrMetadataRequest()
	request.SetVersion(apis[kmsg.Metadata].maxVersion)
	var response kmsg.MetadataResponse
	if err := lane.ask(request, &response); err != nil {
		return nil, err
	}
	for _, topic := range response.Topics {
		if topic.Topic != nil {
			names = append(names, *topic.Topic)
		}
	}
	return names, nil
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
	request.SetVersion(apis[kmsg.ListOffsets].maxVersion)
	request.ReplicaID = -1
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	for number := range partitions {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp, partition.CurrentLeaderEpoch = number, ms, -1
		asked.Partitions = append(asked.Partitions, partition)
	}
	request.Topics = append(request.Topics, asked)
	response := kmsg.NewPtrListOffsetsResponse()
	lane, err := r.engine.dial(r.engine.addr)
	if err != nil {
		return nil, err
	}
	defer lane.close()
	defer context.AfterFunc(ctx, lane.close)() // so that Close of the broker need not wait
	if err := lane.ask(request, response); err != nil {
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
