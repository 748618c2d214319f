package conversations_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"chatting/application/history"
	"chatting/domain"
	"chatting/test/sqltest"
)

// readUpTo is the event of a mark.
func readUpTo(reader, partner domain.UserID, message domain.EventID, unread int, receipt bool) domain.ReadMark {
	return domain.ReadMark{Reader: reader, Partner: partner, Message: message, Unread: unread, Receipt: receipt}
}

// tellMark projects the event of a mark, under its own id, and returns its place.
func tellMark(t *testing.T, y *sqltest.Story, mark domain.ReadMark) domain.Place {
	t.Helper()
	event := domain.Event{ID: domain.ReadMarkID(mark.Reader, mark.Partner, mark.Message), Time: sqltest.Time, Body: mark}
	frame := fmt.Appendf(nil, `{"mark":%q}`, mark.Message)
	y.Project(history.ProjectedEvent{Offset: y.At.Next.Offset, Event: event, Frame: frame})
	at := y.At.Next
	at.Offset--
	return at
}

// wantMoved compares the marks that user finds between two offsets of partition 0, as "READER>PARTNER@OFFSET UNREAD".
func wantMoved(t *testing.T, s *store, user domain.UserID, from, to int64, want ...string) {
	t.Helper()
	at := func(offset int64) []domain.Place { return []domain.Place{{Generation: 1, Offset: offset}} }
	moved, err := s.ReadMarks.Moved(t.Context(), user, at(from), at(to), 100)
	sqltest.NoError(t, err)
	var got []string
	for _, m := range moved {
		got = append(got, fmt.Sprintf("%d>%d@%d %d", m.Reader, m.Partner, m.Place.Offset, m.Unread))
		if !m.At.Equal(sqltest.Time) || len(m.Frame) == 0 || m.Place.Generation != 1 {
			t.Errorf("the mark is %+v", m)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("from %d to %d, user %d finds %q, want %q", from, to, user, got, want)
	}
}

var markEventContract = map[string]func(*testing.T, testDB){
	"TheEventOfAMarkGrowsOldAsAMessageDoes": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		for partner := domain.UserID(2); partner <= 6; partner++ {
			tellMark(t, y, readUpTo(1, partner, y.Tell(sqltest.Chat(partner, 1)), 0, true))
		}
		expire := func(before time.Time, limit, want, left int) {
			t.Helper()
			got, err := s.History.Expire(t.Context(), before, limit)
			sqltest.NoError(t, err)
			if kept := sqltest.Count(t, s.db, "read_mark_events"); got != want || kept != left {
				t.Errorf("%d expired, want %d; %d events are left, want %d", got, want, kept, left)
			}
		}
		expire(sqltest.Time, 100, 0, 5) // they are not older
		expire(sqltest.Time.Add(time.Millisecond), 7, 7, 3)
		expire(sqltest.Time.Add(time.Millisecond), 7, 3, 0)
		wantMoved(t, s, 1, 0, 100)
	},
	"AMarkIsFoundWithWhatItComesTo": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		find := func(owner, partner domain.UserID, message *domain.EventID, wantKnown bool, want history.FoundMark) {
			t.Helper()
			got, known, err := s.ReadMarks.FindMark(t.Context(), owner, partner, message)
			sqltest.NoError(t, err)
			if got != want || known != wantKnown {
				t.Errorf("%d, %d: %+v, %t, want %+v, %t", owner, partner, got, known, want, wantKnown)
			}
		}
		for _, pair := range [][2]domain.UserID{{12, 11}, {21, 22}} { // the owner is the higher one, then the lower one
			owner, partner := pair[0], pair[1]
			find(owner, partner, nil, true, history.FoundMark{})
			first, second, own := y.Tell(sqltest.Chat(partner, owner)), y.Tell(sqltest.Chat(partner, owner)), y.Tell(sqltest.Chat(owner, partner))
			third := y.Tell(sqltest.Chat(partner, owner))
			find(owner, partner, &first, true, history.FoundMark{Message: first, Moves: true, Unread: 2, PartnerSees: true})
			find(owner, partner, &own, true, history.FoundMark{Message: own, Moves: true, Unread: 1, PartnerSees: true})
			find(owner, partner, nil, true, history.FoundMark{Message: third, Moves: true, PartnerSees: true})
			other := sqltest.NewEventID()
			find(owner, partner, &other, false, history.FoundMark{})
			sqltest.MarkRead(t, s.ReadMarks, owner, partner, &second, true)
			find(owner, partner, &first, true, history.FoundMark{})
			find(owner, partner, &second, true, history.FoundMark{})
			find(owner, partner, &third, true, history.FoundMark{Message: third, Moves: true, PartnerSees: true})
			// What the partner has blocked, it does not see; what the owner has blocked, the owner cannot name.
			sqltest.Set(t, s.Blocks, sqltest.Change(partner, owner, true))
			y.TellPending(partner, owner)
			hidden := y.Tell(sqltest.Chat(owner, partner))
			find(owner, partner, &hidden, true, history.FoundMark{Message: hidden, Moves: true})
			sqltest.Set(t, s.Blocks, sqltest.Change(owner, partner, true))
			y.TellPending(owner, partner)
			unseen := y.Tell(sqltest.Chat(partner, owner))
			find(owner, partner, &unseen, false, history.FoundMark{})
			find(owner, partner, nil, true, history.FoundMark{Message: hidden, Moves: true})
		}
		y.Tell(domain.SystemMessage{To: 5, Text: sqltest.Chat(1, 2).Text})
		last := y.Tell(domain.SystemMessage{To: 5, Text: sqltest.Chat(1, 2).Text})
		find(5, domain.System, nil, true, history.FoundMark{Message: last, Moves: true, PartnerSees: true})
	},
	"WhatIsUnreadBehindAMarkIsCountedUpToItsBound": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		first := y.Tell(sqltest.Chat(1, 2))
		var many []history.ProjectedEvent
		for i := range history.MaxUnread + 10 {
			event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(1, 2)}
			many = append(many, history.ProjectedEvent{Offset: y.At.Next.Offset + int64(i), Event: event, Frame: []byte("{}")})
		}
		y.Project(many...)
		got, _, err := s.ReadMarks.FindMark(t.Context(), 2, 1, &first)
		sqltest.NoError(t, err)
		if got.Unread != history.MaxUnread {
			t.Errorf("%d are unread", got.Unread)
		}
	},
	"MarksThatMovedAreFoundByTheirPlaces": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		a := y.Tell(sqltest.Chat(2, 1))                         // 0
		b := y.Tell(sqltest.Chat(2, 1))                         // 1
		tellMark(t, y, readUpTo(1, 2, a, 1, true))              // 2, not the latest
		tellMark(t, y, readUpTo(1, 2, b, 0, true))              // 3
		tellMark(t, y, readUpTo(2, 1, a, 7, true))              // 4
		tellMark(t, y, readUpTo(1, 3, a, 5, false))             // 5, not for the partner
		tellMark(t, y, readUpTo(1, domain.System, a, 2, false)) // 6
		sqltest.Set(t, s.Blocks, sqltest.Change(4, 1, true))
		y.TellPending(4, 1)                        // 7
		tellMark(t, y, readUpTo(1, 4, a, 6, true)) // 8, whom the partner blocks
		tellMark(t, y, readUpTo(1, 1, a, 0, true)) // 9
		tellMark(t, y, readUpTo(1, 2, b, 0, true)) // 10, once more
		wantMoved(t, s, 1, 0, 100, "1>2@3 0", "2>1@4 7", "1>3@5 5", "1>0@6 2", "1>4@8 6", "1>1@9 0")
		wantMoved(t, s, 2, 0, 100, "1>2@3 0", "2>1@4 7")
		wantMoved(t, s, 3, 0, 100)
		wantMoved(t, s, 4, 0, 100)
		wantMoved(t, s, 1, 4, 6, "2>1@4 7", "1>3@5 5")
		wantMoved(t, s, 1, 10, 100)
		wantMoved(t, s, 1, 5, 5)
		limited, err := s.ReadMarks.Moved(t.Context(), 1, []domain.Place{{Generation: 1}}, []domain.Place{{Generation: 1, Offset: 100}}, 2)
		sqltest.NoError(t, err)
		if len(limited) != 2 || limited[1].Place.Offset != 4 {
			t.Errorf("the first two are %+v", limited)
		}
		if rows := sqltest.StoredRows(t, s.db); len(rows) != 2 {
			t.Errorf("the history has %d entries", len(rows))
		}
	},
	"AMarkOfALaterTopicIsLater": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		a := y.Tell(sqltest.Chat(2, 1))
		for range 5 {
			y.Tell(sqltest.Chat(2, 1))
		}
		tellMark(t, y, readUpTo(1, 2, a, 5, true))
		anew := y.At
		anew.Next.Generation, anew.Next.Offset = 2, 0
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), y.At, anew, nil))
		y.At = anew
		b := y.Tell(sqltest.Chat(2, 1))
		at := tellMark(t, y, readUpTo(1, 2, b, 0, true))
		moved, err := s.ReadMarks.Moved(t.Context(), 1, []domain.Place{{}}, []domain.Place{{Generation: 3}}, 10)
		sqltest.NoError(t, err)
		if len(moved) != 1 || moved[0].Place != at || moved[0].Unread != 0 {
			t.Errorf("%+v", moved)
		}
	},
	"NoMarkOfAnErasedUserIsLeftOrComesBack": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
		a := y.Tell(sqltest.Chat(2, 1))
		tellMark(t, y, readUpTo(1, 2, a, 0, true))
		tellMark(t, y, readUpTo(2, 1, a, 0, true))
		tellMark(t, y, readUpTo(2, 3, a, 0, true))
		start := y.At
		_, _, err := s.Eraser.EraseUser(t.Context(), sqltest.Erasure(t, s.Projections, 1, y.At.Next.Offset))
		sqltest.NoError(t, err)
		wantMoved(t, s, 2, 0, 100, "2>3@3 0")
		// Projected again, as a rebuild does.
		again := start
		again.Next.Offset = 1
		sqltest.NoError(t, s.Projections.MoveProjection(t.Context(), start, again, nil))
		y.At = again
		tellMark(t, y, readUpTo(1, 2, a, 0, true))
		tellMark(t, y, readUpTo(2, 1, a, 0, true))
		wantMoved(t, s, 2, 0, 100, "2>3@3 0")
	},
	"WhatAUserMissedHasTheMarksThatMovedWithinTheBounds": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		m := newMissedStory(t, s, 2)
		begin := m.ends()
		said := m.tell(sqltest.Chat(2, 1))
		id := sqltest.NewEventID()
		own, theirs := readUpTo(1, 2, id, 3, true), readUpTo(2, 1, id, 5, true)
		m.tell(own)
		m.tell(theirs)
		m.tell(readUpTo(4, 1, id, 0, false))
		end := m.ends()
		m.tell(readUpTo(1, 2, sqltest.NewEventID(), 0, true)) // replaces the first, behind the stretch
		type missedMark struct {
			mark domain.ReadMark
			at   int64
		}
		marks := func(entries int) (found []missedMark, places []domain.Place, whole bool) {
			t.Helper()
			missed, whole, err := s.Undelivered.Missed(t.Context(), 1, begin, end, sqltest.AtMost(entries), anySize)
			sqltest.NoError(t, err)
			for _, e := range missed {
				if mark, ok := e.Event.Body.(domain.ReadMark); ok {
					found = append(found, missedMark{mark, e.Place.Offset})
				}
				places = append(places, e.Place)
			}
			return found, places, whole
		}
		found, places, whole := marks(2)
		if want := []missedMark{{theirs, said.Offset + 2}}; !whole || !slices.Equal(found, want) || places[0] != said || len(places) != 2 {
			t.Errorf("%+v at %v, whole %t, want %+v", found, places, whole, want)
		}
		if found, places, whole := marks(1); whole || len(places) > 0 {
			t.Errorf("beyond the bound: %+v at %v", found, places)
		}
		if _, whole, err := s.Undelivered.Missed(t.Context(), 1, begin, end, history.PageBounds{Entries: 9, Bytes: 150}, anySize); err != nil || whole {
			t.Errorf("beyond the bytes: whole %t, %v", whole, err)
		}
	},
}
