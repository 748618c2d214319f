package application

import (
	"context"

	"chatting/domain"
)

// IsOnline answers whether a user has a connection anywhere.
type IsOnline struct {
	Users    KnownUsers
	Presence OnlineUsers
	// Hide tells who hides from whom; nil where nobody does.
	Hide *HidePresence
}

// Execute answers asker from the node's memory; CodeUnknownUser for a user never seen. Of a user who hides from asker it says
// what it says of one who is offline. CodeUnavailable if the database does not tell.
func (q *IsOnline) Execute(ctx context.Context, asker, user domain.UserID) (bool, error) {
	if q.Presence.Online(user) {
		if hidden, err := q.Hide.from(ctx, asker, user); !hidden {
			return err == nil, err
		}
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
