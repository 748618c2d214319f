package kafka

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

	"chatting/application"
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
	// Delay is for how long what was said may wait until it is projected with what comes after it, unless Flushes asks for it
	// sooner. 0: it is projected as it comes.
	Delay   time.Duration
	Flushes *HistoryFlushes // nil: nobody asks

	beats <-chan time.Time // as TailOptions.beats
}

// Projector takes the log of conversations into the history: a consumer group over all nodes, so that one node does it for
// each partition. How far it is stands in the database, and moves in the transactions that write the history, so that
// whatever is killed, or does the same at once, nothing is missing and nothing doubled. What fails is tried until it can
// be done; nothing is left out but what is no event of this server.
//
// Live chat comes first: one tail reads all partitions of the node, rests between two beats, and what it finds then is
// written in one transaction.
type Projector struct {
	cluster *Cluster
	options ProjectorOptions
	says    rate.Sometimes // for the log lines about failures
}

// NewProjector prepares a projector.
func NewProjector(cluster *Cluster, options ProjectorOptions) *Projector {
	if options.Notices == nil {
		options.Notices = application.NewNotices(options.Logger, now)
	}
	if options.Flushes == nil {
		options.Flushes = NewHistoryFlushes(nil)
	}
	return &Projector{cluster: cluster, options: options, says: rate.Sometimes{First: 3, Interval: 10 * time.Second}}
}

const (
	// projectorSession is after how long a dead node's partitions are projected by others: see ingestSession.
	projectorSession = 6 * time.Second
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

// serve projects the partitions of one generation until it ends.
func (p *Projector) serve(ctx context.Context, _ *generation, assignments []assignment) error {
	reader := newProjectionReader(ctx, p)
	partitions := make(map[int]*projectedPartition, len(assignments))
	for _, assignment := range assignments {
		partitions[assignment.ID] = &projectedPartition{projector: p, number: assignment.ID, reader: reader}
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
	reader    *projectionReader
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
	h := &projection{partition: p, ctx: reading, stop: stop, at: at, invites: invites, quiet: newQuietBlocks()}
	p.progress.Store(&progress{next: at.Next, stop: stop})
	if !p.reader.read(reading, h) {
		return false, nil // ctx has ended
	}
	return h.at != at, context.Cause(reading)
}

// errInterrupted says that the partition could not be read for a while, in which its topic may have been made anew.
var errInterrupted = errors.New("the log was interrupted")
