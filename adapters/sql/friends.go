package sqlstore

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/domain"
)

// lockFriendList makes the list's row where there is none, and locks it: two that add at once cannot both take the last
// place. Whoever changes a list takes this lock first.
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

// Friends implements application.FriendLists: ascending ids, empty but not nil where there are none.
func (s *Store) Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error) {
	friends := []domain.UserID{}
	err := s.read(ctx, "load friends", func(ctx context.Context, db *sqlx.DB) error {
		return db.SelectContext(ctx, &friends, selectFriends, int64(user))
	})
	if err != nil {
		return nil, err
	}
	return friends, nil
}

// isFriend tells whether friend is on user's list. A list that is as wished is only looked at: nothing is locked, and nothing
// is written.
func (s *Store) isFriend(ctx context.Context, user, friend domain.UserID) (is bool, err error) {
	err = s.read(ctx, "look for friend", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &is, selectIsFriend, int64(user), int64(friend))
	})
	return is, err
}

// AddFriend implements application.FriendStore.
func (s *Store) AddFriend(ctx context.Context, user, friend domain.UserID, limit int) (added bool, err error) {
	if is, err := s.isFriend(ctx, user, friend); err != nil || is {
		return false, err
	}
	return s.changeFriends(ctx, "add friend", user, 1, func(ctx context.Context, tx *sqlx.Tx, length int64) (int64, error) {
		inserted, err := rowsAffected(tx.ExecContext(ctx, insertFriend, int64(user), int64(friend), s.now().UnixMilli()))
		if inserted > 0 && length >= int64(limit) {
			return 0, domain.NewError(domain.CodeLimit, "The list of friends is full.")
		}
		return inserted, err
	})
}

// RemoveFriend implements application.FriendStore.
func (s *Store) RemoveFriend(ctx context.Context, user, friend domain.UserID) (removed bool, err error) {
	if is, err := s.isFriend(ctx, user, friend); err != nil || !is {
		return false, err
	}
	return s.changeFriends(ctx, "remove friend", user, -1, func(ctx context.Context, tx *sqlx.Tx, _ int64) (int64, error) {
		return rowsAffected(tx.ExecContext(ctx, deleteFriend, int64(user), int64(friend)))
	})
}

// changeFriends changes user's list under its lock. change gets the list's length and returns how many rows it changed,
// each of which makes the list grow by step. It tells whether there were any.
func (s *Store) changeFriends(ctx context.Context, op string, user domain.UserID, step int64,
	change func(ctx context.Context, tx *sqlx.Tx, length int64) (int64, error),
) (changed bool, err error) {
	err = s.write(ctx, op, func(ctx context.Context, tx *sqlx.Tx) error {
		changed = false
		var length int64
		if err := tx.GetContext(ctx, &length, lockFriendList, int64(user)); err != nil {
			return err
		}
		rows, err := change(ctx, tx, length)
		if err != nil || rows == 0 {
			return err
		}
		changed = true
		_, err = tx.ExecContext(ctx, setFriendListLength, int64(user), length+rows*step)
		return err
	})
	return changed && err == nil, err
}
