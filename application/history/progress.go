package history

import (
	"context"
	"time"

	"chatting/application/async"
	"chatting/application/port"
	"chatting/domain"
)

// ProjectedOffsets tells how far the history follows the log.
type ProjectedOffsets interface {
	// Projected returns, of each of the first so many partitions, the place that is projected next. One that was never
	// projected is at the start of generation 1.
	Projected(ctx context.Context, partitions int) ([]domain.Place, error)
}

// Flusher has the history follow the log sooner than it would by itself.
type Flusher interface {
	// FlushHistory asks that some partitions be projected up to where the log ends now. It does not wait, and the request may get
	// lost.
	FlushHistory(partitions []int)
}

// FollowedLog tells how the history follows a log.
type FollowedLog struct {
	Projected ProjectedOffsets
	// Ends are those of what can be read.
	Ends       port.LogEnds
	Partitions int
	Flush      Flusher // nil if nobody waits
}

// Progress tells when the history has what can be read of the log.
type Progress struct {
	ends       port.LogEnds
	flush      Flusher
	partitions []int
	// projected asks how far the history is, once for all who ask while one question is under way.
	projected *async.Rounds[struct{}, []domain.Place]
}

// NewProgress returns the progress of the history of a log.
func NewProgress(log FollowedLog) *Progress {
	ask := func([]struct{}) ([]domain.Place, error) {
		// The round is for all who wait, not for the one who came first.
		ctx, cancel := context.WithTimeout(context.Background(), projectedTimeout)
		defer cancel()
		return log.Projected.Projected(ctx, log.Partitions)
	}
	partitions := make([]int, log.Partitions)
	for p := range partitions {
		partitions[p] = p
	}
	return &Progress{ends: log.Ends, flush: log.Flush, partitions: partitions, projected: async.NewRounds(0, ask)}
}

// LogEnd is where the log ends, and how far the history had followed it before that was asked.
type LogEnd struct {
	Offsets []int64
	Before  []domain.Place
	// Unknown is why Before is nil: see Soon.
	Unknown error
}

// NoteEnd notes where the log ends now.
func (h *Progress) NoteEnd(ctx context.Context) (LogEnd, error) {
	before, err := h.Now(ctx)
	if err != nil {
		return LogEnd{}, err
	}
	offsets, err := h.ends.EndOffsets(ctx)
	return LogEnd{Offsets: offsets, Before: before}, err
}

// Patience is for how long a login waits for the history to answer before it does without.
const Patience = 2 * time.Second

// Soon is Now for a caller that does without if the history does not answer within Patience: places is nil then, and err says why.
func (h *Progress) Soon(ctx context.Context) (places []domain.Place, err error) {
	asking, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if places, err = h.Now(asking); err != nil {
		return nil, err
	}
	return places, nil
}

// ReadableUpTo notes where log ends, and up to where it can be read: see the function ReadableUpTo.
func (h *Progress) ReadableUpTo(ctx context.Context, log port.LogEnds) (readable, ends []int64, err error) {
	return ReadableUpTo(ctx, log, h.ends)
}

// ReadableUpTo notes where log ends, and up to where it can be read, of which to tells the ends: no partition's end is past that.
// The two differ where log has records that cannot be read yet.
func ReadableUpTo(ctx context.Context, log, to port.LogEnds) (readable, ends []int64, err error) {
	if ends, err = log.EndOffsets(ctx); err != nil {
		return nil, nil, err
	}
	if readable, err = to.EndOffsets(ctx); err != nil {
		return nil, nil, err
	}
	upTo := make([]int64, len(ends))
	for p := range ends {
		upTo[p] = min(ends[p], readable[p])
	}
	return upTo, ends, nil
}

// Hasten asks that the history follow the log now. It does not wait.
func (h *Progress) Hasten() {
	if h.flush != nil {
		h.flush.FlushHistory(h.partitions)
	}
}

const (
	firstPoll = 5 * time.Millisecond
	lastPoll  = 200 * time.Millisecond
	// flushAgain is how long a caller waits until it asks again: the request may have got lost, or reached a node that did not
	// project the partition yet.
	flushAgain = 500 * time.Millisecond
)

// Await waits until the history has everything before the end, and returns the end's places. CodeUnavailable when
// ctx ends first.
func (h *Progress) Await(ctx context.Context, end LogEnd) ([]domain.Place, error) {
	now, err := h.awaitAll(ctx, end.Before, end.missing)
	if err != nil {
		return nil, err
	}
	places := make([]domain.Place, len(end.Offsets))
	for p, offset := range end.Offsets {
		places[p] = domain.Place{Generation: now[p].Generation, Partition: p, Offset: offset}
	}
	return places, nil
}

// awaitAll waits until nothing is missing, and asks for a flush meanwhile. now is how far the history was before.
func (h *Progress) awaitAll(
	ctx context.Context, now []domain.Place, missing func(now []domain.Place) (partitions []int),
) ([]domain.Place, error) {
	var asked time.Time
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		partitions := missing(now)
		if len(partitions) == 0 {
			return now, nil
		}
		if time.Since(asked) >= flushAgain {
			asked = time.Now()
			h.flush.FlushHistory(partitions)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, domain.WrapError(domain.CodeUnavailable, "The history is behind the log.", ctx.Err())
		}
		var err error
		if now, err = h.Now(ctx); err != nil {
			return nil, err
		}
	}
}

// missing returns the partitions of which a history that has come to now has not everything before the end. One that was past
// the end before the end was asked for has not yet noticed that the topic was made anew.
func (e LogEnd) missing(now []domain.Place) (partitions []int) {
	for p, offset := range e.Offsets {
		stale := now[p].Generation == e.Before[p].Generation && e.Before[p].Offset > offset
		if stale || now[p].Offset < offset {
			partitions = append(partitions, p)
		}
	}
	return partitions
}

// projectedTimeout bounds a question.
const projectedTimeout = 5 * time.Second

// Now returns the next places to be projected, as of some time after the call began. The caller must not change the slice.
func (h *Progress) Now(ctx context.Context) ([]domain.Place, error) {
	places, _, err := h.projected.Ask(ctx, struct{}{})
	if err != nil && ctx.Err() != nil {
		err = domain.WrapError(domain.CodeUnavailable, "The history does not answer.", err)
	}
	return places, err
}
