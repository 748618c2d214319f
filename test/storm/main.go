// Command storm runs three nodes of the server, three brokers and PostgreSQL under a schedule of faults, with clients that do as
// docs/clients.md says, and then checks that nothing was lost, doubled, swapped or shown to the wrong user. docs/reliability.md
// explains it.
//
//	go run ./test/storm -seed 7 -for 10m -faults 50
//
// The schedule depends on -seed, -for, -faults and -leave alone. Everything that it starts ends with it. It needs Linux and what
// test/infra/up needs. Full disks need root.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"chatting/test/storm/check"
	"chatting/test/storm/plan"
	"chatting/test/storm/site"
)

// options are what the caller asks for.
type options struct {
	seed    uint64
	length  time.Duration
	faults  int
	leave   []plan.Kind
	rate    float64
	users   int
	offline string
	race    bool
	// sabotage names one of sabotages; "" for none.
	sabotage string
	program  string
	dir      string
	dry      bool
}

func main() {
	asked := parse()
	if asked.dry {
		faults, err := plan.New(asked.schedule())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		fmt.Print(plan.Text(faults))
		return
	}
	if dir := site.Folder(); dir != "" {
		os.Exit(work(asked, dir))
	}
	os.Exit(site.Guard("storm", asked.dir, fmt.Sprint("-seed=", asked.seed)))
}

func parse() options {
	var o options
	var leave string
	flag.Uint64Var(&o.seed, "seed", 0, "what the schedule is made from; 0: a random one")
	flag.DurationVar(&o.length, "for", time.Hour, "for how long there are faults")
	flag.IntVar(&o.faults, "faults", 300, "how many faults there are")
	flag.StringVar(&leave, "leave", "", "kinds of faults to leave out, separated by commas")
	flag.Float64Var(&o.rate, "rate", 30, "how many messages all users together send in a second")
	flag.IntVar(&o.users, "users", 12, "how many users there are; every second one has two devices")
	flag.StringVar(&o.offline, "offline", "", "chat.offline of the nodes; by default store for an odd seed, reject for an even one")
	flag.BoolVar(&o.race, "race", false, "build the nodes with the race detector")
	flag.StringVar(&o.sabotage, "sabotage", "", "break a promise of the nodes, to see that the run finds it: "+sabotages.names())
	flag.StringVar(&o.program, "program", "", "a program of the nodes that is built already: their clocks do not leap")
	flag.StringVar(&o.dir, "dir", "", "where the logs and histories are kept; by default in a new folder below /tmp")
	flag.BoolVar(&o.dry, "dry", false, "print the schedule and do nothing")
	flag.Parse()
	if _, known := sabotages[o.sabotage]; o.sabotage != "" && !known {
		fmt.Fprintf(os.Stderr, "-sabotage is one of %s\n", sabotages.names())
		os.Exit(2)
	}
	for o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000)
	}
	for kind := range strings.SplitSeq(leave, ",") {
		if kind != "" {
			o.leave = append(o.leave, plan.Kind(kind))
		}
	}
	if o.program != "" {
		o.leave = append(o.leave, plan.Clock)
	}
	if o.offline == "" {
		o.offline = "reject"
		if o.seed%2 == 1 {
			o.offline = "store"
		}
	}
	return o
}

func (o options) schedule() plan.Options {
	return plan.Options{Seed: o.seed, Faults: o.faults, Length: o.length, Nodes: site.NodeCount, Brokers: site.BrokerCount, Leave: o.leave}
}

// work is the run itself. It returns the exit code: 0 if no rule was broken, 1 if one was, 2 if the run could not be done.
func work(asked options, dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if asked.race {
		fmt.Println("the nodes are built with the race detector")
	}
	fmt.Printf("seed %d, %d faults in %s, chat.offline=%s, %d users, %.0f messages/s; files in %s\n",
		asked.seed, asked.faults, asked.length, asked.offline, asked.users, asked.rate, dir)
	s := &storm{asked: asked, dir: dir, began: time.Now()}
	found, err := s.run(ctx)
	if err != nil {
		s.say("the run could not be done: %v", err)
		return 2
	}
	if asked.sabotage != "" {
		return s.foundSabotage(found)
	}
	if len(found) > 0 {
		s.say("%d violations; repeat with: go run ./test/storm -seed %d -for %s -faults %d -offline %s", len(found), asked.seed, asked.length,
			asked.faults, asked.offline)
		return 1
	}
	s.say("no rule was broken")
	return 0
}

// foundSabotage says whether a run found what was broken on purpose: 0 if it did.
func (s *storm) foundSabotage(found []check.Violation) int {
	broken := sabotages[s.asked.sabotage]
	for _, v := range found {
		if v.Rule == broken.breaks {
			s.say("the run found that %s", broken.what)
			return 0
		}
	}
	s.say("the run did NOT find that %s", broken.what)
	return 1
}
