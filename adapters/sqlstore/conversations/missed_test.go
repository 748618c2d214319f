package conversations_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"chatting/adapters/wire"
	"chatting/application/history"
	"chatting/application/past"
	"chatting/domain"
	"chatting/test/sqltest"
)

// missedStory tells what users say in several partitions, in frames as clients get them.
type missedStory struct {
	t       *testing.T
	s       *store
	stories []*sqltest.Story
}

func newMissedStory(t *testing.T, s *store, partitions int) *missedStory {
	m := &missedStory{t: t, s: s}
	for p := range partitions {
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		y.At.Next.Partition = p
		m.stories = append(m.stories, y)
	}
	return m
}

func (m *missedStory) partition(between domain.Conversation) int {
	return int(between.Low()+between.High()) % len(m.stories)
}

// tell projects an event, and returns where it stands.
func (m *missedStory) tell(body domain.Body) domain.Place {
	m.t.Helper()
	y := m.stories[m.partition(body.Conversation())]
	event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: body}
	frame, err := wire.EncodeEvent(event)
	sqltest.NoError(m.t, err)
	at := y.At.Next
	at.Generation = 1
	y.Project(history.ProjectedEvent{Offset: at.Offset, Event: event, Frame: frame})
	return at
}

// anySize has room for everything.
func anySize(int, int) bool { return true }

func (m *missedStory) ends() []domain.Place {
	ends := make([]domain.Place, len(m.stories))
	for p, y := range m.stories {
		ends[p] = domain.Place{Generation: 1, Partition: p, Offset: y.At.Next.Offset}
	}
	return ends
}

// want expects exactly these entries of a user.
func (m *missedStory) want(user domain.UserID, from, to []domain.Place, want ...domain.Place) {
	m.t.Helper()
	entries, whole, err := m.s.Undelivered.Missed(m.t.Context(), user, from, to, sqltest.AtMost(len(want)), anySize)
	sqltest.NoError(m.t, err)
	var got []domain.Place
	for _, e := range entries {
		got = append(got, e.Place)
		decoded, err := wire.DecodeEvent(e.Frame)
		sqltest.NoError(m.t, err)
		if decoded.ID != e.Event.ID || decoded.Body != e.Event.Body {
			m.t.Errorf("the entry at %v is %+v", e.Place, e.Event)
		}
	}
	slices.SortFunc(want, func(a, b domain.Place) int {
		return sqltest.CompareRows(sqltest.Row{At: a}, sqltest.Row{At: b})
	})
	if !whole || !slices.Equal(got, want) {
		m.t.Fatalf("user %d missed from %v to %v\n%v, whole %t, want\n%v", user, from, to, got, whole, want)
	}
	if len(want) > 0 {
		if some, whole, err := m.s.Undelivered.Missed(m.t.Context(), user, from, to, sqltest.AtMost(len(want)-1), anySize); err != nil || whole || len(some) > 0 {
			m.t.Fatalf("more than the bound: %v, whole %t, %v", some, whole, err)
		}
	}
}

