package conversations_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore"
	"chatting/adapters/sqlstore/conversations"
	"chatting/application"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/sqltest"
)

var pageContract = map[string]func(*testing.T, testDB){
	"APageEndsBeforeTheEntryThatIsTooMuch": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		var ids []domain.EventID
		for i, size := range []int{10, 20, 30, 500, 40} {
			event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time.Add(time.Duration(i) * time.Minute), Body: sqltest.Chat(1, 2)}
			y.Project(history.ProjectedEvent{Offset: y.At.Next.Offset, Event: event, Frame: fmt.Appendf(nil, "%0*d", size, 0)})
			ids = append(ids, event.ID)
		}
		for _, test := range []struct {
			entries, bytes int
			before         *domain.EventID
			want           int // entries
			more           bool
		}{
			{10, 1000, nil, 5, false},
			{10, 540, nil, 2, true},     // 40 + 500
			{10, 539, nil, 1, true},     // 40
			{10, 1, nil, 1, true},       // one at least
			{10, 1, &ids[4], 1, true},   // of 500
			{10, 60, &ids[3], 3, false}, // 30 + 20 + 10
			{10, 59, &ids[3], 2, true},
			{2, 1000, nil, 2, true},
			{5, 600, nil, 5, false},
			{10, 1, &ids[1], 1, false},
			{10, 1, &ids[0], 0, false},
		} {
			for _, reader := range []domain.UserID{1, 2} {
				page, more, err := s.History.Messages(t.Context(), reader, 3-reader, test.before,
					history.PageBounds{Entries: test.entries, Bytes: test.bytes})
				sqltest.NoError(t, err)
				if len(page) != test.want || more != test.more {
					t.Errorf("%d: %d entries of %+v, more %t", reader, len(page), test, more)
				}
			}
		}
	},
	"APageOfConversationsEndsBeforeTheOneThatIsTooMuch": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		for i := range 4 {
			event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time.Add(time.Duration(i) * time.Minute), Body: sqltest.Chat(domain.UserID(1+i), 9)}
			y.Project(history.ProjectedEvent{Offset: y.At.Next.Offset, Event: event, Frame: fmt.Appendf(nil, "%0100d", i)})
		}
		for bytes, want := range map[int]int{1: 1, 199: 1, 200: 2, 399: 3, 400: 4} {
			page, more, err := s.History.Conversations(t.Context(), 9, nil, history.PageBounds{Entries: 10, Bytes: bytes})
			sqltest.NoError(t, err)
			if len(page) != want || more != (want < 4) {
				t.Errorf("%d bytes: %d conversations, more %t", bytes, len(page), more)
			}
		}
	},
	"HowManyAreUnreadIsKeptThroughWhateverBecomesOfAMessage": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		start := y.At
		first := y.TellAt(sqltest.Chat(1, 2), sqltest.Time)
		for i := range 5 {
			y.TellAt(sqltest.Chat(1, 2), sqltest.Time.Add(time.Duration(i)*time.Minute))
			sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, i%2 == 0))
			y.TellPending(2, 1)
		}
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 4) // two were hidden
		sqltest.MarkRead(t, s.ReadMarks, 2, 1, &first, true)
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 3)
		wantUnreadKept(t, s)

		start.Next.Generation = 1
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), y.At, start, nil))
		y.At = start
		wantUnreadKept(t, s)
		for range 3 { // the stretch is another one now: nothing of it was said
			y.Tell(domain.GameInvite{From: 1, To: 2, Status: domain.InviteCancelled})
		}
		wantUnreadKept(t, s)
		_, err := s.History.Expire(t.Context(), sqltest.Time.Add(3*time.Minute), 100)
		sqltest.NoError(t, err)
		wantUnreadKept(t, s)
		_, _, err = s.Eraser.EraseUser(t.Context(), application.Erasure{
			User: 1, At: sqltest.Time, Ends: []int64{100}, Projected: []domain.Place{y.At.Next},
		})
		sqltest.NoError(t, err)
		wantUnreadKept(t, s)
		sqltest.WantUnread(t, s.ReadMarks, 2, 1, 0)
	},
	"MarksThatMoveWhileTheHistoryIsRebuiltLeaveTheCountRight": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(domain.GameInvite{From: 1, To: 2, Status: domain.InviteCancelled})
		start := y.At
		var events []history.ProjectedEvent
		for i := range 50 {
			event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(1, 2)}
			events = append(events, history.ProjectedEvent{Offset: start.Next.Offset + int64(i), Event: event, Frame: []byte("{}")})
		}
		y.Project(events...)
		for round := range 10 {
			sqltest.AtOnce(3, func(i int) {
				switch i {
				case 0:
					sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), y.At, start, nil))
					y.At = start
					y.Project(events...)
				case 1:
					for j := range 5 {
						_, err := s.ReadMarks.MarkRead(t.Context(), 2, 1, &events[5*round+j].Event.ID)
						sqltest.NoError(t, err)
					}
				default:
					_, err := s.History.Expire(t.Context(), sqltest.Time.Add(time.Minute), 3)
					sqltest.NoError(t, err)
				}
			})
			wantUnreadKept(t, s)
		}
	},
	"QuestionsAboutTheHistoryLeaveConnectionsToOthers": func(t *testing.T, d testDB) {
		s := d.migrated(t, func(o *sqlstore.Options) { o.MaxOpen = 2 })
		release := make(chan struct{})
		asking := make(chan struct{}, 8)
		asked := make(chan error, 8)
		ask := func() {
			go func() {
				asked <- s.History.Share().Read(t.Context(), "ask", func(_ context.Context, db *sqlx.DB) error {
					conn, err := db.Connx(t.Context())
					if err != nil {
						return err
					}
					defer conn.Close()
					asking <- struct{}{}
					<-release
					return nil
				})
			}()
		}
		ask()
		<-asking
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		sqltest.WantCode(t, s.History.Share().Read(short, "ask", func(context.Context, *sqlx.DB) error {
			t.Error("of two connections both are for questions about the history")
			return nil
		}), domain.CodeUnavailable)
		for range 7 {
			ask()
		}
		// The other connection is free, however many wait.
		for range 100 {
			sqltest.NoError(t, s.Ping(t.Context()))
		}
		_, err := s.Blocks.Blocks(t.Context(), 1)
		sqltest.NoError(t, err)
		if len(asking) > 0 {
			t.Error("two questions are under way")
		}
		// Who waits for too long is told so.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err = s.History.Messages(ctx, 1, 2, nil, sqltest.AtMost(1))
		sqltest.WantCode(t, err, domain.CodeUnavailable)
		close(release)
		for range 8 {
			sqltest.NoError(t, <-asked)
		}
	},
	"OneConnectionIsEnough": func(t *testing.T, d testDB) {
		s := d.migrated(t, func(o *sqlstore.Options) { o.MaxOpen = 1 })
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.Tell(sqltest.Chat(1, 2))
		failures := make([]error, 8)
		sqltest.AtOnce(8, func(i int) {
			_, _, err := s.History.Messages(t.Context(), 2, 1, nil, sqltest.AtMost(1))
			_, errMark := s.ReadMarks.MarkRead(t.Context(), 2, 1, nil)
			_, errUnread := s.ReadMarks.Unread(t.Context(), 2, 1)
			failures[i] = errors.Join(err, errMark, errUnread, s.Ping(t.Context()))
		})
		sqltest.NoError(t, errors.Join(failures...))
	},
}

