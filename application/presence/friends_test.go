package presence_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// announced counts the changes of a user's list that the log has.
func announced(log *porttest.SessionTopic, user domain.UserID) int {
	n := 0
	for _, entry := range log.All(log.PartitionOf(user)) {
		if entry.Record == (domain.SessionRecord{Kind: domain.FriendsChanged, User: user}) {
			n++
		}
	}
	return n
}

func TestAFriendIsAddedOnceAndTakenAway(t *testing.T) {
	log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
	friends := &presence.Friends{Store: &porttest.FriendStore{}, Sessions: log}
	ctx := t.Context()
	for _, friend := range []domain.UserID{7, 8, 7} {
		if err := friends.Add(ctx, 201, friend); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := friends.List(ctx, 201); err != nil || !slices.Equal(got, []domain.UserID{7, 8}) {
		t.Errorf("the list is %v, %v", got, err)
	}
	if announced(log, 201) != 2 {
		t.Errorf("%d changes were announced, want one for each friend", announced(log, 201))
	}
	if err := friends.Remove(ctx, 201, 7); err != nil {
		t.Fatal(err)
	}
	porttest.WantCode(t, "removing twice", friends.Remove(ctx, 201, 7), domain.CodeNotWatched)
	if got, err := friends.List(ctx, 201); err != nil || !slices.Equal(got, []domain.UserID{8}) {
		t.Errorf("the list is %v, %v", got, err)
	}
	if announced(log, 201) != 3 {
		t.Errorf("%d changes were announced, want one for each change", announced(log, 201))
	}
	for range 3000 {
		porttest.WantCode(t, "removing nobody", friends.Remove(ctx, 202, 7), domain.CodeNotWatched)
	}
	if announced(log, 202) != 0 {
		t.Errorf("%d changes were announced of a list that did not change", announced(log, 202))
	}
	if got, err := friends.List(ctx, 7); err != nil || len(got) != 0 {
		t.Errorf("the other side's list is %v, %v; want none: it is one direction only", got, err)
	}
}

// What the log did not take is told by a repetition of the request, or else a while later, once.
func TestAChangeThatTheLogDidNotTakeIsToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		friends := &presence.Friends{Store: &porttest.FriendStore{}, Sessions: log}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { friends.Run(ctx) })
		defer running.Wait()
		defer cancel()
		fail := func(fails bool) {
			log.Decide(func(porttest.SessionEntry) porttest.Fate {
				if fails {
					return porttest.Refused
				}
				return porttest.Confirmed
			})
		}
		fail(true)
		porttest.WantCode(t, "the first", friends.Add(ctx, 201, 7), domain.CodeUnavailable)
		porttest.WantCode(t, "another user's", friends.Add(ctx, 202, 7), domain.CodeUnavailable)
		porttest.WantCode(t, "the first again", friends.Add(ctx, 201, 7), domain.CodeUnavailable)
		fail(false)
		if err := friends.Add(ctx, 201, 7); err != nil {
			t.Fatal(err)
		}
		if announced(log, 201) != 1 || announced(log, 202) != 0 {
			t.Errorf("%d and %d changes were announced, want that of the repetition", announced(log, 201), announced(log, 202))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if announced(log, 201) != 1 || announced(log, 202) != 1 {
			t.Errorf("%d and %d changes were announced, want each once", announced(log, 201), announced(log, 202))
		}
	})
}

func TestWhatFriendsRefuses(t *testing.T) {
	log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
	store := &porttest.FriendStore{}
	friends := &presence.Friends{Store: store, Sessions: log}
	ctx := t.Context()
	porttest.WantCode(t, "oneself", friends.Add(ctx, 201, 201), domain.CodeSelf)
	full := make([]domain.UserID, presence.MaxFriends)
	for i := range full {
		full[i] = domain.UserID(1000 + i)
	}
	store.Set(202, full...)
	porttest.WantCode(t, "one too many", friends.Add(ctx, 202, 7), domain.CodeLimit)
	if announced(log, 201)+announced(log, 202) != 0 {
		t.Error("a refused change was announced")
	}
	for what, want := range map[porttest.Fate]domain.Code{porttest.Refused: domain.CodeUnavailable, porttest.Lost: domain.CodeUnconfirmed} {
		log.Decide(func(porttest.SessionEntry) porttest.Fate { return what })
		porttest.WantCode(t, "an append that failed", friends.Add(ctx, 201, 7), want)
	}
	log.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Delayed })
	short, cancel := context.WithCancel(ctx)
	cancel()
	porttest.WantCode(t, "a request that ended", friends.Add(short, 201, 7), domain.CodeUnconfirmed)
	store.Fail(porttest.ErrRefused)
	porttest.WantCode(t, "without a database", friends.Add(ctx, 201, 8), domain.CodeUnavailable)
	porttest.WantCode(t, "removing without one", friends.Remove(ctx, 201, 7), domain.CodeUnavailable)
}

func TestWhatTheLogDidNotTakeIsToldTogetherOnceItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		friends := &presence.Friends{Store: &porttest.FriendStore{}, Sessions: log}
		tried := 0
		log.Decide(func(porttest.SessionEntry) porttest.Fate {
			tried++
			return porttest.Refused
		})
		const users, AtOnce = 100, 16
		for user := domain.UserID(201); user < 201+users; user++ {
			porttest.WantCode(t, "a change", friends.Add(t.Context(), user, 7), domain.CodeUnavailable)
		}
		tried = 0
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { friends.Run(ctx) })
		defer running.Wait()
		defer cancel()
		time.Sleep(5500 * time.Millisecond)
		synctest.Wait()
		if tried < 1 || tried > AtOnce {
			t.Errorf("%d of %d were tried while the log is away, want no more than are under way at once", tried, users)
		}
		log.Decide(nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for user := domain.UserID(201); user < 201+users; user++ {
			if announced(log, user) != 1 {
				t.Errorf("of %d were announced %d changes", user, announced(log, user))
			}
		}
	})
}
