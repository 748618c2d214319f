package main

import (
	"context"
	"fmt"
	"time"
)

const warmup = 2 * time.Second

// everyRound has each subject measured once a round.
func (l *load) everyRound(ctx context.Context, subjects []*subject, measure func(p *process) error) error {
	for round := range l.rounds {
		for _, s := range inRound(round, subjects) {
			note("round %d: %s", round+1, s.name)
			if err := l.with(ctx, s, measure); err != nil {
				return err
			}
		}
	}
	return nil
}

// chat returns the flags of a run of bench. pairs chat at a rate, or as fast as they are answered if that is 0.
func (l *load) chat(pairs int, rate float64) []string {
	args := []string{"--pairs", fmt.Sprint(pairs), "--duration", l.duration.String(), "--warmup", warmup.String()}
	if rate > 0 {
		args = append(args, "--rate", fmt.Sprint(rate))
	}
	return args
}

func throughput(ctx context.Context, l *load) error {
	found := results{}
	err := l.everyRound(ctx, l.subjects, func(p *process) error {
		r, err := l.bench(ctx, p, l.chat(50, 0)...)
		found.add(p.name, "rate", r.PerSec)
		found.add(p.name, "cpu", cpu(r.Processes, p.pid()))
		found.add(p.name, "client", r.ClientCPU)
		return err
	})
	if err != nil {
		return err
	}
	t := table{
		title: "Closed loop, 50 pairs, 8 unanswered messages a connection, 64-byte texts",
		head: []string{
			"", "messages/s", "to the pipe", "to the naive one", "server CPU a message, µs", "to the pipe", "to the naive one", "load client, µs",
		},
	}
	for _, s := range l.subjects {
		f := found[s.name]
		t.row(
			s.name, f["rate"].show(0), ratio(found, s.name, pipeName, "rate"), ratio(found, s.name, naiveName, "rate"),
			f["cpu"].show(1), ratio(found, s.name, pipeName, "cpu"), ratio(found, s.name, naiveName, "cpu"), f["client"].show(1),
		)
	}
	t.write(l.out)
	return nil
}

var rates = []float64{200, 1000, 3000, 8000}

