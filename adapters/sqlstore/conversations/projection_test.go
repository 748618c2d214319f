package conversations_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"chatting/adapters/sqlstore/conversations"
	"chatting/application"
	"chatting/application/history"
	"chatting/domain"
	"chatting/migrations"
	"chatting/test/sqltest"
)

var projectionContract = map[string]func(*testing.T, testDB){
	"OfSeveralBatchesAllAreWrittenOrNone":                          testAllBatchesOrNone,
	"SeveralProjectionsAreLockedInTheOrderOfTheirPartitions":       testLockOrder,
	"WhereOneOfSeveralBatchesCannotBeWrittenNoneMovesItsPartition": testUnwritableBatch,
	"AChangeOfABlockGoesWithTheOneThatReplacesIt": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		story := sqltest.NewStory(t, s.Projections, s.Blocks)
		changed := func(blocked bool) domain.Event {
			t.Helper()
			sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, blocked))
			events, err := s.Blocks.PendingOf(t.Context(), 1, 2)
			sqltest.NoError(t, err)
			event := events[len(events)-1]
			sqltest.NoError(t, s.Blocks.MarkPublished(t.Context(), []domain.EventID{event.ID}))
			return event
		}
		said := func() domain.Event {
			return domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(2, 1)}
		}
		project := func(supersedes map[int64]int64, events ...domain.Event) {
			t.Helper()
			to := story.At
			batch := history.ProjectionBatch{From: story.At, Supersedes: supersedes}
			for _, event := range events {
				batch.Events = append(batch.Events, history.ProjectedEvent{
					Offset: to.Next.Offset, Event: event, Frame: []byte("{}"),
				})
				to.Next.Offset++
			}
			batch.To = to
			sqltest.NoError(t, s.Projections.Project(t.Context(), batch))
			story.At = to
		}
		// Other pairs, other partitions and other topics have changes at the same places.
		others := 0
		for offset := range int64(8) {
			for _, other := range [][3]int64{{1, 3, 1}, {3, 2, 1}, {1, 2, 0}} {
				s.db.Writer.MustExecContext(t.Context(), conversations.InsertBlockChange, other[0], other[1], other[2], offset, 0, false)
				others++
			}
		}
		story.Tell(sqltest.Chat(2, 1))
		project(nil, changed(true))  // 1
		project(nil, changed(false)) // 2
		// The first takes effect and replaces one from before, the second replaces the first.
		third, fourth := changed(true), changed(false)
		project(map[int64]int64{3: 2, 4: 3}, third, fourth, said())
		if got := sqltest.Count(t, s.db, "block_changes"); got != others+2 {
			t.Errorf("%d changes are kept, want 2", got-others)
		}
		// One that takes no effect replaces none.
		project(map[int64]int64{6: 4}, fourth)
		project(nil, changed(true), said())
		if got := sqltest.Count(t, s.db, "block_changes"); got != others+3 {
			t.Errorf("%d changes are kept, want 3", got-others)
		}
		// What was said is seen as before.
		sqltest.WantUnread(t, s.ReadMarks, 1, 2, 2)
	},
}

// projectedTogether begins the projection of so many partitions, and returns a batch of a message in each. The last partition
// begins first, so that the database does not have them in their order.
func projectedTogether(t *testing.T, s *store, partitions int) []history.ProjectionBatch {
	t.Helper()
	batches := make([]history.ProjectionBatch, partitions)
	for p := partitions - 1; p >= 0; p-- {
		from := history.Projection{Next: domain.Place{Generation: 1, Partition: p}, Last: -1}
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), history.Projection{Next: domain.Place{Partition: p}}, from, nil))
		to := from
		to.Next.Offset = 1
		user := domain.UserID(10 * (p + 1))
		event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(user, user+1)}
		batches[p] = history.ProjectionBatch{From: from, To: to, Events: []history.ProjectedEvent{
			{Event: event, Frame: sqltest.Frame(event)},
		}}
	}
	return batches
}

// wantProjected compares the offsets that are next, partition by partition, and how many entries there are.
func wantProjected(t *testing.T, s *store, when string, entries int, next ...int64) {
	t.Helper()
	places, err := s.Projections.Projected(t.Context(), len(next))
	sqltest.NoError(t, err)
	for p, want := range next {
		if places[p].Offset != want {
			t.Errorf("%s: partition %d goes on at %d, want %d", when, p, places[p].Offset, want)
		}
	}
	if rows := sqltest.StoredRows(t, s.db); len(rows) != entries {
		t.Errorf("%s: the history has %d entries, want %d", when, len(rows), entries)
	}
}

