package delivery_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatting/domain"
	"chatting/test/porttest"
)

// announcedAt is when what a test announces is written.
var announcedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// announce has an announcement stand at an offset of partition 0.
func (s *stage) announce(number byte, offset int64) { s.announceAt(number, offset, announcedAt) }

func (s *stage) announceAt(number byte, offset int64, written time.Time) {
	at := domain.Place{Offset: offset}
	s.Delivery.Announce(domain.EventID{number}, at, written, func(user domain.UserID) ([]byte, error) {
		return fmt.Appendf(nil, "%d to %d", number, user), nil
	})
}

// frames returns what a connection was given.
func frames(c *porttest.Conn) (got []string) {
	for _, d := range porttest.Of[porttest.Delivered](c) {
		got = append(got, d.Frame)
	}
	return got
}

func TestAnAnnouncementReachesEachConnectionOnce(t *testing.T) {
	s := newStage(t, 1)
	one, _ := s.Login(201)
	two, _ := s.Login(201)
	other, _ := s.Login(202)
	gone, attachment := s.Login(203)
	attachment.Detach()
	s.announce(1, 0)
	s.announce(1, 1) // a repetition of the request
	s.announce(2, 2)
	for c, want := range map[*porttest.Conn][]string{
		one: {"1 to 201", "2 to 201"}, two: {"1 to 201", "2 to 201"}, other: {"1 to 202", "2 to 202"}, gone: nil,
	} {
		if got := frames(c); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAnAnnouncementIsForThoseWhoAreServedAtItsPlace(t *testing.T) {
	s := newStage(t, 1)
	c := &porttest.Conn{}
	a := s.Delivery.Attach(201, c)
	a.Activate(nil, []int64{5})
	s.announce(1, 4)
	s.announce(2, 5)
	if got := frames(c); len(got) != 0 {
		t.Errorf("got %q before the login was answered", got)
	}
	a.Release()
	if got := frames(c); !slices.Equal(got, []string{"2 to 201"}) {
		t.Errorf("got %q", got)
	}
}

func TestAnAnnouncementIsShownAgainOnceItsKeyIsNew(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.Login(201)
	s.announce(1, 0)
	s.announceAt(1, 1, announcedAt.Add(25*time.Hour))
	if got := frames(c); len(got) != 2 {
		t.Errorf("got %q", got)
	}
}

func TestARepetitionOfWhatWasAnnouncedBeforeTheNodeServedIsShownToNobody(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.Login(201)
	s.Delivery.RecallAnnouncement(domain.EventID{1}, announcedAt)
	s.announce(1, 1)
	s.announce(2, 2)
	if got := frames(c); !slices.Equal(got, []string{"2 to 201"}) {
		t.Errorf("got %q", got)
	}
}

// Who takes up does not get announcements from between its replay and what is live, so it misses none.
func TestAnAnnouncementBetweenAReplayAndWhatIsLiveEndsNoConnection(t *testing.T) {
	for name, when := range map[string]int{"before the login knows what it serves": 0, "after": 1} {
		s := newStage(t, 1)
		c := &porttest.Conn{}
		a := s.Delivery.Attach(201, c)
		for step := range 2 {
			if step == when {
				s.announce(1, 4)
			}
			if step == 0 {
				a.Handover().Activate(nil, []int64{5}, []int64{3})
			}
		}
		a.Release()
		s.announce(2, 5)
		if closed := porttest.Of[porttest.Closed](c); len(closed) != 0 || !slices.Equal(frames(c), []string{"2 to 201"}) {
			t.Errorf("%s: closed by %v, got %q", name, closed, frames(c))
		}
	}
}

// waiting is a connection that knows whether frames wait in it.
type waiting struct {
	porttest.Conn

	gathers bool
}

func (w *waiting) Gather() { w.gathers = true }

func (w *waiting) Flush() { w.gathers = false }

// All copies together may be more than a node may hold.
func TestTheCopiesOfAnAnnouncementDoNotWaitForEachOther(t *testing.T) {
	s := newStage(t, 1)
	var all []*waiting
	for user := range domain.UserID(300) {
		c := &waiting{}
		a := s.Delivery.Attach(1+user, c)
		a.Activate(nil, []int64{0})
		a.Release()
		all = append(all, c)
	}
	s.Chat(1, 2)
	s.Tail()
	if !all[0].gathers || !all[1].gathers {
		t.Fatal("a message does not wait for what follows")
	}
	s.announce(1, 9)
	for i, c := range all {
		if c.gathers || len(frames(&c.Conn)) == 0 {
			t.Fatalf("connection %d: waits %t, got %q", i, c.gathers, frames(&c.Conn))
		}
	}
}

func TestAnAnnouncementThatNobodyCanEncodeIsNotShown(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.Login(201)
	s.Delivery.Announce(domain.EventID{1}, domain.Place{}, announcedAt, func(domain.UserID) ([]byte, error) { return nil, errors.New("broken") })
	if got := frames(c); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
