package sqlstore

import (
	"slices"
	"testing"
	"time"

	"chatting/application/blocks"
	"chatting/domain"
	"chatting/test/sqltest"
)

var eraseContract = map[string]func(*testing.T, testDB){
	"AnErasedUserIsForgottenEverywhere": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		for user := domain.UserID(1); user <= 3; user++ {
			sqltest.NoError(t, s.Users.Remember(t.Context(), user))
		}
		for _, pair := range [][2]domain.UserID{{1, 2}, {1, 3}, {2, 1}, {2, 3}} {
			_, err := s.Friends.AddFriend(t.Context(), pair[0], pair[1], 10)
			sqltest.NoError(t, err)
		}
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 3, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 3, false))
		sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, true))
		y.Tell(sqltest.Chat(1, 2))
		y.Tell(sqltest.Chat(3, 1))
		kept := y.Tell(sqltest.Chat(2, 3))
		sqltest.MarkRead(t, s.ReadMarks, 1, 3, nil, true)
		sqltest.MarkRead(t, s.ReadMarks, 3, 1, nil, true)
		sqltest.MarkRead(t, s.ReadMarks, 3, 2, nil, true)
		sqltest.NoError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{domain.System: {{Generation: 1}}}))
		sqltest.NoError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{1: {{Generation: 1, Offset: 1}}}))

		unblocked, known := sqltest.Erase(t, s.Eraser, s.Projections, 1, y.At.Next.Offset)
		if !known || !slices.Equal(unblocked, []domain.UserID{2}) {
			t.Fatalf("known %t, unblocked %v", known, unblocked)
		}
		wantKnown(t, s, 1, false)
		wantBlocks(t, s, 1, blocks.Entry{Target: 2, Version: 2}, blocks.Entry{Target: 3, Version: 2})
		wantBlocks(t, s, 2, blocks.Entry{Target: 1, Blocked: true, Version: 1})
		pending, err := s.Blocks.PendingOf(t.Context(), 1, 2)
		sqltest.NoError(t, err)
		if want := (domain.BlockChanged{Blocker: 1, Target: 2, Version: 2}); len(pending) != 2 || pending[1].Body != want {
			t.Errorf("in the outbox: %+v", pending)
		}
		for user, want := range map[domain.UserID][]domain.UserID{1: {}, 2: {3}} {
			friends, err := s.Friends.Friends(t.Context(), user)
			sqltest.NoError(t, err)
			if !slices.Equal(friends, want) {
				t.Errorf("friends of %d: %v, want %v", user, friends, want)
			}
		}
		if added, err := s.Friends.AddFriend(t.Context(), 2, 4, 2); err != nil || !added {
			t.Errorf("a list that has lost a friend has no room: %t, %v", added, err)
		}
		if added, err := s.Friends.AddFriend(t.Context(), 2, 5, 2); added || domain.CodeOf(err) != domain.CodeLimit {
			t.Errorf("a list that has lost a friend has room for two: %t, %v", added, err)
		}
		if rows := sqltest.StoredRows(t, s.db); len(rows) != 1 || rows[0].ID != kept {
			t.Errorf("the history has %+v", rows)
		}
		var marks int
		sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &marks, "SELECT COUNT(*) FROM conversation_marks"))
		if marks != 1 {
			t.Errorf("%d marks are left", marks)
		}
		if cursor, err := s.Cursors.Cursor(t.Context(), 1); err != nil || cursor != nil {
			t.Errorf("the cursor is %v, %v", cursor, err)
		}
	},
	"AnErasureLeavesTheListsAndCursorsOfOthers": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		places := []domain.Place{{Generation: 1, Offset: 1}}
		for user := domain.UserID(1); user <= 4; user++ {
			sqltest.NoError(t, s.Users.Remember(t.Context(), user))
			sqltest.NoError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{domain.System: places, user: places}))
			add(t, s, user, 50, 10)
			add(t, s, user, 51, 10)
			if user > 2 {
				add(t, s, user, 1, 10)
			}
		}
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		wish := sqltest.Erasure(t, s.Projections, 1, 0)
		wish.At = sqltest.Time.Add(time.Hour)
		_, _, err := s.Eraser.EraseUser(t.Context(), wish)
		sqltest.NoError(t, err)
		for user := domain.UserID(2); user <= 4; user++ {
			wantFriends(t, s, user, 50, 51)
			wantLength(t, s, user, 2)
			if cursor, err := s.Cursors.Cursor(t.Context(), user); err != nil || !slices.Equal(cursor, places) {
				t.Errorf("the cursor of %d is %v, %v", user, cursor, err)
			}
		}
		if got := sqltest.Count(t, s.db, "friend_lists WHERE user_id = 1"); got != 0 {
			t.Errorf("%d rows are left of the own list", got)
		}
		wantFriends(t, s, 1)
		wantLength(t, s, 1, 0)
		var at int64
		sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &at, "SELECT changed_at FROM blocks"))
		if at != wish.At.UnixMilli() {
			t.Errorf("the block ended at %d", at)
		}
	},
	"AUserWhoWasNeverSeenIsNotErased": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		if _, known := sqltest.Erase(t, s.Eraser, s.Projections, 1, y.At.Next.Offset); known || len(sqltest.StoredRows(t, s.db)) != 1 {
			t.Error("something was erased")
		}
	},
	"AUserErasedOnAnotherNodeIsLookedUpAgain": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		other := d.open(t)
		sqltest.NoError(t, other.Users.Remember(t.Context(), 1))
		sqltest.Erase(t, s.Eraser, s.Projections, 1, 0)
		other.Users.LookUpAgain(1)
		sqltest.NoError(t, other.Users.Remember(t.Context(), 1))
		wantKnown(t, s, 1, true)
	},
	"AUserErasedOnAnotherNodeIsUnknownAfterAWhile": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		clock := sqltest.Time
		other := d.open(t, func(o *Options) { o.Now = func() time.Time { return clock } })
		sqltest.NoError(t, other.Users.Remember(t.Context(), 1))
		sqltest.Erase(t, s.Eraser, s.Projections, 1, 0)
		wantKnown(t, s, 1, false)
		clock = clock.Add(knownFor)
		wantKnown(t, other, 1, false)
		sqltest.NoError(t, other.Users.Remember(t.Context(), 1))
		wantKnown(t, s, 1, true)
	},
}
