package presence

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"chatting/application/async"
	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
)

// FriendLists tells whom a user watches.
type FriendLists interface {
	// Friends returns the user's friends in the order of the list. CodeUnavailable if nobody can tell now.
	Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error)
}

// WatchList loads whom user watches and, of these, who hide their presence from user. CodeUnavailable if that cannot be told
// now.
func WatchList(
	ctx context.Context, lists FriendLists, hide *blocks.HidePresence, user domain.UserID,
) (friends, hiding []domain.UserID, err error) {
	friends, err = lists.Friends(ctx, user)
	if err != nil || hide == nil || len(friends) == 0 {
		return friends, nil, err
	}
	hiding, err = hide.Blocks.BlockersAmong(ctx, user, friends)
	return friends, hiding, err
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
	Sessions port.SessionLog

	mu sync.Mutex
	// unannounced holds the users whose lists changed without the log taking it. Run tells it later.
	unannounced map[domain.UserID]struct{}
}

const (
	// announceEvery is how often Run tries what the log did not take.
	announceEvery = 5 * time.Second
	// maxUnannounced bounds the users that are kept for Run. Others wait for the next change of their list, or their next login.
	maxUnannounced = 1 << 16
)

// Add puts friend on user's list, once, and tells the nodes that serve user, through the log, if that changed the list. Errors:
// CodeSelf, CodeLimit, CodeUnavailable, CodeUnconfirmed. After the last one the list is changed, but other nodes learn of it
// only from Run, or at the user's next login if this node ends before.
func (f *Friends) Add(ctx context.Context, user, friend domain.UserID) error {
	if user == friend {
		return domain.NewError(domain.CodeSelf, "A user cannot be its own friend.")
	}
	added, err := f.Store.AddFriend(ctx, user, friend, MaxFriends)
	if err != nil {
		return err
	}
	return f.announce(ctx, user, added)
}

// Remove takes friend off user's list. Errors: CodeNotWatched and those of Add.
func (f *Friends) Remove(ctx context.Context, user, friend domain.UserID) error {
	removed, err := f.Store.RemoveFriend(ctx, user, friend)
	if err != nil {
		return err
	}
	if err := f.announce(ctx, user, removed); err != nil {
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

// announce tells the nodes that serve user, through the log, that its list changed: by this request, or by one before whose
// announcement failed.
func (f *Friends) announce(ctx context.Context, user domain.UserID, changed bool) error {
	f.mu.Lock()
	_, before := f.unannounced[user]
	f.mu.Unlock()
	if !changed && !before {
		return nil
	}
	err := port.AppendSessionAndWait(ctx, f.Sessions, domain.SessionRecord{Kind: domain.FriendsChanged, User: user})
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		delete(f.unannounced, user)
	case len(f.unannounced) < maxUnannounced:
		if f.unannounced == nil {
			f.unannounced = make(map[domain.UserID]struct{})
		}
		f.unannounced[user] = struct{}{}
	}
	return err
}

// Run tells, until ctx ends, what the log did not take at first.
func (f *Friends) Run(ctx context.Context) {
	ticker := time.NewTicker(announceEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		f.mu.Lock()
		users := slices.Collect(maps.Keys(f.unannounced))
		f.mu.Unlock()
		// If one fails, the log is away for the others, too. All are tried again.
		_ = async.AtOnce(async.Background, users, func(user domain.UserID) error { return f.announce(ctx, user, false) })
	}
}
