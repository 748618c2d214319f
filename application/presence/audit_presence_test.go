package presence_test

import (
	"slices"
	"testing"
	"time"

	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

func auditLog() []domain.SessionRecord {
	a, b := porttest.Incarnation(1, 1), porttest.Incarnation(2, 1)
	return []domain.SessionRecord{
		{Kind: domain.SessionUp, Incarnation: a, User: 7, Count: 1},
		{Kind: domain.SessionUp, Incarnation: b, User: 7, Count: 1},
		{Kind: domain.SessionUp, Incarnation: a, User: 8, Count: 2},
		{Kind: domain.SessionAway, Incarnation: a, User: 8, Count: 2}, // is online still
		{Kind: domain.SessionDown, Incarnation: b, User: 7, Count: 1},
		{Kind: domain.SessionDead, Incarnation: a},
		{Kind: domain.SessionUp, Incarnation: b, User: 7, Count: 2},
	}
}

func TestTheAuditReportsEveryTransitionOnce(t *testing.T) {
	audit := presence.NewAuditPresence(3)
	var got []domain.Transition
	ids := make(map[domain.EventID]bool)
	for offset, record := range auditLog() {
		for _, event := range audit.Apply(int64(offset), record, porttest.SomeTime.Add(time.Duration(offset)*time.Second)) {
			got = append(got, event.Transition)
			if ids[event.ID] {
				t.Errorf("the id %s comes twice", event.ID)
			}
			ids[event.ID] = true
		}
	}
	at := func(offset int) time.Time { return porttest.SomeTime.Add(time.Duration(offset) * time.Second) }
	want := []domain.Transition{
		{User: 7, Online: true, At: at(0)}, {User: 8, Online: true, At: at(2)},
		{User: 7, At: at(5)}, {User: 8, At: at(5)}, {User: 7, Online: true, At: at(6)},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestARepeatedAuditCarriesTheSameIDs(t *testing.T) {
	records := auditLog()
	run := func(partition, rebuilt int, began time.Time) (events []presence.Event) {
		audit := presence.NewAuditPresence(partition)
		for offset, record := range records {
			at := began.Add(time.Duration(offset) * time.Second)
			if offset < rebuilt {
				audit.Rebuild(record, at)
			} else {
				events = append(events, audit.Apply(int64(offset), record, at)...)
			}
		}
		return events
	}
	all := run(3, 0, porttest.SomeTime)
	for rebuilt := range records {
		if rest := run(3, rebuilt, porttest.SomeTime); !slices.Equal(rest, all[len(all)-len(rest):]) {
			t.Errorf("after %d rebuilt records: %v", rebuilt, rest)
		}
	}
	if again := run(3, 5, porttest.SomeTime); len(again) != 3 {
		t.Errorf("after a rebuild of 5 records %d events, want 3", len(again))
	}
	for what, others := range map[string][]presence.Event{
		"another partition": run(4, 0, porttest.SomeTime), "a topic made anew": run(3, 0, porttest.SomeTime.Add(time.Hour)),
	} {
		for i := range others {
			if others[i].ID == all[i].ID {
				t.Errorf("%s has the id %s too", what, all[i].ID)
			}
		}
	}
}

// The id is pinned: another node, of another version, that takes over a partition publishes the last records again.
func TestTheIDOfAPresenceEventIsOfItsPlaceUserAndTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	id := func(partition int, offset int64, user domain.UserID, at time.Time) string {
		record := domain.SessionRecord{Kind: domain.SessionUp, Incarnation: domain.Incarnation{1}, User: user, Count: 1}
		events := presence.NewAuditPresence(partition).Apply(offset, record, at)
		if len(events) != 1 {
			t.Fatalf("%d events", len(events))
		}
		return events[0].ID.String()
	}
	first := id(3, 17, 201, at)
	if want := "21559981-c31b-5ea5-9a70-05cf1b92834a"; first != want {
		t.Errorf("the id is %s, want %s", first, want)
	}
	for what, other := range map[string]string{
		"another partition": id(17, 3, 201, at), "another offset": id(3, 18, 201, at), "another user": id(3, 17, 202, at),
		"a millisecond later": id(3, 17, 201, at.Add(time.Millisecond)),
	} {
		if other == first {
			t.Errorf("%s gives the same id", what)
		}
	}
}
