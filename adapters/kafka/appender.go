package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"chatting/domain"
)

// AppenderOptions bound an appender.
type AppenderOptions struct {
	Topic      string
	Partitions int
	// Deadline is after how long an append without an answer is reported as unconfirmed. While the batch under way is
	// older than that, its partition takes nothing new.
	Deadline time.Duration
	// QueueBytes bounds what waits for one partition. What does not fit is refused as unavailable. So is what would give
	// its owner more of the queue than is free (see lane.hasShare): one sender cannot fill the queue of the others.
	QueueBytes int
	Logger     *slog.Logger
	// Now is the clock that records are stamped by; nil means time.Now.
	Now func() time.Time
}

// Appender appends records to one topic: idempotent, in order, at most one batch under way for each partition. Load sets
// the size of the batches: what came in while one was under way is the next.
type Appender struct {
	options AppenderOptions
	numbers []int
	lanes   []*lane
	abort   context.CancelFunc
	done    sync.WaitGroup
	ended   chan struct{}
}

// NewAppender starts an appender, one goroutine a partition. It dials at the first append. The caller must Close it.
func NewAppender(cluster *Cluster, options AppenderOptions) *Appender {
	if options.Now == nil {
		options.Now = time.Now
	}
	ctx, abort := context.WithCancel(context.Background())
	a := &Appender{options: options, numbers: partitionNumbers(options.Partitions), abort: abort, ended: make(chan struct{})}
	oneEnded := sync.OnceFunc(func() { close(a.ended) })
	for partition := range options.Partitions {
		l := newLane(cluster, options, partition)
		a.lanes = append(a.lanes, l)
		a.done.Go(func() {
			defer oneEnded()
			l.run(ctx)
		})
	}
	return a
}

// Ended is closed when one of the goroutines has ended, which is to be after Close.
func (a *Appender) Ended() <-chan struct{} { return a.ended }

// Topic returns the name of the topic.
func (a *Appender) Topic() string { return a.options.Topic }

// Partitions returns how many partitions the topic has.
func (a *Appender) Partitions() int { return len(a.lanes) }

// PartitionOf returns the partition of a key.
func (a *Appender) PartitionOf(key []byte) int { return partitionOf(key, a.numbers) }

// appendTo queues a record for a partition and returns at once. done is called once, with nil, CodeUnavailable (it is not
// in the log and will not be) or CodeUnconfirmed (unknown; it may still come). It must not block.
func (a *Appender) appendTo(partition int, r record, done func(error)) {
	if partition < 0 || partition >= len(a.lanes) {
		done(domain.NewError(domain.CodeInternal, fmt.Sprintf("topic %s has no partition %d", a.options.Topic, partition)))
		return
	}
	r.time = a.options.Now()
	a.lanes[partition].append(r, done)
}

// Close takes nothing new, waits until what is queued has its outcome or ctx ends, and stops the goroutines. What then has
// none is reported as unconfirmed or, where it was never sent, unavailable.
func (a *Appender) Close(ctx context.Context) {
	for _, l := range a.lanes {
		l.close()
	}
	drained := make(chan struct{})
	go func() {
		a.done.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		a.abort()
		<-drained
	}
	a.abort()
}

// Stuck tells whether the batch under way in some partition is older than the deadline.
func (a *Appender) Stuck() bool {
	for _, l := range a.lanes {
		if l.stuck() {
			return true
		}
	}
	return false
}
