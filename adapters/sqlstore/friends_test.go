package sqlstore

import (
	"math"
	"slices"
	"sync/atomic"
	"testing"

	"chatting/domain"
	"chatting/test/sqltest"
)

func wantFriends(t *testing.T, s *Store, user domain.UserID, want ...domain.UserID) {
	t.Helper()
	got, err := s.Friends.Friends(t.Context(), user)
	sqltest.NoError(t, err)
	if got == nil || !slices.Equal(got, want) {
		t.Fatalf("friends of %d: %#v, want %v", user, got, want)
	}
}

func add(t *testing.T, s *Store, user, friend domain.UserID, limit int) bool {
	t.Helper()
	added, err := s.Friends.AddFriend(t.Context(), user, friend, limit)
	sqltest.NoError(t, err)
	return added
}

func remove(t *testing.T, s *Store, user, friend domain.UserID) bool {
	t.Helper()
	removed, err := s.Friends.RemoveFriend(t.Context(), user, friend)
	sqltest.NoError(t, err)
	return removed
}

// wantLength compares the length that is kept of a list.
func wantLength(t *testing.T, s *Store, user domain.UserID, want int) {
	t.Helper()
	_, err := s.Friends.AddFriend(t.Context(), user, 1000, want)
	sqltest.WantCode(t, err, domain.CodeLimit)
	if !add(t, s, user, 1000, want+1) || !remove(t, s, user, 1000) {
		t.Errorf("the list of %d has no room beside %d", user, want)
	}
}

var friendContract = map[string]func(*testing.T, testDB){
	"AFriendIsOnTheListOnceAndOfOneDirection": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantFriends(t, s, 1)
		if !add(t, s, 1, 2, 10) || add(t, s, 1, 2, 10) {
			t.Fatal("the first time adds, the second does not")
		}
		wantFriends(t, s, 1, 2)
		wantFriends(t, s, 2)
		if remove(t, s, 2, 1) || !remove(t, s, 1, 2) || remove(t, s, 1, 2) {
			t.Fatal("only who is on the list is removed, once")
		}
		wantFriends(t, s, 1)
	},
	"AChangeIsOfOneList": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for user := domain.UserID(1); user <= 3; user++ {
			for friend := range 2 * user {
				add(t, s, user, 10+friend, 10)
			}
		}
		remove(t, s, 2, 11)
		wantFriends(t, s, 1, 10, 11)
		wantFriends(t, s, 2, 10, 12, 13)
		wantFriends(t, s, 3, 10, 11, 12, 13, 14, 15)
		for user, length := range map[domain.UserID]int{1: 2, 2: 3, 3: 6} {
			wantLength(t, s, user, length)
		}
	},
	"FriendsComeInAscendingOrderWhateverTheirIDs": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		ids := []domain.UserID{10, math.MaxInt64, 9, math.MinInt64, -1, 1<<53 + 1, 1 << 53}
		for _, id := range ids {
			add(t, s, math.MaxInt64, id, 10)
		}
		slices.Sort(ids)
		wantFriends(t, s, math.MaxInt64, ids...)
	},
	"AFullListTakesNobodyButKeepsWhoIsThere": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		add(t, s, 1, 2, 2)
		add(t, s, 1, 3, 2)
		added, err := s.Friends.AddFriend(t.Context(), 1, 4, 2)
		sqltest.WantCode(t, err, domain.CodeLimit)
		if added || add(t, s, 1, 3, 2) {
			t.Fatal("a full list took somebody")
		}
		wantFriends(t, s, 1, 2, 3)
		if remove(t, s, 1, 5) || !remove(t, s, 1, 2) || !add(t, s, 1, 4, 2) {
			t.Fatal("a place that came free was not taken")
		}
		wantFriends(t, s, 1, 3, 4)
		add(t, s, 2, 1, 2) // another list
	},
	"AddingAtOnceNeverOverfillsAList": func(t *testing.T, d testDB) {
		const limit = 10
		nodes := d.nodes(t, 3)
		var added, refused atomic.Int64
		sqltest.AtOnce(60, func(i int) {
			ok, err := nodes[i%len(nodes)].Friends.AddFriend(t.Context(), 1, domain.UserID(100+i/2), limit)
			switch {
			case domain.CodeOf(err) == domain.CodeLimit:
				refused.Add(1)
			case err != nil:
				t.Error(err)
			case ok:
				added.Add(1)
			}
		})
		friends, err := nodes[0].Friends.Friends(t.Context(), 1)
		sqltest.NoError(t, err)
		if len(friends) != limit || added.Load() != limit || refused.Load() == 0 {
			t.Errorf("%d friends, %d added, %d refused, with a limit of %d", len(friends), added.Load(), refused.Load(), limit)
		}
	},
	"AddingAndRemovingAtOnceKeepsTheCount": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 3)
		sqltest.AtOnce(60, func(i int) {
			node, friend := nodes[i%len(nodes)], domain.UserID(100+i%5)
			var err error
			if i%2 == 0 {
				_, err = node.Friends.AddFriend(t.Context(), 1, friend, 100)
			} else {
				_, err = node.Friends.RemoveFriend(t.Context(), 1, friend)
			}
			if err != nil {
				t.Error(err)
			}
		})
		friends, err := nodes[0].Friends.Friends(t.Context(), 1)
		sqltest.NoError(t, err)
		// The list has room for exactly one more than it holds: the count kept beside it is right.
		limit := len(friends) + 1
		add(t, nodes[0], 1, 1000, limit)
		_, err = nodes[0].Friends.AddFriend(t.Context(), 1, 1001, limit)
		sqltest.WantCode(t, err, domain.CodeLimit)
	},
}
