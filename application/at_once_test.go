package application_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

// After the log was away, what many users changed meanwhile is told at once, not user by user.
func TestWhatTheLogDidNotTakeIsToldSeveralUsersAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 160
		log := newSessionTopic(sessionPartitions, time.Now)
		log.decide(func(sessionEntry) fate { return refused })
		slow := &slowSessions{sessionTopic: log}
		friends := &application.Friends{Store: &friendStore{}, Sessions: slow}
		for user := domain.UserID(1); user <= count; user++ {
			if err := friends.Add(t.Context(), user, 999); err == nil {
				t.Fatal("the log took it")
			}
		}
		log.decide(nil)
		slow.takes = time.Second
		go friends.Run(t.Context())
		time.Sleep(30 * time.Second)
		var told []domain.UserID
		for partition := range sessionPartitions {
			for _, entry := range log.all(partition) {
				told = append(told, entry.record.User)
			}
		}
		slices.Sort(told)
		if got := len(slices.Compact(told)); got != count {
			t.Errorf("after 30 s the changes of %d users of %d are told", got, count)
		}
	})
}

// slowSessions takes each record after a while.
type slowSessions struct {
	*sessionTopic
	takes time.Duration
}

func (s *slowSessions) Append(record domain.SessionRecord, done func(error)) {
	if s.takes == 0 {
		s.sessionTopic.Append(record, done)
		return
	}
	time.AfterFunc(s.takes, func() { s.sessionTopic.Append(record, done) })
}
