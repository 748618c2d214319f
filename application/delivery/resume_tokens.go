package delivery

import (
	"sync/atomic"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// ResumeTokens seals and opens resume tokens, and knows up to where the tail has applied the log. Clients name a token at login to
// take up where they stopped.
//
// Frames carry the tokens. A token is right if the connection breaks right behind its frame: everything before its offsets was
// handed to the connection, and nothing of the user that stands at or behind them.
type ResumeTokens struct {
	position logPosition
	// born is, of each partition that begins at offset 0, when its first record was written, in milliseconds: an older token is
	// of another topic of the same name. 0 where that is not known.
	born []atomic.Int64
	// key seals tokens, and earlier are those of before. Both are set before anybody logs in.
	key     domain.ResumeKey
	earlier []EarlierTokens
}

// NewResumeTokens returns the tokens of a log with so many partitions. SealWith is to be called.
func NewResumeTokens(partitions int, now port.Clock) *ResumeTokens {
	return &ResumeTokens{
		born: make([]atomic.Int64, partitions), position: logPosition{next: make([]atomic.Int64, partitions), now: now},
	}
}

// EarlierTokens are those of a time that has ended, after which the log may have been put back as it was in that time.
type EarlierTokens struct {
	Key domain.ResumeKey
	// Ends are those of the log when that time had ended: places behind them are others now.
	Ends []int64
}

// SealWith sets the key of tokens, which all nodes of this log have, and those of no other log, and tells which earlier ones are
// good, too, the latest first. It is called once, before anybody logs in.
func (r *ResumeTokens) SealWith(key domain.ResumeKey, earlier ...EarlierTokens) {
	r.key, r.earlier = key, earlier
}

// begins notes when the first record of a partition was written.
func (r *ResumeTokens) begins(partition int, at time.Time) {
	if r != nil && partition < len(r.born) {
		r.born[partition].Store(at.UnixMilli())
	}
}

// reached notes that everything before next was applied in a partition. It does nothing with nil ResumeTokens.
func (r *ResumeTokens) reached(partition int, next int64) {
	if r != nil && partition < len(r.position.next) {
		r.position.next[partition].Store(next)
	}
}

// restart notes that a partition was made anew.
func (r *ResumeTokens) restart(partition int) {
	if r != nil && partition < len(r.position.next) {
		r.position.next[partition].Store(0)
		r.born[partition].Store(r.position.now().UnixMilli())
	}
}

// sealOf returns the seal of user's tokens.
func (r *ResumeTokens) sealOf(user domain.UserID) domain.ResumeSeal {
	return domain.NewResumeSeal(r.key, user)
}

// unseal reads a token of user.
func (r *ResumeTokens) unseal(token string, user domain.UserID) (domain.ResumePoint, bool) {
	if point, ok := r.sealOf(user).Open(token, len(r.born)); ok {
		return point, true
	}
	for _, of := range r.earlier {
		if point, ok := domain.NewResumeSeal(of.Key, user).Open(token, len(r.born)); ok {
			return point, of.has(point)
		}
	}
	return domain.ResumePoint{}, false
}

// has tells whether the log has all that stands before a point.
func (t EarlierTokens) has(point domain.ResumePoint) bool {
	for p, next := range point.Next {
		if p >= len(t.Ends) || next > t.Ends[p] {
			return false
		}
	}
	return true
}

// clockSlack is how far the clocks of two nodes may be apart: one made the token, and another one noted since when its user is known.
const clockSlack = 10 * time.Minute

// Open returns the point of a token that user sent, who is known since then; false if it says nothing of this user and this log.
func (r *ResumeTokens) Open(token string, user domain.UserID, since time.Time) (domain.ResumePoint, bool) {
	point, ok := r.unseal(token, user)
	if !ok || point.Time.Before(since.Add(-clockSlack)) || point.Time.After(r.position.now().Add(clockSlack)) {
		return point, false
	}
	for p, next := range point.Next {
		if born := r.born[p].Load(); next > 0 && born > 0 && point.Time.UnixMilli() < born {
			return point, false
		}
	}
	return point, true
}
