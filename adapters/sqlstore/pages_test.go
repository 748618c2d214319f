package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/application/history"
	"chatting/domain"
)

// pageOfBytes is more than the pages of most tests have.
const pageOfBytes = 1 << 20

func atMost(entries int) history.PageBounds {
	return history.PageBounds{Entries: entries, Bytes: pageOfBytes}
}

var pageContract = map[string]func(*testing.T, testDB){
	"APageEndsBeforeTheEntryThatIsTooMuch": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		var ids []domain.EventID
		for i, size := range []int{10, 20, 30, 500, 40} {
			event := domain.Event{ID: newEventID(), Time: testTime.Add(time.Duration(i) * time.Minute), Body: chat(1, 2)}
			y.project(history.ProjectedEvent{Offset: y.at.Next.Offset, Event: event, Frame: fmt.Appendf(nil, "%0*d", size, 0)})
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
				noError(t, err)
				if len(page) != test.want || more != test.more {
					t.Errorf("%d: %d entries of %+v, more %t", reader, len(page), test, more)
				}
			}
		}
	},
	"APageOfConversationsEndsBeforeTheOneThatIsTooMuch": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		for i := range 4 {
			event := domain.Event{ID: newEventID(), Time: testTime.Add(time.Duration(i) * time.Minute), Body: chat(domain.UserID(1+i), 9)}
			y.project(history.ProjectedEvent{Offset: y.at.Next.Offset, Event: event, Frame: fmt.Appendf(nil, "%0100d", i)})
		}
		for bytes, want := range map[int]int{1: 1, 199: 1, 200: 2, 399: 3, 400: 4} {
			page, more, err := s.History.Conversations(t.Context(), 9, nil, history.PageBounds{Entries: 10, Bytes: bytes})
			noError(t, err)
			if len(page) != want || more != (want < 4) {
				t.Errorf("%d bytes: %d conversations, more %t", bytes, len(page), more)
			}
		}
	},
	"HowManyAreUnreadIsKeptThroughWhateverBecomesOfAMessage": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		noError(t, s.Users.Remember(t.Context(), 1))
		start := y.at
		first := y.tellAt(chat(1, 2), testTime)
		for i := range 5 {
			y.tellAt(chat(1, 2), testTime.Add(time.Duration(i)*time.Minute))
			set(t, s, change(2, 1, i%2 == 0))
			y.tellPending(2, 1)
		}
		wantUnread(t, s, 2, 1, 4) // two were hidden
		mark(t, s, 2, 1, &first, true)
		wantUnread(t, s, 2, 1, 3)
		wantUnreadKept(t, s)

		start.Next.Generation = 1
		noError(t, s.Projections.MoveProjection(t.Context(), y.at, start, nil))
		y.at = start
		wantUnreadKept(t, s)
		for range 3 { // the stretch is another one now: nothing of it was said
			y.tell(domain.GameInvite{From: 1, To: 2, Status: domain.InviteCancelled})
		}
		wantUnreadKept(t, s)
		_, err := s.History.Expire(t.Context(), testTime.Add(3*time.Minute), 100)
		noError(t, err)
		wantUnreadKept(t, s)
		_, _, err = s.Eraser.EraseUser(t.Context(), application.Erasure{
			User: 1, At: testTime, Ends: []int64{100}, Projected: []domain.Place{y.at.Next},
		})
		noError(t, err)
		wantUnreadKept(t, s)
		wantUnread(t, s, 2, 1, 0)
	},
	"MarksThatMoveWhileTheHistoryIsRebuiltLeaveTheCountRight": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		y.tell(domain.GameInvite{From: 1, To: 2, Status: domain.InviteCancelled})
		start := y.at
		var events []history.ProjectedEvent
		for i := range 50 {
			event := domain.Event{ID: newEventID(), Time: testTime, Body: chat(1, 2)}
			events = append(events, history.ProjectedEvent{Offset: start.Next.Offset + int64(i), Event: event, Frame: []byte("{}")})
		}
		y.project(events...)
		for round := range 10 {
			atOnce(3, func(i int) {
				switch i {
				case 0:
					noError(t, s.Projections.MoveProjection(t.Context(), y.at, start, nil))
					y.at = start
					y.project(events...)
				case 1:
					for j := range 5 {
						_, err := s.ReadMarks.MarkRead(t.Context(), 2, 1, &events[5*round+j].Event.ID)
						noError(t, err)
					}
				default:
					_, err := s.History.Expire(t.Context(), testTime.Add(time.Minute), 3)
					noError(t, err)
				}
			})
			wantUnreadKept(t, s)
		}
	},
	"QuestionsAboutTheHistoryLeaveConnectionsToOthers": func(t *testing.T, d testDB) {
		s := d.migrated(t, func(o *Options) { o.MaxOpen = 2 })
		release := make(chan struct{})
		asking := make(chan struct{}, 8)
		asked := make(chan error, 8)
		ask := func() {
			go func() {
				asked <- s.History.share.Read(t.Context(), "ask", func(_ context.Context, db *sqlx.DB) error {
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
		wantCode(t, s.History.share.Read(short, "ask", func(context.Context, *sqlx.DB) error {
			t.Error("of two connections both are for questions about the history")
			return nil
		}), domain.CodeUnavailable)
		for range 7 {
			ask()
		}
		// The other connection is free, however many wait.
		for range 100 {
			noError(t, s.Ping(t.Context()))
		}
		_, err := s.Blocks.Blocks(t.Context(), 1)
		noError(t, err)
		if len(asking) > 0 {
			t.Error("two questions are under way")
		}
		// Who waits for too long is told so.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err = s.History.Messages(ctx, 1, 2, nil, atMost(1))
		wantCode(t, err, domain.CodeUnavailable)
		close(release)
		for range 8 {
			noError(t, <-asked)
		}
	},
	"OneConnectionIsEnough": func(t *testing.T, d testDB) {
		s := d.migrated(t, func(o *Options) { o.MaxOpen = 1 })
		y := newStory(t, s)
		y.tell(chat(1, 2))
		failures := make([]error, 8)
		atOnce(8, func(i int) {
			_, _, err := s.History.Messages(t.Context(), 2, 1, nil, atMost(1))
			_, errMark := s.ReadMarks.MarkRead(t.Context(), 2, 1, nil)
			_, errUnread := s.ReadMarks.Unread(t.Context(), 2, 1)
			failures[i] = errors.Join(err, errMark, errUnread, s.Ping(t.Context()))
		})
		noError(t, errors.Join(failures...))
	},
}

// wantUnreadKept compares each count that is kept with the messages.
func wantUnreadKept(t *testing.T, s *Store) {
	t.Helper()
	var wrong []struct {
		Owner   int64 `db:"owner"`
		Partner int64 `db:"partner"`
		Kept    int64 `db:"kept"`
		Counted int64 `db:"counted"`
	}
	noError(t, s.db.Reader.SelectContext(t.Context(), &wrong, `
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
	noError(t, s.db.Reader.GetContext(t.Context(), &idle, "SELECT COUNT(*) FROM conversation_marks WHERE generation = 0 AND unread = 0"))
	if idle > 0 {
		t.Fatalf("%d rows are kept for conversations without a mark and without an unread message", idle)
	}
}

func TestTheUnreadOfAnOlderHistoryAreCountedByTheMigration(t *testing.T) {
	for name, d := range map[string]func(*testing.T) testDB{"SQLite": newSQLiteDatabase, "PostgreSQL": newPostgresDatabase} {
		t.Run(name, func(t *testing.T) {
			if name == "PostgreSQL" {
				requirePostgres(t)
			}
			s := d(t).open(t)
			migrateTo(t, s, 2)
			y := newStory(t, s)
			for range 3 {
				y.tell(chat(1, 2))
				y.tell(chat(3, 2))
			}
			y.tell(domain.GameInvite{From: 4, To: 2, Status: domain.InviteCancelled})
			s.db.Writer.MustExecContext(t.Context(), insertBlockChange, 2, 5, 1, y.at.Next.Offset-1, 1, true)
			y.tell(chat(5, 2))
			s.db.Writer.MustExecContext(t.Context(), `
				INSERT INTO conversation_marks (owner, partner, generation, log_offset)
				SELECT addressee, sender, generation, log_offset FROM messages WHERE sender = 3 AND log_offset = 3`)
			noError(t, s.Migrate(t.Context()))
			wantUnreadKept(t, s)
			wantUnread(t, s, 2, 1, 3)
			wantUnread(t, s, 2, 3, 1)
			wantUnread(t, s, 2, 4, 0)
			wantUnread(t, s, 2, 5, 0)
		})
	}
}

func TestPostgreSQLSendsNoMoreThanAPageAndOneMore(t *testing.T) {
	requirePostgres(t)
	s := newPostgresDatabase(t).migrated(t)
	y := newStory(t, s)
	for range 10 {
		event := domain.Event{ID: newEventID(), Time: testTime, Body: chat(1, 2)}
		y.project(history.ProjectedEvent{Offset: y.at.Next.Offset, Event: event, Frame: fmt.Appendf(nil, "%0100d", 0)})
	}
	for bytes, want := range map[int]int{1: 2, 100: 2, 250: 3, 1000: 10} {
		n := 0
		found, err := s.db.Reader.QueryContext(t.Context(), ofLow.newest.bounded, 1, 2, 100, bytes)
		noError(t, err)
		for found.Next() {
			n++
		}
		noError(t, errors.Join(found.Err(), found.Close())) //nolint:sqlclosecheck // the next query is asked on the same connection
		if n != want {
			t.Errorf("%d bytes: %d rows, want %d", bytes, n, want)
		}
	}
}

func TestPagesOfTheHistoryUseAnIndexOnSQLite(t *testing.T) {
	s := newSQLiteDatabase(t).migrated(t)
	for _, query := range []string{ofLow.newest.plain, ofHigh.newest.plain, ofLow.earlier.plain, ofHigh.earlier.plain} {
		arguments := []any{1, 2, []byte("0123456789abcdef"), 50}
		if query == ofLow.newest.plain || query == ofHigh.newest.plain {
			arguments = []any{1, 2, 50}
		}
		rows, err := s.db.Reader.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, arguments...)
		noError(t, err)
		plan := ""
		for rows.Next() {
			var id, parent, unused int
			var detail string
			noError(t, rows.Scan(&id, &parent, &unused, &detail))
			plan += detail + "\n"
		}
		noError(t, errors.Join(rows.Err(), rows.Close())) //nolint:sqlclosecheck // the next query is asked on the same connection
		index := "SEARCH messages USING INDEX messages_seen_by_"
		bounded := len(arguments) == 3 || strings.Contains(plan, "(generation,log_offset)<(?,?)")
		if !strings.Contains(plan, index) || !bounded || strings.Contains(plan, "SCAN messages") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s\n%s", query, plan)
		}
	}
}