func latency(ctx context.Context, l *load) error {
	found := results{}
	err := l.everyRound(ctx, l.subjects, func(p *process) error {
		for _, rate := range rates {
			r, err := l.bench(ctx, p, l.chat(100, rate)...)
			if err != nil {
				return err
			}
			found.add(p.name, fmt.Sprint("p50 ", rate), r.Echo.P50)
			found.add(p.name, fmt.Sprint("p99 ", rate), r.Echo.P99)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := table{title: "Open loop, 100 pairs: time until the echo, ms", head: []string{"messages/s", ""}}
	for _, s := range l.subjects {
		t.head = append(t.head, s.name)
	}
	for _, rate := range rates {
		for _, quantile := range []string{"p50", "p99"} {
			row := []string{thousands(rate, 0), quantile}
			for _, s := range l.subjects {
				row = append(row, found[s.name][fmt.Sprint(quantile, " ", rate)].show(1))
			}
			t.row(row...)
		}
	}
	t.write(l.out)
	return nil
}

func onePair(ctx context.Context, l *load) error {
	const rate, bare = 20, "produce and fetch"
	found := results{}
	onKafka := pick(l.subjects, func(s *subject) bool { return s.kafka })
	for round := range l.rounds {
		note("round %d: %s", round+1, bare)
		trip, err := l.roundTrips(ctx, rate)
		if err != nil {
			return err
		}
		found.add(bare, "p50", trip.P50)
		found.add(bare, "p99", trip.P99)
		for _, s := range inRound(round, onKafka) {
			note("round %d: %s", round+1, s.name)
			err := l.with(ctx, s, func(p *process) error {
				r, err := l.bench(ctx, p, l.chat(1, rate)...)
				found.add(p.name, "p50", r.Echo.P50)
				found.add(p.name, "p99", r.Echo.P99)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	t := table{
		title: fmt.Sprintf("One pair, %d messages/s: time until the echo, ms", rate),
		head:  []string{"", "p50", "to " + bare, "p99", "to " + bare},
	}
	names := []string{bare}
	for _, s := range onKafka {
		names = append(names, s.name)
	}
	for _, name := range names {
		f, base := found[name], found[bare]
		t.row(name, f["p50"].show(2), f["p50"].ratios(base["p50"]).show(2), f["p99"].show(2), f["p99"].ratios(base["p99"]).show(2))
	}
	t.write(l.out)
	return nil
}

// withoutHistory are the servers that the tables are about in which history does not matter.
func (l *load) withoutHistory() []*subject {
	return pick(l.subjects, func(s *subject) bool { return !s.isPipe && !s.history })
}

func logins(ctx context.Context, l *load) error {
	found := results{}
	servers := l.withoutHistory()
	err := l.everyRound(ctx, servers, func(p *process) error {
		args := append([]string{"logins", "--users", fmt.Sprint(l.users), "--rounds", "2"}, l.newUsers(l.users)...)
		r, err := l.bench(ctx, p, args...)
		if err != nil {
			return err
		}
		for i, when := range []string{"new", "known"} {
			if i < len(r.Rounds) {
				found.add(p.name, when+" rate", r.Rounds[i].PerSec)
				found.add(p.name, when+" cpu", cpu(r.Rounds[i].Processes, p.pid()))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := table{
		title: fmt.Sprintf("Logins, 64 at a time: %d new users, and the same right after all their connections dropped", l.users),
		head:  []string{"", "new/s", "CPU, µs", "known/s", "CPU, µs"},
	}
	for _, s := range servers {
		f := found[s.name]
		t.row(s.name, f["new rate"].show(0), f["new cpu"].show(0), f["known rate"].show(0), f["known cpu"].show(0))
	}
	t.write(l.out)
	return nil
}

func idle(ctx context.Context, l *load) error {
	found := results{}
	subjects := pick(l.subjects, func(s *subject) bool { return !s.history })
	connections := 2 * l.users
	err := l.everyRound(ctx, subjects, func(p *process) error {
		args := []string{"idle", "--users", fmt.Sprint(connections), "--duration", l.duration.String()}
		r, err := l.bench(ctx, p, append(args, l.newUsers(connections)...)...)
		if len(r.Processes) > 0 {
			found.add(p.name, "memory", r.Processes[0].KiBConnection)
		}
		return err
	})
	if err != nil {
		return err
	}
	t := table{
		title: fmt.Sprintf("Resident memory an idle logged-in connection (%s)", thousands(float64(connections), 0)),
		head:  []string{"", "KiB"},
	}
	for _, s := range subjects {
		t.row(s.name, found[s.name]["memory"].show(1))
	}
	t.write(l.out)
	return nil
}

func secondNode(ctx context.Context, l *load) error {
	found := results{}
	servers := pick(l.subjects, func(s *subject) bool { return !s.isPipe && s.kafka && !s.history })
	err := l.everyRound(ctx, servers, func(p *process) error {
		return l.with(ctx, p.subject, func(second *process) error {
			r, err := l.bench(ctx, p, append(l.chat(50, 0), "--pid", fmt.Sprint(second.pid()))...)
			found.add(p.name, "rate", r.PerSec)
			found.add(p.name, "first", cpu(r.Processes, p.pid()))
			found.add(p.name, "second", cpu(r.Processes, second.pid()))
			return err
		})
	})
	if err != nil {
		return err
	}
	t := table{
		title: "A second node without users, while the first one carries the closed loop",
		head:  []string{"", "messages/s", "first node, CPU a message, µs", "second node, CPU a record, µs"},
	}
	for _, s := range servers {
		f := found[s.name]
		t.row(s.name, f["rate"].show(0), f["first"].show(1), f["second"].show(2))
	}
	t.write(l.out)
	return nil
}
