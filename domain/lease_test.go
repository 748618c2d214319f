package domain_test

import (
	"slices"
	"testing"
	"time"

	"chatting/domain"
)

const leaseLength = 6 * time.Second

// judge drives a lease by seconds of its own clock.
type judge struct {
	t     *testing.T
	lease *domain.Lease
	start time.Time
}

func newJudge(t *testing.T, self domain.Incarnation) *judge {
	return &judge{t: t, lease: domain.NewLease(self, leaseLength), start: time.Now()}
}

// at lets the own beats of the seconds from..to come back, and returns whom the last one finds dead, in order.
func (j *judge) beats(from, to int) []domain.Incarnation {
	var dead []domain.Incarnation
	for second := from; second <= to; second++ {
		dead = j.lease.OwnBeat(j.start.Add(time.Duration(second) * time.Second))
	}
	slices.SortFunc(dead, domain.Incarnation.Compare)
	return dead
}

func (j *judge) expect(what string, got []domain.Incarnation, want ...domain.Incarnation) {
	j.t.Helper()
	if !slices.Equal(got, want) {
		j.t.Fatalf("%s: dead are %v, want %v", what, got, want)
	}
}

// others counts the other nodes that are known and not buried.
func others(lease *domain.Lease) (n int) {
	lease.EachOther(func(domain.Incarnation) { n++ })
	return n
}

func TestANodeIsDeadAfterALeaseOfOwnBeatsWithoutItsOwn(t *testing.T) {
	j := newJudge(t, nodeA)
	j.lease.Alive(nodeB)
	j.expect("up to a lease less a beat", j.beats(0, 5))
	j.expect("after a lease", j.beats(6, 6), nodeB)
	j.expect("until it is buried", j.beats(7, 7), nodeB)
	j.lease.Buried(nodeB)
	j.expect("once it is buried", j.beats(8, 30))
	if others(j.lease) != 0 {
		t.Error("a buried node is still known")
	}
}

func TestANodeThatLeftIsDeadAfterItsGrace(t *testing.T) {
	j := newJudge(t, nodeA)
	j.lease.Alive(nodeB)
	j.lease.Leaving(nodeB, 2*leaseLength)
	j.lease.Alive(nodeB) // a record of its users that stood in another partition
	j.expect("after a lease", j.beats(0, 11))
	j.expect("after its grace", j.beats(12, 12), nodeB)
}

func TestASignOfLifeStartsTheLeaseAnew(t *testing.T) {
	j := newJudge(t, nodeA)
	j.lease.Alive(nodeB)
	j.expect("before", j.beats(0, 5))
	j.lease.Alive(nodeB)
	j.expect("a lease after the first own beat that followed it, less a beat", j.beats(6, 11))
	j.expect("a whole one", j.beats(12, 12), nodeB)
}

func TestANodeFoundDeadIsAliveAgainWhenItBeats(t *testing.T) {
	j := newJudge(t, nodeA)
	j.lease.Alive(nodeB)
	j.expect("after a lease", j.beats(0, 6), nodeB)
	j.lease.Alive(nodeB) // its beat stood before the burial in the log
	j.expect("after its beat", j.beats(7, 12))
}

func TestNobodyIsJudgedWhileOwnBeatsDoNotComeBack(t *testing.T) {
	j := newJudge(t, nodeA)
	j.lease.Alive(nodeB)
	j.expect("before the outage", j.beats(0, 2))
	// An hour without the broker, then one beat.
	j.expect("the first beat after it", j.beats(3600, 3600))
	j.expect("three leases long", j.beats(3601, 3617))
	j.expect("then", j.beats(3618, 3618), nodeB)
}

func TestAfterAGapAnotherGapStartsTheQuietAnew(t *testing.T) {
	j := newJudge(t, nodeA)
	j.lease.Alive(nodeB)
	j.beats(0, 2)
	j.expect("after the first gap", j.beats(10, 20))
	j.expect("after the second", j.beats(30, 47))
	j.expect("three leases after it", j.beats(48, 48), nodeB)
}

func TestABeatThatIsALittleLateIsNoGap(t *testing.T) {
	j := newJudge(t, nodeA)
	j.lease.Alive(nodeB)
	j.beats(0, 0)
	j.beats(3, 3) // half a lease
	j.expect("after a lease", j.beats(6, 6), nodeB)
}

