package logclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient/recordbatch"
)

// TopicReading says what of a topic somebody wants to see.
type TopicReading struct {
	Topic string
	// Since leaves out records stamped before it; the zero time leaves out none.
	Since time.Time
	// OnlyNew leaves out what is there when the reading begins.
	OnlyNew bool
	// Follow goes on with what comes, until ctx ends. Else the reading ends where the topic ended when it began.
	Follow bool
	// Logger is told what cannot be read. The reading goes on after it.
	Logger *slog.Logger
}

// startTimeout bounds finding out where to begin.
const startTimeout = 10 * time.Second

// ReadTopic hands the records of a topic to take, one at a time, those of a partition in their order. It is for a look from
// outside, on behalf of no group. It returns nil when there are no more or ctx ends, and the first error of take.
func ReadTopic(ctx context.Context, cluster *Cluster, reading TopicReading, take func(*recordbatch.StoredRecord) error) error {
	from, to, err := reading.extent(ctx, cluster)
	if err == nil {
		err = CheckReadable(ctx, cluster, reading.Topic, from[0])
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	wanted := func(r *recordbatch.StoredRecord) error {
		if r.Time.Before(reading.Since) {
			return nil
		}
		return take(r)
	}
	options := TailOptions{Topic: reading.Topic, From: from, Logger: reading.Logger, MaxBatch: MaxForeignBatch}
	if !reading.Follow {
		if err := Scan(ctx, cluster, options, to, wanted); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	handler := &followHandler{take: wanted, stop: stop}
	options.Handler = handler
	if err := NewTail(cluster, options).Run(following); err != nil {
		return err
	}
	return handler.err
}

// extent returns where a reading begins, and where the topic ends.
func (r TopicReading) extent(ctx context.Context, cluster *Cluster) (from, to map[int]int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	partitions, err := cluster.Partitions(ctx, r.Topic)
	if err != nil {
		return nil, nil, err
	}
	if to, err = Ends(ctx, cluster, r.Topic, partitions); err != nil || r.OnlyNew {
		return to, to, err
	}
	start := Start
	if !r.Since.IsZero() {
		start = Since(r.Since)
	}
	offsets, err := cluster.Offsets(ctx, r.Topic, PartitionNumbers(partitions), start)
	return ByPartition(offsets), to, err
}

// CheckReadable refuses a topic that this user may describe and not read: a tail would wait for that right for ever.
// It tries at an offset of partition 0.
func CheckReadable(ctx context.Context, cluster *Cluster, topic string, offset int64) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	fetcher, positions := newFetcher(cluster, TailOptions{Topic: topic}), newPositions()
	positions.add(0, offset)
	request := fetcher.request([]int{0}, positions)
	request.MaxWaitTime = 0
	response, err := cluster.RoundTrip(ctx, request)
	if answer, ok := response.(*fetchAnswer); ok && err == nil {
		if len(answer.partitions) == 1 && answer.partitions[0].code != 0 {
			err = answer.partitions[0].code
		}
		answer.release()
	}
	if errors.Is(err, kafkago.TopicAuthorizationFailed) {
		return fmt.Errorf("this user may not read the topic %s", topic)
	}
	return nil // whatever else there is passes, or the reading will tell
}

// justRecords is the part of a TailHandler that minds nothing but records. The tail says in its log what is lost.
type justRecords struct{}

// BatchEnd implements TailHandler.
func (justRecords) BatchEnd(int, int64) {}

// LeftOut implements TailHandler.
func (justRecords) LeftOut(recordbatch.LeftOut) {}

// Hole implements TailHandler.
func (justRecords) Hole(int, int64, int64) {}

// followHandler is a TailHandler that stops its tail when a record is refused.
type followHandler struct {
	justRecords

	take func(*recordbatch.StoredRecord) error
	stop context.CancelFunc
	err  error
}

// Record implements TailHandler.
func (h *followHandler) Record(r *recordbatch.StoredRecord) {
	if h.err != nil {
		return
	}
	if h.err = h.take(r); h.err != nil {
		h.stop()
	}
}
