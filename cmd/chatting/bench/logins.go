package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Logins is a run in which users log in, Parallel of them at a time. After each round all connections are dropped at once, without
// a close frame. Users of the second round and later ones are known to the server.
type Logins struct {
	Target

	Users, Rounds int
}

// LoginsReport is what the rounds came to.
type LoginsReport struct {
	Users    int          `json:"users"`
	Parallel int          `json:"parallel"`
	Rounds   []LoginRound `json:"rounds"`
}

// LoginRound is one round.
type LoginRound struct {
	Seconds float64 `json:"seconds"`
	Logins  int64   `json:"logins"`
	PerSec  float64 `json:"logins_per_second"`
	// Login is the time from the first packet of a connection to the answer to its login.
	Login     Latency          `json:"login_ms"`
	ClientCPU float64          `json:"client_cpu_us_per_login,omitempty"`
	Processes []ProcessReport  `json:"processes,omitempty"`
	Failed    map[string]int64 `json:"failed"` // by reason
	Closed    map[string]int64 `json:"closed_connections"`
}

// Run logs the users in, round by round. If ctx ends meanwhile, it returns the rounds until then.
func (l Logins) Run(ctx context.Context) (*LoginsReport, error) {
	report := &LoginsReport{Users: l.Users, Parallel: l.Parallel}
	for range l.Rounds {
		round, err := l.round(ctx)
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			break
		}
		report.Rounds = append(report.Rounds, round)
	}
	if len(report.Rounds) == 0 {
		return nil, errCancelled
	}
	return report, nil
}

func (l *Logins) round(ctx context.Context) (LoginRound, error) {
	before, err := usagesOf(l.PIDs)
	if err != nil {
		return LoginRound{}, err
	}
	self, selfErr := usageOf(os.Getpid())
	l.began = time.Now()
	crowd, times, failed := l.hold(ctx, l.Users)
	took := time.Since(l.began)
	defer dropAll(crowd)
	after, err := usagesOf(l.PIDs)
	if err != nil {
		return LoginRound{}, err
	}
	n := int64(len(crowd))
	r := LoginRound{
		Seconds: round(took.Seconds(), 2), Logins: n, PerSec: round(float64(n)/took.Seconds(), 1),
		Login: figuresOf(times), Processes: processes(l.PIDs, before, after, n), Failed: failed,
	}
	if own, err := usageOf(os.Getpid()); err == nil && selfErr == nil {
		r.ClientCPU = each(own.cpu-self.cpu, n)
	}
	dropAll(crowd)
	r.Closed = closes(crowd)
	return r, nil
}

// hold logs in n users, and returns those who are, how long each login took, and why others failed.
func (t *Target) hold(ctx context.Context, n int) (crowd []*client, times *hdrhistogram.Histogram, failed map[string]int64) {
	var mu sync.Mutex
	times, failed = newHistogram(), map[string]int64{}
	_ = t.logIn(ctx, n, func(_ int, c *client, took time.Duration, err error) error { // every failure is counted
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed[err.Error()]++
			return nil
		}
		c.listen(func([]byte) {})
		crowd = append(crowd, c)
		record(times, took)
		return nil
	})
	return crowd, times, failed
}

// Fault returns what went wrong, nil if nothing did.
func (t *LoginsReport) Fault() error {
	var faults []string
	for i, r := range t.Rounds {
		if n := sum(r.Failed); n > 0 {
			faults = append(faults, fmt.Sprintf("%d logins of round %d failed%s", n, i+1, codes(r.Failed)))
		}
		if n := sum(r.Closed); n > 0 {
			faults = append(faults, fmt.Sprintf("%d connections of round %d closed by the server%s", n, i+1, codes(r.Closed)))
		}
	}
	return faultOf(faults)
}

// WriteText writes the report for people.
func (t *LoginsReport) WriteText(w io.Writer) error {
	lines := newTable(w)
	lines.row("logins", "%d users, %d at a time", t.Users, t.Parallel)
	for i, r := range t.Rounds {
		lines.row(fmt.Sprintf("round %d", i+1), "%d logins in %.1f s, %.0f a second", r.Logins, r.Seconds, r.PerSec)
		lines.latency("  login", r.Login)
		for _, p := range r.Processes {
			lines.row(fmt.Sprintf("  process %d", p.PID), "%.0f µs of CPU a login, %.1f MiB of memory", p.CPU, p.ResidentMiB)
		}
		if r.ClientCPU > 0 {
			lines.row("  this client", "%.0f µs of CPU a login", r.ClientCPU)
		}
		lines.counts("  failed", r.Failed)
		lines.counts("  closed connections", r.Closed)
	}
	return lines.end()
}
