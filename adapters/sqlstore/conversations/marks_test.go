package conversations_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/conversations"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/sqltest"
)

// rowOf returns what the database has of an entry.
func rowOf(t *testing.T, s *store, id domain.EventID) sqltest.Row {
	t.Helper()
	for _, row := range sqltest.StoredRows(t, s.db) {
		if row.ID == id {
			return row
		}
	}
	t.Fatalf("no entry %s", id)
	return sqltest.Row{}
}

var markContract = map[string]func(*testing.T, testDB){
	"AMarkMovesForwardOnly": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		first, second := y.Tell(sqltest.Chat(1, 2)), y.Tell(sqltest.Chat(1, 2))
		y.Tell(sqltest.Chat(1, 2))
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 3)
		sqltest.MarkRead(t, s.ReadMarks, 2, 1, &second, true)
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 1)
		sqltest.MarkRead(t, s.ReadMarks, 2, 1, &first, true)
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 1)
		sqltest.MarkRead(t, s.ReadMarks, 2, 1, nil, true)
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 0)
		y.Tell(sqltest.Chat(1, 2))
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 1)
		sqltest.WantUnread(t, s.ReadMarks, 1, 2, 0)
	},
	"NothingIsReadOrNamedThatItsOwnerDoesNotSee": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		// The owner is the higher one of its conversation, then the lower one.
		for _, pair := range [][2]domain.UserID{{12, 11}, {21, 22}} {
			owner, partner := pair[0], pair[1]
			sqltest.MarkRead(t, s.ReadMarks, owner, partner, nil, true) // there is nothing to read
			early, shown := y.Tell(sqltest.Chat(partner, owner)), y.Tell(sqltest.Chat(partner, owner))
			unseen := []domain.EventID{sqltest.NewEventID()}
			for _, third := range []domain.UserID{owner - 10, owner + 100} {
				unseen = append(unseen, y.Tell(sqltest.Chat(partner, third)), y.Tell(sqltest.Chat(third, owner)))
			}
			sqltest.Set(t, s.Blocks, sqltest.Change(owner, partner, true))
			y.TellPending(owner, partner)
			hidden := y.Tell(sqltest.Chat(partner, owner))
			for _, id := range append(unseen, hidden) {
				sqltest.MarkRead(t, s.ReadMarks, owner, partner, &id, false)
				page, _, err := s.History.Messages(t.Context(), owner, partner, &id, sqltest.AtMost(10))
				sqltest.NoError(t, err)
				if len(page) > 0 {
					t.Errorf("%d: %d messages before one that is not seen", owner, len(page))
				}
				if sees, err := s.History.Sees(t.Context(), owner, partner, id); err != nil || sees {
					t.Errorf("%d sees %s: %t, %v", owner, id, sees, err)
				}
			}
			for reader, want := range map[domain.UserID][]domain.EventID{owner: {shown, early}, partner: {hidden, shown, early}} {
				var got []domain.EventID
				page, _, err := s.History.Messages(t.Context(), reader, owner+partner-reader, nil, sqltest.AtMost(10))
				sqltest.NoError(t, err)
				for _, entry := range page {
					got = append(got, entry.ID)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%d reads %v, want %v", reader, got, want)
				}
				for _, id := range want {
					if sees, err := s.History.Sees(t.Context(), reader, owner+partner-reader, id); err != nil || !sees {
						t.Errorf("%d sees %s: %t, %v", reader, id, sees, err)
					}
				}
			}
			sqltest.WantUnread(t, s.ReadMarks, owner, partner, 2)
			sqltest.MarkRead(t, s.ReadMarks, partner, owner, &hidden, true) // its sender sees it
			sqltest.MarkRead(t, s.ReadMarks, owner, partner, &early, true)
			sqltest.WantUnread(t, s.ReadMarks, owner, partner, 1)
			sqltest.MarkRead(t, s.ReadMarks, owner, partner, nil, true)
			sqltest.WantUnread(t, s.ReadMarks, owner, partner, 0)
			// What is hidden is not read by that: the mark stands at what is seen.
			var at int64
			sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &at,
				"SELECT log_offset FROM conversation_marks WHERE owner = $1 AND partner = $2", int64(owner), int64(partner)))
			if want := rowOf(t, s, shown).At.Offset; at != want {
				t.Errorf("the mark of %d stands at %d, want %d", owner, at, want)
			}
		}
	},
	"NoMarkIsSetAtWhatIsDeletedMeanwhile": func(t *testing.T, d testDB) {
		sound := d.migrated(t)
		y := sqltest.NewStory(t, sound.Projections, sound.Blocks)
		deleted := false
		s := newFaulty(t, d, func(step string) error {
			if step == "begin" {
				expired, err := sound.History.Expire(t.Context(), sqltest.Time.Add(time.Hour), 10)
				deleted = expired == 1
				return err
			}
			return nil
		})
		for _, one := range []bool{true, false} {
			id := new(domain.EventID)
			*id = y.Tell(sqltest.Chat(1, 2))
			if !one {
				id = nil // all
			}
			if known, err := s.ReadMarks.MarkRead(t.Context(), 2, 1, id); known == one || err != nil || !deleted {
				t.Errorf("one %t: known %t, %v, deleted %t", one, known, err, deleted)
			}
			if got := sqltest.Count(t, sound.db, "conversation_marks"); got != 0 {
				t.Errorf("%d marks", got)
			}
		}
	},
	"TheNewestIsThatOfTheNewestTopic": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		for range 3 {
			y.Tell(sqltest.Chat(1, 2))
			y.Tell(sqltest.Chat(2, 1))
		}
		anew := y.At
		anew.Next.Generation, anew.Next.Offset = 2, 0
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), y.At, anew, nil))
		y.At = anew
		ids := map[domain.UserID]domain.EventID{2: y.Tell(sqltest.Chat(1, 2)), 1: y.Tell(sqltest.Chat(2, 1))}
		for owner := range ids {
			sqltest.MarkRead(t, s.ReadMarks, owner, 3-owner, nil, true)
			sqltest.WantUnread(t, s.ReadMarks, owner, 3-owner, 0)
		}
	},
	"AMarkMovesForwardOnlyThoughAnotherOneMovesMeanwhile": func(t *testing.T, d testDB) {
		sound := d.migrated(t)
		y := sqltest.NewStory(t, sound.Projections, sound.Blocks)
		var meanwhile func()
		s := newFaulty(t, d, func(step string) error {
			if step == "begin" {
				meanwhile()
			}
			return nil
		})
		steps := []struct{ meanwhile, own, unread int }{{0, 1, 3}, {2, 1, 2}, {2, 3, 1}, {4, 3, 0}, {3, 4, 0}}
		said := make([][]domain.EventID, len(steps)) // to each owner, of which the last two after the topic was made anew
		for i := range 5 {
			if i == 3 {
				anew := y.At
				anew.Next.Generation, anew.Next.Offset = 2, 0
				sqltest.NoError(t, sound.Projections.MoveProjection(t.Context(), y.At, anew, nil))
				y.At = anew
			}
			for n := range steps {
				said[n] = append(said[n], y.Tell(sqltest.Chat(1, domain.UserID(10+n))))
			}
		}
		for n, step := range steps {
			owner := domain.UserID(10 + n)
			meanwhile = func() { sqltest.MarkRead(t, sound.ReadMarks, owner, 1, &said[n][step.meanwhile], true) }
			sqltest.MarkRead(t, s.ReadMarks, owner, 1, &said[n][step.own], true)
			sqltest.WantUnread(t, sound.ReadMarks, owner, 1, step.unread)
			wantUnreadKept(t, sound)
		}
	},
	"UnreadIsWhatThePartnerAndThePlatformSaid": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(2, 1))
		y.Tell(domain.GameInvite{From: 1, To: 2, Status: domain.InviteCancelled})
		y.Tell(sqltest.Chat(2, 2))
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 0)
		sqltest.WantUnread(t, s.ReadMarks, 2, 2, 0)
		y.Tell(domain.SystemMessage{To: 2, Text: sqltest.Chat(1, 2).Text})
		sqltest.WantUnread(t, s.ReadMarks, 2, domain.System, 1)
		sqltest.MarkRead(t, s.ReadMarks, 2, domain.System, nil, true)
		sqltest.WantUnread(t, s.ReadMarks, 2, domain.System, 0)
	},
	"UnreadIsShownUpToItsBound": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		var many []history.ProjectedEvent
		for i := range history.MaxUnread + 10 {
			event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(1, 2)}
			many = append(many, history.ProjectedEvent{Offset: y.At.Next.Offset + int64(i), Event: event, Frame: []byte("{}")})
		}
		y.Project(many...)
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, history.MaxUnread)
		conversations, _, err := s.History.Conversations(t.Context(), 2, nil, sqltest.AtMost(10))
		sqltest.NoError(t, err)
		if len(conversations) != 1 || conversations[0].Unread != history.MaxUnread {
			t.Errorf("%+v", conversations)
		}
	},
	"AMarkIsKeptAsLongAsItsConversation": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		minute := func(n int) time.Time { return sqltest.Time.Add(time.Duration(n) * time.Minute) }
		y.TellAt(sqltest.Chat(1, 2), minute(0))
		y.TellAt(sqltest.Chat(4, 3), minute(0))
		y.TellAt(domain.SystemMessage{To: 2}, minute(0))
		y.TellAt(sqltest.Chat(4, 3), minute(2))
		for _, pair := range [][2]domain.UserID{{1, 2}, {2, 1}, {3, 4}, {4, 3}, {2, domain.System}} {
			sqltest.MarkRead(t, s.ReadMarks, pair[0], pair[1], nil, true)
		}
		for _, step := range []struct{ before, marks int }{{0, 5}, {1, 2}, {2, 2}, {3, 0}} {
			_, err := s.History.Expire(t.Context(), minute(step.before), 10)
			sqltest.NoError(t, err)
			if got := sqltest.Count(t, s.db, "conversation_marks"); got != step.marks {
				t.Errorf("before minute %d: %d marks are kept, want %d", step.before, got, step.marks)
			}
		}
		y.Tell(sqltest.Chat(1, 2))
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 1)
		wantUnreadKept(t, s)
	},
	"AMigrationDeletesMarksWhoseConversationsAreGone": func(t *testing.T, d testDB) {
		s := d.open(t)
		sqltest.MigrateTo(t, s.db, 7)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		for _, pair := range [][2]domain.UserID{{1, 2}, {2, 1}, {4, 3}} {
			y.Tell(sqltest.Chat(pair[0], pair[1]))
			sqltest.MarkRead(t, s.ReadMarks, pair[1], pair[0], nil, true)
		}
		y.Tell(sqltest.Chat(6, 5)) // nobody has read it
		s.db.Writer.MustExecContext(t.Context(), "DELETE FROM messages WHERE low = 3")
		sqltest.NoError(t, s.Migrate(t.Context()))
		var left []int64
		sqltest.NoError(t, s.db.Reader.SelectContext(t.Context(), &left, "SELECT owner FROM conversation_marks ORDER BY owner"))
		if !slices.Equal(left, []int64{1, 2, 5}) {
			t.Errorf("marks of %v are left", left)
		}
	},
	"WhatIsOlderThanTheHistoryReachesIsDeletedAndNotKeptAgain": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		for i := range 5 {
			y.TellAt(sqltest.Chat(1, 2), sqltest.Time.Add(time.Duration(i)*time.Minute))
		}
		y.TellAt(sqltest.Chat(1, 2), sqltest.Time.Add(-time.Minute)) // clocks differ
		oldest := sqltest.Time.Add(3 * time.Minute)
		for _, want := range []int{2, 2, 0} {
			expired, err := s.History.Expire(t.Context(), oldest, 2)
			sqltest.NoError(t, err)
			if expired != want {
				t.Fatalf("%d expired, want %d", expired, want)
			}
		}
		event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(1, 2)}
		to := y.At
		to.Next.Offset++
		sqltest.NoError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{
			From: y.At, To: to, Oldest: oldest,
			Events: []history.ProjectedEvent{{Offset: y.At.Next.Offset, Event: event, Frame: []byte("{}")}},
		}))
		page, _, err := s.History.Messages(t.Context(), 1, 2, nil, sqltest.AtMost(10))
		sqltest.NoError(t, err)
		if len(page) != 2 || page[1].At != oldest {
			t.Errorf("%d messages are left: %+v", len(page), page)
		}
	},
	"AProjectionReplacesAllOfItsStretchAndNothingElse": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		before, replaced, behind := y.Tell(sqltest.Chat(1, 2)), []domain.EventID{y.Tell(sqltest.Chat(1, 2)), y.Tell(sqltest.Chat(1, 2))}, y.Tell(sqltest.Chat(1, 2))
		start := y.At
		start.Next.Offset = 1
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), y.At, start, nil))
		to := start
		to.Next.Offset, to.Last, to.Fingerprint = 3, 2, history.RecordFingerprint(replaced[1])
		sqltest.NoError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{From: start, To: to}))
		var left []domain.EventID
		for _, row := range sqltest.StoredRows(t, s.db) {
			left = append(left, row.ID)
		}
		if want := []domain.EventID{before, behind}; !slices.Equal(left, want) {
			t.Errorf("%v are left, want %v", left, want)
		}
		projections, err := s.Projections.Projections(t.Context())
		sqltest.NoError(t, err)
		if !slices.Equal(projections, []history.Projection{to}) {
			t.Errorf("it is projected up to %+v, want %+v", projections, to)
		}
	},
	"AMessageSentAgainStandsAtItsFirstPlace": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		// Whoever gets it has blocked the sender at the first place only: the lower user, then the higher one.
		for partition, pair := range [][2]domain.UserID{{12, 11}, {21, 22}} {
			from, to := pair[0], pair[1]
			event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(from, to)}
			at := func(generation, offset int64) history.Projection {
				return history.Projection{Last: -1, Next: domain.Place{Generation: generation, Partition: partition, Offset: offset}}
			}
			where := history.Projection{Next: domain.Place{Partition: partition}, Last: -1}
			tell := func(generation, offset int64, frame string) {
				sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), where, at(generation, offset), nil))
				where = at(generation, offset+1)
				sqltest.NoError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{From: at(generation, offset), To: where, Events: []history.ProjectedEvent{
					{Offset: offset, Event: event, Frame: []byte(frame)},
				}}))
			}
			tell(1, 9, "third")
			if row := rowOf(t, s, event.ID); !row.LowSees || !row.HighSees || row.Addressee != to {
				t.Errorf("at first: %+v", row)
			}
			for offset, blocked := range map[int64]bool{1: true, 7: false} {
				sqltest.NoError(t, s.db.Write(t.Context(), "change", func(ctx context.Context, tx *sqlx.Tx) error {
					return conversations.KeepChange(ctx, tx, history.JudgedChange{At: at(1, offset).Next, State: blocks.State{
						Pair: blocks.Pair{Blocker: to, Target: from}, Blocked: blocked, Version: offset,
					}})
				}))
			}
			tell(1, 5, "second")
			want := sqltest.Row{
				At: at(1, 5).Next, ID: event.ID, Low: min(from, to), High: max(from, to), Sender: from, Kind: history.EntryChat,
				LowSees: from < to, HighSees: from > to, Milliseconds: sqltest.Time.UnixMilli(), Frame: "second",
			}
			for _, again := range []struct{ generation, offset int64 }{{1, 5}, {1, 8}, {2, 0}} {
				if again.offset != 5 {
					tell(again.generation, again.offset, "later")
				}
				if row := rowOf(t, s, event.ID); row != want {
					t.Errorf("after %v it is %+v, want %+v", again, row, want)
				}
			}
		}
	},
	"AProjectionFromAPlaceThatIsNotNextChangesNothing": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		stale, ahead := y.At, y.At
		y.Tell(sqltest.Chat(1, 2))
		ahead.Next.Offset += 7
		never := history.Projection{Next: domain.Place{}, Last: -1}
		other := y.At
		other.Next.Generation = 7
		for _, from := range []history.Projection{stale, ahead, never, other} {
			to := from
			to.Next.Generation, to.Next.Offset = 1, from.Next.Offset+1
			event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(1, 2)}
			err := s.Projections.Project(t.Context(), history.ProjectionBatch{From: from, To: to, Events: []history.ProjectedEvent{
				{Offset: from.Next.Offset, Event: event, Frame: []byte("{}")},
			}})
			if moved := s.Projections.MoveProjection(t.Context(), from, to, nil); !errors.Is(err, history.ErrProjectionMoved) ||
				!errors.Is(moved, history.ErrProjectionMoved) {
				t.Errorf("from %+v: %v, %v", from.Next, err, moved)
			}
		}
		if rows := sqltest.StoredRows(t, s.db); len(rows) != 2 {
			t.Errorf("%d rows", len(rows))
		}
		places, err := s.Projections.Projected(t.Context(), 2)
		sqltest.NoError(t, err)
		if none, err := s.Projections.Projected(t.Context(), 0); err != nil || len(none) > 0 {
			t.Errorf("of no partitions, %v are projected (%v)", none, err)
		}
		if places[0] != y.At.Next || places[1] != (domain.Place{Generation: 1, Partition: 1}) {
			t.Errorf("projected up to %v", places)
		}
	},
}
