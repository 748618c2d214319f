package sqlstore

import (
	"context"
	"testing"
	"time"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/sqltest"
)

// locked runs f while another transaction has every row of the tables locked (on SQLite: while there is another writer).
func locked(t *testing.T, s *Store, f func(context.Context)) {
	t.Helper()
	tx, err := s.db.Writer.BeginTxx(t.Context(), nil)
	sqltest.NoError(t, err)
	defer func() { sqltest.NoError(t, tx.Rollback()) }()
	for _, statement := range []string{
		`UPDATE blocks SET changed_at = changed_at`, `UPDATE friend_lists SET length = length`, `UPDATE friends SET added_at = added_at`,
		`UPDATE conversation_marks SET log_offset = log_offset`, `UPDATE users SET first_seen = first_seen`,
	} {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	f(ctx)
}

var unchangedContract = map[string]func(*testing.T, testDB){
	"WhatIsKnownOfABlockIsKeptOnce": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		at := history.Projection{Next: domain.Place{Generation: 1}, Last: -1}
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), history.Projection{}, at, nil))
		for i, want := range []int{1, 1, 1, 2} {
			to := at
			to.Next.Offset += 10
			sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), at, to, []blocks.State{
				{Pair: blocks.Pair{Blocker: 1, Target: 2}, Blocked: true, Version: []int64{5, 5, 4, 6}[i]},
			}))
			at = to
			if got := sqltest.Count(t, s.db, "block_changes"); got != want {
				t.Errorf("step %d: %d changes are kept, want %d", i, got, want)
			}
		}
	},
	"WhatChangesNothingWritesNothing": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		story := sqltest.NewStory(t, s.Projections, s.Blocks)
		first := story.Tell(sqltest.Chat(2, 1))
		second := story.Tell(sqltest.Chat(2, 1))
		mark := func(ctx context.Context, id *domain.EventID) {
			t.Helper()
			if known, err := s.ReadMarks.MarkRead(ctx, 1, 2, id); err != nil || !known {
				t.Errorf("marking: %t, %v", known, err)
			}
		}
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 3, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 3, false))
		add(t, s, 1, 2, 10)
		mark(t.Context(), &second)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		s.Users.LookUpAgain(1)
		locked(t, s, func(ctx context.Context) {
			for _, repeated := range []struct {
				target  domain.UserID
				blocked bool
			}{{2, true}, {3, false}, {4, false}} {
				if changed, err := s.Blocks.SetBlocked(ctx, sqltest.Change(1, repeated.target, repeated.blocked)); changed || err != nil {
					t.Errorf("blocking %d: %t again: changed %t, %v", repeated.target, repeated.blocked, changed, err)
				}
			}
			if added, err := s.Friends.AddFriend(ctx, 1, 2, 10); added || err != nil {
				t.Errorf("adding a friend again: %t, %v", added, err)
			}
			for _, user := range []domain.UserID{1, 9} {
				if removed, err := s.Friends.RemoveFriend(ctx, user, 3); removed || err != nil {
					t.Errorf("removing a friend that is none: %t, %v", removed, err)
				}
			}
			mark(ctx, &first)
			mark(ctx, &second)
			mark(ctx, nil)
			if known, err := s.ReadMarks.MarkRead(ctx, 1, 9, nil); err != nil || !known {
				t.Errorf("marking where nothing was said: %t, %v", known, err)
			}
			if known, err := s.ReadMarks.MarkRead(ctx, 1, 9, &first); err != nil || known {
				t.Errorf("marking at what is not seen: %t, %v", known, err)
			}
			if err := s.Users.Remember(ctx, 1); err != nil {
				t.Errorf("remembering a known user: %v", err)
			}
		})
		for table, want := range map[string]int{"outbox": 3, "blocks": 2, "friend_lists": 1, "friends": 1, "conversation_marks": 1} {
			if got := sqltest.Count(t, s.db, table); got != want {
				t.Errorf("%s has %d rows, want %d", table, got, want)
			}
		}
	},
}
