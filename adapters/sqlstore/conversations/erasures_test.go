package conversations_test

import (
	"reflect"
	"slices"
	"sync"
	"testing"

	"chatting/adapters/sqlstore/conversations"
	"chatting/application"
	"chatting/domain"
	"chatting/test/sqltest"
)

var erasureContract = map[string]func(*testing.T, testDB){
	"AnErasedUserIsForgottenInPartitionsThatOnlyAnEarlierLogHad": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		y.Tell(sqltest.Chat(1, 2))
		y.Tell(sqltest.Chat(2, 3))
		for _, table := range []string{"projections", "messages"} { // as if they had been in another partition
			s.db.Writer.MustExecContext(t.Context(), "UPDATE "+table+" SET log_partition = 7")
		}
		sqltest.Erase(t, s.Eraser, s.Projections, 1, 0)
		var left []int64
		sqltest.NoError(t, s.db.Reader.SelectContext(t.Context(), &left, "SELECT low FROM messages"))
		if !slices.Equal(left, []int64{2}) {
			t.Errorf("what is left is of users %v", left)
		}
		s.db.Writer.MustExecContext(t.Context(), "UPDATE projections SET log_partition = 1") // the first that the log does not have
		sqltest.NoError(t, s.Users.Remember(t.Context(), 2))
		s.db.Writer.MustExecContext(t.Context(), "UPDATE messages SET log_partition = 1")
		sqltest.Erase(t, s.Eraser, s.Projections, 2, 0)
		if rows := sqltest.StoredRows(t, s.db); len(rows) > 0 {
			t.Errorf("what is left is %+v", rows)
		}
	},
	"AnErasureGoesUpToTheFurthestEndThatWasNoted": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for _, step := range []struct{ generation, end, wantGeneration, wantEnd int64 }{
			{1, 5, 1, 5}, {1, 3, 1, 5}, {1, 9, 1, 9}, {2, 1, 2, 1}, {1, 7, 2, 1}, {2, 2, 2, 2},
		} {
			sqltest.NoError(t, s.Erasures.Note(t.Context(), application.Erasure{
				User: 1, Ends: []int64{step.end}, Projected: []domain.Place{{Generation: step.generation}},
			}))
			var generation, end int64
			sqltest.NoError(t, s.db.Reader.QueryRowContext(t.Context(), "SELECT generation, until_offset FROM erasures").Scan(&generation, &end))
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
		sqltest.NewStory(t, s.Projections, s.Blocks).Tell(sqltest.Chat(1, 2)) // projects partition 0, of generation 1
		insert(1, 0, 1, 5)
		insert(1, 1, 1, 7) // of which nothing is projected yet
		insert(1, 2, 1, 0)
		insert(2, 0, 2, 6) // of a topic that the history does not know yet
		insert(3, 0, 1, 8) // whom nobody asks about
		want := map[domain.UserID]map[int]int64{1: {0: 5, 1: 7}, 2: {0: 6}}
		ask := func(want map[domain.UserID]map[int]int64) {
			t.Helper()
			got, err := s.Erasures.ErasedBefore(t.Context(), []domain.UserID{1, 2, 4})
			sqltest.NoError(t, err)
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
			y := sqltest.NewStory(t, s.Projections, s.Blocks)
			y.At.Next.Partition = int(user)
			sqltest.NoError(t, s.Users.Remember(t.Context(), user))
			y.Tell(sqltest.Chat(5, user))
			y.Tell(sqltest.Chat(user, 5))
			kept := []domain.EventID{y.Tell(sqltest.Chat(user, 5)), y.Tell(sqltest.Chat(5, user)), y.Tell(sqltest.Chat(4, 5))}
			for _, other := range []domain.UserID{5, 7} { // erasures of others, one of them with the partner
				s.db.Writer.MustExecContext(t.Context(), "INSERT INTO erasures VALUES ($1, $2, 1, 100)", int64(other), y.At.Next.Partition)
			}
			wish := application.Erasure{User: user, Ends: make([]int64, 10)}
			wish.Ends[user] = 2
			for range wish.Ends {
				wish.Projected = append(wish.Projected, domain.Place{Generation: 1})
			}
			_, _, err := s.Eraser.EraseUser(t.Context(), wish)
			sqltest.NoError(t, err)
			var got []domain.EventID
			for _, row := range sqltest.StoredRows(t, s.db) {
				if row.At.Partition == int(user) {
					got = append(got, row.ID)
				}
			}
			if !slices.Equal(got, kept) {
				t.Errorf("%d: %v are left, want %v", user, got, kept)
			}
		}
	},
	"AnErasedUserMayHaveSaidMoreThanATransactionDeletes": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 2))
		y.Tell(sqltest.Chat(1, 2))
		y.Tell(sqltest.Chat(2, 3))
		for _, other := range []int64{1, 3} {
			s.db.Writer.MustExecContext(t.Context(), `
				WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
				INSERT INTO messages (`+conversations.EntryColumns+`)
				SELECT low, high, CAST(CAST(n AS TEXT) AS `+map[string]string{"sqlite": "BLOB", "postgres": "BYTEA"}[s.db.Writer.DriverName()]+`),
					generation, log_partition, 0, sender, NULL, kind, TRUE, TRUE, 0, frame
				FROM messages, numbers WHERE low + high = 2 + $2`, 2*conversations.EraseAtOnce, other)
		}
		if _, known := sqltest.Erase(t, s.Eraser, s.Projections, 2, 2); !known || len(sqltest.StoredRows(t, s.db)) > 0 {
			t.Errorf("known %t, %d rows are left", known, len(sqltest.StoredRows(t, s.db)))
		}
	},
	"WhatAnErasedUserSaysLaterIsKept": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		sqltest.Erase(t, s.Eraser, s.Projections, 1, 3) // of which one is not projected yet
		y.Tell(sqltest.Chat(1, 2))
		y.Tell(sqltest.Chat(2, 1))
		later := y.Tell(sqltest.Chat(2, 1))
		if rows := sqltest.StoredRows(t, s.db); len(rows) != 1 || rows[0].ID != later {
			t.Errorf("the history has %+v", rows)
		}
	},
	"AnErasureThatWasCutOffIsCompletedByTheNext": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		sqltest.NoError(t, s.Erasures.Note(t.Context(), sqltest.Erasure(t, s.Projections, 1, 1)))
		y.Tell(sqltest.Chat(1, 2))
		if _, known := sqltest.Erase(t, s.Eraser, s.Projections, 1, 2); !known || len(sqltest.StoredRows(t, s.db)) != 0 {
			t.Errorf("known %t, rows %+v", known, sqltest.StoredRows(t, s.db))
		}
	},
	"ALogThatEndsBeforeWhatWasProjectedIsTheNextOne": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		for range 5 {
			y.Tell(sqltest.Chat(1, 2))
		}
		sqltest.Erase(t, s.Eraser, s.Projections, 1, 2)
		to := y.At
		to.Next = domain.Place{Generation: 2}
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), y.At, to, nil))
		y.At = to
		y.Tell(sqltest.Chat(1, 2))
		y.Tell(sqltest.Chat(1, 2))
		later := y.Tell(sqltest.Chat(1, 2))
		if rows := sqltest.StoredRows(t, s.db); len(rows) != 1 || rows[0].ID != later {
			t.Errorf("the history has %+v", rows)
		}
	},
	"ALogThatGoesOnWhileItsEndIsAskedForIsTheSameOne": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		wish := sqltest.Erasure(t, s.Projections, 1, 2)
		y.Tell(sqltest.Chat(1, 2))
		kept := []domain.EventID{y.Tell(sqltest.Chat(1, 2)), y.Tell(sqltest.Chat(2, 1))}
		_, _, err := s.Eraser.EraseUser(t.Context(), wish)
		sqltest.NoError(t, err)
		kept = append(kept, y.Tell(sqltest.Chat(2, 1)))
		var ids []domain.EventID
		for _, row := range sqltest.StoredRows(t, s.db) {
			ids = append(ids, row.ID)
		}
		if !slices.Equal(ids, kept) {
			t.Errorf("the history has %v, want %v", ids, kept)
		}
	},
	"ALogThatIsMadeAnewWhileItsEndIsAskedForHasToBeAskedAgain": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		wish := sqltest.Erasure(t, s.Projections, 1, 1)
		to := y.At
		to.Next = domain.Place{Generation: 2}
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), y.At, to, nil))
		if _, known, err := s.Eraser.EraseUser(t.Context(), wish); domain.CodeOf(err) != domain.CodeUnavailable || !known {
			t.Errorf("known %t, %v", known, err)
		}
		if known, err := s.Users.Known(t.Context(), 1); err != nil || !known {
			t.Errorf("the user is known: %t, %v", known, err)
		}
	},
	"AnErasureBesideAProjectionLeavesNothingFromBeforeIt": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		other := d.open(t)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		const end = 200
		half := make(chan struct{})
		var erasing sync.WaitGroup
		erasing.Go(func() {
			<-half
			if _, known, err := other.Eraser.EraseUser(t.Context(), sqltest.Erasure(t, other.Projections, 1, end)); err != nil || !known {
				t.Errorf("known %t, %v", known, err)
			}
		})
		for y.At.Next.Offset < end {
			if y.At.Next.Offset == end/2 {
				close(half)
			}
			y.Tell(sqltest.Chat(1, 2))
		}
		erasing.Wait()
		if rows := sqltest.StoredRows(t, s.db); len(rows) > 0 {
			t.Errorf("%d rows are left, the last %+v", len(rows), rows[len(rows)-1])
		}
	},
}