var missedContract = map[string]func(*testing.T, testDB){
	"WhatIsSentAgainStandsAtItsFirstPlaceAlsoIfABlockHidesIt": func(t *testing.T, d testDB) {
		m := newMissedStory(t, d.migrated(t), 1)
		event := domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: domain.ChatMessage{From: 1, To: 2}}
		frame, err := wire.EncodeEvent(event)
		sqltest.NoError(t, err)
		say := func() domain.Place {
			at := m.stories[0].At.Next
			at.Generation = 1
			m.stories[0].Project(history.ProjectedEvent{Offset: at.Offset, Event: event, Frame: frame})
			return at
		}
		sqltest.Set(t, m.s.Blocks, sqltest.Change(2, 1, true))
		m.stories[0].TellPending(2, 1)
		first := say()
		sqltest.Set(t, m.s.Blocks, sqltest.Change(2, 1, false))
		m.stories[0].TellPending(2, 1)
		say()
		has, err := m.s.Undelivered.FirstPlaces(t.Context(), 2, []past.Named{{ID: event.ID, Sender: 1}, {Sender: 3}})
		sqltest.NoError(t, err)
		if len(has.Places) != 1 || has.Places[event.ID] != first {
			t.Errorf("it stands at %v, want %v", has.Places, first)
		}
		if !maps.Equal(has.Changes, map[domain.UserID]int64{1: 2, 3: 0}) {
			t.Errorf("the newest changes are %v", has.Changes)
		}
		// A change is given out before it is projected.
		sqltest.Set(t, m.s.Blocks, sqltest.Change(2, 1, true))
		has, err = m.s.Undelivered.FirstPlaces(t.Context(), 2, []past.Named{{Sender: 1}})
		sqltest.NoError(t, err)
		if has.Changes[1] != 2 {
			t.Errorf("the newest change that is projected is %d", has.Changes[1])
		}
		m.want(2, []domain.Place{{Generation: 1}}, m.ends())
		m.want(1, []domain.Place{{Generation: 1}}, m.ends(), first)
	},
	"WhatAUserMissedIsEverythingThatItSeesInAStretch": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		m := newMissedStory(t, s, 2)
		text, err := domain.NewText("hello")
		sqltest.NoError(t, err)
		begin := []domain.Place{{Generation: 1}, {Generation: 1, Partition: 1}}
		m.want(5, begin, begin)
		seen := []domain.Place{
			m.tell(sqltest.Chat(5, 6)),
			m.tell(sqltest.Chat(6, 5)),
			m.tell(sqltest.Chat(4, 5)),
			m.tell(sqltest.Chat(5, 5)),
			m.tell(domain.SystemMessage{To: 5, Text: text}),
			m.tell(domain.GameInvite{From: 9, To: 5, Status: domain.InviteCancelled}),
		}
		middle := m.ends()
		m.tell(sqltest.Chat(4, 6))
		m.tell(domain.SystemMessage{To: 6, Text: text})
		later := []domain.Place{m.tell(sqltest.Chat(6, 5)), m.tell(sqltest.Chat(3, 5))}
		m.want(5, begin, m.ends(), append(slices.Clone(seen), later...)...)
		m.want(5, begin, middle, seen...)
		m.want(5, middle, m.ends(), later...)
		m.want(5, m.ends(), m.ends())
		m.want(7, begin, m.ends())
		// Of an earlier topic, and of a later one.
		m.want(5, []domain.Place{{Generation: 2}, {Generation: 2, Partition: 1}}, []domain.Place{{Generation: 2, Offset: 9}, {Generation: 2, Partition: 1, Offset: 9}})
		size, held, heldSize := 0, 0, 0
		entries, _, err := s.Undelivered.Missed(t.Context(), 5, begin, m.ends(), sqltest.AtMost(100), func(entries, bytes int) bool {
			held, heldSize = held+entries, heldSize+bytes
			return true
		})
		sqltest.NoError(t, err)
		for _, e := range entries {
			size += len(e.Frame)
		}
		if held != len(entries) || heldSize != size {
			t.Errorf("%d entries with %d bytes are held, want %d with %d", held, heldSize, len(entries), size)
		}
		some, whole, err := s.Undelivered.Missed(t.Context(), 5, begin, m.ends(), sqltest.AtMost(100), func(int, int) bool { return false })
		if err != nil || whole || len(some) > 0 {
			t.Errorf("without room: %d entries, whole %t, %v", len(some), whole, err)
		}
		for bytes, fits := range map[int]bool{size: true, size - 1: false} {
			_, whole, err := s.Undelivered.Missed(t.Context(), 5, begin, m.ends(), history.PageBounds{Entries: 100, Bytes: bytes}, anySize)
			sqltest.NoError(t, err)
			if whole != fits {
				t.Errorf("%d bytes of %d: whole %t", bytes, size, whole)
			}
		}
	},
	"WhatAUserHadBlockedItDidNotMiss": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		m := newMissedStory(t, s, 1)
		begin := []domain.Place{{Generation: 1}}
		before := m.tell(sqltest.Chat(6, 5))
		sqltest.Set(t, s.Blocks, sqltest.Change(5, 6, true))
		m.stories[0].TellPending(5, 6)
		hidden := m.tell(sqltest.Chat(6, 5))
		own := m.tell(sqltest.Chat(5, 6))
		m.want(5, begin, m.ends(), before, own)
		m.want(6, begin, m.ends(), before, hidden, own)
	},
	"WhatIsMissedIsFoundAmongManyConversations": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		m := newMissedStory(t, s, 3)
		random := rand.New(rand.NewPCG(1, 14))
		type said struct {
			at       domain.Place
			from, to domain.UserID
		}
		var all []said
		for range 150 {
			from, to := domain.UserID(1+random.IntN(9)), domain.UserID(1+random.IntN(9))
			all = append(all, said{m.tell(sqltest.Chat(from, to)), from, to})
		}
		ends := m.ends()
		for range 60 {
			user := domain.UserID(1 + random.IntN(9))
			from, to := make([]domain.Place, 3), make([]domain.Place, 3)
			for p := range from {
				a, b := random.Int64N(ends[p].Offset+1), random.Int64N(ends[p].Offset+1)
				from[p], to[p] = ends[p], ends[p]
				from[p].Offset, to[p].Offset = min(a, b), max(a, b)
			}
			var want []domain.Place
			for _, e := range all {
				if p := e.at.Partition; (e.from == user || e.to == user) && !e.at.Before(from[p]) && e.at.Before(to[p]) {
					want = append(want, e.at)
				}
			}
			m.want(user, from, to, want...)
		}
	},
	"PagesForwardsAreThePagesBackwardsTheOtherWayRound": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := sqltest.NewStory(t, s.Projections, s.Blocks)
		var ids []domain.EventID
		for i := range 7 {
			ids = append(ids, y.TellAt(sqltest.Chat(1, 2), sqltest.Time.Add(time.Duration(7-i)*time.Second))) // the log's order counts
			y.Tell(sqltest.Chat(1, 3))
		}
		for _, owner := range []domain.UserID{1, 2} {
			var got []domain.EventID
			for after := ids[0]; ; {
				page, more, err := s.History.MessagesAfter(t.Context(), owner, 3-owner, after, sqltest.AtMost(4))
				sqltest.NoError(t, err)
				for _, e := range page {
					got = append(got, e.ID)
				}
				if !more {
					break
				}
				after = page[len(page)-1].ID
			}
			if !slices.Equal(got, ids[1:]) {
				t.Errorf("user %d reads %v, want %v", owner, got, ids[1:])
			}
			if page, more, err := s.History.MessagesAfter(t.Context(), owner, 3-owner, sqltest.NewEventID(), sqltest.AtMost(4)); err != nil || more || len(page) > 0 {
				t.Errorf("behind nothing: %v, %t, %v", page, more, err)
			}
		}
	},
}
