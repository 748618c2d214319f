package kafka

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"chatting/application"
	"chatting/domain"
)

// ProjectorOptions say what the projector reads and where it takes it.
type ProjectorOptions struct {
	Topic      string // of conversations
	Partitions int    // of the topic
	Group      string
	Database   string // the id of the database, which all members of the group share
	Store      application.ProjectionStore
	// Retention is how far the history reaches back.
	Retention time.Duration
	// Embedded tells that the broker is in this process, so that a log that ends before what was projected was made anew.
	// Of several brokers one that was deposed may say so, too: they are believed once they have said so for a while.
	Embedded bool
	Logger   *slog.Logger
	// Notices take the log lines about records; nil makes some that write to Logger.
	Notices *application.Notices
}

// Projector takes the log of conversations into the history: a consumer group over all nodes, so that one node does it for
// each partition. How far it is stands in the database, and moves in the transactions that write the history, so that
// whatever is killed, or does the same at once, nothing is missing and nothing doubled. What fails is tried until it can
// be done; nothing is left out but what is no event of this server.
type Projector struct {
	cluster *Cluster
	options ProjectorOptions
	says    rate.Sometimes // for the log lines about failures
	// unpacking bounds the batches that the tails of the partitions hold unpacked.
	unpacking *semaphore.Weighted
}

// NewProjector prepares a projector.
func NewProjector(cluster *Cluster, options ProjectorOptions) *Projector {
	if options.Notices == nil {
		options.Notices = application.NewNotices(options.Logger, now)
	}
	return &Projector{
		cluster: cluster, options: options, says: rate.Sometimes{First: 3, Interval: 10 * time.Second},
		unpacking: semaphore.NewWeighted(maxUnpacking),
	}
}

const (
	// projectorSession is after how long a dead node's partitions are projected by others: see ingestSession.
	projectorSession = 6 * time.Second
	// maxProjected and maxProjectedBytes bound what is projected in one transaction.
	maxProjected      = 1000
	maxProjectedBytes = 4 << 20
	// maxUnpacking bounds the batches that are held unpacked, of all partitions together. Few batches are packed at all.
	maxUnpacking = 4
	// watchEvery is how often the projector looks whether somebody wants something projected again.
	watchEvery = time.Second
)

// Run projects until ctx ends.
func (p *Projector) Run(ctx context.Context) error {
	return runGroup(ctx, p.cluster, groupOptions{
		ID: p.options.Group, Topic: p.options.Topic, Database: p.options.Database, Session: projectorSession,
		What: "history", Logger: p.options.Logger,
	}, p.serve)
}

// serve projects the partitions of one generation, each on its own, until it ends.
func (p *Projector) serve(ctx context.Context, _ *generation, assignments []assignment) error {
	var running sync.WaitGroup
	partitions := make(map[int]*projectedPartition, len(assignments))
	for _, assignment := range assignments {
		partition := &projectedPartition{projector: p, number: assignment.ID}
		partitions[assignment.ID] = partition
		running.Go(func() { partition.run(ctx) })
	}
	running.Go(func() { p.watch(ctx, partitions) })
	running.Wait()
	return nil
}

// watch has partitions that were moved back look where to go on: one that waits at the end of its log would not find out.
func (p *Projector) watch(ctx context.Context, partitions map[int]*projectedPartition) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		before := make(map[int]*progress, len(partitions))
		for number, partition := range partitions {
			before[number] = partition.progress.Load()
		}
		stored, err := p.options.Store.Projections(ctx)
		if err != nil {
			continue // whoever has something to project says so
		}
		for _, at := range stored {
			if was := before[at.Next.Partition]; was != nil && at.Next.Before(was.next) {
				was.stop(application.ErrProjectionMoved)
			}
		}
	}
}

// projectedPartition is one partition's projection.
type projectedPartition struct {
	projector *Projector
	number    int
	progress  atomic.Pointer[progress] // nil before it reads

	// pastEnd is since when the log ends before what was projected; zero while it does not.
	pastEnd time.Time
	// lostUntil is up to where the tail found the log unreadable, or gone.
	lostUntil int64
}

// progress is how far a partition's projection has come at least, and what ends its reading.
type progress struct {
	next application.LogPosition
	stop context.CancelCauseFunc
}

// run projects until ctx ends: after any failure from what the database says is next.
func (p *projectedPartition) run(ctx context.Context) {
	retry := backoff{}
	for ctx.Err() == nil {
		moved, err := p.follow(ctx)
		if moved {
			retry = backoff{}
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, errInterrupted), errors.Is(err, application.ErrProjectionMoved):
			p.logger().Debug("history: looking where to go on", "cause", err)
		case err != nil:
			p.projector.says.Do(func() { p.logger().Warn("history: will try again", "error", err) })
		}
		retry.wait(ctx)
	}
}

func (p *projectedPartition) logger() *slog.Logger {
	return p.projector.options.Logger.With("partition", p.number)
}

