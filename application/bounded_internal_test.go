package application

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatting/domain"
)

// What a node remembers of users, messages and counts is bounded: these tests fill it.

func TestTheLedgerForgetsUsersWhoHoldNothing(t *testing.T) {
	l := NewByteLedger(0, 100, time.Now)
	a, b := l.OpenFor(1, func() {}), l.OpenFor(1, func() {})
	a.Hold(10)
	b.Hold(10)
	a.Release(10)
	if len(l.users) != 1 {
		t.Errorf("%d users", len(l.users))
	}
	b.Close()
	if len(l.users) != 0 || l.waiting.Len() != 0 {
		t.Errorf("%d users and %d holders are left", len(l.users), l.waiting.Len())
	}
}

func TestTheLatestNamedMessagesOfACountAreRemembered(t *testing.T) {
	var count mailboxCount
	id := func(n int) domain.EventID { return domain.DerivedID("test", fmt.Sprint(n)) }
	for n := range 3*maxLatest + 5 {
		count.remember(id(n))
		count.remember(domain.EventID{}) // one without a name
		for back := range n + 1 {
			if got, want := count.has(id(n-back)), back < maxLatest; got != want {
				t.Fatalf("after message %d, number %d is remembered: %v", n, n-back, got)
			}
		}
	}
	if len(count.latest) != maxLatest || count.has(domain.EventID{}) {
		t.Errorf("%d messages are remembered; one without a name: %v", len(count.latest), count.has(domain.EventID{}))
	}
}

func TestCountsOfMailboxesAreBounded(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	way := func(n int) direction { return direction{1, domain.UserID(2 + n)} }
	fill := func(old int) *Mailboxes {
		m := NewMailboxes(nil, MailboxBounds{Messages: 1})
		for n := range maxMailboxes {
			counted := at.Add(-mailboxFresh + time.Millisecond)
			if n < old {
				counted = at.Add(-mailboxFresh)
			}
			m.note(way(n), mailboxCount{messages: n, counted: counted})
		}
		return m
	}
	m := fill(10)
	if len(m.known) != maxMailboxes {
		t.Fatalf("%d counts are known", len(m.known))
	}
	m.note(way(20), mailboxCount{messages: 7, counted: at}) // one that is known needs no room
	if len(m.known) != maxMailboxes || m.known[way(20)].messages != 7 {
		t.Errorf("%d counts are known, that of the one is %+v", len(m.known), m.known[way(20)])
	}
	m.note(way(maxMailboxes), mailboxCount{counted: at})
	if _, known := m.known[way(9)]; len(m.known) != maxMailboxes-10+1 || known {
		t.Errorf("%d counts are known, want those that are fresh and the new one", len(m.known))
	}
	m = fill(0)
	m.note(way(maxMailboxes), mailboxCount{messages: 3, counted: at})
	if len(m.known) != 1 || m.known[way(maxMailboxes)].messages != 3 {
		t.Errorf("%d counts are known, want the new one alone", len(m.known))
	}
}

func TestTheLatestEventsAreRememberedInEachPartition(t *testing.T) {
	var seen seenEvents
	id := func(n int) domain.EventID { return domain.DerivedID("test", fmt.Sprint(n)) }
	for n := range 2*maxSeen + 5 {
		if earlier := seen.note(id(n), Position{Partition: 1, Offset: int64(n)}); earlier != nil {
			t.Fatalf("event %d was seen at %v", n, earlier)
		}
		if !seen.has(id(n)) || n >= maxSeen && (seen.has(id(n-maxSeen)) || !seen.has(id(n-maxSeen+1))) {
			t.Fatalf("after event %d the wrong ones are remembered", n)
		}
	}
	if len(seen.latest) != maxSeen || len(seen.order) != maxSeen {
		t.Errorf("%d events and %d ids are remembered", len(seen.latest), len(seen.order))
	}
	last := 2*maxSeen + 4
	for _, step := range []struct {
		at   Position
		want string
	}{
		{Position{Partition: 2, Offset: 5}, fmt.Sprintf("[{1 %d}]", last)},
		{Position{Partition: 1, Offset: 9000}, fmt.Sprintf("[{1 %d} {2 5}]", last)},
		{Position{Partition: 2, Offset: 6}, "[{1 9000} {2 5}]"},
		{Position{Partition: 0, Offset: 1}, "[{1 9000} {2 6}]"},
		{Position{Partition: 0, Offset: 2}, "[{1 9000} {2 6} {0 1}]"},
	} {
		earlier := seen.note(id(last), step.at)
		if got := fmt.Sprint(earlier); got != step.want {
			t.Errorf("noted at %v, it was seen at %s, want %s", step.at, got, step.want)
		}
		for i := range earlier {
			earlier[i] = Position{} // the caller's
		}
	}
	if len(seen.order) != maxSeen {
		t.Errorf("%d ids are remembered", len(seen.order))
	}
}

