package application

import (
	"testing"
	"time"

	"chatting/domain"
)

// echoingLog is a SessionLog of one partition that comes back at once.
type echoingLog struct{ presence *SetPresence }

func (*echoingLog) PartitionOf(domain.UserID) int { return 0 }
func (*echoingLog) Partitions() int               { return 1 }

func (*echoingLog) Bury(domain.Incarnation, func(error)) {}

func (l *echoingLog) Append(record domain.SessionRecord, done func(error)) {
	l.presence.Apply(0, record, time.Now())
	done(nil)
}

// quietConn is a Connection that takes the answer to its login.
type quietConn struct{ Connection }

func (quietConn) LoggedIn(domain.UserID, []domain.UserID, time.Time) {}
func (quietConn) Close(CloseReason)                                  {}

func TestNothingIsKeptOfUsersWhoLeft(t *testing.T) {
	log := &echoingLog{}
	p := NewSetPresence(log, time.Now, func() domain.EventID { return domain.EventID{1} }, DefaultPresenceTimes, NewNotices(nil, time.Now))
	log.presence = p
	for user := domain.UserID(1); user < 50; user++ {
		var memberships []*Membership
		for range 3 { // with a limit of two the first one is replaced
			membership, err := p.Enter(user, quietConn{})
			if err != nil {
				t.Fatal(err)
			}
			membership.SetFriends([]domain.UserID{user + 1, user + 2, 7})
			if err := membership.Online(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			memberships = append(memberships, membership)
		}
		if len(p.members) != 1 || len(p.watchers) < 2 {
			t.Fatalf("%d members and %d who are watched", len(p.members), len(p.watchers))
		}
		// In any order: the replaced one may end first or last.
		for i := range memberships {
			memberships[(i+int(user))%3].Leave()
		}
		if len(p.members) != 0 || len(p.watchers) != 0 || p.Online(user) {
			t.Fatalf("%d members and %d who are watched are left; %d is online: %v", len(p.members), len(p.watchers), user, p.Online(user))
		}
	}
}

func TestWhoLeftBeforeItIsRememberedAnewIsNotRemembered(t *testing.T) {
	log := &echoingLog{}
	p := NewSetPresence(log, time.Now, func() domain.EventID { return domain.EventID{1} }, DefaultPresenceTimes, NewNotices(nil, time.Now))
	log.presence = p
	var memberships []*Membership
	for user := domain.UserID(7); user <= 9; user++ {
		membership, err := p.Enter(user, quietConn{})
		if err != nil {
			t.Fatal(err)
		}
		memberships = append(memberships, membership)
	}
	tell := func(kind domain.SessionKind, user domain.UserID) {
		p.Apply(0, domain.SessionRecord{Kind: kind, User: user}, time.Now())
	}
	for user := domain.UserID(7); user <= 9; user++ {
		tell(domain.UserForgotten, user) // they have come since they were erased
	}
	memberships[1].Leave()
	tell(domain.UserErased, 9) // and is erased once more
	for user, want := range map[domain.UserID]bool{7: true, 8: false, 9: false} {
		if got := p.takeUnknown(user); got != want {
			t.Errorf("%d is to be remembered: %v, want %v", user, got, want)
		}
		if p.takeUnknown(user) {
			t.Errorf("%d is to be remembered once more", user)
		}
	}
}
