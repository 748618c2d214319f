package presence

import (
	"testing"
	"time"

	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// echoingLog is a port.SessionLog of one partition that comes back at once.
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
func (quietConn) Close(port.CloseReason)                             {}

func TestNothingIsKeptOfUsersWhoLeft(t *testing.T) {
	log := &echoingLog{}
	p := NewSetPresence(log, time.Now, func() domain.EventID { return domain.EventID{1} }, DefaultTimes, notice.NewLog(nil, time.Now))
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
		if len(p.sessions.members) != 1 || len(p.watchers.of) < 2 {
			t.Fatalf("%d members and %d who are watched", len(p.sessions.members), len(p.watchers.of))
		}
		// In any order: the replaced one may end first or last.
		for i := range memberships {
			memberships[(i+int(user))%3].Leave()
		}
		if len(p.sessions.members) != 0 || len(p.watchers.of) != 0 || p.Online(user) {
			t.Fatalf("%d members and %d who are watched are left; %d is online: %v", len(p.sessions.members), len(p.watchers.of), user, p.Online(user))
		}
	}
}

func TestWhoLeftBeforeItIsRememberedAnewIsNotRemembered(t *testing.T) {
	log := &echoingLog{}
	p := NewSetPresence(log, time.Now, func() domain.EventID { return domain.EventID{1} }, DefaultTimes, notice.NewLog(nil, time.Now))
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
	refresh := FriendRefresh{Presence: p}
	tell(domain.UserErased, 9) // and is erased once more
	for user, want := range map[domain.UserID]bool{7: true, 8: false, 9: false} {
		if got := refresh.takeUnknown(user); got != want {
			t.Errorf("%d is to be remembered: %v, want %v", user, got, want)
		}
		if refresh.takeUnknown(user) {
			t.Errorf("%d is to be remembered once more", user)
		}
	}
}
