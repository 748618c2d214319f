package invites

import (
	"context"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// ExpireInvites ends invites that nobody answered in time, by an event in the log. Every node may run one. The node that opened
// an invite ends it when it is due, the others a while later, in case that node is gone. All use the same id, so only the
// first record counts.
//
// An invite is due when its life has passed since this node saw it, by a clock that does not leap: one that is ended too early stays
// ended, and one that is not ended stays pending. The time of day only tells how old an invite is that the node finds at its start.
type ExpireInvites struct {
	Invites *Register
	Log     port.ConversationLog
	Now     port.Clock
	// Salt makes nodes wait for different times for what others should have done.
	Salt int

	seen    map[domain.EventID]sighting  // the pending invites, by the events that opened them
	written map[domain.EventID]time.Time // when rooms' expiries were written lately
}

// sighting is when an invite was seen first, by a clock that does not leap, and what of its life was left then.
type sighting struct {
	at   time.Time
	left time.Duration
}

const (
	expireEvery = 200 * time.Millisecond
	// What others opened is left to them for expireOthers and up to expireSpread more.
	expireOthers = 2 * time.Second
	expireSpread = 3 * time.Second
	// expireRetry is after how long an expiry that has not come back from the log is written again.
	expireRetry = 5 * time.Second
)

// Run expires until ctx ends.
func (e *ExpireInvites) Run(ctx context.Context) {
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	for {
		e.Round()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Round writes what is due now. It must not be called beside Run.
func (e *ExpireInvites) Round() {
	now := time.Now()
	if e.written == nil {
		e.written = make(map[domain.EventID]time.Time)
	}
	for room, at := range e.written {
		if now.Sub(at) > expireRetry {
			delete(e.written, room)
		}
	}
	for _, invite := range e.due(now) {
		e.written[invite.Room] = now
		between := domain.Between(invite.From, invite.To)
		e.Log.Append(domain.Event{
			ID: domain.ExpiredInviteID(between, invite.Room), Time: e.Now.Stamp(),
			Body: domain.GameInvite{From: invite.From, To: invite.To, Status: domain.InviteExpired, Room: domain.RoomID(invite.Room.String())},
		}, func(error) {}) // what counts is that it comes back; else it is written again
	}
	e.Invites.forgetOwn(e.Now())
}

// due returns the invites whose expiry this node is to write now.
func (e *ExpireInvites) due(now time.Time) (due []domain.Invite) {
	seen := make(map[domain.EventID]sighting, len(e.seen))
	e.Invites.eachPendingInvite(func(invite domain.Invite, own bool) {
		first, known := e.seen[invite.Opened]
		if !known {
			first = sighting{now, e.left(invite)}
		}
		seen[invite.Opened] = first
		late := now.Sub(first.at) - first.left
		if _, lately := e.written[invite.Room]; !lately && late >= 0 && (own || late >= e.patience(invite.Room)) {
			due = append(due, invite)
		}
	})
	e.seen = seen
	return due
}

// left returns what is left of the life of an invite that was just seen. One that should have ended long ago, or is to be opened yet,
// is from a node whose clock is wrong, or this one's is: then all of its life is left, and if it is late already, nothing is lost.
func (e *ExpireInvites) left(invite domain.Invite) time.Duration {
	life, age := invite.Expires.Sub(invite.At), e.Now().Sub(invite.At)
	if age < 0 || age > life+domain.InviteGrace {
		return life
	}
	return life - age
}

// patience is for how long another node's invite is left to it.
func (e *ExpireInvites) patience(room domain.EventID) time.Duration {
	step := (int(room[0]) + e.Salt) & 0xff
	return expireOthers + time.Duration(step)*expireSpread/256
}
