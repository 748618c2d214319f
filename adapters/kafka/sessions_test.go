package kafka

import (
	"slices"
	"testing"

	"chatting/domain"
)

func TestNodesThatEndedBeforeWhatIsReadBackAreFound(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 1)
		sessions := testAppender(t, cluster, names.Sessions, 1)
		defer sessions.Close(testContext(t))
		beating, serving, left, dead, later := domain.Incarnation{1}, domain.Incarnation{2}, domain.Incarnation{3}, domain.Incarnation{4}, domain.Incarnation{5}
		record := func(kind domain.SessionKind, node domain.Incarnation) domain.SessionRecord {
			return domain.SessionRecord{Kind: kind, Incarnation: node, User: 7, Count: 1}
		}
		before := []domain.SessionRecord{
			record(domain.SessionBeat, beating), record(domain.SessionUp, serving), record(domain.SessionUp, dead),
			record(domain.SessionLeaving, left), record(domain.FriendsChanged, domain.Incarnation{}), record(domain.SessionDead, dead),
			record(domain.SessionBeat, dead), // it hung
		}
		writeSessions(t, sessions, before...)
		writeSessions(t, sessions, record(domain.SessionBeat, later), record(domain.SessionDead, left))
		unburied, err := Unburied(testContext(t), cluster, names.Sessions, int64(len(before)))
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(unburied, domain.Incarnation.Compare)
		if want := []domain.Incarnation{beating, serving, left}; !slices.Equal(unburied, want) {
			t.Errorf("found %v, want %v", unburied, want)
		}
		if none, err := Unburied(testContext(t), cluster, names.Sessions, 0); err != nil || len(none) != 0 {
			t.Errorf("before the start there are %v, %v", none, err)
		}
	})
}
