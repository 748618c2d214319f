package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// supervisor owns the goroutines of a node: whatever works until the node is told to stop is a part that it runs. A part
// that ends before then ends the process, with an error or without one: a node that goes on without, say, its tail would
// look well and deliver nothing.
type supervisor struct {
	logger *slog.Logger
	// fail ends the process. It is called once.
	fail func(error)

	running sync.WaitGroup
	mu      sync.Mutex
	told    bool
	failed  bool
}

// start runs a part until it ends by itself. It ends with ctx, or otherwise after stopping was called.
func (s *supervisor) start(ctx context.Context, name string, part func(context.Context) error) {
	s.running.Go(func() { s.ended(ctx, name, part(ctx)) })
}

// startEndless is start for a part that cannot fail.
func (s *supervisor) startEndless(ctx context.Context, name string, part func(context.Context)) {
	s.start(ctx, name, func(ctx context.Context) error {
		part(ctx)
		return nil
	})
}

// watch is start for a part whose goroutines belong to an adapter, which closes ended once one of them has ended. A nil
// channel is that of a part that has none.
func (s *supervisor) watch(ctx context.Context, name string, ended <-chan struct{}) {
	if ended == nil {
		return
	}
	s.startEndless(ctx, name, func(ctx context.Context) {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	})
}

// once runs work that is done when it returns nil.
func (s *supervisor) once(ctx context.Context, work func(context.Context) error) {
	s.running.Go(func() {
		if err := work(ctx); err != nil && ctx.Err() == nil {
			s.die(err)
		}
	})
}

// stopping tells that parts may end from now on.
func (s *supervisor) stopping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = true
}

// wait waits until all parts have ended.
func (s *supervisor) wait() { s.running.Wait() }

var errEndedUntold = errors.New("it ended although nobody stopped it")

func (s *supervisor) ended(ctx context.Context, name string, err error) {
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errEndedUntold
	}
	s.die(fmt.Errorf("%s: %w", name, err))
}

// die ends the process for the first reason; those after it follow from it, as a rule.
func (s *supervisor) die(err error) {
	s.mu.Lock()
	told, first := s.told, !s.failed
	s.failed = s.failed || !told
	s.mu.Unlock()
	switch {
	case told:
		if !errors.Is(err, errEndedUntold) {
			s.logger.Warn("a part of the node failed while the node was leaving", "error", err)
		}
	case first:
		s.fail(err)
	default:
		s.logger.Warn("another part of the node has ended", "error", err)
	}
}
