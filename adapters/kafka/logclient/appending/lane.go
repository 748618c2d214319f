package appending

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
)

// lane is what an appender has for one partition: a queue, and the batch under way.
type lane struct {
	sender     *sender
	deadline   time.Duration
	queueBytes int
	failed     func(*AppendError) error
	logger     *slog.Logger
	observer   AppendObserver // nil for none
	// complained tells that a failure was logged since the last batch that went through. It and sender belong to the goroutine
	// that has the batch under way.
	complained bool

	mu     sync.Mutex
	queue  []pending
	queued int           // bytes in queue
	spare  []pending     // the empty array of a batch that is done, for the next queue
	shares map[Owner]int // the bytes in queue of each owner that has any
	// current is the batch under way; nil if there is none.
	current *batch
	closed  bool
	// failing tells that the last batch was given up. Until one succeeds, nothing is queued behind the batch under way.
	failing bool
	// wake is called when the lane has become ready or was closed.
	wake func()
}

// Owner is who causes a record. The owners of a partition share its queue. The zero value stands for nobody: only the queue's
// own bound counts.
type Owner struct {
	id     int64
	shares bool
}

// OwnedBy returns the owner with an id.
func OwnedBy(id int64) Owner { return Owner{id: id, shares: true} }

// pending is a record and whoever waits for its outcome.
type pending struct {
	record recordbatch.Record
	owner  Owner
	since  time.Time
	done   func(error)
}

// batch is a run of records that is sent as one until it has an outcome.
type batch struct {
	pending []pending
	size    int       // about what it takes, in bytes
	since   time.Time // when the oldest of them was queued
	// maybeSent tells that the broker may have the batch.
	maybeSent bool
	// answered tells that the deadline passed and those who wait were told.
	answered bool
}

const (
	// maxBatchBytes keeps batches below the brokers' default max.message.bytes of 1 MiB.
	maxBatchBytes = 512 << 10
	// maxBatchRecords bounds what one lost answer leaves unconfirmed.
	maxBatchRecords = 1000
)

func newLane(cluster *logclient.Cluster, options AppenderOptions, partition int) *lane {
	return &lane{
		sender:   &sender{cluster: cluster, topic: options.Topic, partition: partition},
		deadline: options.Deadline, queueBytes: options.QueueBytes, failed: options.Failed,
		logger:   options.Logger.With("topic", options.Topic, "partition", partition),
		observer: options.Observer,
		shares:   make(map[Owner]int),
		wake:     func() {},
	}
}

var (
	errShareFull   = &AppendError{Reason: "Too much of yours waits for the log."}
	errQueueFull   = &AppendError{Reason: "The log's queue is full."}
	errStuck       = &AppendError{Reason: "The log does not answer."}
	errClosed      = &AppendError{Reason: "The node is going away."}
	errUnconfirmed = &AppendError{Unconfirmed: true, Reason: "The append could not be confirmed."}
)

// outcome returns what those who wait get: nil for nil.
func (l *lane) outcome(err *AppendError) error {
	switch {
	case err == nil:
		return nil
	case l.failed == nil:
		return err
	default:
		return l.failed(err)
	}
}

// append queues a record, or refuses it at once.
func (l *lane) append(owner Owner, r recordbatch.Record, done func(error)) {
	now := time.Now()
	p := pending{record: r, owner: owner, since: now, done: done}
	l.mu.Lock()
	ready := false
	var refused *AppendError
	switch {
	case l.closed:
		refused = errClosed
	case l.current != nil && (l.failing || now.Sub(l.current.since) > l.deadline):
		refused = errStuck
	case l.queued+r.Size() > l.queueBytes:
		refused = errQueueFull
	case !l.hasShare(&p):
		refused = errShareFull
	default:
		ready = len(l.queue) == 0 && l.current == nil
		if l.queue == nil {
			l.queue, l.spare = l.spare, nil
		}
		l.queue = append(l.queue, p)
		l.count(&p, r.Size())
	}
	l.mu.Unlock()
	if refused != nil {
		l.observe(1, refused, now)
		done(l.outcome(refused))
		return
	}
	if ready {
		l.wake()
	}
}

// hasShare tells whether the record's owner may queue it. An owner may hold as much of the queue as is free. So n owners that want
// all of it leave 1/(n+1) of it to the others.
func (l *lane) hasShare(p *pending) bool {
	return !p.owner.shares || l.shares[p.owner]+p.record.Size() <= l.queueBytes-l.queued
}

// count adds bytes of a record to what is queued, or takes them off.
func (l *lane) count(p *pending, bytes int) {
	l.queued += bytes
	if !p.owner.shares {
		return
	}
	if l.shares[p.owner] += bytes; l.shares[p.owner] == 0 {
		delete(l.shares, p.owner)
	}
}

func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wake()
}

// state tells whether the lane may send a batch, and whether it is closed and done.
func (l *lane) state() (ready, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current == nil && len(l.queue) > 0, l.closed && l.current == nil && len(l.queue) == 0
}

