// Package ingest delivers the system messages that other programs write to the log, in whatever form they have, and keeps what
// cannot be delivered as dead letters, which operators look at and replay.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/groups"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/async"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// SystemMessages is the use case that a system message goes through, by whichever way it came: messaging.SendSystemMessage.
type SystemMessages interface {
	// Execute returns the event once it is durable, or CodeNoUserOrOffline, CodeUnavailable or CodeUnconfirmed.
	Execute(ctx context.Context, command messaging.SystemMessageCommand) (domain.Event, error)
}

// Options say what the ingest reads and where it takes it.
type Options struct {
	Topic string
	Group string
	// Database is the id of the database, which all members of the group share.
	Database string
	// Messages delivers.
	Messages SystemMessages
	// DeadLetters appends to the topic of what cannot be delivered.
	DeadLetters *appending.Appender
	// Presence waits until this node knows of everybody who was online when it was called: a user may have logged in on
	// another node a moment ago. Only then is a user taken to be offline.
	Presence func(ctx context.Context) error
	Logger   *slog.Logger
	// Notices take the log lines about single records; nil makes some that write to Logger.
	Notices *notice.Log
	// Observer is told what becomes of the records; nil: nobody is.
	Observer Observer
	// Traces has the spans of records.
	Traces port.Traces
}

// Observer is told what becomes of records. Its methods are called by many goroutines and must not block.
type Observer interface {
	// Delivered tells that a record was delivered.
	Delivered()
	// Buried tells that a record became a dead letter, with one of DeadCodes.
	Buried(code string)
}

// Ingest delivers the system messages that other programs write to a topic: a consumer group over all nodes. It delivers each
// record at least once, always under the same event id. What cannot be delivered becomes a dead letter; what cannot be delivered
// now is tried until it can. Messages to one user keep the order of their partition.
type Ingest struct {
	cluster *logclient.Cluster
	options Options
	waits   rate.Sometimes // for the log lines
}

// New prepares an ingest.
func New(cluster *logclient.Cluster, options Options) *Ingest {
	if options.Notices == nil {
		options.Notices = notice.NewLog(options.Logger, time.Now)
	}
	return &Ingest{cluster: cluster, options: options, waits: rate.Sometimes{Interval: 10 * time.Second}}
}

const (
	// session is after how long a dead node's partitions are read by others: the shortest that brokers allow by
	// default (group.min.session.timeout.ms).
	session = 6 * time.Second
	// maxUncommitted bounds the records that a node has under way, and so how many are delivered again if it dies. It is the
	// number of ids that delivery remembers for each user (delivery.Delivery): even if all were for one user, that user's
	// connections on other nodes would see none of them twice.
	maxUncommitted = 1024
	// maxRun is of how many records a run is at most: enough for a batch of the log, few enough to commit often.
	maxRun = 64
	// maxUnderWay bounds the bytes of the records that a node has under way.
	maxUnderWay = 32 << 20
	// locateTimeout bounds asking where the partitions begin and end.
	locateTimeout = 10 * time.Second
)

// Run reads until ctx ends.
func (i *Ingest) Run(ctx context.Context) error {
	options := kafka.GroupOptions(i.options.Group, i.options.Topic, i.options.Database)
	options.Session, options.What, options.Logger = session, "system messages", i.options.Logger
	return groups.Run(ctx, i.cluster, options, i.serve)
}

// serve reads the partitions of one generation until it ends.
func (i *Ingest) serve(ctx context.Context, generation *groups.Generation, assignments []groups.Assignment) error {
	locating, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	from, err := groups.Begin(locating, i.cluster, i.options.Topic, assignments)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	commits := newCommits(ctx, generation.Commit)
	handler := &handler{
		ctx: ctx, stop: stop, options: i.options, partitions: make(map[int]*partition),
		run: runLength(len(assignments)), underWay: semaphore.NewWeighted(maxUnderWay),
	}
	var running sync.WaitGroup
	for number := range from {
		p := &partition{ingest: i, number: number, commits: commits, runs: make(chan run), underWay: handler.underWay}
		handler.partitions[number] = p
		running.Go(func() { stop(p.serve(ctx)) })
	}
	stop(logclient.NewTail(i.cluster, logclient.TailOptions{
		Topic: i.options.Topic, From: from, Handler: handler, Logger: i.options.Logger, MaxBatch: logclient.MaxForeignBatch,
	}).Run(ctx))
	running.Wait()
	commits.Wait()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.Canceled), groups.IsOver(cause):
		return nil
	default:
		return cause
	}
}

