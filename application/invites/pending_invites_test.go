package invites_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"chatting/application/blocks"
	"chatting/application/invites"
	"chatting/domain"
	"chatting/test/porttest"
)

// listing is a node that lists invites. Records come to it with time between them; how much of them it has read is up to the
// test.
type listing struct {
	t       *testing.T
	invites *invites.Register
	list    *invites.PendingInvites
	blocks  *porttest.BlockStore
	at      time.Time
	unread  []domain.Event // come when the node catches up
	asked   func()         // the database is asked
	behind  error
}

func newListing(t *testing.T) *listing {
	l := &listing{t: t, invites: invites.NewRegister(), blocks: porttest.NewBlockStore(), at: porttest.SomeTime}
	l.list = &invites.PendingInvites{Invites: l.invites, Blocks: l, CaughtUp: l.catchUp, Now: func() time.Time { return l.at }}
	return l
}

func (l *listing) catchUp(context.Context) error {
	if l.behind != nil {
		return l.behind
	}
	for _, event := range l.unread {
		l.invites.Judge(l.partition(event), event, event.Time)
	}
	l.unread = nil
	return nil
}

func (l *listing) partition(event domain.Event) int { return int(event.Body.Conversation().High()) % 3 }

// Blocks implements invites.BlockedUsers.
func (l *listing) Blocks(ctx context.Context, blocker domain.UserID) ([]blocks.Entry, error) {
	if l.asked != nil {
		l.asked()
	}
	return l.blocks.Blocks(ctx, blocker)
}

// logged appends an event, a second after the one before.
func (l *listing) logged(name string, body domain.Body) domain.EventID {
	l.at = l.at.Add(time.Second)
	event := domain.Event{ID: domain.DerivedID("test", name), Time: l.at, Body: body}
	l.unread = append(l.unread, event)
	return event.ID
}

func (l *listing) opened(name string, from, to domain.UserID) domain.EventID {
	return l.logged(name, domain.GameInvite{
		From: from, To: to, Status: domain.InviteOpened, Room: roomOf(name), Expires: l.at.Add(time.Minute),
	})
}

func roomOf(name string) domain.RoomID { return domain.RoomID(domain.DerivedID("room", name).String()) }

// block changes a block: in the database, and unless the change is pending in the log too.
func (l *listing) block(blocker, target domain.UserID, blocked, pending bool) {
	l.t.Helper()
	l.at = l.at.Add(time.Second)
	if changed, err := l.blocks.SetBlocked(l.t.Context(), blocks.Change{Blocker: blocker, Target: target, Blocked: blocked, At: l.at}); err != nil || !changed {
		l.t.Fatal(changed, err)
	}
	if !pending {
		l.unread = append(l.unread, l.blocks.Outbox...)
		l.blocks.Outbox = nil
	}
}

func (l *listing) mustList(user domain.UserID, want ...domain.EventID) {
	l.t.Helper()
	events, err := l.list.Execute(l.t.Context(), user)
	if err != nil {
		l.t.Fatal(err)
	}
	got := make([]domain.EventID, len(events))
	for i, event := range events {
		got[i] = event.ID
	}
	if !slices.Equal(got, want) {
		l.t.Errorf("user %d sees %v, want %v", user, got, want)
	}
}

func TestPendingInvitesOfBothDirectionsAreListedOldestFirst(t *testing.T) {
	l := newListing(t)
	a, b, c, d := l.opened("a", 1, 2), l.opened("b", 3, 1), l.opened("c", 2, 1), l.opened("d", 1, 1)
	l.opened("other", 2, 3)
	l.mustList(1, a, b, c, d)
	events, _ := l.list.Execute(t.Context(), 2)
	want := domain.GameInvite{From: 1, To: 2, Status: domain.InviteOpened, Room: roomOf("a"), Expires: porttest.SomeTime.Add(time.Minute)}
	if got := events[0]; got.Body != want || !got.Time.Equal(porttest.SomeTime.Add(time.Second)) {
		t.Errorf("the invite is %+v", got)
	}
	l.logged("end", domain.GameInvite{From: 2, To: 1, Status: domain.InviteDeclined, Room: roomOf("a")})
	l.logged("cancel", domain.GameInvite{From: 3, To: 1, Status: domain.InviteCancelled, Room: roomOf("b")})
	l.mustList(1, c, d)
	l.mustList(9)
	// What is over is not listed, even if its end is not in the log yet.
	l.at = l.at.Add(time.Minute)
	l.mustList(1)
}

