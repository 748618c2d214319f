package domain_test

import (
	"math/rand/v2"
	"testing"

	"chatting/domain"
)

func TestAnEmptyBlockListHidesNobody(t *testing.T) {
	var list domain.BlockList
	if list.Hides(7) || list.Version(7) != 0 {
		t.Error("the zero value says something about 7")
	}
}

func TestABlockListTakesOnlyNewerVersions(t *testing.T) {
	var list domain.BlockList
	for _, step := range []struct {
		what    string
		blocked bool
		version int64
		hides   bool
	}{
		{"a block", true, 1, true},
		{"the same again", true, 1, true},
		{"an unblock", false, 2, false},
		{"the first block, late", true, 1, false},
		{"the unblock, twice", false, 2, false},
		{"a later block, ahead of its turn", true, 5, true},
		{"what stood between", false, 4, true},
		{"a version that no store gives", false, 0, true},
		{"a negative one", false, -1, true},
	} {
		list.Apply(7, step.blocked, step.version)
		if list.Hides(7) != step.hides {
			t.Fatalf("after %s: Hides is %v", step.what, list.Hides(7))
		}
	}
	if list.Version(7) != 5 {
		t.Errorf("the version is %d, want 5", list.Version(7))
	}
	if list.Hides(8) || list.Version(8) != 0 {
		t.Error("8 was never named")
	}
}

// Whatever the order and number of repetitions, what counts is the newest version.
func TestABlockListEndsWithTheNewestVersionInAnyOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var list domain.BlockList
		newest := make(map[domain.UserID]int64)
		for range 50 {
			target, version := domain.UserID(1+random.IntN(3)), 1+random.Int64N(20)
			list.Apply(target, version%2 == 1, version)
			newest[target] = max(newest[target], version)
		}
		for target, version := range newest {
			if list.Version(target) != version || list.Hides(target) != (version%2 == 1) {
				t.Fatalf("%d: version %d, hides %v; want version %d", target, list.Version(target), list.Hides(target), version)
			}
		}
	}
}
