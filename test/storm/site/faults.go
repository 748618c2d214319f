package site

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"chatting/test/storm/plan"
)

// leaveLimit is for how long a node may take to leave after SIGTERM, and to be ready after its start. Faults last meanwhile.
const leaveLimit = 90 * time.Second

// Begin begins a fault. A rolling restart is done when it returns.
func (i *Installation) Begin(ctx context.Context, f plan.Fault) error {
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

func (i *Installation) beginAtNode(ctx context.Context, f plan.Fault) error {
	if f.Kind == plan.Rolling {
		return i.roll(ctx)
	}
	n := i.nodes[f.Target.Number-1]
	switch f.Kind {
	case plan.Kill:
		return n.Stop(syscall.SIGKILL, leaveLimit)
	case plan.Restart:
		return n.Stop(syscall.SIGTERM, leaveLimit)
	case plan.Pause:
		return n.Signal(syscall.SIGSTOP)
	case plan.Clock:
		return n.leap(f.Amount)
	}
	return fmt.Errorf("a node cannot have a %s", f.Kind)
}

// roll restarts every node, one after the other: each is given time to get ready before the next one leaves.
func (i *Installation) roll(ctx context.Context) error {
	for _, n := range i.nodes {
		if err := n.Stop(syscall.SIGTERM, leaveLimit); err != nil {
			return err
		}
		if err := n.Start(); err != nil {
			return err
		}
		// With another fault that lasts it may not get ready.
		for end := time.Now().Add(20 * time.Second); !n.IsReady(ctx) && time.Now().Before(end); {
			if !Pause(ctx, 100*time.Millisecond) {
				return ctx.Err()
			}
		}
	}
	return nil
}

func (i *Installation) beginAtBroker(f plan.Fault) error {
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

func (i *Installation) beginAtDatabase(f plan.Fault) error {
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

// End ends a fault.
func (i *Installation) End(ctx context.Context, f plan.Fault) error {
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

func (i *Installation) endAtNode(f plan.Fault) error {
	if f.Kind == plan.Rolling {
		return nil
	}
	n := i.nodes[f.Target.Number-1]
	switch f.Kind {
	case plan.Pause:
		return n.Signal(syscall.SIGCONT)
	case plan.Clock:
		return n.leap(0)
	}
	return n.Start()
}

func (i *Installation) endAtBroker(f plan.Fault) error {
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

func (i *Installation) endAtDatabase(f plan.Fault) error {
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
