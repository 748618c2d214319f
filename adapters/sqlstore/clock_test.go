package sqlstore

import (
	"context"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/domain"
	"chatting/migrations"
	"chatting/test/sqltest"
)

// wall is a clock that tests set.
type wall struct{ at time.Time }

func (w *wall) now() time.Time { return w.at }

// onClock opens nodes that have the clock for that of the database, as they do on one server.
func onClock(t *testing.T, d testDB, w *wall) *Store {
	t.Helper()
	s := d.migrated(t, func(o *Options) { o.Now = w.now })
	s.Clock.tell = func(context.Context, sqlx.QueryerContext) (time.Time, error) { return w.at, nil }
	return s
}

// wantClock advances the clock with a log whose time is the same, and demands what is trusted then.
func wantClock(t *testing.T, s *Store, log, trusted time.Time, refused bool) {
	t.Helper()
	clock, err := s.Clock.AdvanceClock(t.Context(), log)
	sqltest.NoError(t, err)
	if !clock.At.Equal(trusted) || clock.Refused.IsZero() == refused {
		t.Fatalf("the clock is %+v, want %s to be trusted, refused %t", clock, trusted, refused)
	}
}

var clockContract = map[string]func(*testing.T, testDB){
	"TheEarlierOfTheDatabasesAndTheLogsTimeCounts": func(t *testing.T, d testDB) {
		w := &wall{at: sqltest.Time}
		s := onClock(t, d, w)
		wantClock(t, s, sqltest.Time.Add(time.Hour), sqltest.Time, false)
		wantClock(t, s, sqltest.Time.Add(-time.Hour), sqltest.Time.Add(-time.Hour), false)
		w.at = sqltest.Time.Add(100 * 24 * time.Hour) // one of them alone leaps
		wantClock(t, s, sqltest.Time.Add(time.Minute), sqltest.Time.Add(time.Minute), false)
	},
	"ALeapIsRefusedByAllNodesAndAfterARestart": func(t *testing.T, d testDB) {
		w := &wall{at: sqltest.Time}
		s := onClock(t, d, w)
		wantClock(t, s, sqltest.Time, sqltest.Time, false)
		w.at = sqltest.Time.Add(100 * 24 * time.Hour)
		wantClock(t, s, w.at, sqltest.Time, true)
		again := onClock(t, d, w)
		w.at = w.at.Add(time.Minute)
		wantClock(t, again, w.at, sqltest.Time, true)
		for range 24 * 60 / 5 {
			w.at = w.at.Add(5 * time.Minute)
			_, err := again.Clock.AdvanceClock(t.Context(), w.at)
			sqltest.NoError(t, err)
		}
		w.at = w.at.Add(time.Minute)
		wantClock(t, s, w.at, w.at, false)
	},
	"TheClocksOfTwoNodesAdvanceOneAfterTheOther": func(t *testing.T, d testDB) {
		w := &wall{at: sqltest.Time}
		nodes := []*Store{onClock(t, d, w), onClock(t, d, w)}
		sqltest.AtOnce(20, func(i int) {
			if clock, err := nodes[i%2].Clock.AdvanceClock(t.Context(), sqltest.Time); err != nil || !clock.Refused.IsZero() {
				t.Errorf("%+v, %v", clock, err)
			}
		})
	},
	"KeysOutliveALeap": func(t *testing.T, d testDB) {
		w := &wall{at: sqltest.Time}
		s := onClock(t, d, w)
		wantClock(t, s, sqltest.Time, sqltest.Time, false)
		wantOwned(t, s, "k", printA, sqltest.Time)
		sqltest.NoError(t, s.Idempotency.Complete(t.Context(), "k", 200, nil))
		ahead := sqltest.Time.Add(100 * 24 * time.Hour)
		wantStored(t, s, "k", ahead, 200, nil)
		wantOwned(t, s, "other", printA, ahead) // and it deletes keys that are expired
		wantStored(t, s, "k", sqltest.Time.Add(time.Minute), 200, nil)
	},
	"ARequestFromAClockThatWasAheadIsDeadOnceTheClockIsRight": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantOwned(t, s, "k", printA, sqltest.Time.Add(100*24*time.Hour))
		wantOwned(t, s, "k", printA, sqltest.Time)
		wantRefused(t, s, "k", printA, sqltest.Time.Add(-time.Second), domain.CodeKeyInProgress)
	},
	"ABlockFromAClockThatWasAheadIsRelayed": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		ahead := sqltest.Change(1, 2, true)
		ahead.At = sqltest.Time.Add(100 * 24 * time.Hour)
		sqltest.Set(t, s.Blocks, ahead)
		young := sqltest.Change(3, 4, true)
		young.At = sqltest.Time.Add(time.Minute)
		sqltest.Set(t, s.Blocks, young)
		events, err := s.Blocks.Pending(t.Context(), sqltest.Time, 10)
		sqltest.NoError(t, err)
		if len(events) != 1 || events[0].Body.(domain.BlockChanged).Blocker != 1 {
			t.Errorf("pending: %v", events)
		}
	},
	"ADatabaseFromBeforeTrustsItsNewestMessage": func(t *testing.T, d testDB) {
		s := d.open(t)
		sqltest.MigrateTo(t, s.db, 5)
		for i, at := range []time.Time{sqltest.Time.Add(-time.Hour), sqltest.Time} {
			s.db.Writer.MustExecContext(t.Context(), `
				INSERT INTO messages (low, high, event_id, generation, log_partition, log_offset, sender, kind,
					visible_low, visible_high, occurred_at, frame) VALUES (1, 2, $1, 1, 0, $2, 1, 1, TRUE, TRUE, $3, '')`,
				[]byte{byte(i)}, i, at.UnixMilli())
		}
		sqltest.NoError(t, s.Migrate(t.Context()))
		clock, err := trustedClock(t.Context(), s.db.Reader)
		sqltest.NoError(t, err)
		if !clock.At.Equal(sqltest.Time) || !clock.Refused.IsZero() {
			t.Errorf("%+v", clock)
		}
	},
	"TheReferenceIsTheServersTimeOrWhatWasTrusted": func(t *testing.T, d testDB) {
		w := &wall{at: sqltest.Time}
		s := onClock(t, d, w)
		at, independent, err := s.Clock.ReferenceTime(t.Context())
		sqltest.NoError(t, err)
		if independent != (s.db.Kind == migrations.PostgreSQL) || independent && !at.Equal(sqltest.Time) || !independent && !at.IsZero() {
			t.Errorf("%s, %t", at, independent)
		}
		wantClock(t, s, sqltest.Time.Add(-time.Minute), sqltest.Time.Add(-time.Minute), false)
		w.at = sqltest.Time.Add(time.Hour)
		want := sqltest.Time.Add(-time.Minute)
		if independent {
			want = w.at
		}
		if at, _, err = s.Clock.ReferenceTime(t.Context()); err != nil || !at.Equal(want) {
			t.Errorf("%s, %v, want %s", at, err, want)
		}
	},
	"TheDatabaseTellsTheTime": func(t *testing.T, d testDB) {
		wrong := time.Unix(1, 0)
		s := d.migrated(t, func(o *Options) { o.Now = func() time.Time { return wrong } })
		at, err := s.Clock.Time(t.Context())
		sqltest.NoError(t, err)
		want := time.Now()
		if s.db.Kind == migrations.SQLite { // there is no server: it is the process's
			want = wrong
		}
		if off := want.Sub(at).Abs(); off > time.Hour {
			t.Errorf("the database's clock is %s off", off)
		}
	},
}
