package sqlstore

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

// Friends keeps the lists of friends.
type Friends struct {
	db  *database.DB
	now func() time.Time
}

// lockFriendList makes the list's row if there is none, and locks it: two that add at once cannot both take the last place.
// It comes first in every change of a list.
const (
	lockFriendList = `
		INSERT INTO friend_lists (user_id, length) VALUES ($1, 0)
		ON CONFLICT (user_id) DO UPDATE SET length = friend_lists.length
		RETURNING length`
	setFriendListLength = `UPDATE friend_lists SET length = $2 WHERE user_id = $1`
	insertFriend        = `
		INSERT INTO friends (user_id, friend_id, added_at) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, friend_id) DO NOTHING`
	deleteFriend   = `DELETE FROM friends WHERE user_id = $1 AND friend_id = $2`
	selectIsFriend = `SELECT EXISTS (SELECT 1 FROM friends WHERE user_id = $1 AND friend_id = $2)`
	selectFriends  = `SELECT friend_id FROM friends WHERE user_id = $1 ORDER BY friend_id`
)

// Friends implements presence.FriendLists: ascending ids, empty but not nil if there are none.
func (f *Friends) Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error) {
	friends, err := database.Select[domain.UserID](ctx, f.db, "load friends", selectFriends, user)
	if friends == nil && err == nil {
		friends = []domain.UserID{}
	}
	return friends, err
}

// AddFriend implements presence.FriendStore.
func (f *Friends) AddFriend(ctx context.Context, user, friend domain.UserID, limit int) (added bool, err error) {
	return f.change(ctx, "add friend", user, friend, 1, limit)
}

// RemoveFriend implements presence.FriendStore.
func (f *Friends) RemoveFriend(ctx context.Context, user, friend domain.UserID) (removed bool, err error) {
	return f.change(ctx, "remove friend", user, friend, -1, 0)
}

// change adds friend to user's list (step is 1), unless that has reached the limit, or removes it (-1). It tells whether that
// changed the list. A list that is as wished is only looked at: nothing is locked, and nothing is written.
func (f *Friends) change(
	ctx context.Context, op string, user, friend domain.UserID, step, limit int,
) (changed bool, err error) {
	is, err := database.Get[bool](ctx, f.db, "look for friend", selectIsFriend, user, friend)
	if err != nil || is == (step > 0) {
		return false, err
	}
	err = f.db.Write(ctx, op, func(ctx context.Context, tx *sqlx.Tx) error {
		changed = false
		length, _, err := database.Find[int](ctx, tx, lockFriendList, user)
		if err != nil {
			return err
		}
		statement, arguments := deleteFriend, []any{user, friend}
		if step > 0 {
			statement, arguments = insertFriend, append(arguments, f.now().UnixMilli())
		}
		rows, err := database.Affected(tx.ExecContext(ctx, statement, arguments...))
		if err != nil || rows == 0 {
			return err
		}
		if step > 0 && length >= limit {
			return domain.NewError(domain.CodeLimit, "The list of friends is full.")
		}
		changed = true
		_, err = tx.ExecContext(ctx, setFriendListLength, user, length+step)
		return err
	})
	return changed && err == nil, err
}
