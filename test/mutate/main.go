// Mutate measures how much of a package its tests hold in place: it makes hundreds of small wrong changes to the package's
// code, one after another, and reports those after which all tests still pass.
//
//	go run ./test/mutate ./domain
//	go run ./test/mutate -files '^sender' -tests 'Sender' -v ./adapters/kafka/logclient
//
// A mutant that lives tells one of three things: a test is missing, the code is not needed, or the change makes no difference
// that anybody could see (an equivalent one).
//
// All mutants of a package are compiled into one test binary, each behind a switch that a variable of the environment turns
// on. Each mutant then gets those tests only that come by its place, the quickest first, until one fails. (Gremlins 0.6.0
// compiles every mutant anew: ./domain took it ten minutes where this takes one, and it called nearly all mutants timed out,
// because the machine was busy. Here a mutant has five times as long as its test took without it, and ten seconds.)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

type options struct {
	pkg          string
	files, at    *regexp.Regexp
	tests, skip  *regexp.Regexp
	workers      int
	list, killed bool
}

func parse(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprintln(out, "usage, in the folder of the module: go run ./test/mutate [options] ./package")
		flags.PrintDefaults()
	}
	pattern := func(name, value, usage string) **regexp.Regexp {
		p := regexp.MustCompile(value)
		flags.Func(name, usage, func(s string) (err error) {
			p, err = regexp.Compile(s)
			return err
		})
		return &p
	}
	files := pattern("files", "", "only `files` whose names match")
	at := pattern("at", "", "only mutants at `places` that match, as file.go:12")
	tests := pattern("tests", "", "only `tests` whose names match")
	skip := pattern("skip", "^$", "no `tests` whose names match")
	flags.IntVar(&o.workers, "workers", 2, "`tests` that run at the same time")
	flags.BoolVar(&o.list, "list", false, "list the mutants and run nothing")
	flags.BoolVar(&o.killed, "v", false, "print those that died, too, and the test that noticed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() != 1 || o.workers < 1 {
		flags.Usage()
		return o, errors.New("one package, and at least one worker")
	}
	o.pkg, o.files, o.at, o.tests, o.skip = flags.Arg(0), *files, *at, *tests, *skip
	return o, nil
}
