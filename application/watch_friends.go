package application

import (
	"context"
	"maps"
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
	p.stale[user] = struct{}{}
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
	// MaxAge is after how long a list is loaded again without being asked to; 0 means never: changes are announced.
	MaxAge time.Duration
	// Retry is the pause after a round in which a list could not be loaded.
	Retry time.Duration
}

// Run refreshes until ctx ends, one list at a time.
func (r *FriendRefresh) Run(ctx context.Context) {
	ticker := time.NewTicker(r.Retry)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.Presence.markAged(r.MaxAge)
		case <-r.Presence.wake:
		}
		r.round(ctx)
	}
}

// round remembers who is unknown now, and loads every list that is stale. What fails is tried again at the next tick.
func (r *FriendRefresh) round(ctx context.Context) {
	for _, user := range r.Presence.takeUnknown() {
		if err := r.Users.Remember(ctx, user); err != nil {
			r.Presence.stillUnknown(user)
		}
	}
	for user, epoch := range r.Presence.takeStale() {
		friends, hiding, err := watchList(ctx, r.Lists, r.Hide, user)
		if ctx.Err() != nil {
			return
		}
		r.Presence.refreshed(user, epoch, friends, hiding, err)
	}
}

// takeUnknown empties the set of users to be remembered and returns those of them who are here still.
func (p *SetPresence) takeUnknown() []domain.UserID {
	p.mu.Lock()
	defer p.mu.Unlock()
	var here []domain.UserID
	for user := range p.unknown {
		if m := p.members[user]; m != nil && m.cameSinceErased() {
			here = append(here, user)
		}
	}
	clear(p.unknown)
	return here
}

func (p *SetPresence) stillUnknown(user domain.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unknown[user] = struct{}{}
}

// takeStale empties the set of stale lists and returns it with the epochs that the lists to be loaded belong to.
func (p *SetPresence) takeStale() map[domain.UserID]listEpoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := make(map[domain.UserID]listEpoch, len(p.stale))
	for user := range p.stale {
		if m := p.members[user]; m != nil {
			taken[user] = m.epoch
		}
	}
	clear(p.stale)
	return taken
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
		p.stale[user] = struct{}{} // without waking: at the next tick
	case m.epoch.friends != epoch.friends:
		p.markStale(user)
	default:
		p.setFriends(m, epoch, slices.Clone(friends), hiding)
	}
}

// markAged marks the lists older than maxAge.
func (p *SetPresence) markAged(maxAge time.Duration) {
	if maxAge == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for user, m := range p.members {
		if len(m.memberships) > 0 && now.Sub(m.loadedAt) > maxAge {
			p.stale[user] = struct{}{}
		}
	}
}
