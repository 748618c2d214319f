package sqlstore

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/domain"
)

var _ application.UserEraser = (*Store)(nil)

// Where an erasure is noted, the projections are locked first: one under way ends before, with rows that are then deleted; a
// later one finds the note.
const (
	selectGenerations = `SELECT log_partition, generation FROM projections`
	noteErasure       = `
		INSERT INTO erasures (user_id, log_partition, generation, until_offset) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id, log_partition) DO UPDATE
			SET generation = excluded.generation, until_offset = excluded.until_offset
			WHERE (erasures.generation, erasures.until_offset) < (excluded.generation, excluded.until_offset)`
	eraseOfLow = `
		DELETE FROM messages WHERE (low, high, event_id) IN (
			SELECT low, high, event_id FROM messages
			JOIN erasures ON erasures.user_id = $1 AND erasures.log_partition = messages.log_partition
			WHERE low = $1 AND (messages.generation, log_offset) < (erasures.generation, until_offset) LIMIT $2)`
	eraseOfHigh = `
		DELETE FROM messages WHERE (low, high, event_id) IN (
			SELECT low, high, event_id FROM messages
			JOIN erasures ON erasures.user_id = $1 AND erasures.log_partition = messages.log_partition
			WHERE high = $1 AND (messages.generation, log_offset) < (erasures.generation, until_offset) LIMIT $2)`

	forgetUser = `DELETE FROM users WHERE id = $1`
	unblockAll = `
		UPDATE blocks SET blocked = FALSE, version = version + 1, changed_at = $2, ` + nextKeyed + `
		WHERE blocker = $1 AND blocked
		RETURNING target, version`
	// A user's own list goes first, under the lock that whoever changes it takes.
	emptyFriendList  = `UPDATE friend_lists SET length = 0 WHERE user_id = $1`
	deleteFriends    = `DELETE FROM friends WHERE user_id = $1`
	deleteFriendList = `DELETE FROM friend_lists WHERE user_id = $1`
	shortenLists     = `
		UPDATE friend_lists SET length = length - 1 WHERE user_id IN (SELECT user_id FROM friends WHERE friend_id = $1)
		RETURNING user_id`
	lengthenList       = `UPDATE friend_lists SET length = length + 1 WHERE user_id = $1`
	unfriend           = `DELETE FROM friends WHERE user_id = $1 AND friend_id = $2`
	deleteMarks        = `DELETE FROM conversation_marks WHERE owner = $1`
	deleteMarksOfOther = `DELETE FROM conversation_marks WHERE partner = $1`
	deleteCursor       = `DELETE FROM delivered_cursors WHERE user_id = $1`
)

// errMadeAnew is returned where an end of the log may be of either topic.
var errMadeAnew = domain.NewError(domain.CodeUnavailable, "The log was made anew meanwhile.")

// eraseAtOnce bounds the messages that one transaction deletes.
const eraseAtOnce = 1000

// EraseUser implements application.UserEraser. On other nodes a user that was known stays known for up to knownFor, or until
// LookUpAgain.
func (s *Store) EraseUser(
	ctx context.Context, erasure application.Erasure,
) (unblocked []domain.UserID, known bool, err error) {
	if known, err = s.inUsers(ctx, erasure.User); err != nil || !known {
		return nil, false, err
	}
	if err := s.noteErasure(ctx, erasure); err != nil {
		return nil, true, err
	}
	for _, statement := range []string{eraseOfLow, eraseOfHigh} {
		if err := s.eraseMessages(ctx, statement, erasure.User); err != nil {
			return nil, true, err
		}
	}
	unblocked, known, err = s.forget(ctx, erasure)
	s.LookUpAgain(erasure.User)
	return unblocked, known, err
}

