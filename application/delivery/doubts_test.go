package delivery_test

import (
	"math"
	"testing"
	"testing/synctest"

	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// checked is a stage whose database answers at once, with users 1 and 2 logged in.
func checked(t *testing.T) (s *stage, one, two *porttest.Conn) {
	s = newStage(t, 1).checks(&porttest.StageVersions{})
	one, _ = s.Login(1)
	two, _ = s.Login(2)
	return s, one, two
}

// said has from say something to to, and tells whether it was shown to got, within what was read.
func (s *stage) said(from, to domain.UserID, got *porttest.Conn) bool {
	before := len(porttest.Of[porttest.Delivered](got))
	s.Chat(from, to)
	s.Tail()
	synctest.Wait()
	return len(porttest.Of[porttest.Delivered](got)) > before
}

func TestAForgedBlockHidesNothing(t *testing.T) {
	for _, version := range []int64{1, math.MaxInt64} {
		synctest.Test(t, func(t *testing.T) {
			s, one, two := checked(t)
			s.Forge(2, 1, true, version)
			if !s.said(1, 2, two) || !s.said(2, 1, one) {
				t.Fatalf("after a forged block of version %d", version)
			}
			s.Append(s.Commit(2, 1, true))
			if s.said(1, 2, two) {
				t.Error("shown after the block that is real")
			}
			s.Append(s.Commit(2, 1, false))
			if !s.said(1, 2, two) {
				t.Error("hidden after the unblock that is real")
			}
		})
	}
}

func TestAForgedUnblockShowsNothing(t *testing.T) {
	for _, version := range []int64{2, math.MaxInt64 - 1} {
		synctest.Test(t, func(t *testing.T) {
			s, one, two := checked(t)
			s.Append(s.Commit(2, 1, true))
			s.Forge(2, 1, false, version)
			if s.said(1, 2, two) {
				t.Fatalf("shown after a forged unblock of version %d", version)
			}
			if !s.said(2, 1, one) {
				t.Error("what the blocker says does not arrive")
			}
		})
	}
}

func TestAChangeThatIsWrittenAgainIsNotAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, two := checked(t)
		change := s.Commit(2, 1, true)
		for range 5 {
			s.Append(change)
			if s.said(1, 2, two) {
				t.Fatal("shown after a block")
			}
		}
		if s.Versions.Asked != 1 {
			t.Errorf("the database was asked %d times", s.Versions.Asked)
		}
	})
}

func TestWhatIsNotOfTheConversationDoesNotWaitForTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1).checks(&porttest.StageVersions{Gate: make(chan struct{})})
		one, _ := s.Login(1)
		two, _ := s.Login(2)
		s.Append(s.Commit(2, 1, true))
		if s.said(2, 1, two) {
			t.Error("what the blocker says overtakes its block, on its own connection")
		}
		if !s.said(2, 1, one) {
			t.Error("the blocked one waits")
		}
		if !s.said(3, 2, two) {
			t.Error("somebody else's message waits")
		}
		for s.confirm() {
		}
		if got := len(porttest.Of[porttest.Delivered](two)); got != 3 {
			t.Errorf("%d frames reached the blocker, want 3", got)
		}
	})
}

func TestAnAnswerThatIsOlderThanAChangeDoesNotRefuseIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1).checks(&porttest.StageVersions{Gate: make(chan struct{}), Early: func() bool { return true }})
		two, _ := s.Login(2)
		s.Append(s.Commit(2, 1, true))
		s.Tail()
		synctest.Wait() // asked, and answered: the answer is on its way
		s.Append(s.Commit(2, 1, false))
		s.said(1, 2, two)
		for s.confirm() {
		}
		if len(porttest.Of[porttest.Delivered](two)) != 1 {
			t.Error("hidden after the unblock")
		}
	})
}

func TestABlockerIsClosedWhereItCannotBeToldWhetherItsBlockIsReal(t *testing.T) {
	for what, spoil := range map[string]func(s *stage){
		"the database is away": func(s *stage) {
			s.Versions.Mu.Lock()
			s.Versions.Err = porttest.ErrRefused
			s.Versions.Mu.Unlock()
			s.Append(s.Commit(2, 1, true))
		},
		"too much waits": func(s *stage) {
			s.Versions.Gate = make(chan struct{})
			s.Append(s.Commit(2, 1, true))
			for range 2000 {
				s.Chat(1, 2)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, one, two := checked(t)
				spoil(s)
				s.Tail()
				synctest.Wait()
				if got := porttest.Of[porttest.Closed](two); len(got) == 0 || got[0].Reason != port.CloseTryLater {
					t.Fatalf("the blocker is closed with %v", got)
				}
				if got := porttest.Of[porttest.Closed](one); len(got) != 0 {
					t.Errorf("the blocked one is closed with %v", got)
				}
				if len(porttest.Of[porttest.Delivered](two)) != 0 {
					t.Error("something was shown behind the block")
				}
			})
		})
	}
}

func TestForgedChangesOfManyPairsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1).checks(&porttest.StageVersions{Gate: make(chan struct{})})
		two, _ := s.Login(2)
		for target := range domain.UserID(3000) {
			s.Forge(2, target+10, true, 1)
		}
		s.Tail()
		synctest.Wait()
		if len(porttest.Of[porttest.Closed](two)) == 0 {
			t.Error("there is no bound")
		}
	})
}