// observe tells the observer what became of records, the oldest of which has waited since then.
func (l *lane) observe(records int, failure *AppendError, since time.Time) {
	switch {
	case l.observer == nil || records == 0:
	case failure == nil:
		l.observer.Appended(records, time.Since(since))
	default:
		l.observer.Failed(records, failure.Unconfirmed)
	}
}

// waiting returns how many bytes are queued.
func (l *lane) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queued
}

func (l *lane) stuck() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current != nil && time.Since(l.current.since) > l.deadline
}

// take makes the next batch of what is queued, nil of nothing.
func (l *lane) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	count, size := 0, 0
	for i := range l.queue {
		p := &l.queue[i]
		if count == maxBatchRecords || (count > 0 && size+p.record.Size() > maxBatchBytes) {
			break
		}
		count++
		size += p.record.Size()
	}
	if count == 0 {
		return nil
	}
	l.current = &batch{pending: l.queue[:count:count], size: size, since: l.queue[0].since}
	for i := range l.current.pending {
		p := &l.current.pending[i]
		l.count(p, -p.record.Size())
	}
	l.queue = l.queue[count:]
	if len(l.queue) == 0 {
		l.queue = nil // let go of the array: pending of done batches hang on it
	}
	return l.current
}

// finish tells everybody who waits for b its outcome, unless the deadline already did.
func (l *lane) finish(b *batch, failure *AppendError) {
	l.mu.Lock()
	l.current = nil
	l.failing = failure != nil && !failure.Unconfirmed
	answered := b.answered
	l.mu.Unlock()
	if answered {
		return
	}
	l.observe(len(b.pending), failure, b.since)
	outcome := l.outcome(failure)
	for _, p := range b.pending {
		p.done(outcome)
	}
	clear(b.pending)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = b.pending[:0]
}

// expire tells those who have waited for longer than the deadline: that the batch under way is unconfirmed, if it may have been
// sent, and that what is queued was not sent. It returns when to call it next.
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
		l.count(&l.queue[0], -l.queue[0].record.Size())
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
	l.observe(len(late), errUnconfirmed, now)
	l.observe(len(dropped), errStuck, now)
	for _, p := range late {
		p.done(l.outcome(errUnconfirmed))
	}
	for _, p := range dropped {
		p.done(l.outcome(errStuck))
	}
	return next
}

// sends notes that an attempt to send a batch begins, which until its end may have been sent. It returns whether an earlier one
// may have been.
func (l *lane) sends(b *batch) (maybeSent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maybeSent, b.maybeSent = b.maybeSent, true
	return maybeSent
}

// sent notes whether b may have been sent by an attempt or an earlier one.
func (l *lane) sent(b *batch, maybe bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.maybeSent = maybe
}

// deliver sends b alone until it has an outcome. A batch that may have been sent is sent again with its stamp until it is
// answered, and nothing overtakes it. One that surely was not is given up at the deadline. The end of ctx gives up either.
func (l *lane) deliver(ctx context.Context, b *batch) *AppendError {
	return l.conclude(ctx, b, attempt(ctx, []shipment{{l, b}}, func() {})[0])
}

// conclude takes a batch on from the result of an attempt, as deliver does.
func (l *lane) conclude(ctx context.Context, b *batch, result sendResult) *AppendError {
	records := len(b.pending)
	retry := logclient.Backoff{}
	for {
		switch {
		case result.verdict == verdictAppended:
			if l.complained {
				l.complained = false
				l.logger.Info("appends go through again")
			}
			return nil
		case result.verdict == verdictRefused && !b.maybeSent:
			l.logger.Error("the broker refuses a batch", "records", records, "error", result.err)
			return &AppendError{Reason: "The log refused the event.", Cause: result.err}
		case result.verdict == verdictRefused:
			l.sender.bump() // else the next batch could be taken for this one, and be lost
			l.logger.Error("the broker refuses a batch that it may already have", "records", records, "error", result.err)
			return errUnconfirmed
		case ctx.Err() != nil && b.maybeSent:
			return errUnconfirmed
		case ctx.Err() != nil:
			return errClosed
		}
		if !l.complained {
			l.complained = true
			l.logger.Warn("an append has no answer yet, sending it again", "records", records, "error", result.err)
		}
		l.pause(ctx, b, &retry)
		if !b.maybeSent && time.Since(b.since) >= l.deadline {
			return &AppendError{Reason: "The log cannot be reached.", Cause: result.err}
		}
		result = attempt(ctx, []shipment{{l, b}}, func() {})[0]
	}
}

// pause waits before the next attempt. It ends at the deadline of a batch that was never sent: with another attempt under way,
// that would count as one that may have been.
func (l *lane) pause(ctx context.Context, b *batch, retry *logclient.Backoff) {
	again, late := retry.Timer(), time.NewTimer(time.Until(b.since.Add(l.deadline)))
	defer again.Stop()
	defer late.Stop()
	if b.maybeSent {
		late.Stop()
	}
	select {
	case <-again.C:
	case <-late.C:
	case <-ctx.Done():
	}
}
