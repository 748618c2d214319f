package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"chatting/test/alarms/watch"
	"chatting/test/storm/site"
)

const (
	// fireLimit is for how long a fault may last until its alerts fire, and endLimit for how long they may take to end after it.
	// One rule compares with a minute, which is not made shorter.
	fireLimit = 4 * time.Minute
	endLimit  = 5 * time.Minute
	// healLimit is for how long nodes may take to be ready.
	healLimit = 4 * time.Minute
	// quietFor is for how long nothing may fire before the first fault.
	quietFor = 20 * time.Second
	// docs is where the rules and the dashboard are, from the root of the repository.
	docs = "docs"
)

// run is one run.
type run struct {
	asked options
	dir   string
	began time.Time
	// watched is since when Prometheus runs.
	watched time.Time
	at      *site.Installation
	prom    *watch.Prometheus
	crowd   crowd
	// unlock ends the session of PostgreSQL that locks a table; nil if there was none.
	unlock func() error

	saying sync.Mutex

	// seen is what was seen of each alert. It belongs to the goroutine of the run.
	seen map[string]*sighting
}

// sighting is what was seen of an alert at its fault.
type sighting struct {
	fault       string
	fired, over time.Duration // after the beginning of the fault, and after its end
	summary     string
}

// say prints a line with the time since the run began.
func (r *run) say(format string, arguments ...any) {
	r.saying.Lock()
	defer r.saying.Unlock()
	fmt.Printf("%9.3fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, arguments...))
}

// run is the whole run. It returns what was wrong.
func (r *run) run(ctx context.Context) (wrong []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer r.stop()
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	newTraffic(r.at.Reached()).begin(ctx, &all)
	if err := r.awaitQuiet(ctx, "at first", time.Now().Add(endLimit)); err != nil {
		return nil, err
	}
	r.say("all is well")
	only, err := regexp.Compile(r.asked.only)
	if err != nil {
		return nil, err
	}
	for _, t := range r.troubles() {
		if !only.MatchString(t.name) {
			continue
		}
		if t.disks && !r.at.HasDisks() {
			r.say("left out, because mounting needs root: %s", t.name)
			continue
		}
		missing, err := r.suffer(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		wrong = append(wrong, missing...)
	}
	if r.asked.only == "" {
		unseen, err := r.unseen()
		if err != nil {
			return nil, err
		}
		wrong = append(wrong, unseen...)
	}
	blank, err := r.lookAtDashboard(ctx)
	if err != nil {
		return nil, err
	}
	if r.asked.only == "" {
		wrong = append(wrong, blank...)
	}
	return wrong, r.report()
}

// start starts everything and Prometheus.
func (r *run) start(ctx context.Context) error {
	program := r.asked.program
	if program == "" {
		r.say("building the nodes")
		built, err := site.Build(ctx, r.dir, false, nil)
		if err != nil {
			return err
		}
		program = built
	}
	r.say("starting %d brokers and PostgreSQL", site.BrokerCount)
	nodes := make(map[string]string)
	at, err := site.Open(ctx, r.dir, program, func(number int) []string {
		metrics := site.FreeAddress()
		nodes[instance(number)] = metrics
		return settings(metrics)
	})
	if err != nil {
		return err
	}
	r.at = at
	r.say("starting %d nodes and Prometheus", site.NodeCount)
	if err := r.at.Start(ctx, healLimit); err != nil {
		return err
	}
	r.prom, err = watch.Start(ctx, watch.Options{
		Dir: filepath.Join(r.dir, "prometheus"), Addr: site.FreeAddress(), Rules: filepath.Join(docs, "prometheus"),
		Factor: r.asked.factor, Nodes: nodes,
	})
	r.watched = time.Now()
	return err
}

func (r *run) stop() {
	r.crowd.leave()
	if r.prom != nil {
		r.prom.Stop()
	}
	if r.at != nil {
		r.at.Stop()
	}
}

// instance is what Prometheus calls a node.
func instance(number int) string { return fmt.Sprint("node-", number) }

// suffer begins a fault, waits until its alerts fire, ends it, and waits until nothing fires any more. It returns what did not fire
// or did not end.
func (r *run) suffer(ctx context.Context, t trouble) (missing []string, err error) {
	r.say("begins: %s", t.name)
	began := time.Now()
	// Also if the run was interrupted: what is stopped has to go on.
	ended := false
	defer func() {
		if !ended {
			err = errors.Join(err, r.end(context.WithoutCancel(ctx), t))
		}
	}()
	if err := r.begin(ctx, t); err != nil {
		return nil, err
	}
	waits, err := r.awaitFiring(ctx, t, began)
	if err != nil {
		return nil, err
	}
	for _, e := range waits {
		missing = append(missing, fmt.Sprintf("%s %s does not fire: %s", e.alert, e.instance, t.name))
	}
	ended = true
	if err := r.end(ctx, t); err != nil {
		return nil, err
	}
	r.say("ended:  %s", t.name)
	over := time.Now()
	if err := r.awaitQuiet(ctx, t.name, over.Add(endLimit), t.fires...); err != nil {
		missing = append(missing, err.Error())
	}
	return missing, r.at.AwaitReady(ctx, healLimit)
}

// awaitFiring waits until the alerts of a fault fire, at most for fireLimit, and returns those that do not.
func (r *run) awaitFiring(ctx context.Context, t trouble, began time.Time) (waits []expected, err error) {
	waits = slices.Clone(t.fires)
	others := make(map[string]bool)
	for end := time.Now().Add(fireLimit); len(waits) > 0 && time.Now().Before(end); {
		alerts, err := r.prom.Alerts(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range alerts {
			if i := slices.IndexFunc(waits, func(e expected) bool { return a.Is(e.alert, e.instance) }); i >= 0 {
				waits = slices.Delete(waits, i, i+1)
				r.seen[a.Name] = &sighting{fault: t.name, fired: time.Since(began), summary: a.Summary}
				r.say("  fires: %s (%s)", a, a.Summary)
			} else if a.Firing && !others[a.String()] && !t.expects(a) {
				others[a.String()] = true
				r.say("  fires, too: %s", a)
			}
		}
		if !site.Pause(ctx, time.Second) {
			return nil, ctx.Err()
		}
	}
	return waits, nil
}

func (r *run) begin(ctx context.Context, t trouble) error {
	for _, f := range t.faults {
		if err := r.at.Begin(ctx, f); err != nil {
			return err
		}
	}
	if t.begin != nil {
		return t.begin(ctx)
	}
	return nil
}

func (r *run) end(ctx context.Context, t trouble) (err error) {
	if t.end != nil {
		err = t.end(ctx)
	}
	for _, f := range t.faults {
		err = errors.Join(err, r.at.End(ctx, f))
	}
	return err
}

// awaitQuiet waits until no alert fires or is about to, for quietFor before the first fault. It notes when those that are named end.
func (r *run) awaitQuiet(ctx context.Context, when string, limit time.Time, fired ...expected) error {
	began, since := time.Now(), time.Now()
	for {
		alerts, err := r.prom.Alerts(ctx)
		if err != nil {
			return err
		}
		for _, e := range fired {
			s := r.seen[e.alert]
			if s != nil && s.over == 0 && !slices.ContainsFunc(alerts, func(a watch.Alert) bool { return a.Is(e.alert, e.instance) }) {
				s.over = time.Since(began)
				r.say("  is over: %s %s", e.alert, e.instance)
			}
		}
		switch {
		case len(alerts) > 0:
			since = time.Now()
		case len(fired) > 0 || time.Since(since) > quietFor:
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%s does not end: %s", alerts, when)
		}
		if !site.Pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// unseen returns the alerts of the rules that no fault here has made fire, unless there is a reason.
func (r *run) unseen() (wrong []string, err error) {
	rules, err := os.ReadFile(filepath.Join(docs, "prometheus", "alerts.yml"))
	if err != nil {
		return nil, err
	}
	for _, name := range watch.Names(string(rules)) {
		if r.seen[name] == nil && cannot[name] == "" {
			wrong = append(wrong, name+" was not seen")
		}
	}
	return wrong, nil
}

// lookAtDashboard asks what the dashboard asks over the whole run, and draws it if there is what it needs. It returns the panels that
// have nothing to show.
func (r *run) lookAtDashboard(ctx context.Context) (wrong []string, err error) {
	d, err := watch.ReadDashboard(filepath.Join(docs, "grafana-dashboard.json"))
	if err != nil {
		return nil, err
	}
	if err := d.Ask(ctx, r.prom, r.watched, time.Now()); err != nil {
		return nil, err
	}
	for _, blank := range d.Blank() {
		wrong = append(wrong, "the dashboard has nothing to show: "+blank)
	}
	pictures, err := d.Draw(ctx, r.dir)
	for _, picture := range pictures {
		r.say("the dashboard: %s", picture)
	}
	if errors.Is(err, watch.ErrNoBrowser) {
		r.say("the dashboard is not drawn: %v", err)
		return wrong, nil
	}
	return wrong, err
}

// report writes what was seen of each alert.
func (r *run) report() error {
	names := make([]string, 0, len(r.seen))
	for name := range r.seen {
		names = append(names, name)
	}
	slices.Sort(names)
	text := "| Alert | Fault | Fired after | Ended after | Summary |\n|---|---|---|---|---|\n"
	for _, name := range names {
		s := r.seen[name]
		text += fmt.Sprintf("| `%s` | %s | %.0f s | %.0f s | %s |\n", name, s.fault, s.fired.Seconds(), s.over.Seconds(), s.summary)
	}
	fmt.Print(text)
	return os.WriteFile(filepath.Join(r.dir, "alerts.md"), []byte(text), 0o644)
}
