package plan

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

func long(seed uint64) Options {
	return Options{Seed: seed, Faults: 300, Length: time.Hour, Nodes: 3, Brokers: 3}
}

func make300(t *testing.T, seed uint64) []Fault {
	t.Helper()
	faults, err := New(long(seed))
	if err != nil {
		t.Fatal(err)
	}
	return faults
}

// A seed that was printed once has to mean the same schedule later, or what it found cannot be found again. If the schedule is
// changed on purpose, so is this sum.
func TestASeedAlwaysMeansTheSameSchedule(t *testing.T) {
	const known = "5e3a302c79316546f2c18acc4a7d0c884526e8afb5029c842986a136a152d45c"
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(Text(make300(t, 1)))))
	if sum != known {
		t.Errorf("seed 1 has the schedule %s, not %s:\n%s", sum, known, Text(make300(t, 1)[:10]))
	}
	if Text(make300(t, 1)) == Text(make300(t, 2)) {
		t.Error("two seeds have one schedule")
	}
}

func TestALongScheduleHasEveryKindOfEveryPart(t *testing.T) {
	seen := make(map[card]bool)
	for _, f := range make300(t, 7) {
		seen[card{f.Target.Part, f.Kind}] = true
	}
	for _, p := range possible {
		for _, kind := range p.kinds {
			if !seen[card{p.part, kind}] {
				t.Errorf("no %s of a %s", kind, p.part)
			}
		}
	}
}

func TestFaultsFitTogether(t *testing.T) {
	for seed := range uint64(50) {
		faults := make300(t, seed)
		for i, f := range faults {
			if f.At < 0 || f.For <= 0 || f.end() > time.Hour || f.Number != i+1 {
				t.Fatalf("seed %d: %s is not within the run", seed, f)
			}
			lasting := 0
			for _, earlier := range faults[:i] {
				if earlier.At > f.At {
					t.Fatalf("seed %d: %s begins before %s", seed, f, earlier)
				}
				if earlier.end() <= f.At {
					continue
				}
				lasting++
				if earlier.Target == f.Target || earlier.Target.Part == Broker && f.Target.Part == Broker {
					t.Errorf("seed %d: %s and %s overlap", seed, earlier, f)
				}
			}
			if lasting >= maxAtOnce+1 {
				t.Errorf("seed %d: %d faults last when %s begins", seed, lasting, f)
			}
		}
	}
}

func TestKindsThatCannotBeDoneAreLeftOut(t *testing.T) {
	options := long(3)
	options.Leave = []Kind{Clock, Full}
	faults, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		if f.Kind == Clock || f.Kind == Full {
			t.Errorf("%s was to be left out", f)
		}
	}
}

func TestAScheduleNeedsTimeForItsFaults(t *testing.T) {
	for _, options := range []Options{
		{Faults: 10, Length: 9 * time.Second, Nodes: 3, Brokers: 3},
		{Faults: 0, Length: time.Minute, Nodes: 3, Brokers: 3},
		{Faults: 10, Length: time.Minute, Brokers: 3},
	} {
		if faults, err := New(options); err == nil {
			t.Errorf("%+v: %d faults", options, len(faults))
		}
	}
}
