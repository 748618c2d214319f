package presence

import (
	"sync"
	"time"

	"chatting/domain"
)

// reloads holds the users whose lists of friends have to be loaded again, each once. Those whose list changed come first, then
// those whose list grew old, and last those whose list could not be loaded: whoever cannot be answered holds up nobody else.
//
// Nothing is called under its lock, so it may be called under any other.
type reloads struct {
	wake chan struct{} // tells that a list has changed

	mu      sync.Mutex
	queued  map[domain.UserID]reloadTurn
	running map[domain.UserID]reloadTurn // those being loaded, and when again: notAgain or a turn
	turns   [3][]domain.UserID
	failed  map[domain.UserID]time.Time // when the last load failed
	unknown map[domain.UserID]struct{}  // who has to be remembered before
}

// reloadTurn is a place in the queue; the lower comes first.
type reloadTurn int

const (
	reloadChanged reloadTurn = iota
	reloadAged
	reloadFailed
	notAgain
)

func newReloads() *reloads {
	return &reloads{
		wake: make(chan struct{}, 1), queued: make(map[domain.UserID]reloadTurn), running: make(map[domain.UserID]reloadTurn),
		failed: make(map[domain.UserID]time.Time), unknown: make(map[domain.UserID]struct{}),
	}
}

// add queues a user, or moves it forward. One whose list is being loaded is queued once that is done: so one user has one
// load under way.
func (r *reloads) add(user domain.UserID, turn reloadTurn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(user, turn)
}

func (r *reloads) addLocked(user domain.UserID, turn reloadTurn) {
	if again, isRunning := r.running[user]; isRunning {
		r.running[user] = min(again, turn)
		return
	}
	if at, isQueued := r.queued[user]; isQueued && at <= turn {
		return
	}
	r.queued[user] = turn
	r.turns[turn] = append(r.turns[turn], user)
}

// changed queues a user whose list is out of date, and wakes whoever loads.
func (r *reloads) changed(user domain.UserID) {
	r.add(user, reloadChanged)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// aged queues a user whose list grew old, unless it is to be loaded anyway.
func (r *reloads) aged(user domain.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, hasFailed := r.failed[user]; !hasFailed && !r.hasLocked(user) {
		r.addLocked(user, reloadAged)
	}
}

// hasLocked tells whether the user is queued or its list is being loaded.
func (r *reloads) hasLocked(user domain.UserID) bool {
	_, isQueued := r.queued[user]
	_, isRunning := r.running[user]
	return isQueued || isRunning
}

// take returns the next user, whose load ends with done; false if there is none.
func (r *reloads) take() (domain.UserID, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for turn := range r.turns {
		for len(r.turns[turn]) > 0 {
			user := r.turns[turn][0]
			r.turns[turn] = r.turns[turn][1:]
			if at, isQueued := r.queued[user]; !isQueued || at != reloadTurn(turn) {
				continue // it was moved forward
			}
			delete(r.queued, user)
			r.running[user] = notAgain
			return user, true
		}
		r.turns[turn] = nil
	}
	return 0, false
}

// done ends the load of a user, and queues the user again if it was added meanwhile.
func (r *reloads) done(user domain.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := r.running[user]
	delete(r.running, user)
	if again != notAgain {
		r.addLocked(user, again)
	}
}

// fail has a list loaded again after a while.
func (r *reloads) fail(user domain.UserID, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed[user] = at
}

// retry queues the users whose lists could not be loaded at before, or earlier.
func (r *reloads) retry(before time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for user, at := range r.failed {
		if !at.After(before) {
			delete(r.failed, user)
			r.addLocked(user, reloadFailed)
		}
	}
}

// loaded notes that a list was loaded. A user who is still to be remembered is tried again.
func (r *reloads) loaded(user domain.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, isUnknown := r.unknown[user]; !isUnknown {
		delete(r.failed, user)
	}
}

// forget drops the failure of a user who is gone.
func (r *reloads) forget(user domain.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failed, user)
}

// forgotten notes that a user is to be remembered before its list is loaded.
func (r *reloads) forgotten(user domain.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown[user] = struct{}{}
}

// takeUnknown tells whether a user was to be remembered; from now on it is not.
func (r *reloads) takeUnknown(user domain.UserID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, isUnknown := r.unknown[user]
	delete(r.unknown, user)
	return isUnknown
}
