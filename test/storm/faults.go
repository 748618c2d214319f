package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"chatting/test/storm/plan"
)

// installation is everything that faults are done to.
type installation struct {
	parts *parts
	nodes []*node
	// clients, brokers and database are the links of each node.
	clients, brokers, database []*link
}

// leaveLimit is for how long a node may take to leave after SIGTERM, and to be ready after its start. Faults last meanwhile.
const leaveLimit = 90 * time.Second

// begin begins a fault. A rolling restart is done when it returns.
func (i *installation) begin(ctx context.Context, f plan.Fault) error {
	n := f.Target.Number - 1
	switch f.Target.Part {
	case plan.Node:
		return i.beginAtNode(ctx, f)
	case plan.Broker:
		return i.beginAtBroker(f)
	case plan.Database:
		return i.beginAtDatabase(f)
	case plan.ClientLink:
		return i.clients[n].disturb(f)
	case plan.BrokerLink:
		return i.brokers[n].disturb(f)
	case plan.DatabaseLink:
		return i.database[n].disturb(f)
	}
	return fmt.Errorf("there is no %s", f.Target)
}

func (i *installation) beginAtNode(ctx context.Context, f plan.Fault) error {
	if f.Kind == plan.Rolling {
		return i.roll(ctx)
	}
	n := i.nodes[f.Target.Number-1]
	switch f.Kind {
	case plan.Kill:
		return n.stop(syscall.SIGKILL, leaveLimit)
	case plan.Restart:
		return n.stop(syscall.SIGTERM, leaveLimit)
	case plan.Pause:
		return n.signal(syscall.SIGSTOP)
	case plan.Clock:
		return n.leap(f.Amount)
	}
	return fmt.Errorf("a node cannot have a %s", f.Kind)
}

// roll restarts every node, one after the other: each is given time to get ready before the next one leaves.
func (i *installation) roll(ctx context.Context) error {
	for _, n := range i.nodes {
		if err := n.stop(syscall.SIGTERM, leaveLimit); err != nil {
			return err
		}
		if err := n.start(); err != nil {
			return err
		}
		// With another fault that lasts it may not get ready.
		for end := time.Now().Add(20 * time.Second); !n.isReady(ctx) && time.Now().Before(end); {
			if !pause(ctx, 100*time.Millisecond) {
				return ctx.Err()
			}
		}
	}
	return nil
}

func (i *installation) beginAtBroker(f plan.Fault) error {
	n := f.Target.Number
	switch f.Kind {
	case plan.Kill:
		return i.parts.killBroker(n)
	case plan.Restart:
		return i.parts.stopBroker(n)
	case plan.Pause:
		return i.parts.signal(brokerName(n), syscall.SIGSTOP)
	case plan.Full:
		return fill(i.parts.brokerData(n))
	}
	return fmt.Errorf("a broker cannot have a %s", f.Kind)
}

func (i *installation) beginAtDatabase(f plan.Fault) error {
	switch f.Kind {
	case plan.Kill:
		return i.parts.stopPostgres(syscall.SIGKILL)
	case plan.Restart:
		return i.parts.stopPostgres(syscall.SIGINT) // its fast shutdown
	case plan.Pause:
		return i.parts.pausePostgres(syscall.SIGSTOP)
	case plan.Full:
		return fill(i.parts.pgData)
	}
	return fmt.Errorf("a database cannot have a %s", f.Kind)
}

// end ends a fault.
func (i *installation) end(ctx context.Context, f plan.Fault) error {
	n := f.Target.Number - 1
	switch f.Target.Part {
	case plan.Node:
		return i.endAtNode(f)
	case plan.Broker:
		return i.endAtBroker(f)
	case plan.Database:
		return i.endAtDatabase(f)
	case plan.ClientLink:
		return i.clients[n].heal(ctx, f.Kind)
	case plan.BrokerLink:
		return i.brokers[n].heal(ctx, f.Kind)
	case plan.DatabaseLink:
		return i.database[n].heal(ctx, f.Kind)
	}
	return nil
}

func (i *installation) endAtNode(f plan.Fault) error {
	if f.Kind == plan.Rolling {
		return nil
	}
	n := i.nodes[f.Target.Number-1]
	switch f.Kind {
	case plan.Pause:
		return n.signal(syscall.SIGCONT)
	case plan.Clock:
		return n.leap(0)
	}
	return n.start()
}

func (i *installation) endAtBroker(f plan.Fault) error {
	switch f.Kind {
	case plan.Pause:
		return i.parts.signal(brokerName(f.Target.Number), syscall.SIGCONT)
	case plan.Full:
		if err := empty(i.parts.brokerData(f.Target.Number)); err != nil {
			return err
		}
		// A broker whose disk is full ends by itself, or takes its disk for broken until it is restarted.
		if err := i.parts.killBroker(f.Target.Number); err != nil {
			return err
		}
	}
	return i.parts.startBroker(f.Target.Number)
}

func (i *installation) endAtDatabase(f plan.Fault) error {
	switch f.Kind {
	case plan.Pause:
		return i.parts.pausePostgres(syscall.SIGCONT)
	case plan.Full:
		if err := empty(i.parts.pgData); err != nil {
			return err
		}
	}
	return i.parts.startPostgres()
}

// suffer does what the schedule says, each fault at its time, and returns when all have ended. What cannot be done ends it.
func (s *storm) suffer(ctx context.Context, faults []plan.Fault) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var all sync.WaitGroup
	for _, f := range faults {
		all.Go(func() {
			if !pause(ctx, f.At-time.Since(began)) {
				return
			}
			s.say("begins: %s", f)
			if err := s.at.begin(ctx, f); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", f, err))
			}
			pause(ctx, f.At+f.For-time.Since(began))
			// Also if the run was interrupted: what is stopped has to go on.
			if err := s.at.end(context.WithoutCancel(ctx), f); err != nil {
				cancel(fmt.Errorf("the end of %s: %w", f, err))
				return
			}
			s.say("ended:  %s", f)
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return ctx.Err()
}
