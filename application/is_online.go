package application

import (
	"context"

	"chatting/domain"
)

// IsOnline answers whether a user has a connection anywhere.
type IsOnline struct {
	Users    KnownUsers
	Presence OnlineUsers
}

// Execute answers from the node's memory; CodeUnknownUser for a user never seen. An online user is known without asking
// the database.
func (q *IsOnline) Execute(ctx context.Context, user domain.UserID) (bool, error) {
	if q.Presence.Online(user) {
		return true, nil
	}
	known, err := q.Users.Known(ctx, user)
	if err != nil {
		return false, err
	}
	if !known {
		return false, errUnknownUser
	}
	return false, nil
}