func TestAnInviteThatABlockHidesIsNotListed(t *testing.T) {
	for name, row := range map[string]struct {
		steps func(l *listing) (shown []domain.EventID)
	}{
		"sent before the block, which is in force": {func(l *listing) []domain.EventID {
			l.opened("a", 2, 1)
			l.block(1, 2, true, false)
			return nil
		}},
		"sent before a block that is over": {func(l *listing) []domain.EventID {
			l.opened("a", 2, 1)
			l.block(1, 2, true, false)
			l.block(1, 2, false, false)
			return nil
		}},
		"sent under the block": {func(l *listing) []domain.EventID {
			l.block(1, 2, true, false)
			l.opened("a", 2, 1)
			return nil
		}},
		"sent under a block that is over": {func(l *listing) []domain.EventID {
			l.block(1, 2, true, false)
			l.opened("a", 2, 1)
			l.block(1, 2, false, false)
			return nil
		}},
		"sent under a block whose end is not in the log": {func(l *listing) []domain.EventID {
			l.block(1, 2, true, false)
			l.opened("a", 2, 1)
			l.block(1, 2, false, true)
			return nil
		}},
		"sent under a block that ends while it is listed": {func(l *listing) []domain.EventID {
			l.block(1, 2, true, false)
			l.opened("a", 2, 1)
			l.asked = func() { l.block(1, 2, false, false); l.asked = nil }
			return nil
		}},
		"sent after a block": {func(l *listing) []domain.EventID {
			l.block(1, 2, true, false)
			l.block(1, 2, false, false)
			return []domain.EventID{l.opened("a", 2, 1)}
		}},
		"of the blocker itself": {func(l *listing) []domain.EventID {
			l.block(1, 2, true, false)
			return []domain.EventID{l.opened("a", 1, 2)}
		}},
		"to a user who blocks the sender": {func(l *listing) []domain.EventID {
			l.block(2, 1, true, false)
			return []domain.EventID{l.opened("a", 1, 2)}
		}},
		"to a user who blocks the sender afterwards, beside one of somebody else": {func(l *listing) []domain.EventID {
			a := l.opened("a", 1, 2)
			l.block(2, 1, true, false)
			return []domain.EventID{a, l.opened("b", 3, 1)}
		}},
		"of somebody else": {func(l *listing) []domain.EventID {
			l.block(1, 3, true, false)
			return []domain.EventID{l.opened("a", 2, 1)}
		}},
	} {
		l := newListing(t)
		l.mustList(1, row.steps(l)...)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestInvitesAreNotListedWhileTheLogOrTheDatabaseDoesNotAnswer(t *testing.T) {
	l := newListing(t)
	own := l.opened("own", 1, 2)
	l.blocks.Err = domain.NewError(domain.CodeUnavailable, "away")
	l.mustList(1, own) // nobody else is in it
	if _, err := l.list.Execute(t.Context(), 2); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("without the database: %v", err)
	}
	l.behind = errors.New("behind")
	if _, err := l.list.Execute(t.Context(), 1); !errors.Is(err, l.behind) {
		t.Errorf("without the log: %v", err)
	}
}

func TestOfVeryManyInvitesTheOldestAreListed(t *testing.T) {
	l := newListing(t)
	var all []domain.EventID
	for n := range invites.MaxListedInvites + 40 {
		l.at = porttest.SomeTime.Add(time.Duration(n) * time.Millisecond)
		all = append(all, l.opened("many"+time.Duration(n).String(), domain.UserID(100+n/20), 1))
	}
	l.mustList(1, all[:invites.MaxListedInvites]...)
}