func TestEachFurtherNodeWaitsASecondLonger(t *testing.T) {
	j := newJudge(t, nodeC)
	for second := range 9 {
		if second < 6 {
			j.lease.Alive(nodeA)
			j.lease.Alive(nodeB)
		}
		j.expect("while A, of lower rank, lives", func() []domain.Incarnation {
			if second >= 6 {
				j.lease.Alive(nodeA)
			}
			return j.beats(second, second)
		}())
	}
	// B's last sign of life stood before the own beat of second 5, A lives: rank 1, so a lease and a second.
	for second := 9; second < 12; second++ {
		j.lease.Alive(nodeA)
		j.expect("less than a lease and a second", j.beats(second, second))
	}
	j.lease.Alive(nodeA)
	j.expect("a lease and a second", j.beats(12, 12), nodeB)
}

func TestTheDeadDoNotCountInTheRank(t *testing.T) {
	j := newJudge(t, nodeC)
	j.lease.Alive(nodeA)
	j.lease.Alive(nodeB)
	j.expect("before a lease", j.beats(0, 5))
	j.expect("both fell silent at once", j.beats(6, 6), nodeA, nodeB)
}

func TestANodeDoesNotJudgeItself(t *testing.T) {
	j := newJudge(t, nodeA)
	j.lease.Alive(nodeA)
	j.expect("ever", j.beats(0, 60))
	if others(j.lease) != 0 {
		t.Error("the node counts itself among the others")
	}
}

func TestANodeThatGoesOnUnderAnotherNameKeepsWhatItKnows(t *testing.T) {
	j := newJudge(t, nodeB)
	j.lease.Alive(nodeA)
	j.lease.Alive(nodeC)
	j.beats(0, 2)
	j.lease.Continue(domain.Incarnation{0xd})
	var others []domain.Incarnation
	j.lease.EachOther(func(other domain.Incarnation) { others = append(others, other) })
	slices.SortFunc(others, domain.Incarnation.Compare)
	if want := []domain.Incarnation{nodeA, nodeB, nodeC}; !slices.Equal(others, want) {
		t.Fatalf("the others are %v, want %v: the old name has to be buried in every partition", others, want)
	}
	// It was buried because its beats were missing: that was a gap.
	j.expect("three leases after the gap", j.beats(20, 37))
	j.expect("then", j.beats(38, 38), nodeA, nodeB, nodeC)
}

func TestAGapOfMoreThanHalfALeaseCounts(t *testing.T) {
	// Whatever kept the own beat so long may have kept those of others: each may miss nearly a lease by then.
	for second, gap := range map[int]bool{3: false, 4: true, 5: true, 6: true, 7: true} {
		j := newJudge(t, nodeA)
		j.lease.Alive(nodeB)
		j.beats(0, 0)
		if !gap {
			j.expect("half a lease is none", j.beats(second, 6), nodeB)
			continue
		}
		j.expect("three leases long", j.beats(second, second+17))
		j.expect("then", j.beats(second+18, second+18), nodeB)
	}
}

func TestAGraceMayBeShorterThanALease(t *testing.T) {
	j := newJudge(t, nodeA)
	j.beats(0, 0)
	j.lease.Leaving(nodeB, 2*time.Second)
	j.expect("within the grace", j.beats(1, 2))
	j.expect("after it", j.beats(3, 3), nodeB)
}

func TestAGapStartsTheGraceAnew(t *testing.T) {
	j := newJudge(t, nodeA)
	j.lease.Leaving(nodeB, 5*leaseLength)
	j.beats(0, 2)
	j.expect("less than the grace after the gap", j.beats(10, 39))
	j.expect("the grace after the gap", j.beats(40, 40), nodeB)
}

func TestANodeThatLeavesDoesNotCountInTheRank(t *testing.T) {
	j := newJudge(t, nodeC)
	j.lease.Alive(nodeB)
	j.beats(0, 5)
	j.lease.Leaving(nodeA, 10*leaseLength) // and so buries nobody
	j.expect("a lease", j.beats(6, 6), nodeB)
}

func TestLivingNodesOfLowerIDCountInTheRank(t *testing.T) {
	self := domain.Incarnation{0xc, 15: 2}
	lower, higher := domain.Incarnation{0xc, 15: 1}, domain.Incarnation{0xc, 15: 3}
	for _, test := range []struct {
		others []domain.Incarnation
		rank   int
	}{
		{nil, 0},
		{[]domain.Incarnation{higher, {0xd}}, 0},
		{[]domain.Incarnation{lower, higher}, 1},
		{[]domain.Incarnation{lower, nodeA, higher}, 2},
	} {
		j := newJudge(t, self)
		j.lease.Alive(nodeB)
		j.beats(0, 2)
		for _, other := range test.others {
			j.lease.Alive(other) // and no more: they live for a lease
		}
		j.expect("less than a lease and a second for each", j.beats(3, 5+test.rank))
		j.expect("a lease and a second for each", j.beats(6+test.rank, 6+test.rank), nodeB)
	}
}
