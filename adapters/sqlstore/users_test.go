package sqlstore

import (
	"math"
	"sync"
	"testing"

	"chatting/domain"
	"chatting/test/sqltest"
)

func wantKnown(t *testing.T, s *Store, user domain.UserID, want bool) {
	t.Helper()
	known, err := s.Users.Known(t.Context(), user)
	sqltest.NoError(t, err)
	if known != want {
		t.Fatalf("user %d known: %t, want %t", user, known, want)
	}
}

var userContract = map[string]func(*testing.T, testDB){
	"AUserIsKnownOnceRememberedOnEveryNode": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		wantKnown(t, nodes[0], 7, false)
		wantKnown(t, nodes[1], 7, false)
		sqltest.NoError(t, nodes[0].Users.Remember(t.Context(), 7))
		sqltest.NoError(t, nodes[0].Users.Remember(t.Context(), 7))
		wantKnown(t, nodes[0], 7, true)
		wantKnown(t, nodes[1], 7, true)
		sqltest.NoError(t, nodes[1].Users.Remember(t.Context(), 7))
		wantKnown(t, nodes[1], 8, false)
	},
	"AnyNumberCanBeAskedFor": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		ids := []domain.UserID{math.MinInt64, -7, 0, 1<<53 + 1, math.MaxInt64}
		for _, id := range ids {
			wantKnown(t, s, id, false)
		}
		sqltest.NoError(t, s.Users.Remember(t.Context(), math.MaxInt64))
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1<<53))
		other := d.open(t)
		wantKnown(t, other, math.MaxInt64, true)
		wantKnown(t, other, math.MaxInt64-1, false)
		wantKnown(t, other, 1<<53+1, false)
	},
	"AKnownUserIsRememberedWithoutTheDatabase": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 7))
		other := d.open(t)
		wantKnown(t, other, 7, true)
		for _, node := range []*Store{s, other} {
			sqltest.NoError(t, node.Close())
			wantKnown(t, node, 7, true)
			sqltest.NoError(t, node.Users.Remember(t.Context(), 7))
			if _, err := node.Users.Known(t.Context(), 8); err == nil {
				t.Error("a closed database told that 8 is unknown")
			}
		}
	},
	"OneUserRememberedAtOnceIsNoError": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 3)
		sqltest.AtOnce(30, func(i int) {
			if err := nodes[i%len(nodes)].Users.Remember(t.Context(), 7); err != nil {
				t.Error(err)
			}
		})
		wantKnown(t, nodes[0], 7, true)
	},
	"NewUsersHaveIDsThatNobodyHas": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		// Neither is near: an id of the platform may be of any size.
		sqltest.NoError(t, nodes[0].Users.RememberAll(t.Context(), []domain.UserID{6, math.MaxInt64, 1 << 60}))
		var mu sync.Mutex
		made := map[domain.UserID]int{}
		sqltest.AtOnce(20, func(i int) {
			user, err := nodes[i%len(nodes)].Users.New(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			made[user]++
		})
		for user := domain.UserID(7); user < 27; user++ {
			if made[user] != 1 {
				t.Errorf("user %d was made %d times: %v", user, made[user], made)
			}
			wantKnown(t, d.open(t), user, true)
		}
	},
	"TheFirstNewUserIsUserOne": func(t *testing.T, d testDB) {
		if user, err := d.migrated(t).Users.New(t.Context()); user != 1 || err != nil {
			t.Errorf("the first user is %d, %v", user, err)
		}
	},
	"NewUsersEndWhereTheirIDsEnd": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.Remember(t.Context(), maxNewUser-1))
		if user, err := s.Users.New(t.Context()); user != maxNewUser || err != nil {
			t.Errorf("the last user is %d, %v", user, err)
		}
		if user, err := s.Users.New(t.Context()); domain.CodeOf(err) != domain.CodeLimit {
			t.Errorf("after the last user: %d, %v", user, err)
		}
	},
}
