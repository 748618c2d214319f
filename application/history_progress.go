package application

import (
	"context"
	"sync"
	"time"

	"chatting/domain"
)

// HistoryFlush has the history follow the log sooner than it would by itself.
type HistoryFlush interface {
	// FlushHistory asks that some partitions be projected up to where the log ends now. It does not wait, and the wish may get
	// lost.
	FlushHistory(partitions []int)
}

// FollowedLog tells how the history follows a log.
type FollowedLog struct {
	Projected ProjectedOffsets
	// Ends are those of what can be read.
	Ends       LogEnds
	Partitions int
	Flush      HistoryFlush // nil where nobody waits
}

// historyProgress tells when the history has what can be read of the log.
type historyProgress struct {
	ends      LogEnds
	flush     HistoryFlush
	projected projectedRounds
}

func newHistoryProgress(log FollowedLog) *historyProgress {
	return &historyProgress{
		ends: log.Ends, flush: log.Flush, projected: projectedRounds{offsets: log.Projected, partitions: log.Partitions},
	}
}

// logEnd is where the log ends, and how far the history had followed it before that was asked.
type logEnd struct {
	offsets []int64
	before  []LogPosition
}

func (h *historyProgress) noteEnd(ctx context.Context) (logEnd, error) {
	before, err := h.projected.get(ctx)
	if err != nil {
		return logEnd{}, err
	}
	offsets, err := h.ends.EndOffsets(ctx)
	return logEnd{offsets: offsets, before: before}, err
}

// noteEndUpTo notes the end as noteEnd does, and where log ends: no partition's end is past that. The two differ where log
// has records that cannot be read yet.
func (h *historyProgress) noteEndUpTo(ctx context.Context, log LogEnds) (end logEnd, ends []int64, err error) {
	before, err := h.projected.get(ctx)
	if err != nil {
		return logEnd{}, nil, err
	}
	if ends, err = log.EndOffsets(ctx); err != nil {
		return logEnd{}, nil, err
	}
	readable, err := h.ends.EndOffsets(ctx)
	if err != nil {
		return logEnd{}, nil, err
	}
	offsets := make([]int64, len(ends))
	for p := range ends {
		offsets[p] = min(ends[p], readable[p])
	}
	return logEnd{offsets: offsets, before: before}, ends, nil
}

const (
	firstPoll = 5 * time.Millisecond
	lastPoll  = 200 * time.Millisecond
	// flushAgain is after how long whoever still waits asks again: the wish may have got lost, or come to a node that did not
	// project the partition yet.
	flushAgain = 500 * time.Millisecond
)

// await waits until the history has everything before the end, and returns the end's places. CodeUnavailable when
// ctx ends first.
func (h *historyProgress) await(ctx context.Context, end logEnd) ([]LogPosition, error) {
	now, err := h.awaitAll(ctx, end.before, end.missing)
	if err != nil {
		return nil, err
	}
	places := make([]LogPosition, len(end.offsets))
	for p, offset := range end.offsets {
		places[p] = LogPosition{Generation: now[p].Generation, Partition: p, Offset: offset}
	}
	return places, nil
}

// awaitAll waits until the history has come so far that nothing is missing, and has it hurry. now is how far it was before.
func (h *historyProgress) awaitAll(
	ctx context.Context, now []LogPosition, missing func(now []LogPosition) (partitions []int),
) ([]LogPosition, error) {
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
		if now, err = h.projected.get(ctx); err != nil {
			return nil, err
		}
	}
}

// missing returns the partitions of which a history that has come to now has not everything before the end. One that was past
// the end before the end was asked for has not yet noticed that the topic was made anew.
func (e logEnd) missing(now []LogPosition) (partitions []int) {
	for p, offset := range e.offsets {
		stale := now[p].Generation == e.before[p].Generation && e.before[p].Offset > offset
		if stale || now[p].Offset < offset {
			partitions = append(partitions, p)
		}
	}
	return partitions
}

// projectedRounds asks how far the history is, once for all who ask while one question is under way.
type projectedRounds struct {
	offsets    ProjectedOffsets
	partitions int

	mu      sync.Mutex
	running bool
	next    *projectedRound
}

type projectedRound struct {
	done   chan struct{}
	places []LogPosition
	err    error
}

// projectedTimeout bounds a round.
const projectedTimeout = 5 * time.Second

// get returns the next places to be projected, as of some time after the call began. The caller must not change the slice.
func (p *projectedRounds) get(ctx context.Context) ([]LogPosition, error) {
	p.mu.Lock()
	if p.next == nil {
		p.next = &projectedRound{done: make(chan struct{})}
	}
	round := p.next
	if !p.running {
		p.running = true
		go p.run() //nolint:gosec // the round is for all who wait, not for the one who came first
	}
	p.mu.Unlock()
	select {
	case <-round.done:
		return round.places, round.err
	case <-ctx.Done():
		return nil, domain.WrapError(domain.CodeUnavailable, "The history does not answer.", ctx.Err())
	}
}

// run serves rounds until nobody waits for one.
func (p *projectedRounds) run() {
	for {
		p.mu.Lock()
		round := p.next
		p.next = nil
		if round == nil {
			p.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), projectedTimeout)
		round.places, round.err = p.offsets.Projected(ctx, p.partitions)
		cancel()
		close(round.done)
	}
}