// runLength returns of how many records a run is at most on a node that reads so many partitions.
func runLength(partitions int) int { return max(1, min(maxRun, maxUncommitted/partitions)) }

// handler hands copies of the records to the goroutine of their partition, and waits while that has enough.
type handler struct {
	ctx        context.Context //nolint:containedctx // the generation's: it ends with it, as the handler does
	stop       context.CancelCauseFunc
	options    Options
	partitions map[int]*partition
	run        int // how many records are handed over at once
	underWay   *semaphore.Weighted
}

// Record implements logclient.TailHandler.
func (h *handler) Record(r *recordbatch.StoredRecord) {
	h.collect(copyRecord(h.options.Topic, r), r.Offset+1)
}

// LeftOut implements logclient.TailHandler: what cannot be read becomes dead letters, too.
func (h *handler) LeftOut(left recordbatch.LeftOut) {
	records := recordsOf(h.options.Topic, left)
	for i, r := range records {
		next := r.offset + 1
		if i == len(records)-1 {
			next = left.To
		}
		h.collect(r, next)
	}
}

// collect takes a record, the next one after which is next.
func (h *handler) collect(r foreignRecord, next int64) {
	p := h.partitions[r.partition]
	if !h.underWay.TryAcquire(r.bytes()) {
		if len(p.collected) > 0 {
			h.handOver(p, r.offset)
		}
		if h.underWay.Acquire(h.ctx, r.bytes()) != nil {
			return // nothing is committed any more
		}
	}
	p.collected = append(p.collected, r)
	if len(p.collected) == h.run {
		h.handOver(p, next)
	}
}

// BatchEnd implements logclient.TailHandler.
func (h *handler) BatchEnd(partition int, next int64) {
	h.handOver(h.partitions[partition], next)
}

func (h *handler) handOver(p *partition, next int64) {
	r := run{records: p.collected, next: next}
	p.collected = nil
	select {
	case p.runs <- r:
	case <-h.ctx.Done():
	}
}

// Hole implements logclient.TailHandler.
func (h *handler) Hole(partition int, from, to int64) {
	if to < from {
		h.stop(errMadeAnew) // what is in it already is to be read, too
		return
	}
	h.options.Logger.Error("system messages were lost unread", "partition", partition, "from", from, "to", to)
}

var errMadeAnew = errors.New("the topic was made anew")

// run is a run of records of one partition that is committed as one.
type run struct {
	records []foreignRecord
	next    int64
}

// partition is one partition's ingest.
type partition struct {
	ingest  *Ingest
	number  int
	commits commits
	runs    chan run

	collected []foreignRecord // the handler's own
	underWay  *semaphore.Weighted
}

