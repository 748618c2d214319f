package application

import (
	"context"
	"time"

	"chatting/domain"
)

// Identity is whom a token stands for. Expires is zero where the issuer did not say.
type Identity struct {
	User    domain.UserID
	Expires time.Time
}

// Tokens verifies bearer tokens.
type Tokens interface {
	// Verify returns whom the token stands for. CodeUnauthenticated for a bad or expired one; CodeUnavailable where
	// whoever could tell is away.
	Verify(ctx context.Context, token string) (Identity, error)
}

// Authenticate verifies a token and makes its user known.
type Authenticate struct {
	Tokens Tokens
	Users  KnownUsers
}

// Execute returns whom the token stands for. Errors: those of Tokens.Verify, CodeUnavailable where the database is away.
func (a *Authenticate) Execute(ctx context.Context, token string) (Identity, error) {
	identity, err := a.Tokens.Verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	if err := a.Users.Remember(ctx, identity.User); err != nil {
		return Identity{}, err
	}
	return identity, nil
}