func testAllBatchesOrNone(t *testing.T, d testDB) {
	s := d.migrated(t)
	batches := projectedTogether(t, s, 3)
	moved := batches[1]
	moved.From.Next.Offset, moved.To.Next.Offset = 5, 6
	for _, order := range [][]history.ProjectionBatch{{batches[0], moved, batches[2]}, {moved, batches[0]}, {batches[2], moved}} {
		if err := s.Projections.Project(t.Context(), order...); !errors.Is(err, history.ErrProjectionMoved) {
			t.Fatalf("with one of them moved: %v", err)
		}
		wantProjected(t, s, "with one of them moved", 0, 0, 0, 0)
	}
	sqltest.NoError(t, s.Projections.Project(t.Context(), batches[2], batches[0], batches[1]))
	wantProjected(t, s, "all", 3, 1, 1, 1)
	for _, b := range batches { // each has its own last record
		b.From, b.To.Next.Offset, b.To.Last = b.To, 2, int64(100+b.From.Next.Partition)
		b.To.Fingerprint[0] = byte(b.From.Next.Partition)
		b.Events = nil
		batches[b.From.Next.Partition] = b
	}
	sqltest.NoError(t, s.Projections.Project(t.Context(), batches...))
	all, err := s.Projections.Projections(t.Context())
	sqltest.NoError(t, err)
	for _, at := range all {
		if want := batches[at.Next.Partition].To; at != want {
			t.Errorf("the projection is at %+v, want %+v", at, want)
		}
	}
	sqltest.NoError(t, s.Projections.Project(t.Context()))
}

func testUnwritableBatch(t *testing.T, d testDB) {
	s := d.migrated(t)
	batches := projectedTogether(t, s, 3)
	batches[1].Events[0].Event.Body = sqltest.Chat(-1, -2) // no user has such an id, so it stands for a row that is refused
	s.db.Writer.MustExecContext(t.Context(), refuseNegative(s))
	if err := s.Projections.Project(t.Context(), batches...); err == nil {
		t.Fatal("what the database refuses is written")
	}
	wantProjected(t, s, "with one that is refused", 0, 0, 0, 0)
	sqltest.NoError(t, s.Projections.Project(t.Context(), batches[0], batches[2]))
	wantProjected(t, s, "without it", 2, 1, 0, 1)
}

// refuseNegative has the database refuse entries of users with negative ids.
func refuseNegative(s *store) string {
	if s.db.Kind == migrations.PostgreSQL {
		return "ALTER TABLE messages ADD CONSTRAINT positive CHECK (low >= 0)"
	}
	return `CREATE TRIGGER positive BEFORE INSERT ON messages WHEN NEW.low < 0 BEGIN SELECT RAISE(ABORT, 'negative'); END`
}

// Projections that are locked in different orders could wait for each other for ever, until the database ends one of them.
func testLockOrder(t *testing.T, d testDB) {
	s := d.migrated(t)
	if s.db.Kind == migrations.SQLite {
		return // SQLite has one transaction at a time
	}
	batches := projectedTogether(t, s, 6)
	sqltest.NoError(t, s.Users.Remember(t.Context(), 10))
	for what, f := range map[string]func(ctx context.Context) error{
		"an erasure": func(ctx context.Context) error {
			return s.Erasures.Note(ctx, application.Erasure{
				User: 10, Ends: make([]int64, 6), Projected: make([]domain.Place, 6),
			})
		},
		"a projection": func(ctx context.Context) error {
			return s.Projections.Project(ctx, batches[5], batches[0], batches[3], batches[1], batches[4], batches[2])
		},
	} {
		holder, err := s.db.Writer.BeginTxx(t.Context(), nil)
		sqltest.NoError(t, err)
		holder.MustExecContext(t.Context(), "SELECT 1 FROM projections WHERE log_partition = 3 FOR UPDATE")
		var pid int
		sqltest.NoError(t, holder.GetContext(t.Context(), &pid, "SELECT pg_backend_pid()"))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f(ctx) }()
		for waiting := 0; waiting == 0; {
			// Not in the holder's transaction, which would see the same activity each time.
			sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &waiting, `
				SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND $1 = ANY(pg_blocking_pids(pid))`, pid))
			select {
			case err := <-ended:
				t.Fatalf("%s does not wait for partition 3: %v", what, err)
			case <-time.After(time.Millisecond):
			}
		}
		for p := range 6 {
			_, err := s.db.Writer.ExecContext(t.Context(), "SELECT 1 FROM projections WHERE log_partition = $1 FOR UPDATE NOWAIT", p)
			if locked := err != nil; locked != (p <= 3) {
				t.Errorf("%s that waits for partition 3 has locked partition %d: %t", what, p, locked)
			}
		}
		cancel()
		<-ended
		sqltest.NoError(t, holder.Rollback())
	}
}
