package sqlstore

import (
	"context"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/domain"
	"chatting/migrations"
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
	noError(t, err)
	if !clock.At.Equal(trusted) || clock.Refused.IsZero() == refused {
		t.Fatalf("the clock is %+v, want %s to be trusted, refused %t", clock, trusted, refused)
	}
}

var clockContract = map[string]func(*testing.T, testDB){
	"TheEarlierOfTheDatabasesAndTheLogsTimeCounts": func(t *testing.T, d testDB) {
		w := &wall{at: testTime}
		s := onClock(t, d, w)
		wantClock(t, s, testTime.Add(time.Hour), testTime, false)
		wantClock(t, s, testTime.Add(-time.Hour), testTime.Add(-time.Hour), false)
		w.at = testTime.Add(100 * 24 * time.Hour) // one of them alone leaps
		wantClock(t, s, testTime.Add(time.Minute), testTime.Add(time.Minute), false)
	},
	"ALeapIsRefusedByAllNodesAndAfterARestart": func(t *testing.T, d testDB) {
		w := &wall{at: testTime}
		s := onClock(t, d, w)
		wantClock(t, s, testTime, testTime, false)
		w.at = testTime.Add(100 * 24 * time.Hour)
		wantClock(t, s, w.at, testTime, true)
		again := onClock(t, d, w)
		w.at = w.at.Add(time.Minute)
		wantClock(t, again, w.at, testTime, true)
		for range 24 * 60 / 5 {
			w.at = w.at.Add(5 * time.Minute)
			_, err := again.Clock.AdvanceClock(t.Context(), w.at)
			noError(t, err)
		}
		w.at = w.at.Add(time.Minute)
		wantClock(t, s, w.at, w.at, false)
	},
	"TheClocksOfTwoNodesAdvanceOneAfterTheOther": func(t *testing.T, d testDB) {
		w := &wall{at: testTime}
		nodes := []*Store{onClock(t, d, w), onClock(t, d, w)}
		atOnce(20, func(i int) {
			if clock, err := nodes[i%2].Clock.AdvanceClock(t.Context(), testTime); err != nil || !clock.Refused.IsZero() {
				t.Errorf("%+v, %v", clock, err)
			}
		})
	},
	"KeysOutliveALeap": func(t *testing.T, d testDB) {
		w := &wall{at: testTime}
		s := onClock(t, d, w)
		wantClock(t, s, testTime, testTime, false)
		wantOwned(t, s, "k", printA, testTime)
		noError(t, s.Idempotency.Complete(t.Context(), "k", 200, nil))
		ahead := testTime.Add(100 * 24 * time.Hour)
		wantStored(t, s, "k", ahead, 200, nil)
		wantOwned(t, s, "other", printA, ahead) // and it deletes keys that are expired
		wantStored(t, s, "k", testTime.Add(time.Minute), 200, nil)
	},
	"ARequestFromAClockThatWasAheadIsDeadOnceTheClockIsRight": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantOwned(t, s, "k", printA, testTime.Add(100*24*time.Hour))
		wantOwned(t, s, "k", printA, testTime)
		wantRefused(t, s, "k", printA, testTime.Add(-time.Second), domain.CodeKeyInProgress)
	},
	"ABlockFromAClockThatWasAheadIsRelayed": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		ahead := change(1, 2, true)
		ahead.At = testTime.Add(100 * 24 * time.Hour)
		set(t, s, ahead)
		young := change(3, 4, true)
		young.At = testTime.Add(time.Minute)
		set(t, s, young)
		events, err := s.Blocks.Pending(t.Context(), testTime, 10)
		noError(t, err)
		if len(events) != 1 || events[0].Body.(domain.BlockChanged).Blocker != 1 {
			t.Errorf("pending: %v", events)
		}
	},
	"ADatabaseFromBeforeTrustsItsNewestMessage": func(t *testing.T, d testDB) {
		s := d.open(t)
		migrateTo(t, s, 5)
		for i, at := range []time.Time{testTime.Add(-time.Hour), testTime} {
			s.db.Writer.MustExecContext(t.Context(), `
				INSERT INTO messages (low, high, event_id, generation, log_partition, log_offset, sender, kind,
					visible_low, visible_high, occurred_at, frame) VALUES (1, 2, $1, 1, 0, $2, 1, 1, TRUE, TRUE, $3, '')`,
				[]byte{byte(i)}, i, at.UnixMilli())
		}
		noError(t, s.Migrate(t.Context()))
		clock, err := trustedClock(t.Context(), s.db.Reader)
		noError(t, err)
		if !clock.At.Equal(testTime) || !clock.Refused.IsZero() {
			t.Errorf("%+v", clock)
		}
	},
	"TheReferenceIsTheServersTimeOrWhatWasTrusted": func(t *testing.T, d testDB) {
		w := &wall{at: testTime}
		s := onClock(t, d, w)
		at, independent, err := s.Clock.ReferenceTime(t.Context())
		noError(t, err)
		if independent != (s.db.Kind == migrations.PostgreSQL) || independent && !at.Equal(testTime) || !independent && !at.IsZero() {
			t.Errorf("%s, %t", at, independent)
		}
		wantClock(t, s, testTime.Add(-time.Minute), testTime.Add(-time.Minute), false)
		w.at = testTime.Add(time.Hour)
		want := testTime.Add(-time.Minute)
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
		noError(t, err)
		want := time.Now()
		if s.db.Kind == migrations.SQLite { // there is no server: it is the process's
			want = wrong
		}
		if off := want.Sub(at).Abs(); off > time.Hour {
			t.Errorf("the database's clock is %s off", off)
		}
	},
}