// serve delivers run after run until ctx ends or a commit fails.
func (p *partition) serve(ctx context.Context) error {
	for {
		select {
		case r := <-p.runs:
			if !p.deliverAll(ctx, r.records) {
				return ctx.Err()
			}
			// Also if ctx has ended meanwhile: this node is still a member, and nothing has to be delivered again.
			if err := p.commits.commit(p.number, r.next); err != nil {
				return fmt.Errorf("committing partition %d: %w", p.number, err)
			}
			for i := range r.records {
				p.underWay.Release(r.records[i].bytes())
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deliverAll delivers records side by side, those to one user one after the other. It is false if ctx has ended before.
func (p *partition) deliverAll(ctx context.Context, records []foreignRecord) bool {
	var all sync.WaitGroup
	var left atomic.Int64 // records that are neither
	left.Store(int64(len(records)))
	settle := func(settled bool) {
		if settled {
			left.Add(-1)
		}
	}
	chains := make(map[domain.UserID][]func())
	for _, record := range records {
		command, refused := record.systemMessage()
		if refused != nil {
			all.Go(func() { settle(p.ingest.bury(ctx, record, refused)) })
			continue
		}
		target := command.Message.To
		chains[target] = append(chains[target], func() { settle(p.ingest.deliver(ctx, record, command)) })
	}
	for _, chain := range chains {
		all.Go(func() {
			for _, deliver := range chain {
				deliver()
			}
		})
	}
	all.Wait()
	return left.Load() == 0
}

// deliver delivers one record, or makes it a dead letter. It tries until it has done either, or ctx ends: then it is false.
func (i *Ingest) deliver(ctx context.Context, record foreignRecord, command messaging.SystemMessageCommand) bool {
	span := i.begin(&record, command)
	defer span.EndAs("", false)
	ctx = span.In(ctx)
	retry := logclient.Backoff{}
	for ctx.Err() == nil {
		err := i.send(ctx, command)
		if err == nil {
			if i.options.Observer != nil {
				i.options.Observer.Delivered()
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if refused := permanent(err); refused != nil {
			span.SetText(port.KeyError, refused.code)
			return i.bury(ctx, record, refused)
		}
		i.waits.Do(func() { i.options.Logger.Warn("system messages cannot be delivered now, trying again", "error", err) })
		retry.Wait(ctx)
	}
	return false
}

// begin begins the span of a record.
func (i *Ingest) begin(record *foreignRecord, command messaging.SystemMessageCommand) port.Span {
	if !i.options.Traces.IsOn() {
		return port.Span{} // nobody looks for the trace of the record
	}
	span := i.options.Traces.Root(port.SpanIngest, record.trace())
	span.SetPlace(record.topic, domain.Place{Partition: record.partition, Offset: record.offset})
	span.SetEvent(command.ID)
	return span
}

// send hands a message to the use case, a second time where its user seems to be offline.
func (i *Ingest) send(ctx context.Context, command messaging.SystemMessageCommand) error {
	_, err := i.options.Messages.Execute(ctx, command)
	if domain.CodeOf(err) != domain.CodeNoUserOrOffline {
		return err
	}
	if err := i.options.Presence(ctx); err != nil {
		return err
	}
	_, err = i.options.Messages.Execute(ctx, command)
	return err
}

// permanent returns the refusal that an error of the use case comes to; nil where trying again may help.
func permanent(err error) *refusedError {
	switch domain.CodeOf(err) {
	case domain.CodeNoUserOrOffline:
		return &refusedError{DeadNoUserOrOffline, "No User or Offline"}
	case domain.CodeBadMessage, domain.CodeBadTarget, domain.CodeBadFrame, domain.CodeTooLong:
		return &refusedError{DeadInvalidMessage, err.Error()}
	default:
		return nil
	}
}

// bury appends a dead letter. It tries until that is durable, or ctx ends: then it is false. An append that was not confirmed may
// leave the letter there twice.
func (i *Ingest) bury(ctx context.Context, r foreignRecord, why *refusedError) bool {
	i.options.Notices.Warn("a system message becomes a dead letter", slog.Int("partition", r.partition),
		slog.Int64("offset", r.offset), slog.String("code", why.code), slog.Any("error", why))
	appender := i.options.DeadLetters
	letter := r.deadLetter(why)
	retry := logclient.Backoff{}
	for {
		err := appender.Await(ctx, r.partition%appender.Partitions(), letter)
		if err == nil {
			if i.options.Observer != nil {
				i.options.Observer.Buried(why.code)
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if errors.Is(err, kafkago.MessageSizeTooLarge) {
			letter = shortened(letter)
		}
		i.waits.Do(func() { i.options.Logger.Warn("a dead letter cannot be written now, trying again", "error", err) })
		retry.Wait(ctx)
	}
}

// commits are those of one generation. Partitions that commit while a commit is under way share the next.
type commits struct {
	*async.Rounds[committed, struct{}]
}

// committed is up to where a partition is done.
type committed struct {
	partition int
	offset    int64
}

// newCommits commits as long as ctx, the generation's, does not end. A commit is bounded by a timeout of its own.
func newCommits(ctx context.Context, commit func(context.Context, map[int]int64) error) commits {
	return commits{async.NewRounds(0, func(partitions []committed) (struct{}, error) {
		offsets := make(map[int]int64, len(partitions))
		for _, c := range partitions {
			offsets[c.partition] = c.offset
		}
		return struct{}{}, commit(ctx, offsets)
	})}
}

// commit returns once the group has the offset, or why it has not.
func (c commits) commit(partition int, offset int64) error {
	_, _, err := c.Ask(context.Background(), committed{partition, offset})
	return err
}
