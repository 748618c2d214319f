package presence_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// slowLists is a user management service whose answers take their time.
type slowLists struct {
	takes time.Duration
	// fate of a user's list: nil answers.
	fate func(domain.UserID) error

	mu      sync.Mutex
	loads   map[domain.UserID][]time.Time
	now     int
	most    int
	ofUser  map[domain.UserID]int
	twice   bool
	aborted int
}

var errHangs = errors.New("it hangs until the question is given up")

func (s *slowLists) Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error) {
	s.mu.Lock()
	if s.loads == nil {
		s.loads, s.ofUser = make(map[domain.UserID][]time.Time), make(map[domain.UserID]int)
	}
	s.loads[user] = append(s.loads[user], time.Now())
	s.now++
	s.most = max(s.most, s.now)
	s.ofUser[user]++
	s.twice = s.twice || s.ofUser[user] > 1
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now--
		s.ofUser[user]--
	}()
	var err error
	if s.fate != nil {
		err = s.fate(user)
	}
	if !errors.Is(err, errHangs) {
		time.Sleep(s.takes)
		return nil, err
	}
	select {
	case <-time.After(3 * time.Second):
		return nil, err
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.aborted++
		return nil, ctx.Err()
	}
}

// look calls f while nothing changes.
func (s *slowLists) look(f func()) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// longest returns the longest time from one load of a user's list to the next, counted from begin on and up to now.
func (s *slowLists) longest(user domain.UserID, begin time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest, last := time.Duration(0), begin
	for _, at := range append(s.loads[user], time.Now()) {
		longest, last = max(longest, at.Sub(last)), at
	}
	return longest
}

// reloading logs users in at once and reloads their lists until the test ends, or stop is called.
func reloading(t *testing.T, count int, lists presence.FriendLists, atATime int) (n *porttest.Node, stop func()) {
	n, _ = porttest.OneNode(t)
	for user := range count {
		n.Login(t, domain.UserID(user+1))
	}
	refresh := &presence.FriendRefresh{
		Presence: n.Presence, Users: &porttest.Users{}, Lists: lists, MaxAge: time.Minute, Retry: 5 * time.Second, AtATime: atATime,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		refresh.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return n, stop
}

func TestTenThousandListsAreReloadedWithinTheirAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = 10_000
		lists := &slowLists{takes: 20 * time.Millisecond}
		begin := time.Now()
		_, stop := reloading(t, all, lists, 16)
		time.Sleep(3 * time.Minute)
		stop()
		for user := range all {
			if longest := lists.longest(domain.UserID(user+1), begin); longest > time.Minute {
				t.Fatalf("the list of %d was not loaded for %s", user+1, longest)
			}
		}
		if lists.most > 16 {
			t.Errorf("%d lists were loaded at the same time", lists.most)
		}
		loads := 0
		for _, of := range lists.loads {
			loads += len(of)
		}
		if most := all * 3 * 60 / 40; loads > most {
			t.Errorf("%d loads in three minutes, want at most %d", loads, most)
		}
	})
}

// Users who come together, as after a restart, are not asked for together for ever.
func TestTheReloadsOfUsersWhoCameTogetherAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := &slowLists{}
		_, stop := reloading(t, 1000, lists, 16)
		time.Sleep(10 * time.Minute)
		stop()
		inSecond := make(map[int64]int)
		for _, loads := range lists.loads {
			if len(loads) < 10 {
				t.Fatalf("a list was loaded %d times", len(loads))
			}
			inSecond[loads[9].Unix()]++
		}
		for second, n := range inSecond {
			if n > 150 {
				t.Errorf("%d of 1000 lists were loaded for the tenth time in second %d", n, second)
			}
		}
	})
}

func TestListsThatHangOrFailHoldUpNoOthers(t *testing.T) {
	for name, why := range map[string]error{"hanging": errHangs, "failing": porttest.ErrRefused} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const all, bad = 500, 15 // bad lists always take a place each
				lists := &slowLists{takes: 20 * time.Millisecond, fate: func(user domain.UserID) error {
					if user <= bad {
						return why
					}
					return nil
				}}
				begin := time.Now()
				n, stop := reloading(t, all, lists, 16)
				time.Sleep(2 * time.Minute)
				for user := range all {
					if longest := lists.longest(domain.UserID(user+1), begin); longest > time.Minute {
						t.Fatalf("the list of %d was not asked for for %s", user+1, longest)
					}
				}
				lists.look(func() {
					for user := domain.UserID(1); user <= bad; user++ {
						if got := len(lists.loads[user]); got > 2+2*60/3 {
							t.Errorf("the list of %d was asked for %d times in two minutes", user, got)
						}
					}
				})
				// A change is taken up at once.
				n.Presence.Apply(n.PartitionOf(all), domain.SessionRecord{Kind: domain.FriendsChanged, User: all}, time.Now())
				changed := time.Now()
				time.Sleep(time.Second)
				stop()
				if last := lists.loads[all][len(lists.loads[all])-1]; last.Before(changed) {
					t.Error("a list that changed was not loaded within a second")
				}
			})
		})
	}
}

// Whoever changes its list all the time would otherwise take all places.
func TestOneUserHasOneLoadUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := &slowLists{fate: func(user domain.UserID) error {
			if user == 1 {
				return errHangs
			}
			return nil
		}}
		n, stop := reloading(t, 2, lists, 4)
		for range 40 {
			n.Presence.Apply(n.PartitionOf(1), domain.SessionRecord{Kind: domain.FriendsChanged, User: 1}, time.Now())
			time.Sleep(100 * time.Millisecond)
		}
		lists.look(func() {
			if got := len(lists.loads[1]); got != 2 {
				t.Errorf("the list was loaded %d times in 4 s, want once and once more for what changed meanwhile", got)
			}
		})
		stop()
		if lists.twice {
			t.Error("the list of one user was loaded twice at the same time")
		}
	})
}

func TestReloadsEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := &slowLists{fate: func(domain.UserID) error { return errHangs }}
		_, stop := reloading(t, 100, lists, 16)
		time.Sleep(50*time.Second + 500*time.Millisecond) // they are under way, and others wait
		var loads int
		lists.look(func() {
			loads = len(lists.loads)
			if lists.now != 16 {
				t.Errorf("%d loads are under way, want 16", lists.now)
			}
		})
		stop()
		if lists.now != 0 || lists.aborted != 16 || len(lists.loads) != loads {
			t.Errorf("after the end %d loads are under way, %d were given up, and %d lists were loaded, after %d before",
				lists.now, lists.aborted, len(lists.loads), loads)
		}
	})
}