// wantUnreadKept compares each count that is kept with the messages.
func wantUnreadKept(t *testing.T, s *store) {
	t.Helper()
	var wrong []struct {
		Owner   int64 `db:"owner"`
		Partner int64 `db:"partner"`
		Kept    int64 `db:"kept"`
		Counted int64 `db:"counted"`
	}
	sqltest.NoError(t, s.db.Reader.SelectContext(t.Context(), &wrong, `
		SELECT owner, partner, SUM(kept) AS kept, SUM(counted) AS counted FROM (
			SELECT owner, partner, unread AS kept, 0 AS counted FROM conversation_marks
			UNION ALL
			SELECT addressee, sender, 0, 1 FROM messages
			LEFT JOIN conversation_marks AS mark ON mark.owner = addressee AND mark.partner = sender
			WHERE addressee IS NOT NULL
				AND (messages.generation, messages.log_offset) > (COALESCE(mark.generation, 0), COALESCE(mark.log_offset, 0))
		) AS both_ways GROUP BY owner, partner HAVING SUM(kept) <> SUM(counted)`))
	for _, w := range wrong {
		t.Fatalf("%d unread messages of %d are kept for %d, but it has %d", w.Kept, w.Partner, w.Owner, w.Counted)
	}
	var idle int
	sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &idle, "SELECT COUNT(*) FROM conversation_marks WHERE generation = 0 AND unread = 0"))
	if idle > 0 {
		t.Fatalf("%d rows are kept for conversations without a mark and without an unread message", idle)
	}
}

