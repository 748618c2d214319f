package kafka

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"chatting/domain"
)

// lane appends to one partition.
type lane struct {
	sender     *sender
	deadline   time.Duration
	queueBytes int
	logger     *slog.Logger
	// complained tells that a failure was logged since the last batch that went through: while a broker is away for long,
	// there is a line about it for each partition, not for each batch. It is the lane's goroutine's own.
	complained bool

	mu     sync.Mutex
	queue  []pending
	queued int // bytes in queue
	// shares are the bytes in queue of each owner that has any. So it has at most as many entries as queue.
	shares map[owner]int
	// current is the batch under way; nil when there is none.
	current *batch
	closed  bool
	// failing tells that the last batch was given up: until one succeeds, only one batch at a time finds out.
	failing bool
	// wake has room for one: that something was queued, or that the lane was closed.
	wake chan struct{}
}

// pending is a record and whoever waits for its outcome.
type pending struct {
	record record
	since  time.Time
	done   func(error)
}

// batch is a run of records that is sent as one until it has an outcome.
type batch struct {
	pending []pending
	since   time.Time // when the oldest of them was queued
	// maybeSent tells that an attempt ended without an answer that rules out that the broker has the batch.
	maybeSent bool
	// answered tells that the deadline passed and everybody who waited was told.
	answered bool
}

const (
	// maxBatchBytes keeps batches below the brokers' default max.message.bytes of 1 MiB.
	maxBatchBytes = 512 << 10
	// maxBatchRecords bounds what one lost answer leaves unconfirmed.
	maxBatchRecords = 1000
)

func newLane(cluster *Cluster, options AppenderOptions, partition int) *lane {
	return &lane{
		sender:   newSender(cluster, options.Topic, partition),
		deadline: options.Deadline, queueBytes: options.QueueBytes,
		logger: options.Logger.With("topic", options.Topic, "partition", partition),
		shares: make(map[owner]int),
		wake:   make(chan struct{}, 1),
	}
}

var (
	errShareFull   = domain.NewError(domain.CodeUnavailable, "Too much of yours waits for the log.")
	errQueueFull   = domain.NewError(domain.CodeUnavailable, "The log's queue is full.")
	errStuck       = domain.NewError(domain.CodeUnavailable, "The log does not answer.")
	errClosed      = domain.NewError(domain.CodeUnavailable, "The node is going away.")
	errUnconfirmed = domain.NewError(domain.CodeUnconfirmed, "The append could not be confirmed.")
)

// append queues a record, or refuses it at once.
func (l *lane) append(r record, done func(error)) {
	now := time.Now()
	l.mu.Lock()
	var refused error
	switch {
	case l.closed:
		refused = errClosed
	case l.current != nil && (l.failing || now.Sub(l.current.since) > l.deadline):
		refused = errStuck
	case l.queued+r.size() > l.queueBytes:
		refused = errQueueFull
	case !l.hasShare(r):
		refused = errShareFull
	default:
		l.queue = append(l.queue, pending{record: r, since: now, done: done})
		l.count(r, r.size())
	}
	l.mu.Unlock()
	if refused != nil {
		done(refused)
		return
	}
	l.signal()
}

// hasShare tells whether the record's owner may queue it: an owner may hold as much of the queue as is free. So one owner
// alone gets half of the queue, two that want all of it a third each, and n of them leave 1/(n+1) of it to the others.
// Records without an owner have only the queue's own bound.
func (l *lane) hasShare(r record) bool {
	return !r.owner.shares || l.shares[r.owner]+r.size() <= l.queueBytes-l.queued
}

// count adds bytes of a record to what is queued, or takes them off.
func (l *lane) count(r record, bytes int) {
	l.queued += bytes
	if !r.owner.shares {
		return
	}
	if l.shares[r.owner] += bytes; l.shares[r.owner] == 0 {
		delete(l.shares, r.owner)
	}
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
}

func (l *lane) stuck() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current != nil && time.Since(l.current.since) > l.deadline
}

