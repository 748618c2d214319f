// Package projector takes the log of conversations into the history: it reads, and history.ProjectionStore writes. It also
// carries the wishes that the history follow the log sooner.
package projector

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/groups"
	"chatting/application/history"
	"chatting/application/moderation"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// Options say what the projector reads and where it takes it.
type Options struct {
	Topic      string // of conversations
	Partitions int    // of the topic
	Group      string
	Database   string // the id of the database, which all members of the group share
	Store      history.ProjectionStore
	// Acts are what the platform did to users; nil if nothing is known of that.
	Acts moderation.Loaded
	// Retention is how far the history reaches back.
	Retention time.Duration
	// Embedded tells that the broker is in this process. A log of an embedded broker that ends before what was projected was made
	// anew. Of several brokers, a deposed one may say so, too.
	Embedded bool
	Logger   *slog.Logger
	// Notices take the log lines about records; nil makes some that write to Logger.
	Notices *notice.Log
	// Delay is for how long events may wait to be projected together, unless Flushes asks for them sooner.
	Delay   time.Duration
	Flushes *Flushes // nil: nobody asks
	// Traces has the spans of events that are projected.
	Traces port.Traces

	beats <-chan time.Time // as logclient.TailOptions.Beats
}

// Projector takes the log of conversations into the history: a consumer group over all nodes. Its place in the log is in the
// database, and moves in the transactions that write the history. So nothing is missing and nothing doubled, even if two nodes
// project the same partition. What fails is tried until it succeeds.
//
// Live chat comes first: one tail reads all partitions of the node and rests between two beats. What it finds is written in one
// transaction.
type Projector struct {
	cluster *logclient.Cluster
	options Options
	says    rate.Sometimes // for the log lines about failures
}

// New prepares a projector.
func New(cluster *logclient.Cluster, options Options) *Projector {
	if options.Notices == nil {
		options.Notices = notice.NewLog(options.Logger, time.Now)
	}
	if options.Flushes == nil {
		options.Flushes = NewFlushes(nil)
	}
	return &Projector{cluster: cluster, options: options, says: rate.Sometimes{First: 3, Interval: 10 * time.Second}}
}

const (
	// session is after how long a dead node's partitions are projected by others: the shortest that brokers allow by default
	// (group.min.session.timeout.ms).
	session = 6 * time.Second
	// locateTimeout bounds asking where the partitions begin and end.
	locateTimeout = 10 * time.Second
	// watchEvery is how often the projector looks whether somebody wants something projected again.
	watchEvery = time.Second
)

// trace records that events were written, or could not be, in a transaction that began a while ago. Each is part of its own trace.
func (p *Projector) trace(batch history.ProjectionBatch, began time.Time, err error) {
	if !p.options.Traces.IsOn() {
		return
	}
	at := batch.From.Next
	for _, e := range batch.Events {
		if e.Event.Trace == "" {
			continue
		}
		span := p.options.Traces.ChildSince(port.SpanProject, e.Event.Trace, began)
		at.Offset = e.Offset
		span.SetPlace(p.options.Topic, at)
		span.SetEvent(e.Event.ID)
		span.End(err)
	}
}

// Run projects until ctx ends.
func (p *Projector) Run(ctx context.Context) error {
	options := kafka.GroupOptions(p.options.Group, p.options.Topic, p.options.Database)
	options.Session, options.What, options.Logger = session, "history", p.options.Logger
	return groups.Run(ctx, p.cluster, options, p.serve)
}

// serve projects the partitions of one generation until it ends.
func (p *Projector) serve(ctx context.Context, _ *groups.Generation, assignments []groups.Assignment) error {
	reader := newReader(ctx, p)
	partitions := make(map[int]*partition, len(assignments))
	for _, assignment := range assignments {
		partitions[assignment.Partition] = p.partition(assignment.Partition)
		partitions[assignment.Partition].reader = reader
	}
	defer p.options.Flushes.projects(slices.Collect(maps.Keys(partitions)))()
	var running sync.WaitGroup
	running.Go(func() { reader.run(ctx) })
	for _, partition := range partitions {
		running.Go(func() { partition.run(ctx) })
	}
	running.Go(func() { p.watch(ctx, partitions) })
	running.Wait()
	return nil
}

func (p *Projector) partition(number int) *partition {
	return &partition{projector: p, number: number, logger: p.options.Logger.With("partition", number)}
}

// watch ends the reading of partitions that were moved back in the database.
func (p *Projector) watch(ctx context.Context, partitions map[int]*partition) {
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
				was.stop(history.ErrProjectionMoved)
			}
		}
	}
}

// partition is one partition's projection.
type partition struct {
	projector *Projector
	number    int
	logger    *slog.Logger
	reader    *reader                  // nil if it is only rebuilt
	progress  atomic.Pointer[progress] // nil before it reads

	// pastEnd is since when the log ends before what was projected; zero while it does not.
	pastEnd time.Time
	// lostUntil is up to where the tail found the log unreadable, or gone.
	lostUntil int64
}

// progress is how far a partition's projection has come at least, and what ends its reading.
type progress struct {
	next domain.Place
	stop context.CancelCauseFunc
}

// run projects until ctx ends. After a failure it goes on from what the database says is next.
func (p *partition) run(ctx context.Context) {
	retry := logclient.Backoff{}
	for ctx.Err() == nil {
		moved, err := p.follow(ctx)
		if moved {
			retry = logclient.Backoff{}
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, errInterrupted), errors.Is(err, history.ErrProjectionMoved):
			p.logger.Debug("history: looking where to go on", "cause", err)
		case err != nil:
			p.projector.says.Do(func() { p.logger.Warn("history: will try again", "error", err) })
		}
		retry.Wait(ctx)
	}
}

// follow projects from what is next until something fails, and tells whether it projected anything.
func (p *partition) follow(ctx context.Context) (moved bool, err error) {
	at, err := p.locate(ctx)
	if err != nil {
		return false, err
	}
	if err := p.reader.loadActs(ctx); err != nil {
		return false, err
	}
	invites, err := p.recall(ctx, at.Next.Offset)
	if err != nil {
		return false, err
	}
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	h := &projection{partition: p, ctx: reading, stop: stop, at: at, invites: invites, quiet: newQuietBlocks()}
	p.progress.Store(&progress{next: at.Next, stop: stop})
	if !p.reader.read(reading, h) {
		return false, nil // ctx has ended
	}
	return h.at != at, context.Cause(reading)
}

// errInterrupted says that the partition could not be read for a while. Its topic may have been made anew meanwhile.
var errInterrupted = errors.New("the log was interrupted")
