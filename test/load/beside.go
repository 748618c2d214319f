package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const sideRate = 1000 // messages/s of live chat while something else goes on

func storm(ctx context.Context, l *load) error {
	found := results{}
	servers := l.withoutHistory()
	err := l.everyRound(ctx, servers, func(p *process) error {
		calm, err := l.bench(ctx, p, l.chat(50, sideRate)...)
		if err != nil {
			return err
		}
		others := append([]string{"logins", "--users", fmt.Sprint(l.users), "--rounds", "1"}, l.newUsers(l.users)...)
		stormy, err := l.whileOthersLogIn(ctx, p, l.chat(50, sideRate), others)
		found.add(p.name, "calm", calm.Echo.P99)
		found.add(p.name, "stormy", stormy.Echo.P99)
		return err
	})
	if err != nil {
		return err
	}
	t := table{
		title: fmt.Sprintf("Live chat, 50 pairs, %d messages/s, while %d users log in: p99 until the echo, ms", sideRate, l.users),
		head:  []string{"", "before", "meanwhile", "ratio"},
	}
	for _, s := range servers {
		f := found[s.name]
		t.row(s.name, f["calm"].show(1), f["stormy"].show(1), f["stormy"].ratios(f["calm"]).show(2))
	}
	t.write(l.out)
	return nil
}

// missedByEach is how many messages each user says whose partner comes back with it. Both miss them.
const missedByEach = 2

func resumes(ctx context.Context, l *load) error {
	const pairs = 100
	found := results{}
	servers := pick(l.subjects, func(s *subject) bool { return !s.isPipe })
	users := l.users - l.users%2
	err := l.everyRound(ctx, servers, func(p *process) error {
		before, err := l.bench(ctx, p, l.chat(pairs, sideRate)...)
		if err != nil {
			return err
		}
		others := append([]string{
			"resumes", "--users", fmt.Sprint(users), "--parallel", fmt.Sprint(users), "--missed", fmt.Sprint(missedByEach),
			"--pause", (warmup + time.Second).String(), // the chat's own logins take less
		}, l.newUsers(users)...)
		meanwhile, back, err := l.whileOthersComeBack(ctx, p, l.chat(pairs, sideRate), others)
		found.add(p.name, "before", before.Echo.P99)
		found.add(p.name, "meanwhile", meanwhile.Echo.P99)
		found.add(p.name, "rate", back.Resumes)
		found.add(p.name, "caught up", back.CaughtUp.P99)
		return err
	})
	if err != nil {
		return err
	}
	t := table{
		title: fmt.Sprintf("Live chat, %d pairs, %d messages/s, while %d users come back at once who missed %d messages each: "+
			"p99 until the echo, ms", pairs, sideRate, users, 2*missedByEach),
		head: []string{"", "before", "meanwhile", "ratio", "resumes/s", "p99 until a user has what it missed, ms"},
	}
	for _, s := range servers {
		f := found[s.name]
		t.row(s.name, f["before"].show(1), f["meanwhile"].show(1), f["meanwhile"].ratios(f["before"]).show(2), f["rate"].show(0),
			f["caught up"].show(0))
	}
	t.write(l.out)
	return nil
}

func crowd(ctx context.Context, l *load) error {
	found := results{}
	servers := l.withoutHistory()
	connections := 2 * l.users
	pairs := max(1, connections/200)
	err := l.everyRound(ctx, servers, func(p *process) error {
		alone, err := l.bench(ctx, p, l.chat(pairs, sideRate)...)
		if err != nil {
			return err
		}
		rest := connections - 2*pairs
		others := append([]string{"idle", "--users", fmt.Sprint(rest), "--duration", "1h"}, l.newUsers(rest)...)
		held, err := l.besideIdle(ctx, p, l.chat(pairs, sideRate), others)
		found.add(p.name, "alone", alone.Echo.P99)
		found.add(p.name, "crowd", held.Echo.P99)
		return err
	})
	if err != nil {
		return err
	}
	t := table{
		title: fmt.Sprintf("Live chat, %d connections, %d messages/s: p99 until the echo, ms", 2*pairs, sideRate),
		head:  []string{"", "alone", fmt.Sprintf("of %d connections", connections), "ratio"},
	}
	for _, s := range servers {
		f := found[s.name]
		t.row(s.name, f["alone"].show(1), f["crowd"].show(1), f["crowd"].ratios(f["alone"]).show(2))
	}
	t.write(l.out)
	return nil
}

// whileOthersLogIn measures a chat, in whose measured time other users log in.
func (l *load) whileOthersLogIn(ctx context.Context, p *process, chat, logins []string) (report, error) {
	var (
		side    sync.WaitGroup
		sideErr error
	)
	side.Go(func() {
		select {
		case <-time.After(warmup + time.Second): // the chat's own logins take less
			_, sideErr = l.bench(ctx, p, logins...)
		case <-ctx.Done():
		}
	})
	r, err := l.bench(ctx, p, chat...)
	side.Wait()
	return r, errors.Join(err, sideErr)
}

// whileOthersComeBack measures a chat, in whose measured time users come back who were cut off.
func (l *load) whileOthersComeBack(ctx context.Context, p *process, chat, resumes []string) (chatted, back report, err error) {
	var (
		side    sync.WaitGroup
		sideErr error
	)
	cut := make(signalWriter, 1)
	side.Go(func() {
		back, sideErr = l.benchTelling(ctx, p, cut, asideNiceness, resumes...)
		cut.signal()
	})
	<-cut
	chatted, err = l.bench(ctx, p, chat...)
	side.Wait()
	return chatted, back, errors.Join(err, sideErr)
}

// besideIdle measures a chat while other connections are held.
func (l *load) besideIdle(ctx context.Context, p *process, chat, idle []string) (report, error) {
	holding, stop := context.WithCancel(ctx)
	defer stop()
	var (
		side    sync.WaitGroup
		sideErr error
	)
	held := make(signalWriter, 1)
	side.Go(func() {
		_, sideErr = l.benchTelling(holding, p, held, asideNiceness, idle...)
		if holding.Err() != nil {
			sideErr = nil // it was ended here
		}
		held.signal()
	})
	<-held
	r, err := l.bench(ctx, p, chat...)
	stop()
	side.Wait()
	return r, errors.Join(err, sideErr)
}

// signalWriter tells when something was written.
type signalWriter chan struct{}

// Write implements io.Writer.
func (w signalWriter) Write(p []byte) (int, error) {
	w.signal()
	return len(p), nil
}

func (w signalWriter) signal() {
	select {
	case w <- struct{}{}:
	default:
	}
}
