package conversations_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"chatting/adapters/sqlstore/conversations"
	"chatting/application/moderation"
	"chatting/domain"
	"chatting/test/sqltest"
)

// doneBy returns the ids of what a user did, newest first, read in pages.
func doneBy(t *testing.T, s *store, user domain.UserID, entries, bytes int) (ids []domain.EventID, pages int) {
	t.Helper()
	for before := (*moderation.Mark)(nil); ; {
		list, more, err := s.History.Done(t.Context(), user, before, entries, bytes)
		sqltest.NoError(t, err)
		pages++
		for _, done := range list {
			ids = append(ids, done.ID)
		}
		if !more {
			return ids, pages
		}
		before = &list[len(list)-1].Mark
	}
}

var doneContract = map[string]func(*testing.T, testDB){
	"WhatAUserDidIsReadNewestFirst": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		var said []domain.EventID
		for i := range 5 {
			said = append(said, y.TellAt(sqltest.Chat(7, domain.UserID(8+i%2)), sqltest.Time.Add(time.Duration(i)*time.Second)))
			y.TellAt(sqltest.Chat(8, 7), sqltest.Time.Add(time.Duration(i)*time.Second)) // somebody else's
		}
		same := y.TellAt(sqltest.Chat(7, 9), sqltest.Time.Add(4*time.Second)) // in the same millisecond
		y.Tell(domain.SystemMessage{To: 7})
		last := []domain.EventID{said[4], same}
		slices.SortFunc(last, func(a, b domain.EventID) int { return -slices.Compare(a[:], b[:]) })
		want := []domain.EventID{last[0], last[1], said[3], said[2], said[1], said[0]}
		for _, read := range []struct{ entries, bytes, pages int }{{50, 1 << 20, 1}, {6, 1 << 20, 1}, {4, 1 << 20, 2}, {1, 1 << 20, 6}, {50, 1, 6}} {
			got, pages := doneBy(t, s, 7, read.entries, read.bytes)
			if !slices.Equal(got, want) || pages != read.pages {
				t.Errorf("pages of %d entries and %d bytes: %v in %d, want %v in %d", read.entries, read.bytes, got, pages, want, read.pages)
			}
		}
		if got, _ := doneBy(t, s, 10, 5, 1000); len(got) != 0 {
			t.Errorf("a user who did nothing did %v", got)
		}
	},
	"WhatAUserDidIsCountedByKindOfLateAndUpToABound": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.TellAt(sqltest.Chat(7, 8), sqltest.Time.Add(-time.Hour-time.Millisecond))
		y.TellAt(sqltest.Chat(7, 8), sqltest.Time.Add(-time.Hour))
		for range 3 {
			y.Tell(sqltest.Chat(7, 9))
		}
		y.Tell(domain.GameInvite{From: 7, To: 8, Status: domain.InviteOpened, Room: "r"})
		y.Tell(sqltest.Chat(8, 7))
		for most, want := range map[int]moderation.Counts{100: {Messages: 4, Invites: 1}, 2: {}} {
			got, err := s.History.CountDone(t.Context(), 7, sqltest.Time.Add(-time.Hour), most)
			sqltest.NoError(t, err)
			if most == 2 {
				if got.Messages+got.Invites != 2 {
					t.Errorf("with a bound of 2, %+v are counted", got)
				}
			} else if got != want {
				t.Errorf("counted are %+v, want %+v", got, want)
			}
		}
	},
}

func TestWhatAUserDidIsReadByAnIndexOnSQLite(t *testing.T) {
	s := newSQLiteDatabase(t).migrated(t)
	for query, arguments := range map[string][]any{
		conversations.SelectDone: {7, 1, []byte{}, 50}, conversations.CountDone: {7, 1, 100},
	} {
		rows, err := s.db.Reader.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, arguments...)
		sqltest.NoError(t, err)
		plan := ""
		for rows.Next() {
			var id, parent, unused int
			var detail string
			sqltest.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
			plan += fmt.Sprintln(detail)
		}
		sqltest.NoError(t, errors.Join(rows.Err(), rows.Close()))
		if !strings.Contains(plan, "INDEX messages_sender (sender=? AND ") || strings.Contains(plan, "SCAN messages") {
			t.Errorf("%s\n%s", query, plan)
		}
	}
}
