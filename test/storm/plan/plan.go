// Package plan makes the schedule of faults of a run from a seed: the same seed gives the same schedule, on every machine.
package plan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind is what is done to a target.
type Kind string

// The kinds of faults.
const (
	Kill    Kind = "kill"    // SIGKILL, and a new process at the end
	Pause   Kind = "pause"   // SIGSTOP, and SIGCONT at the end
	Restart Kind = "restart" // SIGTERM, and a new process at the end
	Rolling Kind = "rolling" // every node restarts, one after the other
	Clock   Kind = "clock"   // the node's clock leaps, and leaps back at the end
	Full    Kind = "full"    // it can write no more bytes to files
	Latency Kind = "latency" // what passes is late
	Slow    Kind = "slow"    // few bytes a second pass
	Reset   Kind = "reset"   // all connections end with a reset, again and again
	Silent  Kind = "silent"  // nothing passes, and nobody is told: both ends keep their sockets
	Refused Kind = "refused" // connections end, and no new ones are taken
)

// Part is what a fault is done to.
type Part string

// The parts. A link has a node's number: it is between that node and the part.
const (
	Node         Part = "node"
	Broker       Part = "broker"
	Database     Part = "database"
	ClientLink   Part = "clients-node"
	BrokerLink   Part = "node-brokers"
	DatabaseLink Part = "node-database"
)

// Target is one part of the installation.
type Target struct {
	Part Part
	// Number is from 1 on; 0 where there is only one.
	Number int
}

func (t Target) String() string {
	if t.Number == 0 {
		return string(t.Part)
	}
	return fmt.Sprintf("%s %d", t.Part, t.Number)
}

// Fault is one fault of a schedule.
type Fault struct {
	// Number is from 1 on, in the order of At.
	Number int
	// At is when it begins, from the start of the run, and For how long it lasts.
	At, For time.Duration
	Kind    Kind
	Target  Target
	// Amount is the delay of latency (milliseconds), the rate of slow (KiB/s), or the leap of clock (seconds, may be negative);
	// else 0.
	Amount int
}

func (f Fault) String() string {
	amount := ""
	if f.Amount != 0 {
		amount = fmt.Sprintf(" %+d", f.Amount)
	}
	return fmt.Sprintf("#%d at %s for %s: %s %s%s", f.Number, f.At.Round(time.Millisecond), f.For.Round(time.Millisecond), f.Kind,
		f.Target, amount)
}

// end is when the fault is over.
func (f Fault) end() time.Duration { return f.At + f.For }

// Options say what a schedule is for.
type Options struct {
	Seed uint64
	// Faults is how many there are, and Length in what time they begin and end.
	Faults int
	Length time.Duration
	// Nodes and Brokers are how many there are.
	Nodes, Brokers int
	// Leave lists kinds that are left out, because they cannot be done where the run is.
	Leave []Kind
}

// maxAtOnce is how many faults last at the same time.
const maxAtOnce = 3

// possible are the kinds that each part can have, as often as they are to be drawn.
var possible = []struct {
	part  Part
	kinds []Kind
}{
	{Node, []Kind{Kill, Kill, Pause, Pause, Restart, Clock, Rolling}},
	{Broker, []Kind{Kill, Kill, Pause, Restart, Full}},
	{Database, []Kind{Kill, Pause, Restart, Full}},
	{ClientLink, []Kind{Latency, Slow, Reset, Silent, Refused}},
	{BrokerLink, []Kind{Latency, Slow, Reset, Silent, Refused}},
	{DatabaseLink, []Kind{Latency, Slow, Reset, Silent, Refused}},
}

// New makes a schedule. The faults of one target never overlap, and neither do those that stop brokers: without a majority of
// brokers nothing moves, and nothing is learned of the rest. It is an error if there is not a second for each fault.
func New(options Options) ([]Fault, error) {
	if options.Faults < 1 || options.Nodes < 1 || options.Length < time.Duration(options.Faults)*time.Second {
		return nil, errors.New("a schedule needs a node, a fault and a second for each fault")
	}
	random := rand.New(rand.NewPCG(options.Seed, 0))
	// Each fault begins in a slot of its own, so that they are spread over the run. The last one ends with it.
	slot := options.Length / time.Duration(options.Faults)
	longest := min(30*time.Second, maxAtOnce*slot)
	faults := make([]Fault, 0, options.Faults)
	deck := &deck{random: random, leave: options.Leave}
	if len(deck.all()) == 0 {
		return nil, errors.New("no kind of fault is left")
	}
	for n := range options.Faults {
		f := Fault{Number: n + 1, At: time.Duration(n)*slot + jitter(random, slot/2)}
		f.For = min(longest/4+jitter(random, longest*3/4), options.Length-f.At)
		lasting := slices.DeleteFunc(slices.Clone(faults), func(earlier Fault) bool { return earlier.end() <= f.At })
		for {
			part, kind := deck.draw()
			f.Kind, f.Target = kind, target(random, part, kind, options)
			if !disturbs(f, lasting) {
				break
			}
		}
		f.Amount = amount(random, f.Kind)
		faults = append(faults, f)
	}
	return faults, nil
}

func jitter(random *rand.Rand, below time.Duration) time.Duration {
	return time.Duration(random.Int64N(max(int64(below/time.Millisecond), 1))) * time.Millisecond
}

// deck deals all that is possible before it deals anything again: a long run has every kind of every part.
type deck struct {
	random *rand.Rand
	leave  []Kind
	cards  []card
}

type card struct {
	part Part
	kind Kind
}

func (d *deck) all() (cards []card) {
	for _, p := range possible {
		for _, kind := range p.kinds {
			if !slices.Contains(d.leave, kind) {
				cards = append(cards, card{p.part, kind})
			}
		}
	}
	return cards
}

func (d *deck) draw() (Part, Kind) {
	if len(d.cards) == 0 {
		d.cards = d.all()
		d.random.Shuffle(len(d.cards), func(i, j int) { d.cards[i], d.cards[j] = d.cards[j], d.cards[i] })
	}
	top := d.cards[len(d.cards)-1]
	d.cards = d.cards[:len(d.cards)-1]
	return top.part, top.kind
}

func target(random *rand.Rand, part Part, kind Kind, options Options) Target {
	switch {
	case part == Database || kind == Rolling:
		return Target{Part: part}
	case part == Broker:
		return Target{Part: part, Number: 1 + random.IntN(max(options.Brokers, 1))}
	}
	return Target{Part: part, Number: 1 + random.IntN(options.Nodes)}
}

// disturbs tells whether a fault must not begin while others last.
func disturbs(f Fault, lasting []Fault) bool {
	for _, other := range lasting {
		same := f.Target == other.Target
		rolling := f.Target.Part == Node && other.Target.Part == Node && (f.Kind == Rolling || other.Kind == Rolling)
		brokers := f.Target.Part == Broker && other.Target.Part == Broker
		if same || rolling || brokers {
			return true
		}
	}
	return false
}

func amount(random *rand.Rand, kind Kind) int {
	switch kind {
	case Latency:
		return 20 + random.IntN(1500)
	case Slow:
		return 2 + random.IntN(30)
	case Clock:
		leap := 5 + random.IntN(3600)
		if random.IntN(2) == 0 {
			return -leap
		}
		return leap
	}
	return 0
}

// Text is the whole schedule, a line for each fault.
func Text(faults []Fault) string {
	var text strings.Builder
	for _, f := range faults {
		fmt.Fprintln(&text, f)
	}
	return text.String()
}