func TestTheUnreadOfAnOlderHistoryAreCountedByTheMigration(t *testing.T) {
	for name, d := range map[string]func(*testing.T) testDB{"SQLite": newSQLiteDatabase, "PostgreSQL": newPostgresDatabase} {
		t.Run(name, func(t *testing.T) {
			if name == "PostgreSQL" {
				sqltest.RequirePostgres(t)
			}
			s := d(t).open(t)
			sqltest.MigrateTo(t, s.db, 2)
			y := sqltest.NewStory(t, s.Projections, s.Blocks)
			for range 3 {
				y.Tell(sqltest.Chat(1, 2))
				y.Tell(sqltest.Chat(3, 2))
			}
			y.Tell(domain.GameInvite{From: 4, To: 2, Status: domain.InviteCancelled})
			s.db.Writer.MustExecContext(t.Context(), conversations.InsertBlockChange, 2, 5, 1, y.At.Next.Offset-1, 1, true)
			y.Tell(sqltest.Chat(5, 2))
			s.db.Writer.MustExecContext(t.Context(), `
				INSERT INTO conversation_marks (owner, partner, generation, log_offset)
				SELECT addressee, sender, generation, log_offset FROM messages WHERE sender = 3 AND log_offset = 3`)
			sqltest.NoError(t, s.Migrate(t.Context()))
			wantUnreadKept(t, s)
			sqltest.WantUnread(t, s.ReadMarks, 2, 1, 3)
			sqltest.WantUnread(t, s.ReadMarks, 2, 3, 1)
			sqltest.WantUnread(t, s.ReadMarks, 2, 4, 0)
			sqltest.WantUnread(t, s.ReadMarks, 2, 5, 0)
		})
	}
}

func TestPostgreSQLSendsNoMoreThanAPageAndOneMore(t *testing.T) {
	sqltest.RequirePostgres(t)
	s := newPostgresDatabase(t).migrated(t)
	y := sqltest.NewStory(t, s.Projections, s.Blocks)
	for range 10 {
		event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(1, 2)}
		y.Project(history.ProjectedEvent{Offset: y.At.Next.Offset, Event: event, Frame: fmt.Appendf(nil, "%0100d", 0)})
	}
	for bytes, want := range map[int]int{1: 2, 100: 2, 250: 3, 1000: 10} {
		n := 0
		found, err := s.db.Reader.QueryContext(t.Context(), conversations.NewestOfLow.Bounded, 1, 2, 100, bytes)
		sqltest.NoError(t, err)
		for found.Next() {
			n++
		}
		sqltest.NoError(t, errors.Join(found.Err(), found.Close()))
		if n != want {
			t.Errorf("%d bytes: %d rows, want %d", bytes, n, want)
		}
	}
}

func TestPagesOfTheHistoryUseAnIndexOnSQLite(t *testing.T) {
	s := newSQLiteDatabase(t).migrated(t)
	for _, query := range []string{conversations.NewestOfLow.Plain, conversations.NewestOfHigh.Plain, conversations.EarlierOfLow.Plain, conversations.EarlierOfHigh.Plain} {
		arguments := []any{1, 2, []byte("0123456789abcdef"), 50}
		if query == conversations.NewestOfLow.Plain || query == conversations.NewestOfHigh.Plain {
			arguments = []any{1, 2, 50}
		}
		rows, err := s.db.Reader.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, arguments...)
		sqltest.NoError(t, err)
		plan := ""
		for rows.Next() {
			var id, parent, unused int
			var detail string
			sqltest.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
			plan += detail + "\n"
		}
		sqltest.NoError(t, errors.Join(rows.Err(), rows.Close()))
		index := "SEARCH messages USING INDEX messages_seen_by_"
		bounded := len(arguments) == 3 || strings.Contains(plan, "(generation,log_offset)<(?,?)")
		if !strings.Contains(plan, index) || !bounded || strings.Contains(plan, "SCAN messages") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s\n%s", query, plan)
		}
	}
}
