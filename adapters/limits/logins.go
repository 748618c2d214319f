package limits

import (
	"sync/atomic"
	"time"

	"chatting/domain"
)

// Logins bounds the logins of each user.
//
// A user is not one client: the owner of an account and somebody with its stolen token log in under the same id. If the
// rate alone decided, whoever tries most often would keep the other out. So each address may log a user in once in
// ReserveEvery even if the user's rate is used up.
type Logins struct {
	users   *Rate[domain.UserID]
	reserve *Rate[userAt]
	refused atomic.Uint64
}

// userAt is a user at an address.
type userAt struct {
	user    domain.UserID
	address string
}

// ReserveEvery is how often an address may log a user in whose rate is used up.
const ReserveEvery = 10 * time.Second

// NewLogins returns Logins with a rate a user; nil, which bounds nothing, if perSecond is 0.
func NewLogins(perSecond int) *Logins {
	if perSecond == 0 {
		return nil
	}
	return newLogins(perSecond, time.Now)
}

func newLogins(perSecond int, now func() time.Time) *Logins {
	return &Logins{
		users:   New[domain.UserID](float64(perSecond), 2*perSecond, now),
		reserve: New[userAt](1/ReserveEvery.Seconds(), 1, now),
	}
}

// Take counts a login of user from address, "" if that is not known, and returns 0. If it comes too early, it counts nothing
// and returns by how much.
func (l *Logins) Take(user domain.UserID, address string) time.Duration {
	if l == nil {
		return 0
	}
	wait := l.users.Take(user, 1)
	if wait == 0 {
		return 0
	}
	wait = min(wait, l.reserve.Take(userAt{user, address}, 1))
	if wait > 0 {
		l.refused.Add(1)
	}
	return wait
}

// Refused returns how often Take told somebody to wait.
func (l *Logins) Refused() uint64 {
	if l == nil {
		return 0
	}
	return l.refused.Load()
}
