package presence

import (
	"context"
	"slices"
	"time"

	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
)

// FriendRefresh loads again the friends of local users whose lists changed, could not be loaded, or grew old. It also
// remembers local users who were forgotten after they came.
type FriendRefresh struct {
	Presence *SetPresence
	Users    port.KnownUsers
	Lists    FriendLists
	// Hide tells which friends hide their presence; nil if nobody does.
	Hide *blocks.HidePresence
	// MaxAge is after how long, at most, a list is loaded again without being asked to; 0 means never: changes are announced.
	// It holds as long as AtATime loads can be made in a fifth of it for each list. The times are spread by chance, so that
	// the lists of users who came together are not loaded together.
	MaxAge time.Duration
	// Retry is after how long, at most, a list that could not be loaded is tried again.
	Retry time.Duration
	// AtATime is how many lists are loaded at the same time; less than 1 counts as 1.
	AtATime int
}

// scan is how often Run looks for lists that grew old or failed.
func (r *FriendRefresh) scan() time.Duration {
	every := min(r.Retry/5, time.Second)
	if r.MaxAge > 0 {
		every = min(every, r.MaxAge/50)
	}
	return max(every, time.Millisecond)
}

// Run refreshes until ctx ends. It waits for the loads under way, which ctx ends, too. A load that takes long holds up only
// its own user: as long as fewer than AtATime of them hang, all others are loaded.
func (r *FriendRefresh) Run(ctx context.Context) {
	reloads := r.Presence.reloads
	ticker := time.NewTicker(r.scan())
	defer ticker.Stop()
	done := make(chan domain.UserID)
	underWay := 0
	for {
		for underWay < max(r.AtATime, 1) && ctx.Err() == nil {
			user, epoch, ok := r.take()
			if !ok {
				break
			}
			underWay++
			go func() {
				r.load(ctx, user, epoch)
				done <- user
			}()
		}
		select {
		case user := <-done:
			underWay--
			reloads.done(user)
		case <-ctx.Done():
			for ; underWay > 0; underWay-- {
				<-done
			}
			return
		case <-ticker.C:
			r.scanAges()
		case <-reloads.wake:
		}
	}
}

// take takes a user whose list is to be loaded, with the epoch that the list belongs to; false if there is none. A user who is not
// here any more is dropped under the lock of Presence: one who comes back meanwhile must not be dropped with it.
func (r *FriendRefresh) take() (user domain.UserID, epoch listEpoch, ok bool) {
	reloads := r.Presence.reloads
	for {
		if user, ok = reloads.take(); !ok {
			return 0, listEpoch{}, false
		}
		isHere := false
		r.Presence.decide(func() actions {
			if m := r.Presence.sessions.members[user]; m != nil {
				epoch, isHere = m.epoch, true
			} else {
				reloads.done(user)
				reloads.takeUnknown(user)
			}
			return nil
		})
		if isHere {
			return user, epoch, true
		}
	}
}

// look calls what, under the lock of Presence, for a user who is here.
func (r *FriendRefresh) look(user domain.UserID, what func(*member)) {
	r.Presence.decide(func() actions {
		if m := r.Presence.sessions.members[user]; m != nil {
			what(m)
		}
		return nil
	})
}

// load remembers a user who is unknown now, and loads its list. What fails is tried again after a while.
func (r *FriendRefresh) load(ctx context.Context, user domain.UserID, epoch listEpoch) {
	reloads, now := r.Presence.reloads, r.Presence.sessions.now
	if r.takeUnknown(user) {
		if err := r.Users.Remember(ctx, user); err != nil {
			reloads.forgotten(user)
			reloads.fail(user, now())
		}
	}
	friends, hiding, err := WatchList(ctx, r.Lists, r.Hide, user)
	if ctx.Err() != nil {
		return
	}
	// Who is no longer watched is not told.
	r.look(user, func(m *member) {
		switch {
		case err != nil:
			reloads.fail(user, now())
		case m.epoch.friends != epoch.friends:
			reloads.changed(user)
		default:
			r.Presence.watchers.set(m, epoch, slices.Clone(friends), hiding, r.Presence.TellsAdded)
		}
	})
}

// takeUnknown tells whether the user is to be remembered: it was forgotten, and has come since.
func (r *FriendRefresh) takeUnknown(user domain.UserID) (isUnknown bool) {
	if r.Presence.reloads.takeUnknown(user) {
		r.look(user, func(m *member) { isUnknown = m.cameSinceErased() })
	}
	return isUnknown
}

// scanAges queues the lists that failed longer ago than Retry, and those that grew old.
func (r *FriendRefresh) scanAges() {
	r.Presence.decide(func() actions {
		now := r.Presence.sessions.now()
		r.Presence.reloads.retry(now.Add(-r.Retry * 3 / 4)) // it is looked at only now and then
		if r.MaxAge == 0 {
			return nil
		}
		for user, m := range r.Presence.sessions.members {
			if len(m.memberships) > 0 && now.Sub(m.loadedAt) >= time.Duration(m.reloadAfter*float64(r.MaxAge)) {
				r.Presence.reloads.aged(user)
			}
		}
		return nil
	})
}