// follow projects from what is next until something fails, and tells whether it projected anything.
func (p *projectedPartition) follow(ctx context.Context) (moved bool, err error) {
	at, err := p.locate(ctx)
	if err != nil {
		return false, err
	}
	invites, err := p.recall(ctx, at.Next.Offset)
	if err != nil {
		return false, err
	}
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	handler := &projection{partition: p, ctx: reading, stop: stop, at: at, invites: invites, quiet: newQuietBlocks()}
	p.progress.Store(&progress{next: at.Next, stop: stop})
	err = NewTail(p.projector.cluster, TailOptions{
		Topic: p.projector.options.Topic, From: map[int]int64{p.number: at.Next.Offset}, Handler: handler,
		Interrupted: func() { stop(errInterrupted) }, Logger: p.projector.options.Logger, Unpacking: p.projector.unpacking,
	}).Run(reading)
	return handler.at != at, errors.Join(err, context.Cause(reading))
}

// errInterrupted says that the partition could not be read for a while, in which its topic may have been made anew.
var errInterrupted = errors.New("the log was interrupted")

// projection is the handler of a partition's tail.
type projection struct {
	partition *projectedPartition
	ctx       context.Context //nolint:containedctx // the tail's: it ends with it, as the handler does
	stop      context.CancelCauseFunc
	at        application.Projection // what is in the database

	// invites is what became of invites up to the last record.
	invites *domain.Invites
	// quiet and supersedes tell which changes of blocks need not be kept.
	quiet      *quietBlocks
	supersedes map[int64]int64

	events []application.ProjectedEvent
	bytes  int
	// last is the last record that was read, be it an event or not; nil before the first.
	last *loggedRecord
	// skipped counts the records since the last transaction that are no events of this server.
	skipped int
}

// Record implements TailHandler.
func (h *projection) Record(r *TailRecord) {
	if h.ctx.Err() != nil {
		return
	}
	value := bytes.Clone(r.Value)
	h.last = &loggedRecord{offset: r.Offset, at: r.Time, key: bytes.Clone(r.Key), value: value}
	event, frame, err := h.partition.open(r.Key, value)
	h.followBlocks(r, event, err)
	if err != nil {
		h.skipped++
		return
	}
	verdict := h.invites.Apply(event, r.Time)
	if verdict == domain.InviteVoid {
		return
	}
	h.events = append(h.events, application.ProjectedEvent{
		Offset: r.Offset, Event: event, Frame: frame, Unseen: verdict == domain.InviteUnseen,
	})
	if h.bytes += len(frame); len(h.events) == maxProjected || h.bytes >= maxProjectedBytes {
		h.project(r.Offset + 1)
	}
}

// followBlocks notes what a record means for the changes of blocks that need not be kept. err tells that it is no event of
// this server; another version may find one in it.
func (h *projection) followBlocks(r *TailRecord, event domain.Event, err error) {
	change, ok := event.Body.(domain.BlockChanged)
	if err == nil && ok {
		if before, quiet := h.quiet.changed(change, r.Offset); quiet {
			if h.supersedes == nil {
				h.supersedes = make(map[int64]int64)
			}
			h.supersedes[r.Offset] = before
		}
		return
	}
	if conversation, ok := domain.ParseConversation(r.Key); ok {
		h.quiet.said(conversation)
	}
}

// open reads an event that stands where it belongs: of a conversation in another partition it could be in no order with the
// others.
func (p *projectedPartition) open(key, value []byte) (domain.Event, []byte, error) {
	conversation, ok := domain.ParseConversation(key)
	if !ok || value == nil || p.projector.partitionOf(key) != p.number {
		return domain.Event{}, nil, errForeign
	}
	return decodeEvent(conversation, value)
}

var errForeign = errors.New("no event of this server")

func (p *Projector) partitionOf(key []byte) int {
	return partitionOf(key, partitionNumbers(p.options.Partitions))
}

// BatchEnd implements TailHandler.
func (h *projection) BatchEnd(_ int, next int64) { h.project(next) }

// project writes what was read before next.
func (h *projection) project(next int64) {
	if h.ctx.Err() != nil || next <= h.at.Next.Offset {
		return
	}
	options := h.partition.projector.options
	to := h.at
	to.Next.Offset = next
	if h.last != nil {
		to.Last, to.Fingerprint = h.last.offset, h.last.fingerprint()
	}
	err := options.Store.Project(h.ctx, application.ProjectionBatch{
		From: h.at, To: to, Events: h.events, Retention: options.Retention, Supersedes: h.supersedes,
	})
	if err != nil {
		h.stop(err)
		return
	}
	if h.skipped > 0 {
		options.Notices.Warn("history: left out records that are no events of this server",
			slog.Int("partition", h.partition.number), slog.Int("records", h.skipped), slog.Int64("before", next))
	}
	h.partition.progress.Store(&progress{next: to.Next, stop: h.stop})
	clear(h.events)
	clear(h.supersedes)
	h.at, h.events, h.bytes, h.skipped = to, h.events[:0], 0, 0
}

// LeftOut implements TailHandler. No node wrote that.
func (h *projection) LeftOut(left LeftOut) {
	h.quiet.unread()
	h.skipped += int(left.To - left.From)
}

// Hole implements TailHandler.
func (h *projection) Hole(_ int, from, to int64) {
	if to < from {
		h.partition.pastEnd = time.Unix(0, 0) // the tail has waited
	} else {
		h.partition.lostUntil = to
	}
	h.stop(errHole)
}

var errHole = errors.New("the log has a hole")
