package sqlstore

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
)

// story projects what is said, one event after the other, into partition 0.
type story struct {
	t  *testing.T
	s  *Store
	at history.Projection
}

func newStory(t *testing.T, s *Store) *story {
	return &story{t: t, s: s, at: history.Projection{Last: -1}}
}

// tell projects an event and returns its id.
func (y *story) tell(body domain.Body) domain.EventID {
	y.t.Helper()
	return y.tellAt(body, testTime)
}

func (y *story) tellAt(body domain.Body, at time.Time) domain.EventID {
	y.t.Helper()
	event := domain.Event{ID: newEventID(), Time: at, Body: body}
	y.project(history.ProjectedEvent{Offset: y.at.Next.Offset, Event: event, Frame: modelFrame(event)})
	return event.ID
}

// tellPending projects what the outbox holds of a pair.
func (y *story) tellPending(blocker, target domain.UserID) {
	y.t.Helper()
	events, err := y.s.Blocks.PendingOf(y.t.Context(), blocker, target)
	noError(y.t, err)
	for _, event := range events {
		y.project(history.ProjectedEvent{Offset: y.at.Next.Offset, Event: event})
		noError(y.t, y.s.Blocks.MarkPublished(y.t.Context(), []domain.EventID{event.ID}))
	}
}

func (y *story) project(events ...history.ProjectedEvent) {
	y.t.Helper()
	to := y.at
	if to.Next.Generation == 0 {
		to.Next.Generation = 1
		noError(y.t, y.s.Projections.MoveProjection(y.t.Context(), y.at, to, nil))
		y.at = to
	}
	to.Next.Offset += int64(len(events))
	noError(y.t, y.s.Projections.Project(y.t.Context(), history.ProjectionBatch{From: y.at, To: to, Events: events}))
	y.at = to
}

// chat is a message.
func chat(from, to domain.UserID) domain.ChatMessage {
	text, err := domain.NewText("hello")
	if err != nil {
		panic(err)
	}
	return domain.ChatMessage{From: from, To: to, Text: text}
}

func wantUnread(t *testing.T, s *Store, owner, partner domain.UserID, want int) {
	t.Helper()
	got, err := s.ReadMarks.Unread(t.Context(), owner, partner)
	noError(t, err)
	if got != want {
		t.Fatalf("%d has %d unread of %d, want %d", owner, got, partner, want)
	}
}

func mark(t *testing.T, s *Store, owner, partner domain.UserID, id *domain.EventID, wantKnown bool) {
	t.Helper()
	known, err := s.ReadMarks.MarkRead(t.Context(), owner, partner, id)
	noError(t, err)
	if known != wantKnown {
		t.Fatalf("the message of the mark is known: %t, want %t", known, wantKnown)
	}
}

// rowOf returns what the database has of an entry.
func rowOf(t *testing.T, s *Store, id domain.EventID) modelRow {
	t.Helper()
	for _, row := range storedRows(t, s) {
		if row.id == id {
			return row
		}
	}
	t.Fatalf("no entry %s", id)
	return modelRow{}
}

