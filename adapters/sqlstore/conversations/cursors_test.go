package conversations_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"chatting/adapters/sqlstore/database"
	"chatting/application/history"
	"chatting/application/past"
	"chatting/application/replay"
	"chatting/domain"
	"chatting/test/sqltest"
)

var cursorContract = map[string]func(*testing.T, testDB){
	"CursorsMoveForwardOnlyAndStartWhereStoringBegan": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		save := func(user domain.UserID, places ...domain.Place) {
			sqltest.NoError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{user: places}))
		}
		want := func(user domain.UserID, places ...domain.Place) {
			t.Helper()
			got, err := s.Cursors.Cursor(t.Context(), user)
			sqltest.NoError(t, err)
			if !slices.Equal(got, places) {
				t.Fatalf("the cursor of %d is %v, want %v", user, got, places)
			}
		}
		at := func(generation int64, partition int, offset int64) domain.Place {
			return domain.Place{Generation: generation, Partition: partition, Offset: offset}
		}
		for user := domain.UserID(7); user <= 9; user++ {
			sqltest.NoError(t, s.Users.Remember(t.Context(), user))
		}
		want(domain.System)
		save(7, at(1, 0, 5))
		want(7) // nobody knows from where on the other partition counts
		save(domain.System, at(1, 0, 10), at(1, 1, 20), at(1, 2, 0))
		want(domain.System, at(1, 0, 10), at(1, 1, 20), at(1, 2, 0))
		save(7, at(1, 1, 25))
		want(7, at(1, 0, 10), at(1, 1, 25), at(1, 2, 0))
		want(8) // nobody saved it
		save(7, at(1, 1, 24), at(2, 0, 1), at(1, 3, 9))
		want(7, at(2, 0, 1), at(1, 1, 25), at(1, 2, 0))
		save(7, at(1, 0, 99), at(2, 2, 0))
		want(7, at(2, 0, 1), at(1, 1, 25), at(2, 2, 0))

		save(6, at(1, 0, 99)) // who was erased, or never here
		want(6)

		var devices sync.WaitGroup
		for n := range int64(20) {
			devices.Go(func() {
				if err := s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{
					8: {at(2, int(n%3), n)}, 9: {at(2, int((n+1)%3), n)},
				}); err != nil {
					t.Error(err)
				}
			})
		}
		devices.Wait()
		want(8, at(2, 0, 18), at(2, 1, 19), at(2, 2, 17))
		want(9, at(2, 0, 17), at(2, 1, 18), at(2, 2, 19))

		sqltest.NoError(t, s.Cursors.ForgetCursors(t.Context()))
		want(7)
		want(domain.System)
	},
	"UndeliveredIsWhatOthersSaidAndTheUserSees": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		text, err := domain.NewText("x")
		sqltest.NoError(t, err)
		at := func(generation, offset int64) domain.Place {
			return domain.Place{Generation: generation, Partition: 1, Offset: offset}
		}
		projected := history.Projection{Next: at(0, 0), Last: -1}
		sqltest.Set(t, s.Blocks, sqltest.Change(7, 8, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(7, 8, false))
		changes, err := s.Blocks.PendingOf(t.Context(), 7, 8)
		sqltest.NoError(t, err)
		project := func(generation int64, bodies ...domain.Body) {
			start, end := projected, projected
			start.Next, end.Next = at(generation, 0), at(generation, int64(len(bodies)))
			sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), projected, start, nil))
			batch := history.ProjectionBatch{From: start, To: end}
			for offset, body := range bodies {
				event := domain.Event{ID: domain.DerivedID("test", fmt.Sprint(generation, offset)), Time: sqltest.Time, Body: body}
				if changed, ok := body.(domain.BlockChanged); ok {
					event = changes[changed.Version-1]
				}
				batch.Events = append(batch.Events, history.ProjectedEvent{
					Offset: int64(offset), Frame: fmt.Appendf(nil, "%d:%d", generation, offset), Event: event,
				})
			}
			sqltest.NoError(t, s.Projections.Project(t.Context(), batch))
			projected = end
		}
		chat := func(from, to domain.UserID) domain.Body { return domain.ChatMessage{From: from, To: to, Text: text} }
		said := []domain.Body{
			chat(8, 7),
			domain.GameInvite{From: 8, To: 7, Status: domain.InviteCancelled},
			domain.SystemMessage{To: 7, Text: text},
			chat(7, 7),
			chat(7, 8),
			domain.BlockChanged{Blocker: 7, Target: 8, Blocked: true, Version: 1},
			chat(8, 7),
			domain.BlockChanged{Blocker: 7, Target: 8, Version: 2},
			chat(8, 7),
			chat(9, 7),
		}
		project(1, said...)
		project(2, said[:4]...)
		want := func(sender domain.UserID, from, to domain.Place, limit int, frames ...string) {
			t.Helper()
			lists, err := s.Undelivered.Stretches(t.Context(), 7, []replay.ConversationStretch{
				{Sender: 99, From: from, To: to}, {Sender: sender, From: from, To: to},
			}, limit)
			sqltest.NoError(t, err)
			var got []string
			for _, entry := range lists[1] {
				got = append(got, string(entry.Frame))
			}
			if len(lists) != 2 || len(lists[0]) != 0 || !slices.Equal(got, frames) {
				t.Fatalf("from %v to %v: %v, want %v", from, to, got, frames)
			}
		}
		want(8, at(1, 0), at(2, 10), 100, "1:0", "1:8", "2:0")
		want(8, at(1, 0), at(2, 10), 2, "1:0", "1:8")
		want(domain.System, at(1, 0), at(2, 10), 100, "1:2", "2:2")
		want(9, at(1, 0), at(2, 10), 100, "1:9")
		want(8, at(1, 1), at(1, 8), 100)
		want(8, at(1, 8), at(2, 0), 100, "1:8")
		want(8, at(2, 0), at(2, 0), 100)

		none := domain.Place{Generation: 1, Partition: 0}
		waits := func(from, to domain.Place, limit int, end domain.Place, senders ...replay.WaitingSender) {
			t.Helper()
			got, ends, err := s.Undelivered.Waiting(t.Context(), 7, []domain.Place{none, from}, []domain.Place{none, to}, limit)
			sqltest.NoError(t, err)
			if !slices.Equal(got, senders) || !slices.Equal(ends, []domain.Place{none, end}) {
				t.Fatalf("from %v to %v: %v up to %v, want %v up to %v", from, to, got, ends, senders, end)
			}
		}
		eight, system, nine := replay.WaitingSender{Sender: 8, Place: at(1, 0)},
			replay.WaitingSender{Sender: domain.System, Place: at(1, 2)}, replay.WaitingSender{Sender: 9, Place: at(1, 9)}
		waits(at(1, 0), at(2, 10), 100, at(2, 10), eight, system, nine)
		waits(at(1, 0), at(2, 10), 3, at(1, 9), eight, system)
		waits(at(1, 0), at(2, 10), 1, at(1, 1), eight)
		waits(at(1, 1), at(1, 9), 100, at(1, 9), system, replay.WaitingSender{Sender: 8, Place: at(1, 8)})
		waits(at(1, 1), at(2, 10), 100, at(2, 10), system, replay.WaitingSender{Sender: 8, Place: at(1, 8)}, nine)
		waits(at(1, 1), at(2, 10), 2, at(1, 9), system, replay.WaitingSender{Sender: 8, Place: at(1, 8)})
		waits(at(1, 1), at(2, 10), 5, at(2, 3), system, replay.WaitingSender{Sender: 8, Place: at(1, 8)}, nine)
		waits(at(2, 3), at(2, 3), 100, at(2, 3))
		waits(at(2, 3), at(1, 3), 100, at(1, 3))

		recent := func(before domain.Place, since time.Time, limit int, ids ...domain.EventID) {
			t.Helper()
			got, err := s.Undelivered.Recent(t.Context(), 7, []domain.Place{none, before}, since, limit)
			sqltest.NoError(t, err)
			for _, id := range ids {
				if !slices.Contains(got, id) {
					t.Errorf("before %v: %s is missing", before, id)
				}
			}
			if len(got) != len(ids) {
				t.Fatalf("before %v: %d ids, want %d", before, len(got), len(ids))
			}
		}
		id := func(generation, offset int) domain.EventID {
			return domain.DerivedID("test", fmt.Sprint(int64(generation), int64(offset)))
		}
		recent(at(2, 10), sqltest.Time, 100, id(1, 0), id(1, 2), id(1, 8), id(1, 9), id(2, 0), id(2, 2))
		recent(at(2, 2), sqltest.Time, 2, id(1, 9), id(2, 0))
		recent(at(2, 10), sqltest.Time.Add(time.Second), 100)
	},
	"WhatIsStoredOfASenderIsCountedFromTheCursorOnWithWhatABlockHides": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		text, err := domain.NewText("hello")
		sqltest.NoError(t, err)
		at := func(offset int64) domain.Place {
			return domain.Place{Generation: 1, Partition: 1, Offset: offset}
		}
		chat := func(from, to domain.UserID) domain.Body { return domain.ChatMessage{From: from, To: to, Text: text} }
		for _, pair := range [][2]domain.UserID{{7, 8}, {20, 10}} { // the receiver is the lower one, then the higher one
			receiver, sender := pair[0], pair[1]
			said := []domain.Body{
				chat(sender, receiver), chat(sender, receiver), chat(receiver, sender),
				domain.BlockChanged{Blocker: receiver, Target: sender, Blocked: true, Version: 1},
				chat(sender, receiver), domain.GameInvite{From: sender, To: receiver, Status: domain.InviteCancelled},
				domain.SystemMessage{To: receiver, Text: text}, chat(sender, receiver),
			}
			sqltest.Set(t, s.Blocks, sqltest.Change(receiver, sender, true))
			from := history.Projection{Next: at(0), Last: -1}
			projections, err := s.Projections.Projections(t.Context())
			sqltest.NoError(t, err)
			if len(projections) > 0 {
				from = projections[0]
			} else {
				from.Next.Generation = 0
				start := history.Projection{Next: at(0), Last: -1}
				sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), from, start, nil))
				from = start
			}
			batch := history.ProjectionBatch{From: from, To: from}
			for _, body := range said {
				batch.Events = append(batch.Events, history.ProjectedEvent{
					Offset: batch.To.Next.Offset, Frame: []byte("0123456789"),
					Event: domain.Event{ID: domain.DerivedID("test", fmt.Sprint(sender, batch.To.Next.Offset)), Time: sqltest.Time, Body: body},
				})
				batch.To.Next.Offset++
			}
			sqltest.NoError(t, s.Projections.Project(t.Context(), batch))
			want := func(limit, messages int) {
				t.Helper()
				got, bytes, err := s.Undelivered.StoredOf(t.Context(), sender, receiver, limit)
				sqltest.NoError(t, err)
				if got != messages || bytes < int64(10*messages) || limit > 4 && bytes != int64(10*messages) {
					t.Fatalf("%d messages of %d bytes, want %d", got, bytes, messages)
				}
			}
			want(100, 0) // where storing began is not known
			start := from.Next.Offset
			save := func(user domain.UserID, offset int64) {
				t.Helper()
				sqltest.NoError(t, s.Users.Remember(t.Context(), receiver))
				sqltest.NoError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{
					user: {{Generation: 1}, at(offset)},
				}))
			}
			save(domain.System, 0)
			want(100, 4)
			want(2, 2)
			// The conversations of others may be in other partitions.
			for _, user := range []domain.UserID{1, sender, receiver, 99} {
				for _, other := range []domain.UserID{1, user, 99} {
					s.db.Writer.MustExecContext(t.Context(), `
						INSERT INTO messages VALUES ($1, $2, $3, 1, 0, 0, 0, NULL, 1, TRUE, TRUE, 0, '') ON CONFLICT DO NOTHING`,
						int64(min(user, other)), int64(max(user, other)), []byte{})
				}
			}
			save(receiver, start+1)
			want(100, 3)
			save(receiver, start+5)
			want(100, 1)
			save(receiver, start+8)
			want(100, 0)
			has := func(one, other domain.UserID, offset int64, want bool) {
				t.Helper()
				got, err := s.Undelivered.HasMessage(t.Context(), one, other, domain.DerivedID("test", fmt.Sprint(sender, offset)))
				sqltest.NoError(t, err)
				if got != want {
					t.Errorf("whether %d and %d have the message at %d: %t", one, other, offset, got)
				}
				frame, err := s.Undelivered.SentFrame(t.Context(), one, other, domain.DerivedID("test", fmt.Sprint(sender, offset)))
				sqltest.NoError(t, err)
				if (frame != nil) != want {
					t.Errorf("the frame of %d and %d at %d: %q", one, other, offset, frame)
				}
			}
			first := func(one, other domain.UserID, want ...int64) {
				t.Helper()
				var asked []past.Named
				wanted := make(map[domain.EventID]domain.Place)
				for offset := start; offset < start+9; offset++ {
					id := domain.DerivedID("test", fmt.Sprint(sender, offset))
					asked = append(asked, past.Named{ID: id, Sender: other})
					if slices.Contains(want, offset-start) {
						wanted[id] = at(offset)
					}
				}
				got, err := s.Undelivered.FirstPlaces(t.Context(), one, asked)
				sqltest.NoError(t, err)
				if !maps.Equal(got.Places, wanted) {
					t.Errorf("the events of %d and %d stand at %v, want %v", one, other, got.Places, wanted)
				}
			}
			first(sender, receiver, 0, 1, 2, 4, 5, 7)
			first(receiver, sender, 0, 1, 2, 4, 5, 7)
			first(sender, 99)
			first(receiver, 99)
			if none, err := s.Undelivered.FirstPlaces(t.Context(), sender, nil); err != nil || len(none.Places)+len(none.Changes) != 0 {
				t.Errorf("of no event: %v, %v", none, err)
			}
			has(sender, receiver, start, true)
			has(receiver, sender, start+7, true) // a block hides it
			has(sender, receiver, start+8, false)
			has(sender, 99, start, false)
			has(receiver, 99, start, false)
			has(sender, 1, start, false)
			has(receiver, 1, start, false)
			// Of a cursor that does not reach the partition nothing is known.
			sqltest.NoError(t, s.Cursors.ForgetCursors(t.Context()))
			sqltest.NoError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{domain.System: {{Generation: 1}}}))
			want(100, 0)
			sqltest.NoError(t, s.Cursors.ForgetCursors(t.Context()))
		}
	},
	"WhatOneSenderSaidInTwoPartitionsStaysApart": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		ids := []domain.EventID{y.Tell(sqltest.Chat(1, 2)), y.Tell(sqltest.Chat(1, 2))}
		// As if there had been another number of partitions before.
		s.db.Writer.MustExecContext(t.Context(), "UPDATE messages SET log_partition = 1 WHERE log_offset = 1")
		at := func(partition int, offset int64) domain.Place {
			return domain.Place{Generation: 1, Partition: partition, Offset: offset}
		}
		lists, err := s.Undelivered.Stretches(t.Context(), 2, []replay.ConversationStretch{
			{Sender: 1, From: at(1, 0), To: at(1, 9)}, {Sender: 1, From: at(0, 0), To: at(0, 9)},
		}, 10)
		sqltest.NoError(t, err)
		for i, want := range []domain.EventID{ids[1], ids[0]} {
			if len(lists[i]) != 1 || lists[i][0].ID != want {
				t.Errorf("stretch %d: %+v", i, lists[i])
			}
		}
		from, to := []domain.Place{at(0, 0), at(1, 0)}, []domain.Place{at(0, 9), at(1, 9)}
		senders, _, err := s.Undelivered.Waiting(t.Context(), 2, from, to, 10)
		sqltest.NoError(t, err)
		if want := []replay.WaitingSender{{Sender: 1, Place: at(0, 0)}, {Sender: 1, Place: at(1, 1)}}; !slices.Equal(senders, want) {
			t.Errorf("%v wait, want %v", senders, want)
		}
		for partition, want := range ids {
			recent, err := s.Undelivered.Recent(t.Context(), 2, to[partition:partition+1], sqltest.Time, 10)
			sqltest.NoError(t, err)
			if !slices.Equal(recent, []domain.EventID{want}) {
				t.Errorf("partition %d: recent are %v, want %s", partition, recent, want)
			}
		}
	},
	"MoreUsersAndPartitionsThanAStatementTakesAreSavedAndRead": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		const many = database.PerStatement + 1
		places := make([]domain.Place, many)
		for i := range places {
			places[i] = domain.Place{Generation: 1, Partition: i, Offset: int64(i)}
		}
		cursors := map[domain.UserID][]domain.Place{domain.System: places}
		for user := domain.UserID(1); user <= many; user++ {
			cursors[user] = []domain.Place{{Generation: 2, Offset: int64(user)}}
		}
		s.db.Writer.MustExecContext(t.Context(), `
			WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
			INSERT INTO users (id, first_seen) SELECT n, 0 FROM numbers`, many)
		for range 2 { // where storing began is saved first, or together with the others
			sqltest.NoError(t, s.Cursors.SaveCursors(t.Context(), cursors))
		}
		for _, user := range []domain.UserID{domain.System, 1, database.PerStatement - 1, database.PerStatement, many} {
			got, err := s.Cursors.Cursor(t.Context(), user)
			sqltest.NoError(t, err)
			want := slices.Clone(places)
			if user != domain.System {
				want[0] = cursors[user][0]
			}
			if !slices.Equal(got, want) {
				t.Errorf("the cursor of %d has %d places, the first %v", user, len(got), got[:min(len(got), 1)])
			}
		}
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		s.db.Writer.MustExecContext(t.Context(), "UPDATE messages SET log_partition = $1", database.PerStatement)
		y.Tell(sqltest.Chat(3, 2))
		to := slices.Clone(places)
		for i := range to {
			to[i].Offset += 2
			places[i].Offset = 0
		}
		senders, _, err := s.Undelivered.Waiting(t.Context(), 2, places, to, 10)
		sqltest.NoError(t, err)
		if len(senders) != 2 || senders[0].Sender != 3 || senders[0].Place.Partition != 0 || senders[1].Place.Partition != database.PerStatement {
			t.Errorf("%v wait", senders)
		}
	},
}
