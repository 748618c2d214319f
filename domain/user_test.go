package domain_test

import (
	"math"
	"strconv"
	"testing"

	"chatting/domain"
)

func TestOnlyPositiveIntegersAreUserIDs(t *testing.T) {
	for n, valid := range map[int64]bool{1: true, 201: true, math.MaxInt64: true, 0: false, -1: false, math.MinInt64: false} {
		id, err := domain.NewUserID(n)
		if valid && (err != nil || int64(id) != n) {
			t.Errorf("NewUserID(%d) = %d, %v; want it", n, id, err)
		}
		if !valid && domain.CodeOf(err) != domain.CodeBadTarget {
			t.Errorf("NewUserID(%d) = %d, %v; want %s", n, id, err, domain.CodeBadTarget)
		}
	}
}

func TestAUserIDIsReadFromDecimalWithNothingAroundIt(t *testing.T) {
	for s, want := range map[string]domain.UserID{
		"1": 1, "201": 201, "9223372036854775807": math.MaxInt64,
		"": 0, " 1": 0, "1 ": 0, "0": 0, "-3": 0, "1.0": 0, "1e3": 0, "0x10": 0, "1_000": 0, "９": 0, "9223372036854775808": 0,
	} {
		id, err := domain.ParseUserID(s)
		if want != 0 && (err != nil || id != want) {
			t.Errorf("ParseUserID(%q) = %d, %v; want %d", s, id, err, want)
		}
		if want == 0 && domain.CodeOf(err) != domain.CodeBadTarget {
			t.Errorf("ParseUserID(%q) = %d, %v; want %s", s, id, err, domain.CodeBadTarget)
		}
	}
}

func FuzzParseUserID(f *testing.F) {
	for _, seed := range []string{"1", "201", "0", "-1", "+7", "007", "", " 1", "9223372036854775807", "9223372036854775808", "1e1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := domain.ParseUserID(s)
		n, nope := strconv.ParseInt(s, 10, 64)
		if (err == nil) != (nope == nil && n > 0) {
			t.Fatalf("ParseUserID(%q) = %d, %v", s, id, err)
		}
		if err != nil {
			return
		}
		if again, err := domain.ParseUserID(id.String()); err != nil || again != id {
			t.Fatalf("ParseUserID(%q) = %d, whose String %q reads as %d, %v", s, id, id.String(), again, err)
		}
	})
}
