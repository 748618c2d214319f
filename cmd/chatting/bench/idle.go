package bench

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Idle is a run in which users log in and stay connected without a word, so that the server's memory can be read.
type Idle struct {
	Target

	Users    int
	Duration time.Duration // for how long all of them stay
	// Held is called when all users are logged in, with the number of connections.
	Held func(connections int)
}

// IdleReport is what it came to.
type IdleReport struct {
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"`
	// Processes have the CPU time of the time in which all connections were idle, and by how much the memory grew since
	// before the first connection.
	Processes []ProcessReport  `json:"processes,omitempty"`
	Failed    map[string]int64 `json:"failed"`
	Closed    map[string]int64 `json:"closed_connections"`
}

// Run logs the users in, holds the connections and then closes them. If ctx ends meanwhile, they are held for less time.
func (i Idle) Run(ctx context.Context) (*IdleReport, error) {
	empty, err := usagesOf(i.PIDs)
	if err != nil {
		return nil, err
	}
	i.began = time.Now()
	crowd, _, failed := i.hold(ctx, i.Users)
	defer leaveAll(crowd)
	if ctx.Err() != nil {
		return nil, errCancelled
	}
	before, err := usagesOf(i.PIDs)
	if err != nil {
		return nil, err
	}
	i.Held(len(crowd))
	begun := time.Now()
	i.wait(ctx, len(crowd))
	after, err := usagesOf(i.PIDs)
	if err != nil {
		return nil, err
	}
	report := &IdleReport{
		Connections: len(crowd), Seconds: round(time.Since(begun).Seconds(), 2), Failed: failed,
		Processes: processes(i.PIDs, before, after, 0),
	}
	for n := range report.Processes {
		if len(crowd) > 0 {
			grown := float64(after[n].resident - empty[n].resident)
			report.Processes[n].KiBConnection = round(grown/1024/float64(len(crowd)), 2)
		}
	}
	leaveAll(crowd)
	report.Closed = closes(crowd)
	return report, nil
}

func (i *Idle) wait(ctx context.Context, connections int) {
	ctx, cancel := context.WithTimeout(ctx, i.Duration)
	defer cancel()
	end, _ := ctx.Deadline()
	ticks := time.NewTicker(progressEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			i.progress("holding %d connections, %s left", connections, time.Until(end).Round(time.Second))
		}
	}
}

// Fault returns what went wrong, nil if nothing did.
func (t *IdleReport) Fault() error {
	var faults []string
	if n := sum(t.Failed); n > 0 {
		faults = append(faults, fmt.Sprintf("%d logins failed%s", n, codes(t.Failed)))
	}
	if n := sum(t.Closed); n > 0 {
		faults = append(faults, fmt.Sprintf("%d connections closed by the server%s", n, codes(t.Closed)))
	}
	return faultOf(faults)
}

// WriteText writes the report for people.
func (t *IdleReport) WriteText(w io.Writer) error {
	lines := newTable(w)
	lines.row("idle", "%d connections for %.0f s", t.Connections, t.Seconds)
	for _, p := range t.Processes {
		lines.row(fmt.Sprintf("process %d", p.PID), "%.1f KiB of memory a connection (%.1f MiB now), %.2f s of CPU while they were idle",
			p.KiBConnection, p.ResidentMiB, p.CPUSeconds)
	}
	lines.counts("failed", t.Failed)
	lines.counts("closed connections", t.Closed)
	return lines.end()
}
