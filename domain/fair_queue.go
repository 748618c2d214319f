package domain

import "container/list"

// fairQueue keeps values of users in the order in which they came, at most perUser of each user and at most total of all.
// Above a bound the oldest value is dropped: that of the user, or that of all. So a value is dropped because of newer
// values that are kept, never because of older ones. A queue that began to fill later drops the same values.
type fairQueue[T any] struct {
	perUser, total int
	order          list.List // of queued[T], oldest first
	ofUser         map[UserID][]*list.Element
}

type queued[T any] struct {
	user  UserID
	value T
}

func newFairQueue[T any](perUser, total int) *fairQueue[T] {
	return &fairQueue[T]{perUser: perUser, total: total, ofUser: make(map[UserID][]*list.Element)}
}

// add appends a value of user. drop is called with each value that goes for it.
func (q *fairQueue[T]) add(user UserID, value T, drop func(T)) {
	q.ofUser[user] = append(q.ofUser[user], q.order.PushBack(queued[T]{user, value}))
	if own := q.ofUser[user]; len(own) > q.perUser {
		drop(q.remove(own[0]))
	}
	if q.order.Len() > q.total {
		drop(q.remove(q.order.Front()))
	}
}

// oldest returns the value that came first; false if there is none.
func (q *fairQueue[T]) oldest() (value T, ok bool) {
	front := q.order.Front()
	if front == nil {
		return value, false
	}
	return front.Value.(queued[T]).value, true
}

// removeOldest takes the value that came first out. There must be one.
func (q *fairQueue[T]) removeOldest() { q.remove(q.order.Front()) }

// remove takes out an element that is the oldest of its user.
func (q *fairQueue[T]) remove(element *list.Element) T {
	q.order.Remove(element)
	entry := element.Value.(queued[T])
	own := q.ofUser[entry.user]
	own[0] = nil
	if own = own[1:]; len(own) == 0 {
		delete(q.ofUser, entry.user)
	} else {
		q.ofUser[entry.user] = own
	}
	return entry.value
}
