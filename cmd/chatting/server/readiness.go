package server

import (
	"context"
	"sync/atomic"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/rest"
	"chatting/application/history"
	"chatting/configs"
	"chatting/domain"
)

// readiness tells whether the node serves users: it has read the sessions of all nodes, and its tails keep up.
type readiness struct {
	tails atomic.Pointer[[]*logclient.Tail]
}

func newReadiness() *readiness { return &readiness{} }

// open makes the node serve users.
func (r *readiness) open(tails ...*logclient.Tail) { r.tails.Store(&tails) }

func (r *readiness) isOpen() bool { return r.tails.Load() != nil }

// ready is nil once the node serves users.
func (r *readiness) ready() error {
	if !r.isOpen() {
		return errStarting
	}
	return nil
}

var errStarting = domain.NewError(domain.CodeUnavailable, "the node is starting")

// tailAge is how long ago every partition may have answered last: several long-polls.
const tailAge = 5 * time.Second

// probe is what /readyz asks.
func (r *readiness) probe(context.Context) error {
	tails := r.tails.Load()
	if tails == nil {
		return errStarting
	}
	for _, tail := range *tails {
		if !tail.CaughtUp(tailAge) {
			return domain.NewError(domain.CodeUnavailable, "the tail is behind the log")
		}
	}
	return nil
}

// lag returns how far a tail is behind, by its place in the call of open; false before that call.
func (r *readiness) lag(tail int) (logclient.TailLag, bool) {
	tails := r.tails.Load()
	if tails == nil {
		return logclient.TailLag{}, false
	}
	return (*tails)[tail].Lag(), true
}

// wait waits until probe returns nil.
func (r *readiness) wait(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for r.probe(ctx) != nil {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// background is what /readyz says about the history and the consumer groups.
func background(cfg configs.Config, lag *history.Lag, cluster *logclient.Cluster, now time.Time) rest.Background {
	var told rest.Background
	since := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return int64(now.Sub(t).Seconds())
	}
	if state := lag.State(); cfg.History.Enabled && state.Known {
		told.History = &rest.HistoryLag{RecordsBehind: state.Records, StandingStill: since(state.StandsStillSince)}
	}
	for _, group := range cluster.Groups() {
		if told.Groups == nil {
			told.Groups = make(map[string]rest.ConsumerGroup)
		}
		told.Groups[group.Group] = rest.ConsumerGroup{
			Member: group.Joined, Foreign: group.Foreign, KeptOut: since(group.KeptOutSince),
		}
	}
	return told
}
