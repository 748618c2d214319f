package port

import (
	"context"
	"time"

	"chatting/domain"
)

// KnownUsers remembers the users who were ever seen: they have logged in, or used the REST API with a valid token.
type KnownUsers interface {
	// Remember makes user known; again is no error.
	Remember(ctx context.Context, user domain.UserID) error
	Known(ctx context.Context, user domain.UserID) (bool, error)
}

// OnlineUsers answers from the node's memory who is online.
type OnlineUsers interface {
	Online(user domain.UserID) bool
}

// AskTimeout bounds the questions about a target who is offline: the sender's other messages wait meanwhile, in their order.
const AskTimeout = 2 * time.Second

// ErrUnknownUser is what a use case returns for a user who was never seen.
var ErrUnknownUser = domain.NewError(domain.CodeUnknownUser, "The user was never seen.")

// ErrNoUserOrOffline is the contract's sentence for a target that cannot be reached.
var ErrNoUserOrOffline = domain.NewError(domain.CodeNoUserOrOffline, "No User or Offline")
