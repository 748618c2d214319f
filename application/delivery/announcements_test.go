package delivery_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"chatting/domain"
	"chatting/test/porttest"
)

// announce has an announcement stand at an offset of partition 0.
func (s *stage) announce(number byte, offset int64) {
	s.Delivery.Announce(domain.EventID{number}, domain.Place{Offset: offset}, func(user domain.UserID) ([]byte, error) {
		return fmt.Appendf(nil, "%d to %d", number, user), nil
	})
	s.Delivery.Flush()
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

func TestAnAnnouncementThatNobodyCanEncodeIsNotShown(t *testing.T) {
	s := newStage(t, 1)
	c, _ := s.Login(201)
	s.Delivery.Announce(domain.EventID{1}, domain.Place{}, func(domain.UserID) ([]byte, error) { return nil, errors.New("broken") })
	if got := frames(c); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
