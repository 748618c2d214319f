package conversations_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"chatting/adapters/sqlstore"
	"chatting/adapters/sqlstore/conversations"
	"chatting/adapters/sqlstore/database"
	"chatting/application/history"
	"chatting/domain"
	"chatting/migrations"
	"chatting/test/sqltest"
)

var forgedContract = map[string]func(*testing.T, testDB){
	"AChangeOfABlockThatTheDatabaseNeverGaveOutHidesAndShowsNothing": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		var told []history.ProjectedEvent
		tell := func(body domain.Body) domain.EventID {
			event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: body}
			told = append(told, history.ProjectedEvent{Offset: y.At.Next.Offset, Event: event, Frame: sqltest.Frame(event)})
			y.Project(told[len(told)-1])
			return event.ID
		}
		forge := func(blocked bool, version int64) {
			tell(domain.BlockChanged{Blocker: 2, Target: 1, Blocked: blocked, Version: version})
		}
		publish := func() {
			events, err := s.Blocks.PendingOf(t.Context(), 2, 1)
			sqltest.NoError(t, err)
			event := events[len(events)-1]
			told = append(told, history.ProjectedEvent{Offset: y.At.Next.Offset, Event: event})
			y.Project(told[len(told)-1])
		}
		var want []domain.EventID
		shown := func() { want = append(want, tell(sqltest.Chat(1, 2))) }
		hidden := func() { tell(sqltest.Chat(1, 2)) }

		forge(true, math.MaxInt64)
		shown()
		sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, true))
		forge(true, 1) // the version is right, the event is not
		shown()
		publish()
		hidden()
		forge(false, 2)
		hidden()
		forge(false, math.MaxInt64-1)
		hidden()
		sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, false))
		publish()
		shown()
		forge(true, math.MaxInt64)
		shown()
		for _, what := range []string{"as projected", "rebuilt"} {
			page, _, err := s.History.Messages(t.Context(), 2, 1, nil, history.PageBounds{Entries: 100, Bytes: 1 << 20})
			sqltest.NoError(t, err)
			if len(page) != len(want) {
				t.Fatalf("%s: %d messages are seen, want %d", what, len(page), len(want))
			}
			for i, id := range want {
				if page[len(page)-1-i].ID != id {
					t.Errorf("%s: message %d is another one", what, i)
				}
			}
			start := history.Projection{Next: domain.Place{Generation: 1}, Last: -1}
			sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), y.At, start, nil))
			y.At = start
			y.Project(told...)
		}
	},
	"MoreChangesThanAStatementTakesAreBelieved": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		const many = database.PerStatement + 1
		for target := domain.UserID(1); target <= many; target++ {
			sqltest.Set(t, s.Blocks, sqltest.Change(1000, target, true))
		}
		var events []history.ProjectedEvent
		pending, err := s.Blocks.Pending(t.Context(), sqltest.Time.Add(time.Hour), 2*many)
		sqltest.NoError(t, err)
		for i, event := range pending {
			events = append(events, history.ProjectedEvent{Offset: int64(i), Event: event})
		}
		y.Project(events...)
		if got := sqltest.Count(t, s.db, "block_changes"); got != many {
			t.Errorf("%d changes took effect, want %d", got, many)
		}
	},
	"AVersionThatWasGuessedBeforeItWasGivenOutIsNotBelievedByARebuild": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		var told []history.ProjectedEvent
		tell := func(event domain.Event) {
			told = append(told, history.ProjectedEvent{Offset: y.At.Next.Offset, Event: event, Frame: sqltest.Frame(event)})
			y.Project(told[len(told)-1])
		}
		say := func() { tell(domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(1, 2)}) }
		// A change need not be kept once another one follows it before anything is said.
		changeAfter := func(before int64, blocked bool) {
			sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, blocked))
			events, err := s.Blocks.PendingOf(t.Context(), 2, 1)
			sqltest.NoError(t, err)
			sqltest.NoError(t, s.Blocks.MarkPublished(t.Context(), []domain.EventID{events[0].ID}))
			to := y.At
			told = append(told, history.ProjectedEvent{Offset: to.Next.Offset, Event: events[0]})
			to.Next.Offset++
			sqltest.NoError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{
				From: y.At, To: to, Events: told[len(told)-1:], Supersedes: map[int64]int64{y.At.Next.Offset: before},
			}))
			y.At = to
		}
		say() // 0: seen
		changeAfter(-1, true)
		tell(domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: domain.BlockChanged{Blocker: 2, Target: 1, Version: 2}})
		say()                  // 2 blocks 1, whatever somebody else wrote
		changeAfter(-1, false) // 4
		changeAfter(4, true)
		changeAfter(5, false)
		say()
		for _, what := range []string{"as projected", "rebuilt"} {
			page, _, err := s.History.Messages(t.Context(), 2, 1, nil, sqltest.AtMost(10))
			sqltest.NoError(t, err)
			if len(page) != 2 {
				t.Errorf("%s: %d messages are seen, want the first and the last", what, len(page))
			}
			start := history.Projection{Next: domain.Place{Generation: 1}, Last: -1}
			sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), y.At, start, nil))
			y.At = start
			y.Project(told...)
		}
	},
	"WhatAServerOfAnEarlierReleaseGaveOutIsBelieved": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		// Such a server names no version, and its event has a random id.
		s.db.Writer.MustExecContext(t.Context(),
			"INSERT INTO blocks (blocker, target, blocked, version, changed_at) VALUES (2, 1, TRUE, 1, 0)")
		y.Tell(domain.BlockChanged{Blocker: 2, Target: 1, Blocked: true, Version: 1})
		y.Tell(sqltest.Chat(1, 2))
		sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, false))
		y.TellPending(2, 1)
		s.db.Writer.MustExecContext(t.Context(), "UPDATE blocks SET blocked = TRUE, version = 3 WHERE blocker = 2")
		y.Tell(domain.BlockChanged{Blocker: 2, Target: 1, Blocked: true, Version: 3})
		sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, false))
		y.Tell(sqltest.Chat(1, 2)) // behind version 3
		y.Tell(domain.BlockChanged{Blocker: 2, Target: 1, Version: 4})
		y.Tell(sqltest.Chat(1, 2)) // that was forged
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 0)
		y.TellPending(2, 1)
		y.Tell(sqltest.Chat(1, 2))
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 1)
	},
	"AChangeThatIsKnownElsewhereIsForgedAndSaid": func(t *testing.T, d testDB) {
		var log bytes.Buffer
		s := d.migrated(t, func(o *sqlstore.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		// A server of an earlier release gave it out, with a random id.
		s.db.Writer.MustExecContext(t.Context(),
			"INSERT INTO blocks (blocker, target, blocked, version, changed_at) VALUES (2, 1, TRUE, 1, 0)")
		block := func() domain.Event {
			return domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: domain.BlockChanged{Blocker: 2, Target: 1, Blocked: true, Version: 1}}
		}
		forged, given := block(), block()
		at := func(offset int64) history.Projection {
			return history.Projection{Next: domain.Place{Generation: 1, Offset: offset}, Last: -1}
		}
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), history.Projection{}, at(2), nil))
		sqltest.NoError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{From: at(2), To: at(3), Events: []history.ProjectedEvent{
			{Offset: 2, Event: given},
		}}))
		if strings.Contains(log.String(), "never gave out") {
			t.Errorf("before anything was forged: %s", log.String())
		}
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), at(3), at(0), nil))
		said := func(offset int64) history.ProjectedEvent {
			event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(1, 2)}
			return history.ProjectedEvent{Offset: offset, Event: event, Frame: sqltest.Frame(event)}
		}
		sqltest.NoError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{From: at(0), To: at(4), Events: []history.ProjectedEvent{
			{Offset: 0, Event: forged}, said(1), {Offset: 2, Event: given}, said(3),
		}}))
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 1)
		if !strings.Contains(log.String(), "never gave out") {
			t.Errorf("after something was forged: %s", log.String())
		}
	},
	"TheMigrationTakesOutWhatEarlierVersionsBelieved": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, false))
		insert := func(blocker, offset, version int64, blocked bool) {
			s.db.Writer.MustExecContext(t.Context(), conversations.InsertBlockChange, blocker, 1, 1, offset, version, blocked)
		}
		insert(2, 10, 1, true)
		insert(2, 20, math.MaxInt64, true)
		insert(2, 30, 2, false)
		insert(2, 40, 1, false)
		insert(3, 50, 1, true) // a pair that the database does not know
		insert(2, 60, -1, true)
		files, err := migrations.Of(s.db.Kind)
		sqltest.NoError(t, err)
		file, err := fs.ReadFile(files, "00004_forged_blocks.sql")
		sqltest.NoError(t, err)
		_, statement, _ := strings.Cut(string(file), "DELETE FROM")
		s.db.Writer.MustExecContext(t.Context(), "DELETE FROM"+statement)
		var left []int64
		sqltest.NoError(t, s.db.Reader.SelectContext(t.Context(), &left, "SELECT log_offset FROM block_changes ORDER BY log_offset"))
		if len(left) != 2 || left[0] != 10 || left[1] != 30 {
			t.Errorf("left are the changes at %v", left)
		}
	},
}
