package messaging

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatting/domain"
)

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
	way := func(n int) route { return route{1, domain.UserID(2 + n)} }
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

// countedOf is a MailboxCounts that notes how many messages it was asked to count.
type countedOf struct {
	MailboxCounts
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
	way := route{1, 2}
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
