package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/segmentio/kafka-go"
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
func (c *Cluster) ReadTopic(ctx context.Context, reading TopicReading, take func(*TailRecord) error) error {
	from, to, err := c.extent(ctx, reading)
	if err == nil {
		err = c.mayRead(ctx, reading.Topic, from)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	wanted := func(r *TailRecord) error {
		if r.Time.Before(reading.Since) {
			return nil
		}
		return take(r)
	}
	options := TailOptions{Topic: reading.Topic, From: from, Logger: reading.Logger, MaxBatch: MaxForeignBatch}
	if reading.Follow {
		following, stop := context.WithCancel(ctx)
		defer stop()
		handler := &followHandler{take: wanted, stop: stop}
		options.Handler = handler
		err := NewTail(c, options).Run(following)
		if err == nil {
			err = handler.err
		}
		return err
	}
	if err := c.scanWith(ctx, options, to, wanted); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// extent returns where a reading begins, and where the topic ends.
func (c *Cluster) extent(ctx context.Context, reading TopicReading) (from, to map[int]int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	partitions, err := c.Partitions(ctx, reading.Topic)
	if err != nil {
		return nil, nil, err
	}
	if to, err = EndsOf(ctx, c, reading.Topic, partitions); err != nil || reading.OnlyNew {
		return to, to, err
	}
	start := timestampEarliest
	if !reading.Since.IsZero() {
		start = reading.Since.UnixMilli()
	}
	offsets, err := c.listOffsets(ctx, reading.Topic, partitionNumbers(partitions), start)
	if err != nil {
		return nil, nil, err
	}
	return byPartition(offsets), to, nil
}

// mayRead refuses a topic that this user may describe and not read: a tail would wait for that right for ever.
func (c *Cluster) mayRead(ctx context.Context, topic string, from map[int]int64) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request := NewTail(c, TailOptions{Topic: topic, From: from}).request([]int{0})
	request.MaxWaitTime = 0
	response, err := c.transport.RoundTrip(ctx, c.addr, request)
	if answer, ok := response.(*fetchAnswer); ok && err == nil {
		if len(answer.partitions) == 1 && answer.partitions[0].code != 0 {
			err = answer.partitions[0].code
		}
		answer.release()
	}
	if errors.Is(err, kafka.TopicAuthorizationFailed) {
		return fmt.Errorf("this user may not read the topic %s", topic)
	}
	return nil // whatever else there is passes, or the reading will tell
}

// followHandler is a TailHandler that stops its tail when a record is refused.
type followHandler struct {
	take func(*TailRecord) error
	stop context.CancelFunc
	err  error
}

// Record implements TailHandler.
func (h *followHandler) Record(r *TailRecord) {
	if h.err != nil {
		return
	}
	if h.err = h.take(r); h.err != nil {
		h.stop()
	}
}

// BatchEnd implements TailHandler.
func (h *followHandler) BatchEnd(int, int64) {}

// LeftOut implements TailHandler: the tail has said so in its log.
func (h *followHandler) LeftOut(LeftOut) {}

// Hole implements TailHandler: the tail has said so in its log.
func (h *followHandler) Hole(int, int64, int64) {}
