package sqlstore

import (
	"fmt"
	"strings"
	"testing"

	"chatting/application/moderation"
	"chatting/domain"
	"chatting/test/sqltest"
)

var factsContract = map[string]func(*testing.T, testDB){
	"WhatIsKnownOfAUserIsCountedUpToABound": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 7))
		for friend := domain.UserID(20); friend < 24; friend++ {
			_, err := s.Friends.AddFriend(t.Context(), 7, friend, 100)
			sqltest.NoError(t, err)
		}
		sqltest.Set(t, s.Blocks, sqltest.Change(7, 30, true))
		for blocker := domain.UserID(40); blocker < 43; blocker++ {
			sqltest.Set(t, s.Blocks, sqltest.Change(blocker, 7, true))
		}
		sqltest.Set(t, s.Blocks, sqltest.Change(42, 7, false)) // it has ended
		facts, err := s.Facts.FactsOf(t.Context(), 7, 100)
		sqltest.NoError(t, err)
		if facts.FirstSeen.IsZero() {
			t.Error("the user was never seen")
		}
		first := facts.FirstSeen
		if want := (moderation.Facts{FirstSeen: first, Friends: 4, Blocks: 1, BlockedBy: 2}); facts != want {
			t.Errorf("known is %+v, want %+v", facts, want)
		}
		bounded, err := s.Facts.FactsOf(t.Context(), 7, 1)
		sqltest.NoError(t, err)
		if want := (moderation.Facts{FirstSeen: first, Friends: 1, Blocks: 1, BlockedBy: 1}); bounded != want {
			t.Errorf("with a bound, known is %+v, want %+v", bounded, want)
		}
		nobody, err := s.Facts.FactsOf(t.Context(), 99, 100)
		sqltest.NoError(t, err)
		if nobody != (moderation.Facts{}) {
			t.Errorf("of nobody, known is %+v", nobody)
		}
	},
}

// planOf returns how SQLite carries out a query.
func planOf(t *testing.T, s *Store, query string, arguments ...any) (plan string) {
	t.Helper()
	rows, err := s.db.Reader.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, arguments...)
	sqltest.NoError(t, err)
	defer func() { sqltest.NoError(t, rows.Close()) }()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		sqltest.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
		plan += fmt.Sprintln(detail)
	}
	sqltest.NoError(t, rows.Err())
	return plan
}

func TestWhatModeratorsAskIsReadByIndexesOnSQLite(t *testing.T) {
	s := newSQLiteDatabase(t).migrated(t)
	for index, of := range map[string]struct {
		query     string
		arguments []any
	}{
		"INDEX blocks_target":                               {selectFacts, []any{7, 100}},
		"INDEX moderation_acts_sort (sort=? AND ends_at>?)": {countActs, []any{1, domain.ActMute, domain.ActBan, 100}},
	} {
		if plan := planOf(t, s, of.query, of.arguments...); !strings.Contains(plan, index) || strings.Contains(plan, "SCAN blocks") {
			t.Errorf("%s\n%s", of.query, plan)
		}
	}
}
