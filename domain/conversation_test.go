package domain_test

import (
	"math"
	"testing"

	"chatting/domain"
)

func TestAConversationIsTheSameWhicheverWayRound(t *testing.T) {
	c := domain.Between(10, 9)
	if c != domain.Between(9, 10) {
		t.Error("Between(10, 9) and Between(9, 10) differ")
	}
	if c.Low() != 9 || c.High() != 10 || c.Key() != "9:10" {
		t.Errorf("Low %d, High %d, Key %q; want 9, 10 and 9:10, lower by number and not by text", c.Low(), c.High(), c.Key())
	}
	if !c.Has(9) || !c.Has(10) || c.Has(91) || c.Has(domain.System) {
		t.Error("Has must hold for exactly the two")
	}
}

func TestTheSystemIsTheLowerSideOfWhatItSays(t *testing.T) {
	if key := domain.Between(domain.System, 7).Key(); key != "0:7" {
		t.Errorf("the key is %q, want 0:7", key)
	}
}

func TestEventsStandInTheConversationOfTheirTwoSides(t *testing.T) {
	for _, test := range []struct {
		body  domain.Body
		key   string
		actor domain.UserID
	}{
		{domain.ChatMessage{From: 10, To: 9}, "9:10", 10},
		{domain.ChatMessage{From: 9, To: 9}, "9:9", 9},
		{domain.GameInvite{From: 10, To: 9}, "9:10", 10},
		{domain.SystemMessage{To: 9}, "0:9", domain.System},
		{domain.BlockChanged{Blocker: 10, Target: 9}, "9:10", 10},
	} {
		if key := test.body.Conversation().Key(); key != test.key {
			t.Errorf("%#v: key %q, want %q", test.body, key, test.key)
		}
		if actor := test.body.Actor(); actor != test.actor {
			t.Errorf("%#v: actor %d, want %d", test.body, actor, test.actor)
		}
	}
}

func TestOnlyTheCanonicalKeyIsAConversation(t *testing.T) {
	for _, key := range []string{
		"", ":", "1", "1:", ":1", "10:9", "0:0", "01:2", "1:02", "00:1", "+1:2", "-1:2", " 1:2", "1:2 ", "1:2:3", "1 :2", "1;2",
		"1:9223372036854775808", "9223372036854775808:1", "18446744073709551615:1", "1:99999999999999999999", "1:18446744073709551617", "a:b", "1:2\n", "１:２",
	} {
		if c, ok := domain.ParseConversation([]byte(key)); ok {
			t.Errorf("%q was read as %s", key, c.Key())
		}
	}
	for _, key := range []string{"0:1", "1:1", "9:10", "9223372036854775806:9223372036854775807"} {
		if c, ok := domain.ParseConversation([]byte(key)); !ok || c.Key() != key {
			t.Errorf("%q was read as %q, %v", key, c.Key(), ok)
		}
	}
}

func TestReadingAKeyDoesNotAllocate(t *testing.T) {
	keys := [][]byte{[]byte("9:10"), []byte("1:9223372036854775807"), []byte("10:9"), []byte("no key")}
	if allocs := testing.AllocsPerRun(100, func() {
		for _, key := range keys {
			domain.ParseConversation(key)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations, want none: it runs for every record of the log", allocs)
	}
}

func FuzzParseConversation(f *testing.F) {
	for _, seed := range []string{"9:10", "0:7", "0:0", "7:7", "10:9", "01:2", "1:9223372036854775807", "1:9223372036854775808", "::", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		c, ok := domain.ParseConversation(key)
		if !ok {
			if c != (domain.Conversation{}) {
				t.Fatalf("%q is refused, yet gives %s", key, c.Key())
			}
			return
		}
		if c.Key() != string(key) {
			t.Fatalf("%q is accepted, but the key of what it names is %q", key, c.Key())
		}
		if c.Low() > c.High() || c.Low() < 0 || c.High() < 1 {
			t.Fatalf("%q names %d and %d", key, c.Low(), c.High())
		}
	})
}

// FuzzConversationKey goes the other way: every conversation's key is read back as itself.
func FuzzConversationKey(f *testing.F) {
	f.Add(int64(10), int64(9))
	f.Add(int64(0), int64(7))
	f.Add(int64(math.MaxInt64), int64(1))
	f.Fuzz(func(t *testing.T, a, b int64) {
		if a < 0 || b < 0 || a+b == 0 {
			t.Skip()
		}
		c := domain.Between(domain.UserID(a), domain.UserID(b))
		if again, ok := domain.ParseConversation([]byte(c.Key())); !ok || again != c {
			t.Fatalf("Between(%d, %d) has the key %q, which reads as %v, %v", a, b, c.Key(), again, ok)
		}
	})
}
