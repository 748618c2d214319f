package application

import "chatting/domain"

// reloadQueue holds the users whose lists of friends have to be loaded again, each once. Those whose list changed come
// first, then those whose list grew old, and last those whose list could not be loaded: whoever cannot be answered holds up
// nobody else. It is not safe for concurrent use.
type reloadQueue struct {
	queued  map[domain.UserID]reloadTurn
	running map[domain.UserID]reloadTurn // those being loaded, and when again: notAgain or a turn
	turns   [3][]domain.UserID
}

// reloadTurn is a place in the queue; the lower comes first.
type reloadTurn int

const (
	reloadChanged reloadTurn = iota
	reloadAged
	reloadFailed
	notAgain
)

func newReloadQueue() *reloadQueue {
	return &reloadQueue{queued: make(map[domain.UserID]reloadTurn), running: make(map[domain.UserID]reloadTurn)}
}

// add queues a user, or moves it forward. One whose list is being loaded is queued once that is done: so one user has one
// load under way.
func (q *reloadQueue) add(user domain.UserID, turn reloadTurn) {
	if again, isRunning := q.running[user]; isRunning {
		q.running[user] = min(again, turn)
		return
	}
	if at, isQueued := q.queued[user]; isQueued && at <= turn {
		return
	}
	q.queued[user] = turn
	q.turns[turn] = append(q.turns[turn], user)
}

// has tells whether the user is queued or its list is being loaded.
func (q *reloadQueue) has(user domain.UserID) bool {
	_, isQueued := q.queued[user]
	_, isRunning := q.running[user]
	return isQueued || isRunning
}

// take returns the next user, whose load ends with done; false if there is none.
func (q *reloadQueue) take() (domain.UserID, bool) {
	for turn := range q.turns {
		for len(q.turns[turn]) > 0 {
			user := q.turns[turn][0]
			q.turns[turn] = q.turns[turn][1:]
			if at, isQueued := q.queued[user]; !isQueued || at != reloadTurn(turn) {
				continue // it was moved forward
			}
			delete(q.queued, user)
			q.running[user] = notAgain
			return user, true
		}
		q.turns[turn] = nil
	}
	return 0, false
}

// done ends the load of a user, and queues the user again if it was added meanwhile.
func (q *reloadQueue) done(user domain.UserID) {
	again := q.running[user]
	delete(q.running, user)
	if again != notAgain {
		q.add(user, again)
	}
}