var markContract = map[string]func(*testing.T, testDB){
	"AMarkMovesForwardOnly": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		first, second := y.tell(chat(1, 2)), y.tell(chat(1, 2))
		y.tell(chat(1, 2))
		wantUnread(t, s, 2, 1, 3)
		mark(t, s, 2, 1, &second, true)
		wantUnread(t, s, 2, 1, 1)
		mark(t, s, 2, 1, &first, true)
		wantUnread(t, s, 2, 1, 1)
		mark(t, s, 2, 1, nil, true)
		wantUnread(t, s, 2, 1, 0)
		y.tell(chat(1, 2))
		wantUnread(t, s, 2, 1, 1)
		wantUnread(t, s, 1, 2, 0)
	},
	"NothingIsReadOrNamedThatItsOwnerDoesNotSee": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		// The owner is the higher one of its conversation, then the lower one.
		for _, pair := range [][2]domain.UserID{{12, 11}, {21, 22}} {
			owner, partner := pair[0], pair[1]
			mark(t, s, owner, partner, nil, true) // there is nothing to read
			early, shown := y.tell(chat(partner, owner)), y.tell(chat(partner, owner))
			unseen := []domain.EventID{newEventID()}
			for _, third := range []domain.UserID{owner - 10, owner + 100} {
				unseen = append(unseen, y.tell(chat(partner, third)), y.tell(chat(third, owner)))
			}
			set(t, s, change(owner, partner, true))
			y.tellPending(owner, partner)
			hidden := y.tell(chat(partner, owner))
			for _, id := range append(unseen, hidden) {
				mark(t, s, owner, partner, &id, false)
				page, _, err := s.History.Messages(t.Context(), owner, partner, &id, atMost(10))
				noError(t, err)
				if len(page) > 0 {
					t.Errorf("%d: %d messages before one that is not seen", owner, len(page))
				}
				if sees, err := s.History.Sees(t.Context(), owner, partner, id); err != nil || sees {
					t.Errorf("%d sees %s: %t, %v", owner, id, sees, err)
				}
			}
			for reader, want := range map[domain.UserID][]domain.EventID{owner: {shown, early}, partner: {hidden, shown, early}} {
				var got []domain.EventID
				page, _, err := s.History.Messages(t.Context(), reader, owner+partner-reader, nil, atMost(10))
				noError(t, err)
				for _, entry := range page {
					got = append(got, entry.ID)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%d reads %v, want %v", reader, got, want)
				}
				for _, id := range want {
					if sees, err := s.History.Sees(t.Context(), reader, owner+partner-reader, id); err != nil || !sees {
						t.Errorf("%d sees %s: %t, %v", reader, id, sees, err)
					}
				}
			}
			wantUnread(t, s, owner, partner, 2)
			mark(t, s, partner, owner, &hidden, true) // its sender sees it
			mark(t, s, owner, partner, &early, true)
			wantUnread(t, s, owner, partner, 1)
			mark(t, s, owner, partner, nil, true)
			wantUnread(t, s, owner, partner, 0)
			// What is hidden is not read by that: the mark stands at what is seen.
			var at int64
			noError(t, s.db.Reader.GetContext(t.Context(), &at,
				"SELECT log_offset FROM conversation_marks WHERE owner = $1 AND partner = $2", int64(owner), int64(partner)))
			if want := rowOf(t, s, shown).at.Offset; at != want {
				t.Errorf("the mark of %d stands at %d, want %d", owner, at, want)
			}
		}
	},
	"NoMarkIsSetAtWhatIsDeletedMeanwhile": func(t *testing.T, d testDB) {
		sound := d.migrated(t)
		y := newStory(t, sound)
		deleted := false
		s := newFaulty(t, d, func(step string) error {
			if step == "begin" {
				expired, err := sound.History.Expire(t.Context(), testTime.Add(time.Hour), 10)
				deleted = expired == 1
				return err
			}
			return nil
		})
		defer func() { noError(t, s.Close()) }()
		for _, one := range []bool{true, false} {
			id := new(domain.EventID)
			*id = y.tell(chat(1, 2))
			if !one {
				id = nil // all
			}
			if known, err := s.ReadMarks.MarkRead(t.Context(), 2, 1, id); known == one || err != nil || !deleted {
				t.Errorf("one %t: known %t, %v, deleted %t", one, known, err, deleted)
			}
			if got := count(t, sound, "conversation_marks"); got != 0 {
				t.Errorf("%d marks", got)
			}
		}
	},
	"TheNewestIsThatOfTheNewestTopic": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		for range 3 {
			y.tell(chat(1, 2))
			y.tell(chat(2, 1))
		}
		anew := y.at
		anew.Next.Generation, anew.Next.Offset = 2, 0
		noError(t, s.Projections.MoveProjection(t.Context(), y.at, anew, nil))
		y.at = anew
		ids := map[domain.UserID]domain.EventID{2: y.tell(chat(1, 2)), 1: y.tell(chat(2, 1))}
		for owner := range ids {
			mark(t, s, owner, 3-owner, nil, true)
			wantUnread(t, s, owner, 3-owner, 0)
		}
	},
	"AMarkMovesForwardOnlyThoughAnotherOneMovesMeanwhile": func(t *testing.T, d testDB) {
		sound := d.migrated(t)
		y := newStory(t, sound)
		var meanwhile func()
		s := newFaulty(t, d, func(step string) error {
			if step == "begin" {
				meanwhile()
			}
			return nil
		})
		defer func() { noError(t, s.Close()) }()
		steps := []struct{ meanwhile, own, unread int }{{0, 1, 3}, {2, 1, 2}, {2, 3, 1}, {4, 3, 0}, {3, 4, 0}}
		said := make([][]domain.EventID, len(steps)) // to each owner, of which the last two after the topic was made anew
		for i := range 5 {
			if i == 3 {
				anew := y.at
				anew.Next.Generation, anew.Next.Offset = 2, 0
				noError(t, sound.Projections.MoveProjection(t.Context(), y.at, anew, nil))
				y.at = anew
			}
			for n := range steps {
				said[n] = append(said[n], y.tell(chat(1, domain.UserID(10+n))))
			}
		}
		for n, step := range steps {
			owner := domain.UserID(10 + n)
			meanwhile = func() { mark(t, sound, owner, 1, &said[n][step.meanwhile], true) }
			mark(t, s, owner, 1, &said[n][step.own], true)
			wantUnread(t, sound, owner, 1, step.unread)
			wantUnreadKept(t, sound)
		}
	},
	"UnreadIsWhatThePartnerAndThePlatformSaid": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		y.tell(chat(2, 1))
		y.tell(domain.GameInvite{From: 1, To: 2, Status: domain.InviteCancelled})
		y.tell(chat(2, 2))
		wantUnread(t, s, 2, 1, 0)
		wantUnread(t, s, 2, 2, 0)
		y.tell(domain.SystemMessage{To: 2, Text: chat(1, 2).Text})
		wantUnread(t, s, 2, domain.System, 1)
		mark(t, s, 2, domain.System, nil, true)
		wantUnread(t, s, 2, domain.System, 0)
	},
	"UnreadIsShownUpToItsBound": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		y.tell(chat(1, 2))
		var many []history.ProjectedEvent
		for i := range history.MaxUnread + 10 {
			event := domain.Event{ID: newEventID(), Time: testTime, Body: chat(1, 2)}
			many = append(many, history.ProjectedEvent{Offset: y.at.Next.Offset + int64(i), Event: event, Frame: []byte("{}")})
		}
		y.project(many...)
		wantUnread(t, s, 2, 1, history.MaxUnread)
		conversations, _, err := s.History.Conversations(t.Context(), 2, nil, atMost(10))
		noError(t, err)
		if len(conversations) != 1 || conversations[0].Unread != history.MaxUnread {
			t.Errorf("%+v", conversations)
		}
	},
	"WhatIsOlderThanTheHistoryReachesIsDeletedAndNotKeptAgain": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		for i := range 5 {
			y.tellAt(chat(1, 2), testTime.Add(time.Duration(i)*time.Minute))
		}
		y.tellAt(chat(1, 2), testTime.Add(-time.Minute)) // clocks differ
		oldest := testTime.Add(3 * time.Minute)
		for _, want := range []int{2, 2, 0} {
			expired, err := s.History.Expire(t.Context(), oldest, 2)
			noError(t, err)
			if expired != want {
				t.Fatalf("%d expired, want %d", expired, want)
			}
		}
		event := domain.Event{ID: newEventID(), Time: testTime, Body: chat(1, 2)}
		to := y.at
		to.Next.Offset++
		noError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{
			From: y.at, To: to, Oldest: oldest,
			Events: []history.ProjectedEvent{{Offset: y.at.Next.Offset, Event: event, Frame: []byte("{}")}},
		}))
		page, _, err := s.History.Messages(t.Context(), 1, 2, nil, atMost(10))
		noError(t, err)
		if len(page) != 2 || page[1].At != oldest {
			t.Errorf("%d messages are left: %+v", len(page), page)
		}
	},
	"AProjectionReplacesAllOfItsStretchAndNothingElse": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		before, replaced, behind := y.tell(chat(1, 2)), []domain.EventID{y.tell(chat(1, 2)), y.tell(chat(1, 2))}, y.tell(chat(1, 2))
		start := y.at
		start.Next.Offset = 1
		noError(t, s.Projections.MoveProjection(t.Context(), y.at, start, nil))
		to := start
		to.Next.Offset, to.Last, to.Fingerprint = 3, 2, history.RecordFingerprint(replaced[1])
		noError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{From: start, To: to}))
		var left []domain.EventID
		for _, row := range storedRows(t, s) {
			left = append(left, row.id)
		}
		if want := []domain.EventID{before, behind}; !slices.Equal(left, want) {
			t.Errorf("%v are left, want %v", left, want)
		}
		projections, err := s.Projections.Projections(t.Context())
		noError(t, err)
		if !slices.Equal(projections, []history.Projection{to}) {
			t.Errorf("it is projected up to %+v, want %+v", projections, to)
		}
	},
	"AMessageSentAgainStandsAtItsFirstPlace": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		// Whoever gets it has blocked the sender at the first place only: the lower user, then the higher one.
		for partition, pair := range [][2]domain.UserID{{12, 11}, {21, 22}} {
			from, to := pair[0], pair[1]
			event := domain.Event{ID: newEventID(), Time: testTime, Body: chat(from, to)}
			at := func(generation, offset int64) history.Projection {
				return history.Projection{Last: -1, Next: domain.Place{Generation: generation, Partition: partition, Offset: offset}}
			}
			where := history.Projection{Next: domain.Place{Partition: partition}, Last: -1}
			tell := func(generation, offset int64, frame string) {
				noError(t, s.Projections.MoveProjection(t.Context(), where, at(generation, offset), nil))
				where = at(generation, offset+1)
				noError(t, s.Projections.Project(t.Context(), history.ProjectionBatch{From: at(generation, offset), To: where, Events: []history.ProjectedEvent{
					{Offset: offset, Event: event, Frame: []byte(frame)},
				}}))
			}
			tell(1, 9, "third")
			if row := rowOf(t, s, event.ID); !row.lowSees || !row.highSees || row.addressee != to {
				t.Errorf("at first: %+v", row)
			}
			for offset, blocked := range map[int64]bool{1: true, 7: false} {
				noError(t, s.db.Write(t.Context(), "change", func(ctx context.Context, tx *sqlx.Tx) error {
					return keepChange(ctx, tx, history.JudgedChange{At: at(1, offset).Next, State: blocks.State{
						Pair: blocks.Pair{Blocker: to, Target: from}, Blocked: blocked, Version: offset,
					}})
				}))
			}
			tell(1, 5, "second")
			want := modelRow{
				at: at(1, 5).Next, id: event.ID, low: min(from, to), high: max(from, to), sender: from, kind: history.EntryChat,
				lowSees: from < to, highSees: from > to, milliseconds: testTime.UnixMilli(), frame: "second",
			}
			for _, again := range []struct{ generation, offset int64 }{{1, 5}, {1, 8}, {2, 0}} {
				if again.offset != 5 {
					tell(again.generation, again.offset, "later")
				}
				if row := rowOf(t, s, event.ID); row != want {
					t.Errorf("after %v it is %+v, want %+v", again, row, want)
				}
			}
		}
	},
	"AProjectionFromAPlaceThatIsNotNextChangesNothing": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		y := newStory(t, s)
		y.tell(chat(1, 2))
		stale, ahead := y.at, y.at
		y.tell(chat(1, 2))
		ahead.Next.Offset += 7
		never := history.Projection{Next: domain.Place{}, Last: -1}
		other := y.at
		other.Next.Generation = 7
		for _, from := range []history.Projection{stale, ahead, never, other} {
			to := from
			to.Next.Generation, to.Next.Offset = 1, from.Next.Offset+1
			event := domain.Event{ID: newEventID(), Time: testTime, Body: chat(1, 2)}
			err := s.Projections.Project(t.Context(), history.ProjectionBatch{From: from, To: to, Events: []history.ProjectedEvent{
				{Offset: from.Next.Offset, Event: event, Frame: []byte("{}")},
			}})
			if moved := s.Projections.MoveProjection(t.Context(), from, to, nil); !errors.Is(err, history.ErrProjectionMoved) ||
				!errors.Is(moved, history.ErrProjectionMoved) {
				t.Errorf("from %+v: %v, %v", from.Next, err, moved)
			}
		}
		if rows := storedRows(t, s); len(rows) != 2 {
			t.Errorf("%d rows", len(rows))
		}
		places, err := s.Projections.Projected(t.Context(), 2)
		noError(t, err)
		if none, err := s.Projections.Projected(t.Context(), 0); err != nil || len(none) > 0 {
			t.Errorf("of no partitions, %v are projected (%v)", none, err)
		}
		if places[0] != y.at.Next || places[1] != (domain.Place{Generation: 1, Partition: 1}) {
			t.Errorf("projected up to %v", places)
		}
	},
}
