// Command soak shows what grows for ever in a server: users come and go, always new ones, while a server on its embedded parts and,
// beside it, two nodes on Kafka and PostgreSQL are measured once a minute. docs/reliability.md explains it.
//
//	eval "$(test/infra/up)"
//	go run ./test/soak -for 1h -rate 20
//
// It exits with 0 if nothing grows that should not, 1 if something does, 2 if the run could not be done. It needs Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// options are what the caller asks for.
type options struct {
	length  time.Duration
	every   time.Duration
	rate    float64
	program string
	dir     string
	again   string
}

func main() {
	// What this thread starts is killed when the thread ends: see start.
	runtime.LockOSThread()
	var o options
	flag.DurationVar(&o.length, "for", time.Hour, "for how long users come and go")
	flag.DurationVar(&o.every, "every", time.Minute, "how often everything is measured")
	flag.Float64Var(&o.rate, "rate", 20, "how many users come to each installation in a second")
	flag.StringVar(&o.program, "program", "", "a server that is built already, by an earlier run")
	flag.StringVar(&o.dir, "dir", "", "where data, logs, samples and profiles are kept; by default a new folder below /tmp")
	flag.StringVar(&o.again, "again", "", "judge what a run has left in this folder once more, and do nothing else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := run
	if o.again != "" {
		do = judgeAgain
	}
	faults, err := do(ctx, &o)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	case faults > 0:
		fmt.Printf("%d quantities grow that should not\n", faults)
		os.Exit(1)
	}
	fmt.Println("nothing grows that should not")
}

// run is the whole run. It returns how many quantities grow.
func run(ctx context.Context, o *options) (faults int, err error) {
	if err := o.prepare(ctx); err != nil {
		return 0, err
	}
	installations := []*installation{embedded(o), cluster(o)}
	for _, i := range installations { // also those that do not come to start: they have made a database
		defer func() { err = errors.Join(err, i.stop()) }()
	}
	for _, i := range installations {
		if err := errors.Join(i.start(ctx), i.open(o.dir)); err != nil {
			return 0, err
		}
		if err := i.rest(ctx, before); err != nil {
			return 0, err
		}
	}
	say("%g users/s come to each of %d installations for %s; files in %s", o.rate, len(installations), o.length, o.dir)
	came, end := context.WithTimeout(ctx, o.length)
	defer end()
	var work sync.WaitGroup
	for _, i := range installations {
		i.crowd = newCrowd(i, o.rate)
		work.Go(func() { i.crowd.run(came) })
		work.Go(func() { i.measure(came, o) })
	}
	work.Wait()
	if ctx.Err() != nil {
		say("interrupted: what is known so far")
	}
	for _, i := range installations {
		if i.samples.err == nil {
			i.samples.err = i.rest(ctx, after)
		}
		if i.samples.err != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", i.name, i.samples.err))
		}
		faults += i.samples.report(i.name, os.Stdout)
	}
	return faults, err
}

// judgeAgain judges an earlier run.
func judgeAgain(_ context.Context, o *options) (faults int, err error) {
	for _, name := range []string{"embedded", "cluster"} {
		s, err := readSamples(filepath.Join(o.again, name+".tsv"))
		if err != nil {
			return 0, err
		}
		faults += s.report(name, os.Stdout)
	}
	return faults, nil
}

// prepare makes the folder and builds the server.
func (o *options) prepare(ctx context.Context) (err error) {
	if o.dir == "" {
		o.dir, err = os.MkdirTemp("", "soak-")
	} else if o.dir, err = filepath.Abs(o.dir); err == nil {
		err = os.MkdirAll(o.dir, 0o755)
	}
	if err != nil || o.program != "" {
		return err
	}
	say("building the server with shorter times")
	o.program, err = build(ctx, o.dir)
	return err
}

// say prints a line with the time.
func say(format string, arguments ...any) {
	fmt.Printf(time.Now().Format("15:04:05 ")+format+"\n", arguments...)
}
