package rest

import (
	"sync"

	"chatting/domain"
)

// askers count the requests of each user that are being carried out.
type askers struct {
	limit int // for each user; 0 for none

	mu       sync.Mutex
	underWay map[domain.UserID]int
}

func newAskers(limit int) *askers {
	return &askers{limit: limit, underWay: make(map[domain.UserID]int)}
}

var errTooManyAtOnce = domain.NewError(domain.CodeRateLimited, "Too many requests at once.")

// enter counts one more request of a user, until leave is called. CodeRateLimited where the user has too many.
func (a *askers) enter(user domain.UserID) (leave func(), err error) {
	if a.limit == 0 {
		return func() {}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.underWay[user] >= a.limit {
		return nil, errTooManyAtOnce
	}
	a.underWay[user]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.underWay[user]--; a.underWay[user] == 0 {
			delete(a.underWay, user)
		}
	}, nil
}
