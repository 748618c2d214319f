package application_test

import (
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
	"chatting/test/porttest"
)

func TestCursorsAreSavedSoonAndOnceTheDatabaseIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		confirm := func(session *application.LoggedIn, offset int64) {
			session.Received([]domain.Place{{Partition: 1, Offset: offset}})
		}
		saved := func() int64 {
			s.history.Mu.Lock()
			defer s.history.Mu.Unlock()
			if places := s.history.Cursors[202]; places != nil {
				return places[1].Offset
			}
			return 0
		}
		_, session := s.in(t, 202)
		confirm(session, 4)
		time.Sleep(3 * time.Second)
		if got := saved(); got != 5 {
			t.Fatalf("after 3 s the cursor is at %d", got)
		}
		s.history.Fail(porttest.ErrRefused)
		confirm(session, 7)
		confirm(session, 6) // another device, which is behind
		time.Sleep(time.Minute)
		s.history.Fail(nil)
		time.Sleep(3500 * time.Millisecond) // to between two savings: the next one must not be by the clock
		if got := saved(); got != 8 {
			t.Fatalf("once the database is back the cursor is at %d", got)
		}
		confirm(session, 8)
		session.Close()
		synctest.Wait()
		if got := saved(); got != 9 {
			t.Fatalf("at the end of the session the cursor is at %d", got)
		}
	})
}

func TestManyCursorsAreSavedInTransactionsOfBoundedSizeAndAllWhenTheNodeLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		const users = 1000
		before := s.history.Saves
		for user := domain.UserID(1); user <= users; user++ {
			_, session := s.in(t, user)
			session.Received([]domain.Place{{Partition: 1, Offset: 1}})
		}
		s.stop()
		if got := s.history.Saves - before; got < 4 || got > 100 {
			t.Fatalf("%d transactions", got)
		}
		for user := domain.UserID(1); user <= users; user++ {
			if s.history.Cursors[user] == nil || s.history.Cursors[user][1].Offset != 2 {
				t.Fatalf("the cursor of %d is %v", user, s.history.Cursors[user])
			}
		}
	})
}