func TestUsersWhoseChangesTheLogDidNotTakeAreBounded(t *testing.T) {
	var friends Friends
	friends.unannounced = make(map[domain.UserID]struct{})
	for user := range domain.UserID(maxUnannounced) {
		friends.unannounced[user+1] = struct{}{}
	}
	friends.Sessions = refusingLog{}
	if err := friends.announce(t.Context(), maxUnannounced+1, true); err == nil || len(friends.unannounced) != maxUnannounced {
		t.Errorf("%v; %d users are remembered", err, len(friends.unannounced))
	}
}

// refusingLog is a SessionLog that takes nothing.
type refusingLog struct{ SessionLog }

func (refusingLog) Append(_ domain.SessionRecord, done func(error)) {
	done(domain.NewError(domain.CodeUnavailable, "refused"))
}

func TestChangesOfBlocksAreGroupedByPairInTheirOrder(t *testing.T) {
	change := func(blocker, target domain.UserID, version int64) domain.Event {
		return domain.Event{Body: domain.BlockChanged{Blocker: blocker, Target: target, Version: version}}
	}
	groups := byPair([]domain.Event{change(1, 2, 1), change(2, 1, 4), change(1, 3, 1), change(1, 2, 2), change(2, 1, 5), change(1, 2, 3)})
	var got string
	for _, group := range groups {
		for _, event := range group {
			body, _ := event.Body.(domain.BlockChanged)
			got += fmt.Sprintf("%d:%d/%d ", body.Blocker, body.Target, body.Version)
		}
		got += "| "
	}
	if want := "1:2/1 1:2/2 1:2/3 | 2:1/4 2:1/5 | 1:3/1 | "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// countedOf is a StoredCounts that notes how many messages it was asked to count.
type countedOf struct {
	StoredCounts
	limits []int
}

func (c *countedOf) StoredOf(_ context.Context, _, _ domain.UserID, limit int) (int, int64, error) {
	c.limits = append(c.limits, limit)
	return 0, 0, nil
}

func TestTheDatabaseCountsNoMoreThanTheBoundsNeed(t *testing.T) {
	for bounds, want := range map[MailboxBounds]int{
		{Messages: 20}:                 20,
		{Messages: 20, Bytes: 1 << 20}: 20,
		{Bytes: 1600}:                  11, // a frame has 160 bytes at least
		{Bytes: 1599}:                  10,
		{Bytes: 1}:                     1,
	} {
		counts := &countedOf{}
		if err := NewMailboxes(counts, bounds).take(t.Context(), 1, 2, domain.Text{}, domain.EventID{}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(counts.limits, []int{want}) {
			t.Errorf("%+v: counted up to %v, want %d", bounds, counts.limits, want)
		}
	}
}

func TestACountIsGoodForAWhileAndAFullMailboxForAShorterOne(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	way := direction{1, 2}
	for _, test := range []struct {
		age      time.Duration
		messages int
		known    bool
		full     bool
	}{
		{mailboxFresh - 1, 0, true, false},
		{mailboxFresh, 0, false, false},
		{mailboxRetry - 1, 1, true, true},
		{mailboxRetry, 1, false, true},
		{mailboxFresh, 1, false, false},
	} {
		m := NewMailboxes(nil, MailboxBounds{Messages: 1})
		m.note(way, mailboxCount{messages: test.messages, counted: at})
		if known, full := m.add(way, 1, domain.EventID{}, at.Add(test.age)); known != test.known || (full != nil) != test.full {
			t.Errorf("after %v with %d messages: known %v, %v", test.age, test.messages, known, full)
		}
	}
}
