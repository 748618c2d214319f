package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"
)

// scanPatience is for how long a scan may read nothing although something is there.
const scanPatience = 15 * time.Second

// scan hands over the records of a topic from the first offsets (included) to the second (excluded), a partition's in
// their order, until there are no more, take fails, or ctx ends. What retention took meanwhile is left out, and so is what
// cannot be read.
func (c *Cluster) scan(ctx context.Context, topic string, from, to map[int]int64, take func(*TailRecord) error) error {
	return c.scanWith(ctx, TailOptions{Topic: topic, From: from, Logger: slog.New(slog.DiscardHandler)}, to, take)
}

// scanWith is scan with the options of the tail that reads: its log says what was left out.
func (c *Cluster) scanWith(ctx context.Context, options TailOptions, to map[int]int64, take func(*TailRecord) error) error {
	open := make(map[int]int64, len(options.From))
	for partition, start := range options.From {
		if start < to[partition] {
			open[partition] = start
		}
	}
	if len(open) == 0 {
		return ctx.Err()
	}
	handler := &scanHandler{to: maps.Clone(to), take: take, open: len(open), progress: make(chan struct{}, 1)}
	options.From, options.Handler = open, handler
	return handler.scan(ctx, options.Topic, NewTail(c, options).Run)
}

// scan runs the tail until everything was handed over, or nothing comes any more. How long take takes does not count: it
// may wait for a reader of its own.
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
	take    func(*TailRecord) error
	reading context.Context //nolint:containedctx // the tail's: nothing is handed over once it has ended
	stop    context.CancelCauseFunc
	open    int
	// taking is set while take has a record; progress says that it gave one back, or that a batch ended.
	taking   atomic.Bool
	progress chan struct{}
}

// Record implements TailHandler.
func (h *scanHandler) Record(r *TailRecord) {
	if h.reading.Err() != nil || r.Offset >= h.to[r.Partition] {
		return
	}
	h.taking.Store(true)
	err := h.take(r)
	h.progressed()
	h.taking.Store(false)
	if err != nil {
		h.stop(err)
	}
}

func (h *scanHandler) progressed() {
	select {
	case h.progress <- struct{}{}:
	default:
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
	h.progressed()
	if end, open := h.to[partition]; !open || next < end {
		return
	}
	delete(h.to, partition)
	if h.open--; h.open == 0 {
		h.stop(errScanned)
	}
}

// LeftOut implements TailHandler: the tail has said so in its log.
func (h *scanHandler) LeftOut(LeftOut) {}

// Hole implements TailHandler. A partition that was made anew has nothing of what was asked for.
func (h *scanHandler) Hole(partition int, from, to int64) {
	if to < from {
		to = h.to[partition]
	}
	h.BatchEnd(partition, to)
}

// Partitions returns how many partitions a topic has.
func (c *Cluster) Partitions(ctx context.Context, topic string) (int, error) {
	found, err := c.layout(ctx)
	if err != nil {
		return 0, err
	}
	known, ok := found.topics[topic]
	if !ok || known.missing || known.partitions == 0 {
		return 0, fmt.Errorf("there is no topic %s, or this user may not know of it", topic)
	}
	return known.partitions, nil
}
