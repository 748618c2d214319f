// Command load compares what this server costs with what Kafka and two system calls cost: a bare pipe (see the package pipe) that has
// no rules. It starts Kafka and PostgreSQL (test/infra/up), runs pipe and server in alternation under the load client of
// chatting bench, and prints tables in Markdown. Ratios within one run say something; times of two runs do not.
//
//	go run ./test/load                             everything, about an hour
//	go run ./test/load -only throughput -rounds 3 -seconds 5
//	go run ./test/load -binary ../before/chatting  also another build of the server, in the same run
//
// If the environment names Kafka and PostgreSQL (CHATTING_TEST_KAFKA, CHATTING_TEST_POSTGRES), those are used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	only     []string // names of parts
	servers  []string // names of subjects
	rounds   int
	duration time.Duration
	users    int    // of logins and idle connections
	binary   string // another build, "" for none
	out      io.Writer
}

// part is one table.
type part struct {
	name, what string
	run        func(ctx context.Context, l *load) error
}

var parts = []part{
	{"throughput", "messages a second and CPU a message, as fast as they are answered", throughput},
	{"latency", "p50 and p99 at several rates", latency},
	{"pair", "p50 and p99 of one pair at 20 messages/s, against a bare produce and fetch", onePair},
	{"logins", "logins a second and CPU a login", logins},
	{"idle", "memory an idle connection", idle},
	{"second", "CPU a record of a node without users, while another carries the load", secondNode},
	{"storm", "p99 of live chat while users log in", storm},
	{"resumes", "p99 of live chat while users come back and get what they missed", resumes},
	{"crowd", "p99 with many connections of which 1% chat", crowd},
}

func main() {
	o, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string, help io.Writer) (options, error) {
	o := options{out: os.Stdout}
	set := flag.NewFlagSet("load", flag.ContinueOnError)
	set.SetOutput(help)
	var partNames []string
	for _, p := range parts {
		partNames = append(partNames, p.name)
	}
	set.Usage = func() {
		fmt.Fprint(help, "go run ./test/load compares the server with a bare pipe to Kafka, and prints tables in Markdown.\n\nTables:\n")
		for _, p := range parts {
			fmt.Fprintf(help, "  %-10s  %s\n", p.name, p.what)
		}
		fmt.Fprint(help, "\nFlags:\n")
		set.PrintDefaults()
	}
	only := set.String("only", strings.Join(partNames, ","), "the tables to make")
	servers := set.String("servers", strings.Join(subjectNames(), ","), "whom to measure")
	set.IntVar(&o.rounds, "rounds", 5, "how often everything is measured; the tables have medians")
	seconds := set.Float64("seconds", 10, "how long each measurement lasts")
	set.IntVar(&o.users, "users", 5000, "users who log in, and half of the connections that are held")
	set.StringVar(&o.binary, "binary", "", "another build of the server, to compare with; it is called before")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("load takes no argument such as %q (see -h)", set.Arg(0))
	}
	o.only, o.servers = strings.Split(*only, ","), strings.Split(*servers, ",")
	for _, name := range o.only {
		if !slices.Contains(partNames, name) {
			return o, fmt.Errorf("-only: there is no table %q", name)
		}
	}
	for _, name := range o.servers {
		if !slices.Contains(subjectNames(), name) {
			return o, fmt.Errorf("-servers: there is no %q", name)
		}
	}
	o.duration = time.Duration(*seconds * float64(time.Second))
	if o.rounds < 1 || o.duration <= 0 || o.users < 100 {
		return o, errors.New("-rounds and -seconds must be positive, and -users 100 at least")
	}
	return o, nil
}

// load is a run.
type load struct {
	options

	dir       string // for everything that is made
	program   string // this build of the server, whose bench is the load client
	pipe      string
	brokers   string
	database  string // URL of a database whose user may create others
	subjects  []*subject
	databases []string
	nextUser  int64

	mu     sync.Mutex
	faults []string
}

func run(ctx context.Context, o options) (err error) {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	l := &load{options: o, nextUser: 1_001_000_001} // those who chat have ids from 1,000,000,001 on
	if l.dir, err = os.MkdirTemp("", "chatting-load-"); err != nil {
		return err
	}
	defer os.RemoveAll(l.dir)
	l.program, l.pipe = filepath.Join(l.dir, "chatting"), filepath.Join(l.dir, "pipe")
	for program, source := range map[string]string{l.program: "./cmd/chatting", l.pipe: "./test/load/pipe"} {
		note("building %s", source)
		build := exec.CommandContext(ctx, "go", "build", "-o", program, source)
		build.Dir, build.Stdout, build.Stderr = root, os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building %s: %w", source, err)
		}
	}
	if o.binary != "" {
		if l.binary, err = filepath.Abs(o.binary); err != nil {
			return err
		}
	}
	stop, err := l.startParts(ctx, root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	defer func() { err = errors.Join(err, l.dropDatabases()) }()
	l.makeSubjects()
	fmt.Fprintf(l.out, "%s, %s/%s, %d cores, %s; %d rounds of %s.\n", commit(root), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		runtime.Version(), l.rounds, l.duration)
	for _, p := range parts {
		if slices.Contains(l.only, p.name) {
			if err := p.run(ctx, l); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	if len(l.faults) > 0 {
		fmt.Fprintln(l.out, "\n**Faults**")
		for _, fault := range l.faults {
			fmt.Fprintln(l.out, "-", fault)
		}
		return errors.New("messages were lost, doubled or reordered, or connections were closed: see the faults")
	}
	return nil
}

// commit says which code is measured.
func commit(root string) string {
	out, err := exec.Command("git", "-C", root, "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown commit"
	}
	return "Commit " + strings.TrimSpace(string(out))
}

func moduleRoot() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return "", fmt.Errorf("the sources are needed where they were built: %w", err)
	}
	return root, nil
}

// note tells on standard error what is being done.
func note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
