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
		{"another change of the same version", false, 5, true},
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

// The ids are pinned: servers of one cluster, and of several versions, know the changes in the log by them.
func TestAChangeOfABlockIsNamedByTheKeyThePairAndItsVersion(t *testing.T) {
	key := []byte("a key of the database, 32 bytes.")
	id := domain.BlockEventID(key, 201, 202, 3)
	if want := "5fe03772-eedf-8dca-aa37-a02a8ba7758c"; id.String() != want {
		t.Errorf("the id is %s, want %s", id, want)
	}
	for what, other := range map[string]domain.EventID{
		"another key":           domain.BlockEventID([]byte("another"), 201, 202, 3),
		"the other way round":   domain.BlockEventID(key, 202, 201, 3),
		"another target":        domain.BlockEventID(key, 201, 203, 3),
		"another version":       domain.BlockEventID(key, 201, 202, 4),
		"a blocker beyond 2^32": domain.BlockEventID(key, 201+1<<32, 202, 3),
	} {
		if other == id {
			t.Errorf("%s gives the same id", what)
		}
	}
	// Of an HMAC's 128 bits six say that it is a UUID of version 8 (RFC 9562).
	for version := range int64(64) {
		id := domain.BlockEventID(key, 1, 2, version)
		if id[6]>>4 != 8 || id[8]>>6 != 2 {
			t.Fatalf("%s is no UUID of version 8", id)
		}
	}
}

func TestVersionsOfABlockBlockAndUnblockInTurn(t *testing.T) {
	for _, test := range []struct {
		blocker, target domain.UserID
		blocked         bool
		version         int64
		valid           bool
	}{
		{1, 2, true, 1, true},
		{2, 1, false, 2, true},
		{1, 2, true, 1<<62 + 1, true},
		{1, 2, false, 1, false},
		{1, 2, true, 2, false},
		{1, 2, false, 0, false},
		{1, 2, true, 0, false},
		{1, 2, true, -1, false},
		{1, 2, false, -1, false},
		{1, 2, false, -2, false},
		{1, 1, true, 1, false},
	} {
		change, err := domain.NewBlockChanged(test.blocker, test.target, test.blocked, test.version)
		want := domain.BlockChanged{Blocker: test.blocker, Target: test.target, Blocked: test.blocked, Version: test.version}
		if test.valid && (err != nil || change != want) {
			t.Errorf("%+v: %+v, %v", want, change, err)
		}
		if !test.valid && (domain.CodeOf(err) != domain.CodeInternal || change != domain.BlockChanged{}) {
			t.Errorf("%+v is taken: %+v, %v", want, change, err)
		}
	}
}
