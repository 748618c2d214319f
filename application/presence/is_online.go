package presence

import (
	"context"

	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
)

// Reachable is the users who can be sent to: those who have a connection anywhere. A user who has just left may still be shown as
// online, and is not among them.
type Reachable struct{ Presence *SetPresence }

// Online implements port.OnlineUsers.
func (r Reachable) Online(user domain.UserID) bool {
	r.Presence.mu.RLock()
	defer r.Presence.mu.RUnlock()
	return r.Presence.sessions.of(user).Reachable(user)
}

// IsOnline answers whether a user is shown as online.
type IsOnline struct {
	Users    port.KnownUsers
	Presence port.OnlineUsers
	// Hide tells who hides from whom; nil if nobody does.
	Hide *blocks.HidePresence
}

// Execute answers asker from the node's memory. A user who hides from asker is offline. Errors: CodeUnknownUser for a user never
// seen, CodeUnavailable if the database does not answer.
func (q *IsOnline) Execute(ctx context.Context, asker, user domain.UserID) (bool, error) {
	if q.Presence.Online(user) {
		if hidden, err := q.Hide.HidesFrom(ctx, asker, user); !hidden {
			return err == nil, err
		}
	}
	known, err := q.Users.Known(ctx, user)
	if err != nil {
		return false, err
	}
	if !known {
		return false, port.ErrUnknownUser
	}
	return false, nil
}
