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
type ExpireInvites struct {
	Invites *Register
	Log     port.ConversationLog
	Now     port.Clock
	// Salt makes nodes wait for different times for what others should have done.
	Salt int

	written map[domain.EventID]time.Time // when rooms' expiries were written lately

	clock     domain.TrustedClock
	trustedAt time.Time // when clock was last trusted, by a clock that does not leap
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
	now := e.time()
	if e.written == nil {
		e.written = make(map[domain.EventID]time.Time)
	}
	for room, at := range e.written {
		if now.Sub(at) > expireRetry {
			delete(e.written, room)
		}
	}
	for _, invite := range e.Invites.due(now) {
		if _, lately := e.written[invite.Room]; lately || !invite.own && now.Sub(invite.Expires) < e.patience(invite.Room) {
			continue
		}
		e.written[invite.Room] = now
		between := domain.Between(invite.From, invite.To)
		e.Log.Append(domain.Event{
			ID: domain.ExpiredInviteID(between, invite.Room), Time: e.Now.Stamp(),
			Body: domain.GameInvite{From: invite.From, To: invite.To, Status: domain.InviteExpired, Room: domain.RoomID(invite.Room.String())},
		}, func(error) {}) // what counts is that it comes back; else it is written again
	}
}

// time returns the node's time. If its clock leaps, it goes on from where it was: an invite that is ended too early stays
// ended.
func (e *ExpireInvites) time() time.Time {
	now := e.Now()
	if e.clock = e.clock.Next(now); e.clock.Refused.IsZero() {
		e.trustedAt = time.Now()
		return now
	}
	return e.clock.At.Add(time.Since(e.trustedAt))
}

// patience is for how long another node's invite is left to it.
func (e *ExpireInvites) patience(room domain.EventID) time.Duration {
	step := (int(room[0]) + e.Salt) & 0xff
	return expireOthers + time.Duration(step)*expireSpread/256
}
