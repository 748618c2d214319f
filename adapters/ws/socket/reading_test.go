package socket

import (
	"context"
	"testing"
	"testing/synctest"
)

// under counts so many requests without outcome.
func (s *stuck) under(n int) {
	s.t.Helper()
	for range n {
		if !s.reading.Claim() || s.reading.IsPaused() {
			s.t.Fatal("a request below the bound waits")
		}
	}
}

func TestALostConnectionLetsNothingWait(t *testing.T) {
	for name, row := range map[string]struct {
		underWay int
		wait     func(*stuck) bool
	}{
		"for its requests to leave": {1, func(s *stuck) bool {
			if s.reading.Leave() {
				t.Error("it leaves although a request is under way")
			}
			s.reading.AwaitEnd()
			return false
		}},
		"for a request to end": {MaxUnderWay, func(s *stuck) bool { return s.reading.Claim() }},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStuck(t, 1<<20)
			s.under(row.underWay)
			ended := make(chan bool, 1)
			go func() { ended <- row.wait(s) }()
			synctest.Wait()
			if !s.reading.IsPaused() {
				t.Errorf("%s: it does not wait", name)
			}
			s.out.Abort()
			if <-ended {
				t.Errorf("%s: it goes on", name)
			}
		})
	}
}

func TestAnOutcomeMakesRoomForOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStuck(t, 1<<20)
		s.under(MaxUnderWay)
		claimed := make(chan bool, 1)
		claim := func() {
			go func() { claimed <- s.reading.Claim() }()
			synctest.Wait()
		}
		claim()
		if !s.reading.IsPaused() {
			t.Fatal("there is no bound")
		}
		before := s.sock.LastHeard()
		if s.reading.Settle() || !<-claimed || s.reading.underWay != MaxUnderWay {
			t.Errorf("%d are under way", s.reading.underWay)
		}
		if s.reading.IsPaused() || s.sock.LastHeard() == before {
			t.Error("the wait counts as the silence of the client")
		}
		claim()
		s.out.Close(restart, "")
		if <-claimed || s.reading.underWay != MaxUnderWay {
			t.Errorf("a closing connection has one more of %d under way", s.reading.underWay)
		}
	})
}

func TestWhatLeavesClosesWithItsLastOutcome(t *testing.T) {
	s := newStuck(t, 1<<20)
	if s.reading.IsLeaving() {
		t.Error("it leaves although nobody told it to")
	}
	s.under(2)
	if s.reading.Leave() || !s.reading.IsLeaving() || s.reading.Settle() {
		t.Error("it has to close while a request is under way")
	}
	if !s.reading.Settle() {
		t.Error("it does not have to close")
	}
	if !newStuck(t, 1<<20).reading.Leave() {
		t.Error("one without requests does not have to close")
	}
}

func TestAPauseIsEndedByTheConnection(t *testing.T) {
	s := newStuck(t, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	s.reading.Pause(cancel)
	if !s.reading.IsPaused() || ctx.Err() != nil {
		t.Error("it is not paused, or ended at once")
	}
	s.out.Close(restart, "")
	if ctx.Err() == nil {
		t.Error("it goes on although the connection closes")
	}
	s.reading.Resume()
	if s.reading.IsPaused() || s.reading.cancel != nil {
		t.Error("something is left of it")
	}
	late, cancel := context.WithCancel(t.Context())
	s.reading.Pause(cancel)
	if late.Err() == nil {
		t.Error("a closing connection waits")
	}
	s.reading.Resume()
}
