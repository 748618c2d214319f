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

// TestClientsCanTellTheIDs: docs/protocol.md and the tests of the JavaScript client have the same ids.
func TestClientsCanTellTheIDs(t *testing.T) {
	message, invite := domain.MessageID(41, 42, "m1"), domain.InviteID(41, 42, "m1")
	if message.String() != "7ef081cc-5c3d-5da9-958a-643849697c3d" || invite.String() != "addc2f4f-cee7-5740-bdab-cedf0f7e07cb" {
		t.Errorf("the message m1 is %s, the invite m1 %s", message, invite)
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

func TestOnlyTheUsualFormOfAnEventIDIsRead(t *testing.T) {
	const usual = "9b1d3c52-704e-4a86-8f2b-51c06de734a9"
	for _, s := range []string{usual, strings.ToUpper(usual)} {
		if id, ok := domain.ParseEventID(s); !ok || id.String() != usual {
			t.Errorf("%q was read as %s, %v", s, id, ok)
		}
	}
	bad := []string{"", usual + "0", usual[1:], strings.ReplaceAll(usual, "-", "")}
	for i := range usual { // one character after the other
		other := "g"
		if usual[i] == '-' {
			other = "0"
		}
		bad = append(bad, usual[:i]+other+usual[i+1:], usual[:i]+"_"+usual[i+1:])
	}
	for _, s := range bad {
		if id, ok := domain.ParseEventID(s); ok || id != (domain.EventID{}) {
			t.Errorf("%q was read as %s", s, id)
		}
	}
}

// Pinned, as the id of a message is: nodes of other versions derive the same ids.
func TestTheEventsOfAnInviteKeepTheirIDs(t *testing.T) {
	const room = domain.RoomID("4f4cbd2e-8a07-4e1c-9d53-3f1d2a0f7b11")
	name := domain.InviteEndName(201, 202, domain.InviteAccepted, "m1")
	roomID, _ := domain.ParseEventID(string(room))
	for _, test := range []struct {
		what string
		id   domain.EventID
		want string
	}{
		{"an invite", domain.InviteID(201, 202, "m1"), "a589981d-5f3c-571f-8eb5-1ae946016d86"},
		{"an answer's name", name, "c9c7fed5-e30f-5786-88e4-c483fc613a33"},
		{"an answer", domain.InviteEndID(name, room), "5f1f00d0-f5b1-51b8-b7d8-b44da5e1dee3"},
		{"a cancel that ends none", domain.InviteEndID(domain.InviteEndName(201, 202, domain.InviteCancelled, "m1"), ""), "15134dbd-acfc-598c-9dfa-33010f3cef3d"},
		{"an expiry", domain.ExpiredInviteID(domain.Between(202, 201), roomID), "fc9dd8ab-b636-5da0-94ef-cdb452f4da05"},
	} {
		if test.id.String() != test.want {
			t.Errorf("the id of %s is %s, want %s", test.what, test.id, test.want)
		}
	}
}

func TestOnlyClientsOfTheFeatureKnowHowAnInviteWasAnswered(t *testing.T) {
	for status, isNew := range map[domain.InviteStatus]bool{
		domain.InviteOpened: false, domain.InviteCancelled: false,
		domain.InviteAccepted: true, domain.InviteDeclined: true, domain.InviteExpired: true,
	} {
		if status.IsNew() != isNew {
			t.Errorf("%s: IsNew is %v", status, !isNew)
		}
	}
}
