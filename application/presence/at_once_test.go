package presence_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// After the log was away, what many users changed meanwhile is told at once, not user by user.
func TestWhatTheLogDidNotTakeIsToldSeveralUsersAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 160
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		log.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Refused })
		slow := &slowSessions{SessionTopic: log}
		friends := &presence.Friends{Store: &porttest.FriendStore{}, Sessions: slow}
		for user := domain.UserID(1); user <= count; user++ {
			if err := friends.Add(t.Context(), user, 999); err == nil {
				t.Fatal("the log took it")
			}
		}
		log.Decide(nil)
		slow.takes = time.Second
		go friends.Run(t.Context())
		time.Sleep(30 * time.Second)
		var told []domain.UserID
		for partition := range porttest.SessionPartitions {
			for _, entry := range log.All(partition) {
				told = append(told, entry.Record.User)
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
	*porttest.SessionTopic
	takes time.Duration
}

func (s *slowSessions) Append(record domain.SessionRecord, done func(error)) {
	if s.takes == 0 {
		s.SessionTopic.Append(record, done)
		return
	}
	time.AfterFunc(s.takes, func() { s.SessionTopic.Append(record, done) })
}
