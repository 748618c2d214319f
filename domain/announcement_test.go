package domain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"chatting/domain"
)

func TestAnAnnouncementIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	many := make([]domain.UserID, domain.MaxAnnouncedUsers+1)
	for i := range many {
		many[i] = domain.UserID(i + 1)
	}
	for name, test := range map[string]struct {
		text          string
		online        bool
		users         []domain.UserID
		reason, actor string
		want          error
	}{
		"to all":                  {"noon", true, nil, "", "alice", nil},
		"to as many as can be":    {"noon", false, many[1:], "", "alice", nil},
		"to one user twice":       {"noon", false, []domain.UserID{7, 7}, "", "alice", nil},
		"the longest text":        {strings.Repeat("n", 4096), true, nil, "", "alice", nil},
		"a longer text":           {strings.Repeat("n", 4097), true, nil, "", "alice", domain.ErrAnnouncementText},
		"a text of blanks":        {" \n", true, nil, "", "alice", domain.ErrAnnouncementText},
		"a text with a zero":      {"a\x00b", true, nil, "", "alice", domain.ErrAnnouncementText},
		"a text that is no UTF-8": {"\xff", true, nil, "", "alice", domain.ErrAnnouncementText},
		"to nobody":               {"noon", false, nil, "", "alice", domain.ErrAnnouncementUsers},
		"to all and to one":       {"noon", true, []domain.UserID{7}, "", "alice", domain.ErrAnnouncementUsers},
		"to too many":             {"noon", false, many, "", "alice", domain.ErrAnnouncementUsers},
		"to the platform":         {"noon", false, []domain.UserID{7, 0}, "", "alice", domain.ErrAnnouncementUsers},
		"a reason of two lines":   {"noon", true, nil, "a\nb", "alice", domain.ErrActReason},
		"without an actor":        {"noon", true, nil, "", "", domain.ErrActActor},
	} {
		a, err := domain.NewAnnouncement(domain.EventID{1}, test.text, test.online, test.users, test.reason, test.actor, noon)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if name == "to one user twice" && !slices.Equal(a.Users, []domain.UserID{7}) {
			t.Errorf("it is for %v", a.Users)
		}
	}
}

func TestEachUserOfAnAnnouncementHasAnEventOfItsOwn(t *testing.T) {
	a := domain.Announcement{ID: domain.EventID{1}, Users: []domain.UserID{7, 8}}
	if a.IDFor(7) == a.IDFor(8) || a.IDFor(7) == a.ID || a.Shown(7).ID != a.ID {
		t.Errorf("the ids are %s, %s and %s", a.IDFor(7), a.IDFor(8), a.Shown(7).ID)
	}
	if again := (domain.Announcement{ID: a.ID}); again.IDFor(7) != a.IDFor(7) {
		t.Errorf("the second time, the id is %s, not %s", again.IDFor(7), a.IDFor(7))
	}
}
