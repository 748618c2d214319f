package sqlstore

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/conversations"
	"chatting/adapters/sqlstore/database"
	"chatting/application"
	"chatting/domain"
)

// Eraser deletes what is kept about a user, in all tables.
type Eraser struct {
	db       *database.DB
	users    *Users
	blocks   *Blocks
	erasures *conversations.Erasures
}

const (
	forgetUser = `DELETE FROM users WHERE id = $1`
	unblockAll = `
		UPDATE blocks SET blocked = FALSE, version = version + 1, changed_at = $2, ` + nextKeyed + `
		WHERE blocker = $1 AND blocked
		RETURNING blocker, target, blocked, version`
	// A user's own list goes first, under the lock of those who change it.
	emptyFriendList  = `UPDATE friend_lists SET length = 0 WHERE user_id = $1`
	deleteFriends    = `DELETE FROM friends WHERE user_id = $1`
	deleteFriendList = `DELETE FROM friend_lists WHERE user_id = $1`
	shortenLists     = `
		UPDATE friend_lists SET length = length - 1 WHERE user_id IN (SELECT user_id FROM friends WHERE friend_id = $1)
		RETURNING user_id`
	lengthenList = `UPDATE friend_lists SET length = length + 1 WHERE user_id = $1`
)

// EraseUser implements application.UserEraser. On other nodes a user that was known stays known for up to knownFor, or until
// Users.LookUpAgain.
func (e *Eraser) EraseUser(
	ctx context.Context, erasure application.Erasure,
) (unblocked []domain.UserID, known bool, err error) {
	if known, err = e.users.stored(ctx, erasure.User); err != nil || !known {
		return nil, false, err
	}
	if err := e.erasures.Erase(ctx, erasure); err != nil {
		return nil, true, err
	}
	unblocked, known, err = e.forget(ctx, erasure)
	e.users.LookUpAgain(erasure.User)
	return unblocked, known, err
}

// forget is the last step: until it is done the user is known, and the erasure can be repeated.
func (e *Eraser) forget(
	ctx context.Context, erasure application.Erasure,
) (unblocked []domain.UserID, known bool, err error) {
	key, err := e.blocks.key(ctx)
	if err != nil {
		return nil, true, err
	}
	err = e.db.Write(ctx, "forget user", func(ctx context.Context, tx *sqlx.Tx) error {
		unblocked = nil
		rows, err := database.Affected(tx.ExecContext(ctx, forgetUser, erasure.User))
		if known = rows > 0; err != nil || !known {
			return err
		}
		if unblocked, err = unblockEverybody(ctx, tx, key, erasure); err != nil {
			return err
		}
		for _, statement := range []string{emptyFriendList, deleteFriends, deleteFriendList} {
			if _, err := tx.ExecContext(ctx, statement, erasure.User); err != nil {
				return err
			}
		}
		if err := e.erasures.Forget(ctx, tx, erasure.User); err != nil {
			return err
		}
		return leaveFriendLists(ctx, tx, erasure.User)
	})
	if err != nil {
		return nil, true, err
	}
	return unblocked, known, nil
}

func unblockEverybody(ctx context.Context, tx *sqlx.Tx, key []byte, erasure application.Erasure) ([]domain.UserID, error) {
	var changes []domain.BlockChanged
	at := erasure.At.UnixMilli()
	if err := tx.SelectContext(ctx, &changes, unblockAll, erasure.User, at); err != nil {
		return nil, err
	}
	var targets []domain.UserID
	for _, change := range changes {
		if err := publish(ctx, tx, key, change, at); err != nil {
			return nil, err
		}
		targets = append(targets, change.Target)
	}
	return targets, nil
}

// leaveFriendLists takes user out of the lists that it is in: of those that it locks, so that no length is wrong.
func leaveFriendLists(ctx context.Context, tx *sqlx.Tx, user domain.UserID) error {
	var lists []int64
	if err := tx.SelectContext(ctx, &lists, shortenLists, user); err != nil {
		return err
	}
	statement, err := tx.PreparexContext(ctx, deleteFriend)
	if err != nil {
		return err
	}
	defer statement.Close()
	for _, list := range lists {
		removed, err := database.Affected(statement.ExecContext(ctx, list, user))
		if err != nil {
			return err
		}
		if removed == 0 {
			// Its owner removed the user between the choice of the lists and the lock.
			if _, err := tx.ExecContext(ctx, lengthenList, list); err != nil {
				return err
			}
		}
	}
	return nil
}
