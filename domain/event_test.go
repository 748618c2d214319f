package domain_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"chatting/domain"
)

// namespace is that of the derived ids. It must never change: a message that is sent again after an upgrade has to keep
// its id.
var namespace = uuid.MustParse("9b1d3c52-704e-4a86-8f2b-51c06de734a9")

func TestDerivedIDsAreVersion5UUIDs(t *testing.T) {
	for _, test := range []struct{ kind, name string }{{"", ""}, {"presence", "3:17:201:0"}, {"kind", "\x00é"}} {
		want := uuid.NewSHA1(namespace, []byte(test.kind+"\x00"+test.name))
		if got := domain.DerivedID(test.kind, test.name); got.String() != want.String() {
			t.Errorf("DerivedID(%q, %q) = %s, want %s", test.kind, test.name, got, want)
		}
	}
}

func TestAMessageKeepsItsIDWhereverItIsSentAgain(t *testing.T) {
	id := domain.MessageID(201, 202, "m1")
	if id != domain.MessageID(201, 202, "m1") {
		t.Error("the same name of the same sender gives two ids")
	}
	for _, other := range []domain.EventID{
		domain.MessageID(202, 201, "m1"), domain.MessageID(201, 203, "m1"), domain.MessageID(201, 202, "m2"),
		domain.MessageID(20, 1202, "m1"), domain.MessageID(201, 20, "2:m1"), domain.InviteID(201, 202, "m1"),
	} {
		if other == id {
			t.Errorf("another message has the id %s too", id)
		}
	}
	// Pinned: other nodes, and the log's last week, hold ids that were derived before an upgrade.
	if want := "78f3e31d-cbf3-566f-ad66-0ddb469f5e18"; id.String() != want {
		t.Errorf("MessageID(201, 202, m1) = %s, want %s", id, want)
	}
}

func FuzzDerivedID(f *testing.F) {
	f.Add("client_msg_id", "201:m1")
	f.Fuzz(func(t *testing.T, kind, name string) {
		if got, want := domain.DerivedID(kind, name).String(), uuid.NewSHA1(namespace, []byte(kind+"\x00"+name)).String(); got != want {
			t.Fatalf("DerivedID(%q, %q) = %s, want %s", kind, name, got, want)
		}
	})
}

func FuzzParseEventID(f *testing.F) {
	for _, seed := range []string{
		"9b1d3c52-704e-4a86-8f2b-51c06de734a9", "9B1D3C52-704E-4A86-8F2B-51C06DE734A9", "00000000-0000-0000-0000-000000000000",
		"9b1d3c52704e4a868f2b51c06de734a9", "{9b1d3c52-704e-4a86-8f2b-51c06de734a9}", "9b1d3c52-704e-4a86-8f2b-51c06de734ag",
		"9b1d3c52-704e-4a86-8f2b_51c06de734a9", "", "urn:uuid:9b1d3c52-704e-4a86-8f2b-51c06de734a9", strings.Repeat("-", 36),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := domain.ParseEventID(s)
		// google/uuid reads other forms as well; of 36 characters only this one.
		want, err := uuid.Parse(s)
		if ok != (err == nil && len(s) == 36) {
			t.Fatalf("ParseEventID(%q) = %s, %v; google/uuid says %v", s, id, ok, err)
		}
		if !ok {
			if id != (domain.EventID{}) {
				t.Fatalf("%q is refused, yet gives %s", s, id)
			}
			return
		}
		if uuid.UUID(id) != want || id.String() != strings.ToLower(s) {
			t.Fatalf("ParseEventID(%q) = %s, want %s", s, id, want)
		}
	})
}

func TestOnlyWhatMayBecomeOfAnInviteIsItsStatus(t *testing.T) {
	for _, s := range []string{"invite", "cancel", "accept", "decline", "expired"} {
		if status, err := domain.NewInviteStatus(s); err != nil || string(status) != s {
			t.Errorf("NewInviteStatus(%q) = %q, %v", s, status, err)
		}
	}
	for _, s := range []string{"", "Invite", "expire", " cancel"} {
		if status, err := domain.NewInviteStatus(s); domain.CodeOf(err) != domain.CodeBadFrame {
			t.Errorf("NewInviteStatus(%q) = %q, %v; want %s", s, status, err, domain.CodeBadFrame)
		}
	}
}
