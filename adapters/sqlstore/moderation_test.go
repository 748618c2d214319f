package sqlstore

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/application/history"
	"chatting/application/moderation"
	"chatting/domain"
	"chatting/test/sqltest"
)

// askedFor returns an act on a user that is asked for at a time after sqltest.Time.
func askedFor(t *testing.T, user domain.UserID, kind domain.ActKind, after time.Duration, until time.Time) domain.Act {
	t.Helper()
	act, err := domain.NewAct(user, kind, until, "why", "alice", sqltest.Time.Add(after))
	sqltest.NoError(t, err)
	return act
}

// added adds an act.
func added(t *testing.T, s *Store, user domain.UserID, kind domain.ActKind, after time.Duration, until time.Time) domain.Act {
	t.Helper()
	act, err := s.Moderation.Add(t.Context(), askedFor(t, user, kind, after, until))
	sqltest.NoError(t, err)
	return act
}

// loadedActs returns the acts since a time after sqltest.Time: user, kind and places of each.
func loadedActs(t *testing.T, s *Store, after time.Duration) []string {
	t.Helper()
	acts, err := s.Moderation.Acts(t.Context(), sqltest.Time.Add(after))
	sqltest.NoError(t, err)
	var shown []string
	for _, act := range acts {
		shown = append(shown, fmt.Sprint(act.User, " ", act.Kind, " ", act.Places))
	}
	slices.Sort(shown)
	return shown
}

func wantLoaded(t *testing.T, s *Store, after time.Duration, want ...string) {
	t.Helper()
	if got := loadedActs(t, s, after); !slices.Equal(got, want) {
		t.Errorf("after %v there are %q, want %q", after, got, want)
	}
}

