package presence

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// watchers is who of this node's users watches whom. It is guarded by the lock of its SetPresence.
type watchers struct {
	sessions *sessions
	now      port.Clock
	reloads  *reloads
	of       map[domain.UserID]map[*member]struct{} // by the user who is watched
}

func newWatchers(sessions *sessions, now port.Clock, reloads *reloads) watchers {
	return watchers{sessions: sessions, now: now, reloads: reloads, of: make(map[domain.UserID]map[*member]struct{})}
}

// A list is loaded again after reloadFrom to reloadTo percent of FriendRefresh.MaxAge; the rest is for those that have to wait.
const (
	reloadFrom = 70
	reloadTo   = 80
)

// set replaces whom m watches, and which of these hide from it, by what was loaded in an epoch. Without a connection
// here it watches nobody. Who was watched before, and hides from now on or no more, is told to the user's connections; and who
// is new and online, if tellAdded, or if the connections have logged in without a list.
func (w *watchers) set(m *member, loaded listEpoch, friends, hiding []domain.UserID, tellAdded bool) {
	hid := m.hiding
	isNew := func(friend domain.UserID) bool { return !w.watches(m, friend) }
	var added []domain.UserID
	if tellAdded || m.loadedAt.IsZero() {
		added = w.onlineAmong(friends, isNew)
	}
	hidOrHide := slices.DeleteFunc(slices.Concat(slices.Sorted(maps.Keys(hid)), hiding), isNew)
	w.remove(m)
	if len(m.memberships) == 0 {
		return
	}
	m.hiding = make(map[domain.UserID]struct{}, len(hiding))
	for _, friend := range hiding {
		m.hiding[friend] = struct{}{}
	}
	if loaded.blocks != m.epoch.blocks {
		maps.Copy(m.hiding, hid)
		w.reloads.changed(m.user)
	}
	m.friends = friends
	m.loadedAt = w.now()
	m.reloadAfter = (reloadFrom + rand.Float64()*(reloadTo-reloadFrom)) / 100 //nolint:gosec // a time that is guessed helps nobody
	w.reloads.loaded(m.user)
	for _, friend := range friends {
		if w.of[friend] == nil {
			w.of[friend] = make(map[*member]struct{})
		}
		w.of[friend][m] = struct{}{}
	}
	for _, friend := range hidOrHide {
		if _, before := hid[friend]; before != m.hides(friend) && w.watches(m, friend) {
			w.tellHiding(m, friend)
		}
	}
	for _, friend := range added {
		if !m.hides(friend) {
			m.show(domain.Transition{User: friend, Online: true, At: w.now.Stamp()})
		}
	}
}

// onlineAmong returns the users for whom holds is true and who are online.
func (w *watchers) onlineAmong(users []domain.UserID, holds func(domain.UserID) bool) (online []domain.UserID) {
	for _, user := range users {
		if w.sessions.online(user) && holds(user) {
			online = append(online, user)
		}
	}
	return online
}

// watches tells whether a user is on m's list.
func (w *watchers) watches(m *member, user domain.UserID) bool {
	_, watches := w.of[user][m]
	return watches
}

// remove takes m out of the index.
func (w *watchers) remove(m *member) {
	for _, friend := range m.friends {
		delete(w.of[friend], m)
		if len(w.of[friend]) == 0 {
			delete(w.of, friend)
		}
	}
	m.friends, m.hiding = nil, nil
	m.loadedAt = time.Time{}
}

// tell shows transitions to the connections of those who watch, unless they are hidden from them.
func (w *watchers) tell(transitions []domain.Transition) {
	for _, transition := range transitions {
		for watcher := range w.of[transition.User] {
			if !watcher.hides(transition.User) {
				watcher.show(transition)
			}
		}
	}
}

// tellHiding tells m's connections that a friend has begun to hide from the user, or ceased to: what they see is a friend
// who goes offline, or comes online. Nothing is to be seen of a friend who is offline.
func (w *watchers) tellHiding(m *member, friend domain.UserID) {
	if w.sessions.online(friend) {
		m.show(domain.Transition{User: friend, Online: !m.hides(friend), At: w.now.Stamp()})
	}
}

// friendsChanged notes that a user's list, if it is in use here, is out of date.
func (w *watchers) friendsChanged(user domain.UserID) {
	if m := w.sessions.members[user]; m != nil {
		m.epoch.friends++
		w.reloads.changed(user)
	}
}

// forgotten has a user who has come since it was erased remembered, and its friends loaded, as for a login.
func (w *watchers) forgotten(user domain.UserID) {
	if m := w.sessions.members[user]; m != nil && m.cameSinceErased() {
		w.reloads.forgotten(user)
		w.friendsChanged(user)
	}
}

// blockChanged handles the word that a user blocks another one, or no longer does. A user who is blocked sees nothing of the
// other one from here on. Whether the block is real, and what becomes of its end, the database says: the list is loaded again.
// If it is loaded, and the other user is not on it, there is nothing to hide.
func (w *watchers) blockChanged(record domain.SessionRecord) {
	blocker, m := record.User, w.sessions.members[record.Target]
	if m == nil {
		return
	}
	m.epoch.blocks++
	watches := w.watches(m, blocker)
	if !watches && !m.loadedAt.IsZero() {
		return
	}
	w.reloads.changed(m.user)
	if record.Kind == domain.UserUnblocked || m.hides(blocker) || len(m.hiding) >= MaxFriends {
		return
	}
	if m.hiding == nil {
		m.hiding = make(map[domain.UserID]struct{})
	}
	m.hiding[blocker] = struct{}{}
	if watches {
		w.tellHiding(m, blocker)
	}
}
