package sqlstore

import (
	"context"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
)

// locked runs f while another transaction has every row of the tables locked (on SQLite: while there is another writer).
func locked(t *testing.T, s *Store, f func(context.Context)) {
	t.Helper()
	tx, err := s.db.Writer.BeginTxx(t.Context(), nil)
	noError(t, err)
	defer func() { noError(t, tx.Rollback()) }()
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

func count(t *testing.T, s *Store, table string) (n int) {
	t.Helper()
	noError(t, s.db.Read(t.Context(), "count", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &n, "SELECT COUNT(*) FROM "+table)
	}))
	return n
}

var unchangedContract = map[string]func(*testing.T, testDB){
	"AChangeOfABlockGoesWithTheOneThatReplacesIt": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		story := newStory(t, s)
		changed := func(blocked bool) domain.Event {
			t.Helper()
			set(t, s, change(1, 2, blocked))
			events, err := s.Blocks.PendingOf(t.Context(), 1, 2)
			noError(t, err)
			event := events[len(events)-1]
			noError(t, s.Blocks.MarkPublished(t.Context(), []domain.EventID{event.ID}))
			return event
		}
		said := func() domain.Event { return domain.Event{ID: newEventID(), Time: testTime, Body: chat(2, 1)} }
		project := func(supersedes map[int64]int64, events ...domain.Event) {
			t.Helper()
			to := story.at
			batch := history.ProjectionBatch{From: story.at, Supersedes: supersedes}
			for _, event := range events {
				batch.Events = append(batch.Events, history.ProjectedEvent{
					Offset: to.Next.Offset, Event: event, Frame: []byte("{}"),
				})
				to.Next.Offset++
			}
			batch.To = to
			noError(t, s.Projections.Project(t.Context(), batch))
			story.at = to
		}
		// Other pairs, other partitions and other topics have changes at the same places.
		others := 0
		for offset := range int64(8) {
			for _, other := range [][3]int64{{1, 3, 1}, {3, 2, 1}, {1, 2, 0}} {
				s.db.Writer.MustExecContext(t.Context(), insertBlockChange, other[0], other[1], other[2], offset, 0, false)
				others++
			}
		}
		story.tell(chat(2, 1))
		project(nil, changed(true))  // 1
		project(nil, changed(false)) // 2
		// The first takes effect and replaces one from before, the second replaces the first.
		third, fourth := changed(true), changed(false)
		project(map[int64]int64{3: 2, 4: 3}, third, fourth, said())
		if got := count(t, s, "block_changes"); got != others+2 {
			t.Errorf("%d changes are kept, want 2", got-others)
		}
		// One that takes no effect replaces none.
		project(map[int64]int64{6: 4}, fourth)
		project(nil, changed(true), said())
		if got := count(t, s, "block_changes"); got != others+3 {
			t.Errorf("%d changes are kept, want 3", got-others)
		}
		// What was said is seen as before.
		wantUnread(t, s, 1, 2, 2)
	},
	"WhatIsKnownOfABlockIsKeptOnce": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		at := history.Projection{Next: domain.Place{Generation: 1}, Last: -1}
		noError(t, s.Projections.MoveProjection(t.Context(), history.Projection{}, at, nil))
		for i, want := range []int{1, 1, 1, 2} {
			to := at
			to.Next.Offset += 10
			noError(t, s.Projections.MoveProjection(t.Context(), at, to, []blocks.State{
				{Pair: blocks.Pair{Blocker: 1, Target: 2}, Blocked: true, Version: []int64{5, 5, 4, 6}[i]},
			}))
			at = to
			if got := count(t, s, "block_changes"); got != want {
				t.Errorf("step %d: %d changes are kept, want %d", i, got, want)
			}
		}
	},
	"WhatChangesNothingWritesNothing": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		story := newStory(t, s)
		first := story.tell(chat(2, 1))
		second := story.tell(chat(2, 1))
		mark := func(ctx context.Context, id *domain.EventID) {
			t.Helper()
			if known, err := s.ReadMarks.MarkRead(ctx, 1, 2, id); err != nil || !known {
				t.Errorf("marking: %t, %v", known, err)
			}
		}
		set(t, s, change(1, 2, true))
		set(t, s, change(1, 3, true))
		set(t, s, change(1, 3, false))
		add(t, s, 1, 2, 10)
		mark(t.Context(), &second)
		noError(t, s.Users.Remember(t.Context(), 1))
		s.Users.LookUpAgain(1)
		locked(t, s, func(ctx context.Context) {
			for _, repeated := range []struct {
				target  domain.UserID
				blocked bool
			}{{2, true}, {3, false}, {4, false}} {
				if changed, err := s.Blocks.SetBlocked(ctx, change(1, repeated.target, repeated.blocked)); changed || err != nil {
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
			if got := count(t, s, table); got != want {
				t.Errorf("%s has %d rows, want %d", table, got, want)
			}
		}
	},
}
