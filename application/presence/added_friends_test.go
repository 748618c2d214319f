package presence_test

import (
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// adding is two nodes that tell of added friends, and their lists.
type adding struct {
	a, b    *porttest.Node
	store   *porttest.FriendStore
	friends *presence.Friends
}

func newAdding(t *testing.T) *adding {
	a, b, log := twoNodes(t)
	d := &adding{a: a, b: b, store: &porttest.FriendStore{}}
	d.friends = &presence.Friends{Store: d.store, Sessions: log}
	for _, n := range []*porttest.Node{a, b} {
		n.Presence.TellsAdded = true
		porttest.Refreshing(t, n, d.store, 0)
	}
	return d
}

func (d *adding) add(t *testing.T, user, friend domain.UserID) {
	t.Helper()
	if err := d.friends.Add(t.Context(), user, friend); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func came(user domain.UserID) porttest.Status {
	return porttest.Status{To: 8, User: user, Online: true}
}

func went(user domain.UserID) porttest.Status { return porttest.Status{To: 8, User: user} }

func TestAFriendWhoIsOnlineIsToldWhenItIsAddedOnceAConnectionOfEachNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newAdding(t)
		_, seven := d.b.Login(t, 7)
		here, _ := d.a.Login(t, 8)
		here2, _ := d.a.Login(t, 8)
		there, _ := d.b.Login(t, 8)
		d.add(t, 8, 7)
		d.add(t, 8, 7) // it is on the list
		d.add(t, 8, 9) // who is offline
		for _, c := range []*porttest.Conn{here, here2, there} {
			porttest.WantStatuses(t, "a connection", c, came(7))
		}
		if err := d.friends.Remove(t.Context(), 8, 7); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.add(t, 8, 7)
		seven.Leave()
		synctest.Wait()
		porttest.WantStatuses(t, "who added it again", here, came(7), came(7), went(7))
		// A login answers with the friends, and tells those who are there of none.
		later, _ := d.a.Login(t, 8, 7, 9)
		porttest.WantStatuses(t, "a later one", later)
		porttest.WantStatuses(t, "an earlier one", here, came(7), came(7), went(7))
	})
}

func TestTheLoginOfOneDeviceTellsTheOthersOfAnAddedFriendOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newAdding(t)
		d.a.Login(t, 7)
		first, _ := d.a.Login(t, 8)
		d.store.Set(8, 7)
		second, _ := d.a.Login(t, 8, 7) // has loaded the list before the change is announced
		d.add(t, 8, 9)                  // which loads it
		porttest.WantStatuses(t, "the first", first, came(7))
		porttest.WantStatuses(t, "the second", second)
	})
}

func TestAFriendWhoComesWhileItIsAddedIsToldOnce(t *testing.T) {
	for name, order := range map[string][2]int{"before the list is loaded": {0, 1}, "after it": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newAdding(t)
				c, _ := d.a.Login(t, 8)
				steps := []func(){func() { d.b.Login(t, 7) }, func() { d.add(t, 8, 7) }}
				steps[order[0]]()
				steps[order[1]]()
				synctest.Wait()
				porttest.WantStatuses(t, "the watcher", c, came(7))
			})
		})
	}
}

func TestAnAddedFriendWhoHidesIsToldWhenItNoLongerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		n.Presence.TellsAdded = true
		n.Login(t, 7)
		n.Login(t, 9)
		c, first := n.Login(t, 8)
		first.SetFriends([]domain.UserID{7, 9}, 7)
		porttest.WantStatuses(t, "while it hides", c, came(9))
		first.SetFriends([]domain.UserID{7, 9})
		porttest.WantStatuses(t, "afterwards", c, came(9), came(7))
	})
}

func TestFriendsWhoWereMissingAtTheLoginAreToldOnceTheyAreLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t) // tells of no added friend
		store := &porttest.FriendStore{}
		store.Set(8, 7, 9)
		store.Fail(porttest.ErrRefused)
		porttest.Refreshing(t, n, store, time.Minute)
		n.Login(t, 7)
		c := &porttest.Conn{}
		membership, err := n.Presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		membership.FriendsMissing()
		if err := porttest.Online(membership); err != nil {
			t.Fatal(err)
		}
		store.Fail(nil)
		time.Sleep(10 * time.Second)
		porttest.WantStatuses(t, "once they are loaded", c, came(7))
		// As the list grows old, who has been added meanwhile is watched, and not told of.
		n.Login(t, 6)
		store.Set(8, 7, 9, 6)
		time.Sleep(2 * time.Minute)
		porttest.WantStatuses(t, "later", c, came(7))
		n.Login(t, 9)
		synctest.Wait()
		porttest.WantStatuses(t, "in the end", c, came(7), came(9))
	})
}
