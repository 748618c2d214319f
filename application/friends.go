package application

import (
	"context"

	"chatting/domain"
)

// FriendLists tells whom a user watches.
type FriendLists interface {
	// Friends returns the user's friends in the order of the list. CodeUnavailable where nobody can tell now.
	Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error)
}

// FriendStore keeps the friends lists where no user-management service does.
type FriendStore interface {
	FriendLists
	// AddFriend puts friend on user's list and tells whether it was not there before. CodeLimit when the list would grow
	// past limit.
	AddFriend(ctx context.Context, user, friend domain.UserID, limit int) (added bool, err error)
	// RemoveFriend takes friend off the list and tells whether it was there.
	RemoveFriend(ctx context.Context, user, friend domain.UserID) (removed bool, err error)
}

// MaxFriends bounds a list of friends: each of them is looked at when the user logs in.
const MaxFriends = 5000

// Friends keeps whom a user watches: one direction only, the other is not told.
type Friends struct {
	Store    FriendStore
	Sessions SessionLog
}

// Add puts friend on user's list, once. Nodes that serve user take it over from the log. Errors: CodeSelf, CodeLimit,
// CodeUnavailable, CodeUnconfirmed (the list is changed, but other nodes may not know before the user's next login).
func (f *Friends) Add(ctx context.Context, user, friend domain.UserID) error {
	if user == friend {
		return domain.NewError(domain.CodeSelf, "A user cannot be its own friend.")
	}
	if _, err := f.Store.AddFriend(ctx, user, friend, MaxFriends); err != nil {
		return err
	}
	return f.announce(ctx, user)
}

// Remove takes friend off user's list. Errors: CodeNotWatched and those of Add.
func (f *Friends) Remove(ctx context.Context, user, friend domain.UserID) error {
	removed, err := f.Store.RemoveFriend(ctx, user, friend)
	if err != nil {
		return err
	}
	// Also when it was removed before: that may have been by a request whose announcement failed.
	if err := f.announce(ctx, user); err != nil {
		return err
	}
	if !removed {
		return domain.NewError(domain.CodeNotWatched, "The user is not a friend.")
	}
	return nil
}

// List returns user's friends in ascending order.
func (f *Friends) List(ctx context.Context, user domain.UserID) ([]domain.UserID, error) {
	return f.Store.Friends(ctx, user)
}

// announce tells the nodes that serve user, through the log.
func (f *Friends) announce(ctx context.Context, user domain.UserID) error {
	return appendSessionAndWait(ctx, f.Sessions, domain.SessionRecord{Kind: domain.FriendsChanged, User: user})
}

// appendSessionAndWait appends and waits for the outcome, or for the end of ctx, which leaves the outcome unknown.
func appendSessionAndWait(ctx context.Context, log SessionLog, record domain.SessionRecord) error {
	return await(ctx, "The append could not be confirmed.", func(done func(error)) { log.Append(record, done) })
}