func (s *Store) noteErasure(ctx context.Context, erasure application.Erasure) error {
	return s.write(ctx, "note erasure", func(ctx context.Context, tx *sqlx.Tx) error {
		var rows []struct {
			Partition  int   `db:"log_partition"`
			Generation int64 `db:"generation"`
		}
		if err := tx.SelectContext(ctx, &rows, s.dialect.lockProjections); err != nil {
			return err
		}
		generations := make(map[int]int64, len(rows))
		for _, row := range rows {
			generations[row.Partition] = row.Generation
		}
		for partition, end := range erasure.Ends {
			before := erasure.Projected[partition]
			generation := before.Generation
			if end < before.Offset {
				generation++ // a topic made anew, as the projector will find out
			}
			if generations[partition] > generation {
				return errMadeAnew
			}
			if _, err := tx.ExecContext(ctx, noteErasure, int64(erasure.User), partition, generation, end); err != nil {
				return err
			}
		}
		// A log that the database belonged to before may have had more partitions: nothing of them is kept.
		for partition, generation := range generations {
			if partition < len(erasure.Ends) {
				continue
			}
			if _, err := tx.ExecContext(ctx, noteErasure, int64(erasure.User), partition, generation+1, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) eraseMessages(ctx context.Context, statement string, user domain.UserID) error {
	for {
		var erased int64
		err := s.write(ctx, "erase messages", func(ctx context.Context, tx *sqlx.Tx) (err error) {
			erased, err = rowsAffected(tx.ExecContext(ctx, statement, int64(user), eraseAtOnce))
			return err
		})
		if err != nil || erased < eraseAtOnce {
			return err
		}
	}
}

// forget is the last step: until it is done the user is known, and the erasure can be repeated.
func (s *Store) forget(
	ctx context.Context, erasure application.Erasure,
) (unblocked []domain.UserID, known bool, err error) {
	key, err := s.blockKey(ctx)
	if err != nil {
		return nil, true, err
	}
	user := int64(erasure.User)
	err = s.write(ctx, "forget user", func(ctx context.Context, tx *sqlx.Tx) error {
		unblocked = nil
		rows, err := rowsAffected(tx.ExecContext(ctx, forgetUser, user))
		if known = rows > 0; err != nil || !known {
			return err
		}
		if unblocked, err = unblockEverybody(ctx, tx, key, erasure); err != nil {
			return err
		}
		for _, statement := range []string{
			emptyFriendList, deleteFriends, deleteFriendList, deleteMarks, deleteMarksOfOther, deleteCursor,
		} {
			if _, err := tx.ExecContext(ctx, statement, user); err != nil {
				return err
			}
		}
		return leaveFriendLists(ctx, tx, user)
	})
	if err != nil {
		return nil, true, err
	}
	return unblocked, known, nil
}

func unblockEverybody(ctx context.Context, tx *sqlx.Tx, key []byte, erasure application.Erasure) ([]domain.UserID, error) {
	var rows []struct {
		Target  domain.UserID `db:"target"`
		Version int64         `db:"version"`
	}
	at := erasure.At.UnixMilli()
	if err := tx.SelectContext(ctx, &rows, unblockAll, int64(erasure.User), at); err != nil {
		return nil, err
	}
	var targets []domain.UserID
	for _, row := range rows {
		id := domain.BlockEventID(key, erasure.User, row.Target, row.Version)
		if _, err := tx.ExecContext(ctx, insertOutbox, id.String(),
			int64(erasure.User), int64(row.Target), false, row.Version, at); err != nil {
			return nil, err
		}
		targets = append(targets, row.Target)
	}
	return targets, nil
}

// leaveFriendLists takes user out of the lists that it is in: of those that it locks, so that no length is wrong.
func leaveFriendLists(ctx context.Context, tx *sqlx.Tx, user int64) error {
	var lists []int64
	if err := tx.SelectContext(ctx, &lists, shortenLists, user); err != nil {
		return err
	}
	statement, err := tx.PreparexContext(ctx, unfriend)
	if err != nil {
		return err
	}
	defer statement.Close()
	for _, list := range lists {
		removed, err := rowsAffected(statement.ExecContext(ctx, list, user))
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
