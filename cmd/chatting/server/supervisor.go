package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// A step is one line in the life of a node: work that is done before the next step begins, or a part that runs beside the next ones.
// The zero step is none.
type step struct {
	name string
	do   func(context.Context) error
	run  func(context.Context) error
	// mayEnd tells that a part has done its work if it returns nil.
	mayEnd bool
}

// first is work that is done before the next step begins.
func first(do func(context.Context) error) step { return step{do: do} }

// part runs until the node leaves.
func part(name string, run func(context.Context) error) step { return step{name: name, run: run} }

// endless is a part that cannot fail.
func endless(name string, run func(context.Context)) step {
	return part(name, func(ctx context.Context) error {
		run(ctx)
		return nil
	})
}

// watched is a part whose goroutines belong to an adapter, which closes ended once one of them has ended.
func watched(name string, ended func() <-chan struct{}) step {
	return endless(name, func(ctx context.Context) {
		select {
		case <-ended():
		case <-ctx.Done():
		}
	})
}

// only is the step of a part that not every server has.
func only(has bool, s step) step {
	if !has {
		return step{}
	}
	return s
}

// supervisor owns the goroutines of a node. A part that ends before the node is told to stop ends the process, with an error or
// without one: a node that goes on without its tail would look well and deliver nothing.
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
func (s *supervisor) start(ctx context.Context, p step) {
	if p.run == nil {
		return
	}
	s.running.Go(func() {
		err := p.run(ctx)
		switch {
		case ctx.Err() != nil, p.mayEnd && err == nil:
		case p.mayEnd:
			s.die(err)
		case err == nil:
			s.die(fmt.Errorf("%s: %w", p.name, errEndedUntold))
		default:
			s.die(fmt.Errorf("%s: %w", p.name, err))
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

// die ends the process for the first reason. Later ones usually follow from it.
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
