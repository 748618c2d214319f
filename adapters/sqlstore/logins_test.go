package sqlstore

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"chatting/application"
	"chatting/domain"
	"chatting/test/sqltest"
)

func factsOf(t *testing.T, s *Store, hiding bool, users ...domain.UserID) []application.LoginFacts {
	t.Helper()
	facts, err := s.Users.LoginFacts(t.Context(), users, hiding)
	sqltest.NoError(t, err)
	if len(facts) != len(users) {
		t.Fatalf("facts of %d users, of %d that were asked for", len(facts), len(users))
	}
	return facts
}

// wantFacts compares with what the store says of the user alone.
func wantFacts(t *testing.T, s *Store, user domain.UserID, got application.LoginFacts, hiding ...domain.UserID) {
	t.Helper()
	known, err := s.Users.Known(t.Context(), user)
	sqltest.NoError(t, err)
	blocks, err := s.Blocks.Blocks(t.Context(), user)
	sqltest.NoError(t, err)
	friends, err := s.Friends.Friends(t.Context(), user)
	sqltest.NoError(t, err)
	if got.Known != known || !slices.Equal(got.Blocks, blocks) || !slices.Equal(got.Friends, friends) || !slices.Equal(got.Hiding, hiding) {
		t.Errorf("the facts of %d are %+v, want %t, %v, %v and %v", user, got, known, blocks, friends, hiding)
	}
}

// publishAll takes everything out of the outbox.
func publishAll(t *testing.T, s *Store) {
	t.Helper()
	events, err := s.Blocks.Pending(t.Context(), sqltest.Time.Add(time.Second), 100)
	sqltest.NoError(t, err)
	for _, event := range events {
		sqltest.NoError(t, s.Blocks.MarkPublished(t.Context(), []domain.EventID{event.ID}))
	}
}

var loginContract = map[string]func(*testing.T, testDB){
	"TheFactsOfManyUsersAreThoseOfEach": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.RememberAll(t.Context(), []domain.UserID{1, 3, math.MaxInt64}))
		for _, target := range []domain.UserID{5, 2, math.MaxInt64} {
			sqltest.Set(t, s.Blocks, sqltest.Change(1, target, true))
		}
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 5, false))
		sqltest.Set(t, s.Blocks, sqltest.Change(math.MaxInt64, 1, true))
		publishAll(t, s)
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, false)) // the outbox still has it
		sqltest.Set(t, s.Blocks, sqltest.Change(4, 1, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(4, 1, false))
		for _, friend := range []domain.UserID{4, math.MaxInt64, 2} {
			add(t, s, 1, friend, 10)
		}
		add(t, s, 3, math.MaxInt64, 10)

		users := []domain.UserID{3, 1, 2, math.MaxInt64, 1}
		for i, facts := range factsOf(t, s, true, users...) {
			var hiding []domain.UserID
			if users[i] == 1 {
				hiding = []domain.UserID{math.MaxInt64} // 4 has ended its block
			}
			wantFacts(t, s, users[i], facts, hiding...)
		}
		for i, facts := range factsOf(t, s, false, users...) {
			wantFacts(t, s, users[i], facts)
		}
		if got := factsOf(t, s, true, 1)[0].Blocks; len(got) != 3 || !got[0].Pending || got[1].Pending || got[2].Pending {
			t.Errorf("what the outbox has is not told: %+v", got)
		}
	},
	"AnyNumberCanBeLookedUp": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		ids := []domain.UserID{math.MinInt64, -7, 0, 1<<53 + 1, math.MaxInt64}
		for i, facts := range factsOf(t, s, true, ids...) {
			wantFacts(t, s, ids[i], facts)
		}
		sqltest.NoError(t, s.Users.RememberAll(t.Context(), ids))
		other := d.open(t)
		for i, facts := range factsOf(t, other, true, ids...) {
			if !facts.Known {
				t.Errorf("%d is not known", ids[i])
			}
		}
		if factsOf(t, other, true, 1<<53)[0].Known {
			t.Error("another number is known")
		}
		factsOf(t, other, true)
	},
	"WhoIsKnownByItsFactsIsNotAskedForAgain": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.RememberAll(t.Context(), []domain.UserID{7}))
		other := d.open(t)
		factsOf(t, other, false, 7, 8)
		for _, node := range []*Store{s, other} {
			sqltest.NoError(t, node.Close())
			wantKnown(t, node, 7, true)
			if _, err := node.Users.Known(t.Context(), 8); err == nil {
				t.Error("a closed database told that 8 is unknown")
			}
			if _, err := node.Users.LoginFacts(t.Context(), []domain.UserID{7}, false); err == nil {
				t.Error("a closed database told facts")
			}
			if err := node.Users.RememberAll(t.Context(), []domain.UserID{7, 8}); err == nil {
				t.Error("a closed database remembered")
			}
		}
	},
	"ManyWhoAreRememberedAtOnceAreKnown": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 3)
		users := make([]domain.UserID, 100)
		for i := range users {
			users[i] = domain.UserID(i)
		}
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				mine := slices.Clone(users)
				if i%2 == 0 { // as nodes do whose users come in different orders
					slices.Reverse(mine)
				}
				if err := nodes[i%3].Users.RememberAll(t.Context(), mine); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for i, facts := range factsOf(t, nodes[0], false, users...) {
			if !facts.Known {
				t.Errorf("%d is not known", users[i])
			}
		}
	},
}