// run sends what is queued until the lane is closed and empty, or ctx ends, which it does only after the lane was closed.
func (l *lane) run(ctx context.Context) {
	for ctx.Err() == nil {
		b, more := l.take()
		if b != nil {
			l.finish(b, l.deliver(ctx, b))
			continue
		}
		if !more {
			return
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
	}
	// What is still queued is not sent any more: after a batch of unknown outcome it could be taken for that one.
	l.expire(time.Now().Add(l.deadline)) // everything
}

// take makes the next batch of what is queued. more is false when nothing will come any more.
func (l *lane) take() (b *batch, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count, size := 0, 0
	for _, p := range l.queue {
		if count == maxBatchRecords || (count > 0 && size+p.record.size() > maxBatchBytes) {
			break
		}
		count++
		size += p.record.size()
	}
	if count == 0 {
		return nil, !l.closed
	}
	l.current = &batch{pending: l.queue[:count:count], since: l.queue[0].since}
	for _, p := range l.current.pending {
		l.count(p.record, -p.record.size())
	}
	l.queue = l.queue[count:]
	if len(l.queue) == 0 {
		l.queue = nil // let go of the array: pending of done batches hang on it
	}
	return l.current, true
}

// finish tells everybody who waits for b its outcome, unless the deadline already did.
func (l *lane) finish(b *batch, outcome error) {
	l.mu.Lock()
	l.current = nil
	l.failing = domain.CodeOf(outcome) == domain.CodeUnavailable
	answered := b.answered
	l.mu.Unlock()
	if answered {
		return
	}
	for _, p := range b.pending {
		p.done(outcome)
	}
}

// expire reports what waits longer than the deadline: the batch under way as unconfirmed, once it may have been sent,
// and what was never sent as unavailable, which takes it out of the queue. It returns when it has to be called next.
func (l *lane) expire(now time.Time) time.Time {
	l.mu.Lock()
	var late []pending
	if b := l.current; b != nil && !b.answered && b.maybeSent && now.Sub(b.since) >= l.deadline {
		b.answered = true
		late = b.pending
	}
	var dropped []pending
	for len(l.queue) > 0 && now.Sub(l.queue[0].since) >= l.deadline {
		dropped = append(dropped, l.queue[0])
		l.count(l.queue[0].record, -l.queue[0].record.size())
		l.queue = l.queue[1:]
	}
	next := now.Add(l.deadline)
	if b := l.current; b != nil && !b.answered && b.since.Add(l.deadline).Before(next) {
		next = b.since.Add(l.deadline)
	}
	if len(l.queue) > 0 && l.queue[0].since.Add(l.deadline).Before(next) {
		next = l.queue[0].since.Add(l.deadline)
	}
	l.mu.Unlock()
	for _, p := range late {
		p.done(errUnconfirmed)
	}
	for _, p := range dropped {
		p.done(errStuck)
	}
	return next
}

// deliver sends b until it has an outcome, which it returns: nil, or why the broker will never have it. A batch that may
// have been sent is sent again with its stamp until it is answered, and nothing overtakes it; one that surely was not is
// given up at the deadline. The end of ctx gives up either.
func (l *lane) deliver(ctx context.Context, b *batch) error {
	records := make([]record, len(b.pending))
	for i, p := range b.pending {
		records[i] = p.record
	}
	encoded, err := encodeBatch(records)
	if err != nil {
		return domain.WrapError(domain.CodeInternal, "The event could not be encoded.", err)
	}
	retry := backoff{}
	for {
		result := l.attempt(ctx, b, encoded, len(records))
		switch {
		case result.verdict == verdictAppended:
			if l.complained {
				l.complained = false
				l.logger.Info("appends go through again")
			}
			return nil
		case result.verdict == verdictRefused && !b.maybeSent:
			l.logger.Error("the broker refuses a batch", "records", len(records), "error", result.err)
			return domain.WrapError(domain.CodeUnavailable, "The log refused the event.", result.err)
		case result.verdict == verdictRefused:
			l.sender.bump() // else the next batch could be taken for this one, and be lost
			l.logger.Error("the broker refuses a batch that it may already have", "records", len(records), "error", result.err)
			return errUnconfirmed
		case ctx.Err() != nil && b.maybeSent:
			return errUnconfirmed
		case ctx.Err() != nil:
			return errClosed
		}
		l.complain(len(records), result.err)
		l.pause(ctx, b, &retry)
		if !b.maybeSent && time.Since(b.since) >= l.deadline {
			return domain.WrapError(domain.CodeUnavailable, "The log cannot be reached.", result.err)
		}
	}
}

// pause waits before the next attempt, reporting meanwhile what reaches the deadline. It ends at the deadline of a batch
// that was never sent: with another attempt under way, that would count as one that may have been.
func (l *lane) pause(ctx context.Context, b *batch, retry *backoff) {
	again, late := retry.timer(), time.NewTimer(time.Until(b.since.Add(l.deadline)))
	defer again.Stop()
	defer late.Stop()
	for {
		select {
		case <-again.C:
			return
		case <-ctx.Done():
			return
		case now := <-late.C:
			if !b.maybeSent {
				return
			}
			late.Reset(time.Until(l.expire(now)))
		}
	}
}

func (l *lane) complain(records int, err error) {
	if !l.complained {
		l.complained = true
		l.logger.Warn("an append has no answer yet, sending it again", "records", records, "error", err)
	}
}

// attempt sends the batch once, reporting meanwhile what reaches the deadline.
func (l *lane) attempt(ctx context.Context, b *batch, encoded []byte, records int) sendResult {
	results := make(chan sendResult, 1)
	go func() { results <- l.sender.send(ctx, encoded, records) }()
	// Until it is known, the attempt may have been sent.
	l.mu.Lock()
	before := b.maybeSent
	b.maybeSent = true
	l.mu.Unlock()
	timer := time.NewTimer(time.Until(b.since.Add(l.deadline)))
	defer timer.Stop()
	for {
		select {
		case result := <-results:
			l.mu.Lock()
			b.maybeSent = before || result.maybeSent
			l.mu.Unlock()
			return result
		case now := <-timer.C:
			timer.Reset(time.Until(l.expire(now)))
		}
	}
}
