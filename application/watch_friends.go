package application

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"chatting/domain"
)

// setFriends replaces whom m watches, and which of these hide from it, by what was loaded in an epoch. Without a connection
// here it watches nobody. Who was watched before, and hides from now on or no more, is told to the user's connections.
func (p *SetPresence) setFriends(m *member, loaded listEpoch, friends, hiding []domain.UserID) {
	hid := m.hiding
	isNew := func(friend domain.UserID) bool { return !p.watches(m, friend) }
	hidOrHide := slices.DeleteFunc(slices.Concat(slices.Sorted(maps.Keys(hid)), hiding), isNew)
	p.unwatch(m)
	if len(m.memberships) == 0 {
		return
	}
	m.hiding = make(map[domain.UserID]struct{}, len(hiding))
	for _, friend := range hiding {
		m.hiding[friend] = struct{}{}
	}
	if loaded.blocks != m.epoch.blocks {
		maps.Copy(m.hiding, hid)
		p.markStale(m.user)
	}
	m.friends = friends
	m.loadedAt = p.now()
	m.reloadAfter = (reloadFrom + rand.Float64()*(reloadTo-reloadFrom)) / 100 //nolint:gosec // a time that is guessed helps nobody
	if _, isUnknown := p.unknown[m.user]; !isUnknown {
		delete(p.failed, m.user)
	}
	for _, friend := range friends {
		watchers := p.watchers[friend]
		if watchers == nil {
			watchers = make(map[*member]struct{})
			p.watchers[friend] = watchers
		}
		watchers[m] = struct{}{}
	}
	for _, friend := range hidOrHide {
		if _, before := hid[friend]; before != m.hides(friend) && p.watches(m, friend) {
			p.tellHiding(m, friend)
		}
	}
}

// watches tells whether a user is on m's list.
func (p *SetPresence) watches(m *member, user domain.UserID) bool {
	_, watches := p.watchers[user][m]
	return watches
}

// hides tells whether the presence of a friend is kept from the user.
func (m *member) hides(friend domain.UserID) bool {
	_, hides := m.hiding[friend]
	return hides
}

// blockChanged handles the word that a user blocks another one, or no longer does. A user who is blocked sees nothing of the
// other one from here on. Whether the block is real, and what becomes of its end, the database says: the list is loaded again.
// If it is loaded, and the other user is not on it, there is nothing to hide.
func (p *SetPresence) blockChanged(record domain.SessionRecord) {
	blocker, m := record.User, p.members[record.Target]
	if m == nil || !p.HidesFromBlocked {
		return
	}
	m.epoch.blocks++
	watches := p.watches(m, blocker)
	if !watches && !m.loadedAt.IsZero() {
		return
	}
	p.markStale(m.user)
	if record.Kind == domain.UserUnblocked || m.hides(blocker) || len(m.hiding) >= MaxFriends {
		return
	}
	if m.hiding == nil {
		m.hiding = make(map[domain.UserID]struct{})
	}
	m.hiding[blocker] = struct{}{}
	if watches {
		p.tellHiding(m, blocker)
	}
}

// tellHiding tells m's connections that a friend has begun to hide from the user, or ceased to: what they see is a friend
// who goes offline, or comes online. Nothing is to be seen of a friend who is offline.
func (p *SetPresence) tellHiding(m *member, friend domain.UserID) {
	if p.online(friend) {
		p.show(m, domain.Transition{User: friend, Online: !m.hides(friend), At: p.now.stamp()})
	}
}

// show shows a transition to the connections of a user that are logged in.
func (p *SetPresence) show(m *member, transition domain.Transition) {
	for _, membership := range m.memberships {
		if membership.live {
			membership.conn.StatusChanged(m.user, transition)
		}
	}
}

// unwatch takes m out of the index.
func (p *SetPresence) unwatch(m *member) {
	for _, friend := range m.friends {
		delete(p.watchers[friend], m)
		if len(p.watchers[friend]) == 0 {
			delete(p.watchers, friend)
		}
	}
	m.friends, m.hiding = nil, nil
	m.loadedAt = time.Time{}
}

// tell shows transitions to the connections of those who watch, unless they are hidden from them.
func (p *SetPresence) tell(transitions []domain.Transition) {
	for _, transition := range transitions {
		for watcher := range p.watchers[transition.User] {
			if !watcher.hides(transition.User) {
				p.show(watcher, transition)
			}
		}
	}
}

// friendsChanged notes that a user's list, if it is in use here, is out of date.
func (p *SetPresence) friendsChanged(user domain.UserID) {
	if m := p.members[user]; m != nil {
		m.epoch.friends++
		p.markStale(user)
	}
}

