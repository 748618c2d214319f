package sqlstore

import (
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"chatting/application"
	"chatting/application/blocks"
	"chatting/domain"
)

// erasure is a wish to forget a user whose log ends at an offset of partition 0.
func erasure(t *testing.T, s *Store, user domain.UserID, end int64) application.Erasure {
	t.Helper()
	projected, err := s.Projections.Projected(t.Context(), 1)
	noError(t, err)
	return application.Erasure{User: user, At: testTime, Ends: []int64{end}, Projected: projected}
}

// erase erases a user whose log ends at an offset of partition 0.
func erase(t *testing.T, s *Store, user domain.UserID, end int64) (unblocked []domain.UserID, known bool) {
	t.Helper()
	unblocked, known, err := s.Eraser.EraseUser(t.Context(), erasure(t, s, user, end))
	noError(t, err)
	return unblocked, known
}

var eraseContract = map[string]func(*testing.T, testDB){
	"AnErasedUserIsForgottenInPartitionsThatOnlyAnEarlierLogHad": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		noError(t, s.Users.Remember(t.Context(), 1))
		y.tell(chat(1, 2))
		y.tell(chat(2, 3))
		for _, table := range []string{"projections", "messages"} { // as if they had been in another partition
			s.db.Writer.MustExecContext(t.Context(), "UPDATE "+table+" SET log_partition = 7")
		}
		erase(t, s, 1, 0)
		var left []int64
		noError(t, s.db.Reader.SelectContext(t.Context(), &left, "SELECT low FROM messages"))
		if !slices.Equal(left, []int64{2}) {
			t.Errorf("what is left is of users %v", left)
		}
		s.db.Writer.MustExecContext(t.Context(), "UPDATE projections SET log_partition = 1") // the first that the log does not have
		noError(t, s.Users.Remember(t.Context(), 2))
		s.db.Writer.MustExecContext(t.Context(), "UPDATE messages SET log_partition = 1")
		erase(t, s, 2, 0)
		if rows := storedRows(t, s); len(rows) > 0 {
			t.Errorf("what is left is %+v", rows)
		}
	},
	"AnErasureGoesUpToTheFurthestEndThatWasNoted": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for _, step := range []struct{ generation, end, wantGeneration, wantEnd int64 }{
			{1, 5, 1, 5}, {1, 3, 1, 5}, {1, 9, 1, 9}, {2, 1, 2, 1}, {1, 7, 2, 1}, {2, 2, 2, 2},
		} {
			noError(t, s.Eraser.note(t.Context(), application.Erasure{
				User: 1, Ends: []int64{step.end}, Projected: []domain.Place{{Generation: step.generation}},
			}))
			var generation, end int64
			noError(t, s.db.Reader.QueryRowContext(t.Context(), "SELECT generation, until_offset FROM erasures").Scan(&generation, &end))
			if generation != step.wantGeneration || end != step.wantEnd {
				t.Errorf("after %+v, it goes up to %d:%d", step, generation, end)
			}
		}
	},
	"WhatIsErasedOfTheLogIsKnown": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		insert := func(user, partition, generation, until int64) {
			s.db.Writer.MustExecContext(t.Context(), "INSERT INTO erasures VALUES ($1, $2, $3, $4)", user, partition, generation, until)
		}
		newStory(t, s).tell(chat(1, 2)) // projects partition 0, of generation 1
		insert(1, 0, 1, 5)
		insert(1, 1, 1, 7) // of which nothing is projected yet
		insert(1, 2, 1, 0)
		insert(2, 0, 2, 6) // of a topic that the history does not know yet
		insert(3, 0, 1, 8) // whom nobody asks about
		want := map[domain.UserID]map[int]int64{1: {0: 5, 1: 7}, 2: {0: 6}}
		ask := func(want map[domain.UserID]map[int]int64) {
			t.Helper()
			got, err := s.Eraser.ErasedBefore(t.Context(), []domain.UserID{1, 2, 4})
			noError(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("erased is %v, want %v", got, want)
			}
		}
		ask(want)
		s.db.Writer.MustExecContext(t.Context(), "UPDATE projections SET generation = 2")
		delete(want[1], 0) // that was an earlier topic
		ask(want)
	},
	"AnErasureLeavesWhatIsBehindItsOwnEnd": func(t *testing.T, d testDB) {
		for _, user := range []domain.UserID{1, 9} { // the lower one, then the higher one
			s := d.migrated(t)
			y := newStory(t, s)
			y.at.Next.Partition = int(user)
			noError(t, s.Users.Remember(t.Context(), user))
			y.tell(chat(5, user))
			y.tell(chat(user, 5))
			kept := []domain.EventID{y.tell(chat(user, 5)), y.tell(chat(5, user)), y.tell(chat(4, 5))}
			for _, other := range []domain.UserID{5, 7} { // erasures of others, one of them with the partner
				s.db.Writer.MustExecContext(t.Context(), "INSERT INTO erasures VALUES ($1, $2, 1, 100)", int64(other), y.at.Next.Partition)
			}
			wish := application.Erasure{User: user, Ends: make([]int64, 10)}
			wish.Ends[user] = 2
			for range wish.Ends {
				wish.Projected = append(wish.Projected, domain.Place{Generation: 1})
			}
			_, _, err := s.Eraser.EraseUser(t.Context(), wish)
			noError(t, err)
			var got []domain.EventID
			for _, row := range storedRows(t, s) {
				if row.at.Partition == int(user) {
					got = append(got, row.id)
				}
			}
			if !slices.Equal(got, kept) {
				t.Errorf("%d: %v are left, want %v", user, got, kept)
			}
		}
	},
	"AnErasedUserMayHaveSaidMoreThanATransactionDeletes": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		noError(t, s.Users.Remember(t.Context(), 2))
		y.tell(chat(1, 2))
		y.tell(chat(2, 3))
		for _, other := range []int64{1, 3} {
			s.db.Writer.MustExecContext(t.Context(), `
				WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
				INSERT INTO messages (`+entryColumns+`)
				SELECT low, high, CAST(CAST(n AS TEXT) AS `+map[string]string{"sqlite": "BLOB", "postgres": "BYTEA"}[s.db.Writer.DriverName()]+`),
					generation, log_partition, 0, sender, NULL, kind, TRUE, TRUE, 0, frame
				FROM messages, numbers WHERE low + high = 2 + $2`, 2*eraseAtOnce, other)
		}
		if _, known := erase(t, s, 2, 2); !known || len(storedRows(t, s)) > 0 {
			t.Errorf("known %t, %d rows are left", known, len(storedRows(t, s)))
		}
	},
	"AnErasedUserIsForgottenEverywhere": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		for user := domain.UserID(1); user <= 3; user++ {
			noError(t, s.Users.Remember(t.Context(), user))
		}
		for _, pair := range [][2]domain.UserID{{1, 2}, {1, 3}, {2, 1}, {2, 3}} {
			_, err := s.Friends.AddFriend(t.Context(), pair[0], pair[1], 10)
			noError(t, err)
		}
		set(t, s, change(1, 2, true))
		set(t, s, change(1, 3, true))
		set(t, s, change(1, 3, false))
		set(t, s, change(2, 1, true))
		y.tell(chat(1, 2))
		y.tell(chat(3, 1))
		kept := y.tell(chat(2, 3))
		mark(t, s, 1, 3, nil, true)
		mark(t, s, 3, 1, nil, true)
		mark(t, s, 3, 2, nil, true)
		noError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{domain.System: {{Generation: 1}}}))
		noError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{1: {{Generation: 1, Offset: 1}}}))

		unblocked, known := erase(t, s, 1, y.at.Next.Offset)
		if !known || !slices.Equal(unblocked, []domain.UserID{2}) {
			t.Fatalf("known %t, unblocked %v", known, unblocked)
		}
		wantKnown(t, s, 1, false)
		wantBlocks(t, s, 1, blocks.Entry{Target: 2, Version: 2}, blocks.Entry{Target: 3, Version: 2})
		wantBlocks(t, s, 2, blocks.Entry{Target: 1, Blocked: true, Version: 1})
		pending, err := s.Blocks.PendingOf(t.Context(), 1, 2)
		noError(t, err)
		if want := (domain.BlockChanged{Blocker: 1, Target: 2, Version: 2}); len(pending) != 2 || pending[1].Body != want {
			t.Errorf("in the outbox: %+v", pending)
		}
		for user, want := range map[domain.UserID][]domain.UserID{1: {}, 2: {3}} {
			friends, err := s.Friends.Friends(t.Context(), user)
			noError(t, err)
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
		if rows := storedRows(t, s); len(rows) != 1 || rows[0].id != kept {
			t.Errorf("the history has %+v", rows)
		}
		var marks int
		noError(t, s.db.Reader.GetContext(t.Context(), &marks, "SELECT COUNT(*) FROM conversation_marks"))
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
			noError(t, s.Users.Remember(t.Context(), user))
			noError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{domain.System: places, user: places}))
			add(t, s, user, 50, 10)
			add(t, s, user, 51, 10)
			if user > 2 {
				add(t, s, user, 1, 10)
			}
		}
		set(t, s, change(1, 2, true))
		wish := erasure(t, s, 1, 0)
		wish.At = testTime.Add(time.Hour)
		_, _, err := s.Eraser.EraseUser(t.Context(), wish)
		noError(t, err)
		for user := domain.UserID(2); user <= 4; user++ {
			wantFriends(t, s, user, 50, 51)
			wantLength(t, s, user, 2)
			if cursor, err := s.Cursors.Cursor(t.Context(), user); err != nil || !slices.Equal(cursor, places) {
				t.Errorf("the cursor of %d is %v, %v", user, cursor, err)
			}
		}
		if got := count(t, s, "friend_lists WHERE user_id = 1"); got != 0 {
			t.Errorf("%d rows are left of the own list", got)
		}
		wantFriends(t, s, 1)
		wantLength(t, s, 1, 0)
		var at int64
		noError(t, s.db.Reader.GetContext(t.Context(), &at, "SELECT changed_at FROM blocks"))
		if at != wish.At.UnixMilli() {
			t.Errorf("the block ended at %d", at)
		}
	},
	"AUserWhoWasNeverSeenIsNotErased": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		y.tell(chat(1, 2))
		if _, known := erase(t, s, 1, y.at.Next.Offset); known || len(storedRows(t, s)) != 1 {
			t.Error("something was erased")
		}
	},
	"WhatAnErasedUserSaysLaterIsKept": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		noError(t, s.Users.Remember(t.Context(), 1))
		y := newStory(t, s)
		y.tell(chat(1, 2))
		erase(t, s, 1, 3) // of which one is not projected yet
		y.tell(chat(1, 2))
		y.tell(chat(2, 1))
		later := y.tell(chat(2, 1))
		if rows := storedRows(t, s); len(rows) != 1 || rows[0].id != later {
			t.Errorf("the history has %+v", rows)
		}
	},
	"AnErasureThatWasCutOffIsCompletedByTheNext": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		noError(t, s.Users.Remember(t.Context(), 1))
		y := newStory(t, s)
		y.tell(chat(1, 2))
		noError(t, s.Eraser.note(t.Context(), erasure(t, s, 1, 1)))
		y.tell(chat(1, 2))
		if _, known := erase(t, s, 1, 2); !known || len(storedRows(t, s)) != 0 {
			t.Errorf("known %t, rows %+v", known, storedRows(t, s))
		}
	},
	"ALogThatEndsBeforeWhatWasProjectedIsTheNextOne": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		noError(t, s.Users.Remember(t.Context(), 1))
		y := newStory(t, s)
		for range 5 {
			y.tell(chat(1, 2))
		}
		erase(t, s, 1, 2)
		to := y.at
		to.Next = domain.Place{Generation: 2}
		noError(t, s.Projections.MoveProjection(t.Context(), y.at, to, nil))
		y.at = to
		y.tell(chat(1, 2))
		y.tell(chat(1, 2))
		later := y.tell(chat(1, 2))
		if rows := storedRows(t, s); len(rows) != 1 || rows[0].id != later {
			t.Errorf("the history has %+v", rows)
		}
	},
	"ALogThatGoesOnWhileItsEndIsAskedForIsTheSameOne": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		noError(t, s.Users.Remember(t.Context(), 1))
		y := newStory(t, s)
		y.tell(chat(1, 2))
		wish := erasure(t, s, 1, 2)
		y.tell(chat(1, 2))
		kept := []domain.EventID{y.tell(chat(1, 2)), y.tell(chat(2, 1))}
		_, _, err := s.Eraser.EraseUser(t.Context(), wish)
		noError(t, err)
		kept = append(kept, y.tell(chat(2, 1)))
		var ids []domain.EventID
		for _, row := range storedRows(t, s) {
			ids = append(ids, row.id)
		}
		if !slices.Equal(ids, kept) {
			t.Errorf("the history has %v, want %v", ids, kept)
		}
	},
	"ALogThatIsMadeAnewWhileItsEndIsAskedForHasToBeAskedAgain": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		noError(t, s.Users.Remember(t.Context(), 1))
		y := newStory(t, s)
		y.tell(chat(1, 2))
		wish := erasure(t, s, 1, 1)
		to := y.at
		to.Next = domain.Place{Generation: 2}
		noError(t, s.Projections.MoveProjection(t.Context(), y.at, to, nil))
		if _, known, err := s.Eraser.EraseUser(t.Context(), wish); domain.CodeOf(err) != domain.CodeUnavailable || !known {
			t.Errorf("known %t, %v", known, err)
		}
		wantKnown(t, s, 1, true)
	},
	"AnErasureBesideAProjectionLeavesNothingFromBeforeIt": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		other := d.open(t)
		noError(t, s.Users.Remember(t.Context(), 1))
		y := newStory(t, s)
		y.tell(chat(1, 2))
		const end = 200
		half := make(chan struct{})
		var erasing sync.WaitGroup
		erasing.Go(func() {
			<-half
			if _, known, err := other.Eraser.EraseUser(t.Context(), erasure(t, other, 1, end)); err != nil || !known {
				t.Errorf("known %t, %v", known, err)
			}
		})
		for y.at.Next.Offset < end {
			if y.at.Next.Offset == end/2 {
				close(half)
			}
			y.tell(chat(1, 2))
		}
		erasing.Wait()
		if rows := storedRows(t, s); len(rows) > 0 {
			t.Errorf("%d rows are left, the last %+v", len(rows), rows[len(rows)-1])
		}
	},
	"AUserErasedOnAnotherNodeIsLookedUpAgain": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		other := d.open(t)
		noError(t, other.Users.Remember(t.Context(), 1))
		erase(t, s, 1, 0)
		other.Users.LookUpAgain(1)
		noError(t, other.Users.Remember(t.Context(), 1))
		wantKnown(t, s, 1, true)
	},
	"AUserErasedOnAnotherNodeIsUnknownAfterAWhile": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		clock := testTime
		other := d.open(t, func(o *Options) { o.Now = func() time.Time { return clock } })
		noError(t, other.Users.Remember(t.Context(), 1))
		erase(t, s, 1, 0)
		wantKnown(t, s, 1, false)
		clock = clock.Add(knownFor)
		wantKnown(t, other, 1, false)
		noError(t, other.Users.Remember(t.Context(), 1))
		wantKnown(t, s, 1, true)
	},
}
