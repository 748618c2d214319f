// Command alarms does to three nodes, three brokers and PostgreSQL what the alerts of docs/prometheus are about, one fault after the
// other, and checks with a real Prometheus that the alert of each fault fires and ends. Then it runs every query of the dashboard
// over that time. docs/metrics.md lists the faults.
//
//	go run ./test/alarms
//
// The rules are made faster, so that it takes half an hour and not a day. Everything that it starts ends with it. It needs Linux
// and what test/infra/up needs. Full disks need root. With CHATTING_TEST_CHROMIUM and CHATTING_TEST_UPLOT (test/web/install) it also
// draws the dashboard.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"chatting/test/storm/site"
)

// options are what the caller asks for.
type options struct {
	factor  int
	only    string
	program string
	dir     string
	list    bool
}

func main() {
	asked := parse()
	if asked.list {
		for _, t := range (&run{}).troubles() {
			fmt.Println(t.name + ": " + strings.Join(t.alerts(), ", "))
		}
		for alert, why := range cannot {
			fmt.Println("not made here: " + alert + ": " + why)
		}
		return
	}
	if dir := site.Folder(); dir != "" {
		os.Exit(work(asked, dir))
	}
	os.Exit(site.Guard("alarms", asked.dir))
}

func parse() (o options) {
	flag.IntVar(&o.factor, "faster", 20, "by what factor the rules wait less and look back less far")
	flag.StringVar(&o.only, "only", "", "a regular expression: only faults whose name matches")
	flag.StringVar(&o.program, "program", "", "a program of the nodes that is built already: their clocks do not leap")
	flag.StringVar(&o.dir, "dir", "", "where logs and results are kept; by default in a new folder below /tmp")
	flag.BoolVar(&o.list, "list", false, "list the faults and their alerts, and do nothing")
	flag.Parse()
	return o
}

// work is the run itself. It returns the exit code: 0 if every alert fired and ended, 1 if one did not or a panel of the dashboard has
// nothing to show, 2 if the run could not be done.
func work(asked options, dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &run{asked: asked, dir: dir, began: time.Now(), seen: make(map[string]*sighting)}
	fmt.Printf("the rules are %d times as fast; files in %s\n", asked.factor, dir)
	wrong, err := r.run(ctx)
	if err != nil {
		r.say("the run could not be done: %v", err)
		return 2
	}
	for _, what := range wrong {
		r.say("WRONG: %s", what)
	}
	if len(wrong) > 0 {
		return 1
	}
	r.say("every alert fired at its fault and ended after it")
	return 0
}
