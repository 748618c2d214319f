// Command scaling works out what numbers of users take: nodes, brokers, bytes, cores. It prints the tables of docs/scaling.md,
// which says what they mean, for other assumptions than those of the document:
//
//	go run ./test/scaling
//	go run ./test/scaling -online 0.1 -messages 20 -friends 200 -node-cores 8
//	go run ./test/scaling -users 3000000
//
// The tests play the same through with users, nodes and records, on a small scale, and compare. After a change of costs.go or
// of a formula, go test ./test/scaling -update writes the tables of the document anew.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

func run(args []string, out, help io.Writer) error {
	l, m, users := typical, usual, 0.0
	set := flag.NewFlagSet("scaling", flag.ContinueOnError)
	set.SetOutput(help)
	set.Float64Var(&users, "users", 0, "only this number of users of a day; 0: 10,000 to 100,000,000")
	set.Float64Var(&l.online, "online", l.online, "share of the users of a day that is online at the peak")
	set.Float64Var(&l.session, "session", l.session, "seconds from a login to the end of its connection")
	set.Float64Var(&l.messages, "messages", l.messages, "messages that a user sends a day")
	set.Float64Var(&l.peak, "peak", l.peak, "rate of the busiest hour to that of the mean hour")
	set.Float64Var(&l.friends, "friends", l.friends, "friends of a user")
	set.Float64Var(&l.crossing, "crossing", l.crossing, "share of friendships that cross cells")
	set.Float64Var(&l.returns, "returns", l.returns, "seconds over which the clients of a dead node come back")
	set.Float64Var(&m.nodeCores, "node-cores", m.nodeCores, "cores of a node")
	set.Float64Var(&m.nodeMemory, "node-memory", m.nodeMemory, "bytes of memory of a node")
	set.Float64Var(&m.brokerCores, "broker-cores", m.brokerCores, "cores of a broker")
	set.Float64Var(&m.link, "link", m.link, "bytes a second of a machine's network")
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", set.Arg(0))
	}
	for name, value := range map[string]float64{
		"online": l.online, "session": l.session, "messages": l.messages, "peak": l.peak, "friends": l.friends,
		"crossing": l.crossing, "returns": l.returns, "node-cores": m.nodeCores, "node-memory": m.nodeMemory,
		"broker-cores": m.brokerCores, "link": m.link,
	} {
		if !(value > 0) {
			return fmt.Errorf("-%s has to be more than 0", name)
		}
	}
	if l.online >= 1 || l.crossing >= 1 {
		return errors.New("-online and -crossing have to be less than 1")
	}
	if users < 0 {
		return errors.New("-users must not be negative")
	}
	d := document{load: l, costs: measured, machines: m, decades: decades}
	if users > 0 {
		d.decades = []float64{users}
	}
	for _, t := range d.tables() {
		fmt.Fprintf(out, "**%s**\n\n%s\n", t.title, t.markdown)
	}
	return nil
}
