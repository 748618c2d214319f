package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/fasthttp/websocket"
)

// Resumes is a run in which users are cut off, miss some messages, and come back together: as when a network or a node was lost. Each
// names the resume token that it had before them.
//
// Users 2n and 2n+1 say Missed messages to each other while they are connected, so that no server refuses them as sent to somebody who
// is offline. The tokens that they name later are older.
type Resumes struct {
	Target

	// Users is even.
	Users, Missed int
	// Pause is how long they are away.
	Pause time.Duration
	// Patience is how long after the last message the run ends if others are still missing.
	Patience time.Duration
	// Cut is called when all connections were cut, with their number.
	Cut func(connections int)
}

// ResumesReport is what the run came to.
type ResumesReport struct {
	Users    int     `json:"users"`
	Parallel int     `json:"parallel"`
	Missed   int     `json:"missed"` // messages of each user, in both directions
	Seconds  float64 `json:"seconds"`
	PerSec   float64 `json:"resumes_per_second"`
	// Login is the time from the first packet of a connection to the answer to its login, CaughtUp that to the last frame that it
	// had missed.
	Login     Latency          `json:"login_ms"`
	CaughtUp  Latency          `json:"caught_up_ms"`
	Processes []ProcessReport  `json:"processes,omitempty"`
	Failed    map[string]int64 `json:"failed"` // logins that were refused, by reason
	Closed    map[string]int64 `json:"closed_connections"`
	// Again counts connections that the server cut before it had answered their login, and that were opened anew. The times above begin
	// with the first.
	Again int64 `json:"again"`
	// Unrecovered are logins whose answer says that the client has to read the history itself.
	Unrecovered int64 `json:"unrecovered"`
	Missing     int64 `json:"missing"` // messages that were missed and not replayed
	Doubled     int64 `json:"doubled"` // messages that came to a connection again
}

// returner is a user who is cut off and comes back.
type returner struct {
	place string

	mu    sync.Mutex
	seen  map[string]bool // texts of the messages that came to its latest connection
	begun time.Time       // its latest login
}

// resumeRun is a run of Resumes under way.
type resumeRun struct {
	Resumes

	returners []*returner
	more      chan struct{} // something arrived since it was last read; it has room for one

	mu       sync.Mutex
	arrived  int // messages that had not come to their connection before
	caughtUp *hdrhistogram.Histogram
	doubled  int64
}

// Run logs the users in, has them miss messages, and takes them up again. If ctx ends before they come back, the error says so.
func (r Resumes) Run(ctx context.Context) (*ResumesReport, error) {
	run := &resumeRun{
		Resumes: r, returners: make([]*returner, r.Users), more: make(chan struct{}, 1), caughtUp: newHistogram(),
	}
	run.again = new(atomic.Int64)
	if err := run.miss(ctx); err != nil {
		return nil, err
	}
	run.Cut(r.Users)
	select {
	case <-time.After(r.Pause):
	case <-ctx.Done():
		return nil, errCancelled
	}
	return run.comeBack(ctx)
}

// miss logs everybody in, has the messages said, and cuts the connections.
func (r *resumeRun) miss(ctx context.Context) error {
	r.began = time.Now()
	r.first = func(int) login { return login{Features: []string{"resume"}} }
	clients := make([]*client, r.Users)
	err := r.logIn(ctx, r.Users, func(user int, c *client, _ time.Duration, err error) error {
		if err != nil {
			return fmt.Errorf("user %d of %d: %w", user+1, r.Users, err)
		}
		clients[user] = c
		back := &returner{place: c.place, seen: map[string]bool{}}
		r.returners[user] = back
		c.listen(func(frame []byte) { r.take(back, frame) })
		return nil
	})
	defer func() {
		for _, c := range clients {
			if c != nil {
				c.drop()
				c.reading.Wait()
			}
		}
	}()
	if err != nil {
		return err
	}
	for round := range r.Missed {
		for user, c := range clients {
			frame := fmt.Sprintf(`{"target_id":%d,"message":"%d of %d"}`, clients[user^1].user, round+1, c.user)
			if err := errors.Join(c.conn.WriteMessage(websocket.TextMessage, []byte(frame)), c.wire.flush()); err != nil {
				return withoutSource(err)
			}
		}
		if missing := r.await(ctx, 2*r.Users*(round+1)); missing > 0 {
			return fmt.Errorf("%d of %d messages did not come before the connections were to be cut", missing, 2*r.Users)
		}
	}
	for _, c := range clients {
		if c.ended.Load() {
			return errors.New("the server closed connections before they were to be cut")
		}
	}
	return nil
}

