package kafka

import (
	"context"

	"chatting/application"
	"chatting/domain"
)

// projectionReader reads the partitions that a node projects with one tail, and writes what an answer has of all of them in
// one transaction. It is the handler of the tail. Its fields are used by the tail's goroutine alone.
type projectionReader struct {
	projector *Projector
	ctx       context.Context //nolint:containedctx // the generation's: it ends with it, as the reader does
	tail      *Tail
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

func newProjectionReader(ctx context.Context, p *Projector) *projectionReader {
	r := &projectionReader{projector: p, ctx: ctx, of: make(map[int]*projection)}
	r.tail = NewTail(p.cluster, TailOptions{
		Topic: p.options.Topic, Handler: r, Through: r.write, Logger: p.options.Logger,
		Interrupted: func(partition int) { r.of[partition].stop(errInterrupted) },
		Rest:        p.options.Delay, beats: p.options.beats,
	})
	return r
}

// run reads until ctx ends, sooner than at the next beat if somebody wishes for it.
func (r *projectionReader) run(ctx context.Context) {
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
func (r *projectionReader) read(reading context.Context, h *projection) bool {
	number := h.partition.number
	h.reader = r
	if !r.tail.do(r.ctx, func() {
		r.of[number] = h
		r.tail.add(number, h.at.Next.Offset)
	}) {
		return false
	}
	<-reading.Done()
	return r.tail.do(r.ctx, func() {
		delete(r.of, number)
		r.tail.remove(number)
	})
}

// Record implements TailHandler.
func (r *projectionReader) Record(record *TailRecord) { r.of[record.Partition].record(record) }

// BatchEnd implements TailHandler.
func (r *projectionReader) BatchEnd(partition int, next int64) { r.of[partition].readUpTo(next) }

// LeftOut implements TailHandler. No node wrote that.
func (r *projectionReader) LeftOut(left LeftOut) { r.of[left.Partition].leftOut(left) }

// Hole implements TailHandler.
func (r *projectionReader) Hole(partition int, from, to int64) { r.of[partition].hole(from, to) }

// write writes what was read of all partitions.
func (r *projectionReader) write() {
	var (
		written []*projection
		batches []application.ProjectionBatch
	)
	for _, h := range r.waiting {
		if h.waits = false; h.ctx.Err() == nil {
			written, batches = append(written, h), append(batches, h.batch())
		}
	}
	clear(r.waiting)
	r.waiting, r.events, r.bytes = r.waiting[:0], 0, 0
	for i, err := range r.project(batches) {
		written[i].wrote(batches[i], err)
	}
}

// project projects batches in one transaction. If that fails, each has one of its own, so that one partition that somebody
// else projects, or that cannot be written, does not hold up the others. It returns what became of each.
func (r *projectionReader) project(batches []application.ProjectionBatch) []error {
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

// maxAway is after how many batches for which the database does not answer it is taken for away. One of them may wait for a
// lock.
const maxAway = 2
