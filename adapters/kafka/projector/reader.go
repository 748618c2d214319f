package projector

import (
	"context"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/history"
	"chatting/application/moderation"
	"chatting/domain"
)

// reader reads the partitions that a node projects with one tail, and writes what an answer has of all of them in
// one transaction. It is the handler of the tail. Its fields are used by the tail's goroutine alone.
type reader struct {
	projector *Projector
	ctx       context.Context //nolint:containedctx // the generation's: it ends with it, as the reader does
	tail      *logclient.Tail
	// acts are what the platform did to users, as far as was read. They are forgotten by the time of the log: see forgetActs.
	acts *moderation.Register
	// of are the partitions that are read. waiting are those of which something is read and not yet written.
	of      map[int]*projection
	waiting []*projection
	// events and bytes are how much that is.
	events, bytes int
}

const (
	// maxProjected and maxProjectedBytes bound what is projected in one transaction.
	maxProjected      = 1000
	maxProjectedBytes = 4 << 20
)

func newReader(ctx context.Context, p *Projector) *reader {
	r := &reader{projector: p, ctx: ctx, of: make(map[int]*projection)}
	r.acts = moderation.NewRegister(p.options.Partitions, time.Now)
	r.tail = logclient.NewTail(p.cluster, logclient.TailOptions{
		Topic: p.options.Topic, Handler: r, Through: r.write, Logger: p.options.Logger,
		Interrupted: func(partition int) { r.of[partition].stop(errInterrupted) },
		Rest:        p.options.Delay, Beats: p.options.beats,
	})
	return r
}

// loadActs takes over the acts that the store knows, and where they stand. Each partition does so once its place is known: by that
// the store tells whether a place is one of this topic.
func (r *reader) loadActs(ctx context.Context) error {
	if r.projector.options.Acts == nil {
		return nil
	}
	return r.acts.Load(ctx, r.projector.options.Acts, time.Now())
}

// run reads until ctx ends, sooner than at the next beat if somebody wishes for it.
func (r *reader) run(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		paced(ctx, r.projector.options.Flushes.heard, flushEvery, r.tail.Wake)
	}()
	_ = r.tail.Run(ctx) // it ends with ctx, without an error
	<-ended
}

// read has a partition read until reading, its context, ends. It is false if that of the generation has ended; then h may
// still be in use.
func (r *reader) read(reading context.Context, h *projection) bool {
	number := h.partition.number
	h.reader = r
	if !r.tail.Between(r.ctx, func() {
		r.of[number] = h
		r.tail.Add(number, h.at.Next.Offset)
	}) {
		return false
	}
	<-reading.Done()
	return r.tail.Between(r.ctx, func() {
		delete(r.of, number)
		r.tail.Remove(number)
	})
}

// Record implements logclient.TailHandler.
func (r *reader) Record(record *recordbatch.StoredRecord) { r.of[record.Partition].record(record) }

// BatchEnd implements logclient.TailHandler.
func (r *reader) BatchEnd(partition int, next int64) { r.of[partition].readUpTo(next) }

// LeftOut implements logclient.TailHandler. No node wrote that.
func (r *reader) LeftOut(left recordbatch.LeftOut) { r.of[left.Partition].leftOut(left) }

// Hole implements logclient.TailHandler.
func (r *reader) Hole(partition int, from, to int64) { r.of[partition].hole(from, to) }

// write writes what was read of all partitions.
func (r *reader) write() {
	var (
		written []*projection
		batches []history.ProjectionBatch
	)
	for _, h := range r.waiting {
		if h.waits = false; h.ctx.Err() == nil {
			written, batches = append(written, h), append(batches, h.batch())
		}
	}
	clear(r.waiting)
	r.waiting, r.events, r.bytes = r.waiting[:0], 0, 0
	began := r.projector.options.Traces.Now()
	for i, err := range r.project(batches) {
		r.projector.trace(batches[i], began, err)
		written[i].wrote(batches[i], err)
	}
	r.forgetActs()
}

// forgetActs drops acts that have no meaning where any of the partitions is read. The log may be read from far back, so the time is
// that of the partition which is farthest behind. An act stands in all of them, so one that is idle holds nothing up for long.
func (r *reader) forgetActs() {
	behind := time.Time{}
	for _, h := range r.of {
		if h.latest.IsZero() {
			return // nothing of it was read: it may begin far back
		}
		if behind.IsZero() || h.latest.Before(behind) {
			behind = h.latest
		}
	}
	if !behind.IsZero() {
		r.acts.ForgetAsOf(behind)
	}
}

// project projects batches in one transaction. If that fails, each gets one of its own, so that one partition cannot hold up the
// others. It returns the outcome of each.
func (r *reader) project(batches []history.ProjectionBatch) []error {
	store, outcomes := r.projector.options.Store, make([]error, len(batches))
	if len(batches) == 0 {
		return nil
	}
	err := store.Project(r.ctx, batches...)
	if err == nil {
		return outcomes
	}
	if len(batches) == 1 {
		return []error{err}
	}
	away := 0
	for i, batch := range batches {
		if away == maxAway {
			outcomes[i] = err
			continue
		}
		outcomes[i] = store.Project(r.ctx, batch)
		if domain.CodeOf(outcomes[i]) == domain.CodeUnavailable {
			away++
		}
	}
	return outcomes
}

// maxAway is after how many batches without an answer the database counts as away. One of them may wait for a lock.
const maxAway = 2
