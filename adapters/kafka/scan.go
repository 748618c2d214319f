package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"
)

// scanPatience is for how long a scan may read nothing although something is there.
const scanPatience = 15 * time.Second

// scan hands over the records of a topic from the first offsets (included) to the second (excluded), a partition's in
// their order, until there are no more, take fails, or ctx ends. What retention took meanwhile is left out.
func (c *Cluster) scan(ctx context.Context, topic string, from, to map[int]int64, take func(*TailRecord) error) error {
	open := make(map[int]int64, len(from))
	for partition, start := range from {
		if start < to[partition] {
			open[partition] = start
		}
	}
	if len(open) == 0 {
		return ctx.Err()
	}
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	handler := &scanHandler{to: maps.Clone(to), take: take, stop: stop, open: len(open), progress: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() {
		ended <- NewTail(c, TailOptions{
			Topic: topic, From: open, Handler: handler, Logger: slog.New(slog.DiscardHandler),
		}).Run(reading)
	}()
	patience := time.NewTimer(scanPatience)
	defer patience.Stop()
	for {
		select {
		case <-handler.progress:
			patience.Reset(scanPatience)
		case <-patience.C:
			stop(fmt.Errorf("nothing came of %s for %s: are its partitions led, and may this user read it?", topic, scanPatience))
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
	to       map[int]int64 // of those that are open
	take     func(*TailRecord) error
	stop     context.CancelCauseFunc
	open     int
	ended    bool
	progress chan struct{}
}

// Record implements TailHandler.
func (h *scanHandler) Record(r *TailRecord) {
	if h.ended || r.Offset >= h.to[r.Partition] {
		return
	}
	if err := h.take(r); err != nil {
		h.end(err)
	}
}

// BatchEnd implements TailHandler.
func (h *scanHandler) BatchEnd(partition int, next int64) {
	select {
	case h.progress <- struct{}{}:
	default:
	}
	if end, open := h.to[partition]; !open || next < end {
		return
	}
	delete(h.to, partition)
	if h.open--; h.open == 0 {
		h.end(errScanned)
	}
}

// Hole implements TailHandler. A partition that was made anew has nothing of what was asked for.
func (h *scanHandler) Hole(partition int, from, to int64) {
	if to < from {
		to = h.to[partition]
	}
	h.BatchEnd(partition, to)
}

func (h *scanHandler) end(cause error) {
	h.ended = true
	h.stop(cause)
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
