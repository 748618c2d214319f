package application

import (
	"context"
	"time"

	"chatting/domain"
)

// NewUsers gives out ids of users.
type NewUsers interface {
	// New makes a user known whose id nobody has, and returns the id: a small number. Calls at the same time return
	// different ids. CodeUnavailable if the database is away, CodeLimit if no id is left.
	New(ctx context.Context) (domain.UserID, error)
}

// MakeTrialUser makes users for people who try the server. Whoever may call it can become a user, so it is for trial servers
// only.
type MakeTrialUser struct {
	Users NewUsers
	// NewToken returns a token of a user that the server accepts for so long.
	NewToken func(user domain.UserID, life time.Duration) (string, error)
}

// MaxTrialTokenLife is longer than anybody tries a server without closing the page.
const MaxTrialTokenLife = 30 * 24 * time.Hour

// Execute returns a new user and a token of it, which is good for life. Errors: those of NewUsers.New and of NewToken.
func (m *MakeTrialUser) Execute(ctx context.Context, life time.Duration) (user domain.UserID, token string, err error) {
	if user, err = m.Users.New(ctx); err != nil {
		return 0, "", err
	}
	if token, err = m.NewToken(user, life); err != nil {
		return 0, "", err
	}
	return user, token, nil
}
