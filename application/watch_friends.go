package application

import (
	"context"
	"slices"
	"time"

	"chatting/domain"
)

// setFriends replaces whom m watches. Without a connection here it watches nobody.
func (p *SetPresence) setFriends(m *member, friends []domain.UserID) {
	p.unwatch(m)
	if len(m.memberships) == 0 {
		return
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
}

// unwatch takes m out of the index.
func (p *SetPresence) unwatch(m *member) {
	for _, friend := range m.friends {
		delete(p.watchers[friend], m)
		if len(p.watchers[friend]) == 0 {
			delete(p.watchers, friend)
		}
	}
	m.friends = nil
	m.loadedAt = time.Time{}
}

// tell shows transitions to the connections of those who watch.
func (p *SetPresence) tell(transitions []domain.Transition) {
	for _, transition := range transitions {
		for watcher := range p.watchers[transition.User] {
			for _, membership := range watcher.memberships {
				if membership.live {
					membership.conn.StatusChanged(watcher.user, transition)
				}
			}
		}
	}
}

// friendsChanged notes that a user's list, if it is in use here, is out of date.
func (p *SetPresence) friendsChanged(user domain.UserID) {
	if m := p.members[user]; m != nil {
		m.friendsEpoch++
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
		friends, err := r.Lists.Friends(ctx, user)
		if ctx.Err() != nil {
			return
		}
		r.Presence.refreshed(user, epoch, friends, err)
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
func (p *SetPresence) takeStale() map[domain.UserID]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := make(map[domain.UserID]int64, len(p.stale))
	for user := range p.stale {
		if m := p.members[user]; m != nil {
			taken[user] = m.friendsEpoch
		}
	}
	clear(p.stale)
	return taken
}

// refreshed takes over a list that was loaded again. Who turns out to be online, or no longer to be watched, is not told:
// only changes of presence are.
func (p *SetPresence) refreshed(user domain.UserID, epoch int64, friends []domain.UserID, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.members[user]
	switch {
	case m == nil:
	case err != nil:
		p.stale[user] = struct{}{} // without waking: at the next tick
	case m.friendsEpoch != epoch:
		p.markStale(user)
	default:
		p.setFriends(m, slices.Clone(friends))
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