func (p *SetPresence) markStale(user domain.UserID) {
	p.stale.add(user, reloadChanged)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// FriendRefresh loads again the friends of local users whose lists changed, could not be loaded, or grew old. It also
// remembers local users who were forgotten after they came.
type FriendRefresh struct {
	Presence *SetPresence
	Users    KnownUsers
	Lists    FriendLists
	// Hide tells which friends hide their presence; nil where nobody does.
	Hide *HidePresence
	// MaxAge is after how long, at most, a list is loaded again without being asked to; 0 means never: changes are announced.
	// It holds as long as AtATime loads can be made in a fifth of it for each list. The times are spread by chance, so that
	// the lists of users who came together are not loaded together.
	MaxAge time.Duration
	// Retry is after how long, at most, a list that could not be loaded is tried again.
	Retry time.Duration
	// AtATime is how many lists are loaded at the same time; less than 1 counts as 1.
	AtATime int
}

// A list is loaded again after reloadFrom to reloadTo percent of MaxAge; the rest is for those that have to wait.
const (
	reloadFrom = 70
	reloadTo   = 80
)

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
	ticker := time.NewTicker(r.scan())
	defer ticker.Stop()
	done := make(chan domain.UserID)
	underWay := 0
	for {
		for underWay < max(r.AtATime, 1) && ctx.Err() == nil {
			user, epoch, ok := r.Presence.takeStale()
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
			r.Presence.reloadEnded(user)
		case <-ctx.Done():
			for ; underWay > 0; underWay-- {
				<-done
			}
			return
		case <-ticker.C:
			r.Presence.markDue(r.MaxAge, r.Retry)
		case <-r.Presence.wake:
		}
	}
}

// load remembers a user who is unknown now, and loads its list. What fails is tried again after a while.
func (r *FriendRefresh) load(ctx context.Context, user domain.UserID, epoch listEpoch) {
	if r.Presence.takeUnknown(user) {
		if err := r.Users.Remember(ctx, user); err != nil {
			r.Presence.stillUnknown(user)
		}
	}
	friends, hiding, err := watchList(ctx, r.Lists, r.Hide, user)
	if ctx.Err() == nil {
		r.Presence.refreshed(user, epoch, friends, hiding, err)
	}
}

// takeUnknown tells whether the user is to be remembered: it was forgotten, and has come since.
func (p *SetPresence) takeUnknown(user domain.UserID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, isUnknown := p.unknown[user]
	delete(p.unknown, user)
	m := p.members[user]
	return isUnknown && m != nil && m.cameSinceErased()
}

func (p *SetPresence) stillUnknown(user domain.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unknown[user] = struct{}{}
	p.failed[user] = p.now()
}

// takeStale takes a user whose list is to be loaded, with the epoch that the list belongs to; false if there is none.
func (p *SetPresence) takeStale() (user domain.UserID, epoch listEpoch, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if user, ok = p.stale.take(); !ok {
			return 0, listEpoch{}, false
		}
		if m := p.members[user]; m != nil {
			return user, m.epoch, true
		}
		p.stale.done(user)
		delete(p.unknown, user)
	}
}

// reloadEnded lets a user's list be loaded again.
func (p *SetPresence) reloadEnded(user domain.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale.done(user)
}

// refreshed takes over a list that was loaded again. Who turns out to be online, or no longer to be watched, is not told:
// only changes of presence are, and of who hides it.
func (p *SetPresence) refreshed(user domain.UserID, epoch listEpoch, friends, hiding []domain.UserID, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.members[user]
	switch {
	case m == nil:
	case err != nil:
		p.failed[user] = p.now()
	case m.epoch.friends != epoch.friends:
		p.markStale(user)
	default:
		p.setFriends(m, epoch, slices.Clone(friends), hiding)
	}
}

// markDue queues the lists that failed longer ago than retry, and those that grew old.
func (p *SetPresence) markDue(maxAge, retry time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for user, at := range p.failed {
		if now.Sub(at) >= retry*3/4 { // it is looked at only now and then
			delete(p.failed, user)
			p.stale.add(user, reloadFailed)
		}
	}
	if maxAge == 0 {
		return
	}
	for user, m := range p.members {
		if _, hasFailed := p.failed[user]; hasFailed || len(m.memberships) == 0 || p.stale.has(user) {
			continue
		}
		if now.Sub(m.loadedAt) >= time.Duration(m.reloadAfter*float64(maxAge)) {
			p.stale.add(user, reloadAged)
		}
	}
}
