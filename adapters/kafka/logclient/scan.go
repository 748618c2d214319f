package logclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"chatting/adapters/kafka/logclient/recordbatch"
)

// scanPatience is for how long a scan may read nothing although something is there.
const scanPatience = 15 * time.Second

// Scanner takes what a scan reads. All calls come from one goroutine.
type Scanner interface {
	// Take takes the next record of its partition. It is valid until the call returns. An error ends the scan.
	Take(record *recordbatch.StoredRecord) error
	// Lost tells that some of the records before an offset of a partition are gone or cannot be read. What is handed over of the
	// partition from now on stands at or past that offset.
	Lost(partition int, before int64)
}

// Scan hands over the records from options.From to to, excluded, those of a partition in their order, until there are no more,
// take fails, or ctx ends. Records that are gone or cannot be read are left out; options.Logger, if set, is told.
func Scan(ctx context.Context, cluster *Cluster, options TailOptions, to map[int]int64, take func(*recordbatch.StoredRecord) error) error {
	return scan(ctx, cluster, options, &scanHandler{to: maps.Clone(to), take: take})
}

// ScanWith is Scan for those who have to know what was left out.
func ScanWith(ctx context.Context, cluster *Cluster, options TailOptions, to map[int]int64, scanner Scanner) error {
	return scan(ctx, cluster, options, &scanHandler{to: maps.Clone(to), take: scanner.Take, lost: scanner.Lost})
}

func scan(ctx context.Context, cluster *Cluster, options TailOptions, handler *scanHandler) error {
	open := make(map[int]int64, len(options.From))
	for partition, start := range options.From {
		if start < handler.to[partition] {
			open[partition] = start
		}
	}
	if len(open) == 0 {
		return ctx.Err()
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	handler.open, handler.progress = len(open), make(chan struct{}, 1)
	options.From, options.Handler = open, handler
	return handler.scan(ctx, options.Topic, NewTail(cluster, options).Run)
}

// scan runs the tail until everything was handed over, or nothing comes any more. The time that take takes does not count.
func (h *scanHandler) scan(ctx context.Context, topic string, run func(context.Context) error) error {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	h.reading, h.stop = reading, stop
	ended := make(chan error, 1)
	go func() { ended <- run(reading) }()
	patience := time.NewTimer(scanPatience)
	defer patience.Stop()
	for {
		select {
		case <-h.progress:
			patience.Reset(scanPatience)
		case <-patience.C:
			if !h.progresses() {
				stop(fmt.Errorf("nothing came of %s for %s: are its partitions led, and may this user read it?", topic, scanPatience))
			}
			patience.Reset(scanPatience)
		case err := <-ended:
			switch cause := context.Cause(reading); {
			case err != nil:
				return err
			case errors.Is(cause, errScanned):
				return nil
			default:
				return cause
			}
		}
	}
}

var errScanned = errors.New("everything was read")

// scanHandler is the handler of a scan's tail.
type scanHandler struct {
	to      map[int]int64 // of those that are open
	take    func(*recordbatch.StoredRecord) error
	lost    func(partition int, before int64) // nil if nobody minds
	reading context.Context                   //nolint:containedctx // the tail's: nothing is handed over once it has ended
	stop    context.CancelCauseFunc
	open    int
	// taking is set while take has a record; progress says that it gave one back, or that a batch ended.
	taking   atomic.Bool
	progress chan struct{}
}

// Record implements TailHandler.
func (h *scanHandler) Record(r *recordbatch.StoredRecord) {
	if h.reading.Err() != nil || r.Offset >= h.to[r.Partition] {
		return
	}
	h.taking.Store(true)
	err := h.take(r)
	nudge(h.progress)
	h.taking.Store(false)
	if err != nil {
		h.stop(err)
	}
}

// progresses tells whether take has a record, or there was progress that was not yet heard of.
func (h *scanHandler) progresses() bool {
	if h.taking.Load() {
		return true
	}
	select {
	case <-h.progress:
		return true
	default:
		return false
	}
}

// BatchEnd implements TailHandler.
func (h *scanHandler) BatchEnd(partition int, next int64) {
	nudge(h.progress)
	if end, open := h.to[partition]; !open || next < end {
		return
	}
	delete(h.to, partition)
	if h.open--; h.open == 0 {
		h.stop(errScanned)
	}
}

// LeftOut implements TailHandler: the tail has said so in its log.
func (h *scanHandler) LeftOut(recordbatch.LeftOut) {}

// Hole implements TailHandler. A partition that was made anew has nothing of what was asked for.
func (h *scanHandler) Hole(partition int, from, to int64) {
	end, open := h.to[partition]
	if to < from {
		to = end
	}
	if open && h.lost != nil && h.reading.Err() == nil {
		h.lost(partition, min(to, end))
	}
	h.BatchEnd(partition, to)
}

// timeOfTimeout bounds the reading of one record.
const timeOfTimeout = 5 * time.Second

// TimeOf returns when the record at an offset was stamped: now if the log ends there, the zero time if it could not be read.
func TimeOf(ctx context.Context, cluster *Cluster, topic string, partition int, offset int64) (time.Time, error) {
	ends, err := cluster.Offsets(ctx, topic, []int{partition}, End)
	if err != nil || offset >= ends[0] {
		return time.Now(), err
	}
	ctx, cancel := context.WithTimeout(ctx, timeOfTimeout)
	defer cancel()
	handler := &firstRecord{end: ends[0], found: cancel}
	err = NewTail(cluster, TailOptions{
		Topic: topic, From: map[int]int64{partition: offset}, Handler: handler, Logger: slog.New(slog.DiscardHandler),
		uncommitted: true, // a record has its time whatever becomes of its transaction
	}).Run(ctx)
	return handler.at, err
}

// firstRecord is a TailHandler that stops its tail once it has read a record.
type firstRecord struct {
	end   int64 // of the log: what is before it may be no records at all, but the marks of transactions
	found func()
	seen  bool
	at    time.Time
}

// Record implements TailHandler.
func (f *firstRecord) Record(r *recordbatch.StoredRecord) {
	if !f.seen {
		f.seen, f.at = true, r.Time
	}
}

// BatchEnd implements TailHandler.
func (f *firstRecord) BatchEnd(_ int, next int64) {
	if !f.seen && next >= f.end {
		f.seen, f.at = true, time.Now()
	}
	if f.seen {
		f.found()
	}
}

// LeftOut implements TailHandler.
func (f *firstRecord) LeftOut(left recordbatch.LeftOut) {
	if !f.seen {
		f.seen, f.at = true, left.Time
	}
}

// Hole implements TailHandler.
func (f *firstRecord) Hole(int, int64, int64) { f.found() }
