package history

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// Lag watches how far the history is behind the log. Readiness shows it. If a partition stands still, because no node
// projects it or none can, a log line says so.
type Lag struct {
	projected  ProjectedOffsets
	ends       port.LogEnds
	partitions int
	now        port.Clock
	logger     *slog.Logger

	// places are of each partition; only Run uses them.
	places []laggingPlace
	saidAt time.Time // when it was last logged that the history stands still; zero while it does not

	mu    sync.Mutex
	state LagState
}

// LagState is how far the history is behind the log.
type LagState struct {
	// Known is false before the first look at it.
	Known bool
	// Records is how many records of the log the history does not have yet.
	Records int64
	// StandsStillSince is since when at least one partition has records that are not projected, and none of them was; zero
	// while every partition goes on.
	StandsStillSince time.Time
}

// laggingPlace is where a partition's projection was seen, with something to do or not, and since when.
type laggingPlace struct {
	at     domain.Place
	behind bool
	since  time.Time
}

const (
	// lagEvery is at least what history.delay may be.
	lagEvery = 2 * time.Second
	// lagPatience is for how long a partition may stand still before it is logged: longer than other nodes take to take over
	// the partitions of a dead one.
	lagPatience = 15 * time.Second
	lagRepeat   = time.Minute
)

// NewLag returns the watch over the history of a log with so many partitions.
func NewLag(
	projected ProjectedOffsets, ends port.LogEnds, partitions int, now port.Clock, logger *slog.Logger,
) *Lag {
	return &Lag{
		projected: projected, ends: ends, partitions: partitions, now: now, logger: logger,
		places: make([]laggingPlace, partitions),
	}
}

// State returns what was last seen, at most some seconds ago. While the log or the database does not answer, it stays as it
// was.
func (l *Lag) State() LagState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Run looks again and again until ctx ends.
func (l *Lag) Run(ctx context.Context) {
	ticker := time.NewTicker(lagEvery)
	defer ticker.Stop()
	for {
		l.look(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look asks once how far the log and the history are. Readiness tells when one of them does not answer.
func (l *Lag) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, projectedTimeout)
	defer cancel()
	ends, err := l.ends.EndOffsets(ctx) // first: what comes after it does not count as missing
	if err != nil || len(ends) != l.partitions {
		return
	}
	projected, err := l.projected.Projected(ctx, l.partitions)
	if err != nil {
		return
	}
	now := l.now()
	state := LagState{Known: true}
	var still []int
	for p, end := range ends {
		behind := end - projected[p].Offset
		if behind < 0 {
			behind = end // the topic was made anew: nothing of it is projected
		}
		state.Records += behind
		// Records that wait for others, to be projected with them, do not stand still. Those that still wait at the next look do.
		seen := laggingPlace{at: projected[p], behind: behind != 0, since: now}
		if place := &l.places[p]; !place.behind || !seen.behind || place.at != seen.at {
			*place = seen
			continue
		}
		since := l.places[p].since
		if state.StandsStillSince.IsZero() || since.Before(state.StandsStillSince) {
			state.StandsStillSince = since
		}
		if now.Sub(since) >= lagPatience {
			still = append(still, p)
		}
	}
	l.mu.Lock()
	l.state = state
	l.mu.Unlock()
	l.say(now, state, still)
}

func (l *Lag) say(now time.Time, state LagState, still []int) {
	switch {
	case len(still) > 0 && now.Sub(l.saidAt) >= lagRepeat:
		l.saidAt = now
		l.logger.Warn("the history stands still: is another program's consumer in its group, or does a node log why it cannot project?",
			"partitions", still, "records_behind", state.Records, "for", now.Sub(state.StandsStillSince).Round(time.Second).String())
	case len(still) == 0 && !l.saidAt.IsZero():
		l.saidAt = time.Time{}
		l.logger.Info("the history goes on", "records_behind", state.Records)
	}
}
