// Package appending appends to a Kafka log: an Appender that is idempotent and keeps the order of each partition. It has the queues,
// the batches and their stamps, the requests that batches share, and the outcome of each append. How brokers are reached is in
// package logclient, and so is reading; what the records mean is nobody's business here.
package appending

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
)

// AppenderOptions bound an appender.
type AppenderOptions struct {
	Topic      string
	Partitions int
	// Deadline is after how long an append without an answer fails. While the batch under way is older than that, its partition
	// takes nothing new.
	Deadline time.Duration
	// QueueBytes bounds what waits for one partition. A record that does not fit is refused, and so is one that would give its
	// owner more of the queue than is free.
	QueueBytes int
	Logger     *slog.Logger
	// Failed turns an *AppendError into the error that the caller of Append gets; nil: the caller gets the *AppendError.
	Failed func(*AppendError) error
	// Now is the clock that records are stamped by; nil means time.Now.
	Now func() time.Time
	// Observer is told what becomes of the records; nil: nobody is.
	Observer AppendObserver
}

// AppendObserver is told what becomes of records. Its methods are called by many goroutines and must not block.
type AppendObserver interface {
	// Appended tells that a batch is in the log, and how long the oldest of its records had waited for that.
	Appended(records int, waited time.Duration)
	// Failed tells that records are not in the log and will not be, or, if unconfirmed, that nobody knows.
	Failed(records int, unconfirmed bool)
}

// AppendError is why a record was not appended, as far as is known.
type AppendError struct {
	// Unconfirmed tells that the log may have the record, or still get it. Otherwise it does not have it and will not.
	Unconfirmed bool
	// Reason is a sentence for whoever appends. It holds nothing of the record.
	Reason string
	Cause  error // for logs; may be nil
}

// Error implements error.
func (e *AppendError) Error() string {
	if e.Cause == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *AppendError) Unwrap() error { return e.Cause }

// Appender appends records to one topic, each once and in the order of the calls. At most one batch of a partition is under way;
// what is appended meanwhile is the next batch.
type Appender struct {
	options AppenderOptions
	cluster *logclient.Cluster
	numbers []int
	lanes   []*lane
	abort   context.CancelFunc
	ended   chan struct{}
	wake    chan struct{} // a lane is ready or over, or a request has ended

	leaders   map[int]int // as of leadersAt; both are run's own
	leadersAt time.Time
	underWay  requestCounts
}

// NewAppender starts an appender. It dials at the first append. The caller must Close it.
func NewAppender(cluster *logclient.Cluster, options AppenderOptions) *Appender {
	if options.Now == nil {
		options.Now = time.Now
	}
	ctx, abort := context.WithCancel(context.Background())
	a := &Appender{
		options: options, cluster: cluster, numbers: logclient.PartitionNumbers(options.Partitions), abort: abort, ended: make(chan struct{}),
		wake: make(chan struct{}, 1),
	}
	for partition := range options.Partitions {
		l := newLane(cluster, options, partition)
		l.wake = a.signal
		a.lanes = append(a.lanes, l)
	}
	go func() {
		defer close(a.ended)
		a.run(ctx)
	}()
	return a
}

// Ended is closed when nothing is sent any more, which is to be after Close.
func (a *Appender) Ended() <-chan struct{} { return a.ended }

// Topic returns the name of the topic.
func (a *Appender) Topic() string { return a.options.Topic }

// Partitions returns how many partitions the topic has.
func (a *Appender) Partitions() int { return len(a.lanes) }

// PartitionOf returns the partition of a key.
func (a *Appender) PartitionOf(key []byte) int { return logclient.PartitionOf(key, a.numbers) }

// Append queues a record for a partition and returns at once; the appender stamps it. done is called once, with nil or an error
// by Options.Failed, and must not block.
func (a *Appender) Append(partition int, r recordbatch.Record, done func(error)) {
	a.AppendAs(Owner{}, partition, r, done)
}

// AppendAs is Append on behalf of somebody who must leave room in the queue for others.
func (a *Appender) AppendAs(owner Owner, partition int, r recordbatch.Record, done func(error)) {
	if partition < 0 || partition >= len(a.lanes) {
		done(fmt.Errorf("topic %s has no partition %d", a.options.Topic, partition))
		return
	}
	r.Time = a.options.Now()
	a.lanes[partition].append(owner, r, done)
}

// Await appends a record and waits for its outcome. If ctx ends first, it returns the error of ctx; the record may still be
// appended.
func (a *Appender) Await(ctx context.Context, partition int, r recordbatch.Record) error {
	outcome := make(chan error, 1)
	a.Append(partition, r, func(err error) { outcome <- err })
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close takes nothing new, waits until what is queued has its outcome or ctx ends, and stops the goroutines. What has no outcome
// then fails.
func (a *Appender) Close(ctx context.Context) {
	for _, l := range a.lanes {
		l.close()
	}
	select {
	case <-a.ended:
	case <-ctx.Done():
		a.abort()
		<-a.ended
	}
	a.abort()
}

// Queued returns how many bytes wait for the partition for which the most wait.
func (a *Appender) Queued() int {
	most := 0
	for _, l := range a.lanes {
		most = max(most, l.waiting())
	}
	return most
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
