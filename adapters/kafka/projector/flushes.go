package projector

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"chatting/application/history"
	"chatting/application/port"
	"chatting/domain"
)

// flushEvery is the least time between two wishes of a node for the history, and between two flushes of a projector. Each
// flush is a fetch and a transaction.
const flushEvery = 50 * time.Millisecond

// Flushes carries the wishes that the history follow the log sooner to whoever projects: to the projector of this
// node and, through the topic of sessions, to those of all nodes.
type Flushes struct {
	sessions port.SessionLog
	// wanted has a wish that other nodes are to hear, heard one for the projector of this node.
	wanted, heard chan struct{}
	// projected are the partitions that this node projects.
	projected atomic.Pointer[[]int]
}

var _ history.Flusher = (*Flushes)(nil)

// NewFlushes returns what carries wishes through the topic of sessions.
func NewFlushes(sessions port.SessionLog) *Flushes {
	f := &Flushes{sessions: sessions, wanted: make(chan struct{}, 1), heard: make(chan struct{}, 1)}
	f.projects(nil)
	return f
}

// FlushHistory implements history.Flusher.
func (f *Flushes) FlushHistory(partitions []int) {
	here := *f.projected.Load()
	elsewhere := func(partition int) bool { return !slices.Contains(here, partition) }
	if slices.ContainsFunc(partitions, elsewhere) {
		wish(f.wanted) // this node hears it, too
		return
	}
	f.Hear()
}

// Hear has the projector of this node flush: somebody wished for it.
func (f *Flushes) Hear() { wish(f.heard) }

// Run tells other nodes what this one wishes for until ctx ends. A wish that does not reach the log is lost: whoever waits
// wishes again.
func (f *Flushes) Run(ctx context.Context) {
	paced(ctx, f.wanted, flushEvery, func() {
		done := make(chan struct{})
		f.sessions.Append(domain.SessionRecord{Kind: domain.FlushWanted}, func(error) { close(done) })
		select {
		case <-done:
		case <-ctx.Done():
		}
	})
}

// projects notes which partitions this node projects, until the function that it returns is called.
func (f *Flushes) projects(partitions []int) (end func()) {
	f.projected.Store(&partitions)
	return func() { f.projected.Store(new([]int)) }
}

// paced calls do for what is wished for, at most once in every: wishes that come meanwhile are one. It returns when ctx ends.
func paced(ctx context.Context, wishes <-chan struct{}, every time.Duration, do func()) {
	for {
		select {
		case <-wishes:
		case <-ctx.Done():
			return
		}
		do()
		pause := time.NewTimer(every)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// wish puts a wish into a channel of one place, unless one is there already.
func wish(wishes chan<- struct{}) {
	select {
	case wishes <- struct{}{}:
	default:
	}
}