// take notes a message that came to a user.
func (r *resumeRun) take(user *returner, frame []byte) {
	var m struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	if json.Unmarshal(frame, &m) != nil || m.Type != "chat_message" {
		return
	}
	user.mu.Lock()
	again := user.seen[m.Message]
	user.seen[m.Message] = true
	whole, took := len(user.seen) == 2*r.Missed, time.Since(user.begun)
	user.mu.Unlock()
	r.mu.Lock()
	switch {
	case again:
		r.doubled++
	case whole:
		record(r.caughtUp, took)
		fallthrough
	default:
		r.arrived++
	}
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// await waits until so many messages have arrived, and returns how many did not come.
func (r *resumeRun) await(ctx context.Context, messages int) (missing int) {
	patience := time.NewTimer(r.Patience)
	defer patience.Stop()
	for {
		r.mu.Lock()
		missing = messages - r.arrived
		r.mu.Unlock()
		if missing <= 0 {
			return 0
		}
		select {
		case <-r.more:
			patience.Reset(r.Patience)
		case <-patience.C:
			return missing
		case <-ctx.Done():
			return missing
		}
	}
}

// comeBack logs everybody in again, and waits until all have what they missed.
func (r *resumeRun) comeBack(ctx context.Context) (*ResumesReport, error) {
	report := &ResumesReport{Users: r.Users, Parallel: r.Parallel, Missed: 2 * r.Missed, Failed: map[string]int64{}}
	before, err := usagesOf(r.PIDs)
	if err != nil {
		return nil, err
	}
	r.began, r.caughtUp, r.arrived, r.doubled = time.Now(), newHistogram(), 0, 0
	r.first = func(user int) login {
		back := r.returners[user]
		back.mu.Lock()
		clear(back.seen)
		back.begun = time.Now()
		back.mu.Unlock()
		return login{Features: []string{"resume"}, Resume: back.place}
	}
	var (
		crowd  []*client
		logins = newHistogram()
	)
	r.again.Store(0)
	_ = r.logIn(ctx, r.Users, func(user int, c *client, took time.Duration, err error) error { // every failure is counted
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil {
			report.Failed[err.Error()]++
			return nil
		}
		crowd = append(crowd, c)
		record(logins, took)
		if !c.recovered {
			report.Unrecovered++
		}
		c.listen(func(frame []byte) { r.take(r.returners[user], frame) })
		return nil
	})
	defer dropAll(crowd)
	report.Again = r.again.Load()
	due := 2 * r.Missed * (len(crowd) - int(report.Unrecovered))
	report.Missing = int64(r.await(ctx, due))
	took := time.Since(r.began)
	after, err := usagesOf(r.PIDs)
	if err != nil {
		return nil, err
	}
	dropAll(crowd)
	if ctx.Err() != nil {
		return nil, errCancelled
	}
	report.Seconds, report.PerSec = round(took.Seconds(), 2), round(float64(len(crowd))/took.Seconds(), 1)
	report.Login, report.CaughtUp, report.Doubled = figuresOf(logins), figuresOf(r.caughtUp), r.doubled
	report.Processes, report.Closed = processes(r.PIDs, before, after, int64(len(crowd))), closes(crowd)
	return report, nil
}

// Fault returns what went wrong, nil if nothing did.
func (t *ResumesReport) Fault() error {
	var faults []string
	count := func(n int64, what string) {
		if n > 0 {
			faults = append(faults, fmt.Sprintf("%d %s", n, what))
		}
	}
	count(sum(t.Failed), "logins failed"+codes(t.Failed))
	count(sum(t.Closed), "connections closed by the server"+codes(t.Closed))
	count(t.Unrecovered, "clients could not take up where they stopped")
	count(t.Missing, "messages were not replayed")
	count(t.Doubled, "messages came twice")
	return faultOf(faults)
}

// WriteText writes the report for people.
func (t *ResumesReport) WriteText(w io.Writer) error {
	lines := newTable(w)
	lines.row("resumes", "%d users, %d at a time, who had missed %d messages each", t.Users, t.Parallel, t.Missed)
	lines.row("all of them", "in %.1f s, %.0f a second", t.Seconds, t.PerSec)
	lines.latency("login", t.Login)
	lines.latency("caught up", t.CaughtUp)
	for _, p := range t.Processes {
		lines.row(fmt.Sprintf("process %d", p.PID), "%.0f µs of CPU a resume, %.1f MiB of memory", p.CPU, p.ResidentMiB)
	}
	lines.row("again", "%d", t.Again)
	lines.row("unrecovered", "%d", t.Unrecovered)
	lines.row("missing", "%d", t.Missing)
	lines.row("doubled", "%d", t.Doubled)
	lines.counts("failed", t.Failed)
	lines.counts("closed connections", t.Closed)
	return lines.end()
}