var moderationContract = map[string]func(*testing.T, testDB){
	"AnActWaitsUntilItIsPublishedUnderTheIDThatItIsKnownBy": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		act := added(t, s, 201, domain.ActMute, 0, sqltest.Time.Add(time.Hour))
		key, err := s.Moderation.Key(t.Context())
		sqltest.NoError(t, err)
		if act.ID != domain.ActID(key, act) || act.Version != sqltest.Time.UnixMilli() {
			t.Errorf("the act is %+v", act)
		}
		other := added(t, s, 202, domain.ActEnd, 0, time.Time{})
		waiting := func(user domain.UserID, want ...domain.Act) {
			t.Helper()
			got, err := s.Moderation.PendingOf(t.Context(), user)
			sqltest.NoError(t, err)
			if !slices.Equal(got, want) {
				t.Errorf("%+v wait, want %+v", got, want)
			}
		}
		waiting(201, act)
		waiting(202, other)
		sqltest.NoError(t, s.Moderation.Published(t.Context(), act, []int64{5, 6}))
		waiting(201)
		waiting(202, other)
		wantLoaded(t, s, 0, "201 mute [5 6]", "202 end []")
	},
	"VersionsGrowWhateverTheClocksSay": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		first := added(t, s, 201, domain.ActMute, time.Hour, time.Time{})
		second := added(t, s, 201, domain.ActUnmute, 0, time.Time{}) // by another node's clock
		if second.Version != first.Version+1 {
			t.Errorf("the versions are %d and %d", first.Version, second.Version)
		}
		third := added(t, s, 201, domain.ActMute, 2*time.Hour, time.Time{})
		if third.Version != sqltest.Time.Add(2*time.Hour).UnixMilli() {
			t.Errorf("the third version is %d", third.Version)
		}
		got, err := s.Moderation.LatestOf(t.Context(), 201, 2)
		sqltest.NoError(t, err)
		if !slices.Equal(got, []domain.Act{third, second}) {
			t.Errorf("the latest are %+v", got)
		}
	},
	"TheLatestOfASortIsFoundBehindOthers": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		added(t, s, 201, domain.ActMute, 0, time.Time{})
		ban := added(t, s, 201, domain.ActBan, time.Second, time.Time{})
		unmute := added(t, s, 201, domain.ActUnmute, 2*time.Second, time.Time{})
		added(t, s, 201, domain.ActEnd, 3*time.Second, time.Time{})
		added(t, s, 202, domain.ActBan, 4*time.Second, time.Time{})
		for sort, want := range map[domain.ActKind]domain.Act{domain.ActMute: unmute, domain.ActBan: ban, domain.ActRevoke: {}} {
			got, found, err := s.Moderation.LatestOfSort(t.Context(), 201, sort)
			sqltest.NoError(t, err)
			if got != want || found != (want != domain.Act{}) {
				t.Errorf("of %s it is %+v, found %t", sort, got, found)
			}
		}
	},
	"ActsThatComeAtOnceHaveVersionsOfTheirOwn": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		var all sync.WaitGroup
		versions := make([]int64, 8)
		for i := range versions {
			all.Go(func() {
				act, err := nodes[i%2].Moderation.Add(t.Context(), askedFor(t, 201, domain.ActMute, 0, time.Time{}))
				if err != nil {
					t.Error(err)
				}
				versions[i] = act.Version
			})
		}
		all.Wait()
		slices.Sort(versions)
		if len(slices.Compact(versions)) != 8 {
			t.Errorf("the versions are %v", versions)
		}
	},
	"OnlyWhatIsInForceIsEnded": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		refused := func(kind domain.ActKind, after time.Duration) {
			t.Helper()
			_, err := s.Moderation.Add(t.Context(), askedFor(t, 201, kind, after, time.Time{}))
			sqltest.WantCode(t, err, domain.CodeNotInForce)
		}
		refused(domain.ActUnmute, 0)
		added(t, s, 201, domain.ActMute, time.Second, sqltest.Time.Add(time.Hour))
		refused(domain.ActUnban, 2*time.Second)
		added(t, s, 201, domain.ActUnmute, 3*time.Second, time.Time{})
		refused(domain.ActUnmute, 4*time.Second)
		added(t, s, 201, domain.ActBan, 5*time.Second, sqltest.Time.Add(time.Hour))
		refused(domain.ActUnban, time.Hour) // it has ended by itself
	},
	"ActsAreLoadedThatCountedSince": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		added(t, s, 201, domain.ActMute, 0, time.Time{})
		added(t, s, 202, domain.ActBan, 0, sqltest.Time.Add(time.Hour))
		added(t, s, 203, domain.ActMute, 0, time.Time{})
		added(t, s, 203, domain.ActUnmute, time.Minute, time.Time{})
		wantLoaded(t, s, time.Minute, "201 mute []", "202 ban []", "203 mute []", "203 unmute []")
		wantLoaded(t, s, time.Minute+1e6, "201 mute []", "202 ban []")
		wantLoaded(t, s, time.Hour+1e6, "201 mute []")
	},
	"TooManyActsAreRefusedUnlessTheyEndOthers": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		s.Moderation.max = 2
		added(t, s, 201, domain.ActMute, 0, time.Time{})
		added(t, s, 202, domain.ActMute, 0, sqltest.Time.Add(time.Hour))
		_, err := s.Moderation.Add(t.Context(), askedFor(t, 203, domain.ActMute, 0, time.Time{}))
		sqltest.WantCode(t, err, domain.CodeLimit)
		added(t, s, 201, domain.ActUnmute, time.Second, time.Time{})
		// What has not counted for long makes room, and is deleted.
		added(t, s, 203, domain.ActMute, moderation.Lately+time.Hour+time.Second, time.Time{})
		wantLoaded(t, s, 0, "203 mute []")
	},
	"EndsAndRevocationsLeaveRoomForMutesAndBans": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		s.Moderation.max = 2
		refused := func(kind domain.ActKind) {
			t.Helper()
			_, err := s.Moderation.Add(t.Context(), askedFor(t, 204, kind, 2*time.Second, time.Time{}))
			sqltest.WantCode(t, err, domain.CodeLimit)
		}
		added(t, s, 201, domain.ActEnd, 0, time.Time{})
		added(t, s, 202, domain.ActRevoke, 0, time.Time{})
		refused(domain.ActRevoke)
		refused(domain.ActEnd)
		added(t, s, 201, domain.ActBan, time.Second, time.Time{})
		added(t, s, 202, domain.ActMute, time.Second, time.Time{})
		refused(domain.ActMute)
		refused(domain.ActBan)
		refused(domain.ActEnd)
	},
	"AClockThatLeapsDeletesNoActs": func(t *testing.T, d testDB) {
		s := onClock(t, d, &wall{at: sqltest.Time})
		wantClock(t, s, sqltest.Time, sqltest.Time, false)
		added(t, s, 201, domain.ActBan, 0, sqltest.Time.Add(7*24*time.Hour))
		added(t, s, 202, domain.ActRevoke, 0, time.Time{})
		added(t, s, 203, domain.ActEnd, 2*domain.RevocationLength, time.Time{})
		wantLoaded(t, s, 0, "201 ban []", "202 revoke []", "203 end []")
		// Nor does it leave out what counts when acts are loaded.
		wantLoaded(t, s, 2*domain.RevocationLength, "201 ban []", "202 revoke []", "203 end []")
		// Nor does one that is behind: it would delete its own.
		added(t, s, 204, domain.ActEnd, -domain.RevocationLength, time.Time{})
		wantLoaded(t, s, -domain.RevocationLength, "201 ban []", "202 revoke []", "203 end []", "204 end []")
	},
	"TheFirstPlaceOfAnActCounts": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		act := added(t, s, 201, domain.ActMute, 0, time.Time{})
		sqltest.NoError(t, s.Moderation.Published(t.Context(), act, []int64{7, 7}))
		sqltest.NoError(t, s.Moderation.Published(t.Context(), act, []int64{9, 5}))
		wantLoaded(t, s, 0, "201 mute [7 5]")
	},
	"TheProjectionKeepsThePlacesThatItReads": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		act := added(t, s, 201, domain.ActMute, 0, time.Time{})
		at := func(generation, offset int64) history.Projection {
			return history.Projection{Next: domain.Place{Generation: generation, Partition: 1, Offset: offset}, Last: -1}
		}
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), history.Projection{Next: domain.Place{Partition: 1}}, at(1, 0), nil))
		sqltest.NoError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{
			From: at(1, 0), To: at(1, 4), Acts: []history.StandingAct{{Offset: 3, Act: act}},
		}))
		wantLoaded(t, s, 0, fmt.Sprint("201 mute ", []int64{domain.ActNowhere, 3}))
		sqltest.NoError(t, s.Moderation.Published(t.Context(), act, []int64{8, 8}))
		wantLoaded(t, s, 0, "201 mute [8 3]")
		// In a topic that was made anew the act counts from the beginning.
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), at(1, 4), at(2, 0), nil))
		wantLoaded(t, s, 0, "201 mute [8 -1]")
	},
	"AnActThatIsNotKeptAnyMoreGetsNoPlaces": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		act := added(t, s, 201, domain.ActEnd, 0, time.Time{})
		added(t, s, 202, domain.ActEnd, moderation.Lately+time.Hour, time.Time{}) // deletes what is old
		at := func(generation, offset int64) history.Projection {
			return history.Projection{Next: domain.Place{Generation: generation, Partition: 1, Offset: offset}, Last: -1}
		}
		// The history is built again from a log that reaches back further.
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), history.Projection{Next: domain.Place{Partition: 1}}, at(1, 0), nil))
		sqltest.NoError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{
			From: at(1, 0), To: at(1, 4), Acts: []history.StandingAct{{Offset: 3, Act: act}},
		}))
		rows := -1
		sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &rows, "SELECT count(*) FROM moderation_places WHERE user_id = 201"))
		if rows != 0 {
			t.Errorf("%d rows are left that nothing deletes", rows)
		}
	},
	"WhoHasUnpublishedActsThatAreOldEnoughIsFound": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		added(t, s, 202, domain.ActMute, 0, time.Time{})
		added(t, s, 201, domain.ActMute, time.Second, time.Time{})
		added(t, s, 201, domain.ActUnmute, 2*time.Second, time.Time{})
		added(t, s, 203, domain.ActMute, 10*time.Second, time.Time{})
		done := added(t, s, 204, domain.ActMute, 0, time.Time{})
		sqltest.NoError(t, s.Moderation.Published(t.Context(), done, nil))
		users, err := s.Moderation.Pending(t.Context(), sqltest.Time.Add(5*time.Second), 10)
		sqltest.NoError(t, err)
		if !slices.Equal(users, []domain.UserID{201, 202}) {
			t.Errorf("the users are %v", users)
		}
		if users, err = s.Moderation.Pending(t.Context(), sqltest.Time.Add(5*time.Second), 1); err != nil || len(users) != 1 {
			t.Errorf("the first user is %v, %v", users, err)
		}
	},
	"ReasonsAreForgottenAndTheActsStay": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		ban, kept := added(t, s, 201, domain.ActBan, 0, time.Time{}), added(t, s, 202, domain.ActBan, 0, time.Time{})
		sqltest.NoError(t, s.Moderation.Published(t.Context(), ban, nil))
		waits := added(t, s, 201, domain.ActMute, time.Second, time.Time{})
		sqltest.NoError(t, s.Moderation.ForgetReasons(t.Context(), 201))
		ban.Reason, ban.Actor = "", ""
		for user, want := range map[domain.UserID][]domain.Act{201: {waits, ban}, 202: {kept}} {
			got, err := s.Moderation.LatestOf(t.Context(), user, 10)
			sqltest.NoError(t, err)
			if !slices.Equal(got, want) {
				t.Errorf("of %d there are %+v, want %+v", user, got, want)
			}
		}
	},
}

// Each act deletes what is old, and most often nothing is.
func TestDeletingOldActsReadsNoWholeTableOnSQLite(t *testing.T) {
	s := newSQLiteDatabase(t).migrated(t)
	for _, query := range []string{deleteOldPlaces, deleteOldActs} {
		var steps []struct {
			ID, Parent, NotUsed int
			Detail              string
		}
		sqltest.NoError(t, sqlx.SelectContext(t.Context(), s.db.Reader, &steps, "EXPLAIN QUERY PLAN "+query, 1))
		plan := ""
		for _, step := range steps {
			plan += step.Detail + "\n"
		}
		if !strings.Contains(plan, "USING COVERING INDEX moderation_acts_ends_at") && !strings.Contains(plan, "USING INDEX moderation_acts_ends_at") ||
			strings.Contains(plan, "SCAN") {
			t.Errorf("%s\n%s", query, plan)
		}
	}
}
