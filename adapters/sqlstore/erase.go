package sqlstore

import (
	"context"
	"maps"
	"slices"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application"
	"chatting/domain"
)

// Eraser deletes what is kept about a user, in all tables.
type Eraser struct {
	db      *database.DB
	dialect dialect
	users   *Users
	blocks  *Blocks
}

// The projections are locked before an erasure is noted: one under way ends before, and its rows are then deleted; a later one
// finds the note.
const (
	selectGenerations = `SELECT log_partition, generation FROM projections`
	noteErasure       = `
		INSERT INTO erasures (user_id, log_partition, generation, until_offset) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id, log_partition) DO UPDATE
			SET generation = excluded.generation, until_offset = excluded.until_offset
			WHERE (erasures.generation, erasures.until_offset) < (excluded.generation, excluded.until_offset)`

	// erasedBefore is for the topic that the history follows, or one that it does not know yet.
	erasedBefore = `
		SELECT erasures.user_id, erasures.log_partition, erasures.until_offset FROM erasures
		LEFT JOIN projections ON projections.log_partition = erasures.log_partition
		WHERE erasures.generation >= COALESCE(projections.generation, 1) AND erasures.until_offset > 0 AND erasures.user_id IN (?)`

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
	lengthenList       = `UPDATE friend_lists SET length = length + 1 WHERE user_id = $1`
	deleteMarks        = `DELETE FROM conversation_marks WHERE owner = $1`
	deleteMarksOfOther = `DELETE FROM conversation_marks WHERE partner = $1`
	deleteMarkEvents   = `DELETE FROM read_mark_events WHERE reader = $1`
	deleteMarksShown   = `DELETE FROM read_mark_events WHERE partner = $1`
	deleteCursor       = `DELETE FROM delivered_cursors WHERE user_id = $1`
)

// errMadeAnew is returned if an end of the log may be of either topic.
var errMadeAnew = domain.NewError(domain.CodeUnavailable, "The log was made anew meanwhile.")

// eraseAtOnce bounds the messages that one transaction deletes.
const eraseAtOnce = 1000

// EraseUser implements application.UserEraser. On other nodes a user that was known stays known for up to knownFor, or until
// Users.LookUpAgain.
func (e *Eraser) EraseUser(
	ctx context.Context, erasure application.Erasure,
) (unblocked []domain.UserID, known bool, err error) {
	if known, err = e.users.stored(ctx, erasure.User); err != nil || !known {
		return nil, false, err
	}
	if err := e.note(ctx, erasure); err != nil {
		return nil, true, err
	}
	for _, of := range []*side{ofLow, ofHigh} {
		for erased := int64(eraseAtOnce); erased == eraseAtOnce; {
			if erased, err = e.db.Exec(ctx, "erase messages", of.erase, erasure.User, eraseAtOnce); err != nil {
				return nil, true, err
			}
		}
	}
	unblocked, known, err = e.forget(ctx, erasure)
	e.users.LookUpAgain(erasure.User)
	return unblocked, known, err
}

// note keeps up to where in the log nothing of the user is kept.
func (e *Eraser) note(ctx context.Context, erasure application.Erasure) error {
	return e.db.Write(ctx, "note erasure", func(ctx context.Context, tx *sqlx.Tx) error {
		var rows []place
		if err := tx.SelectContext(ctx, &rows, e.dialect.lockProjections); err != nil {
			return err
		}
		generations := make(map[int]int64, len(rows))
		for _, row := range rows {
			generations[row.Partition] = row.Generation
		}
		until := make(map[int]place)
		for partition, generation := range generations {
			// A log that the database belonged to before may have had more partitions: nothing of them is kept.
			until[partition] = place{Generation: generation + 1}
		}
		for partition, end := range erasure.Ends {
			generation := erasure.Projected[partition].Generation
			if end < erasure.Projected[partition].Offset {
				generation++ // a topic made anew, as the projector will find out
			}
			if generations[partition] > generation {
				return errMadeAnew
			}
			until[partition] = place{Generation: generation, Offset: end}
		}
		for _, partition := range slices.Sorted(maps.Keys(until)) {
			at := until[partition]
			if _, err := tx.ExecContext(ctx, noteErasure, erasure.User, partition, at.Generation, at.Offset); err != nil {
				return err
			}
		}
		return nil
	})
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
		for _, statement := range []string{
			emptyFriendList, deleteFriends, deleteFriendList, deleteMarks, deleteMarksOfOther, deleteMarkEvents, deleteMarksShown,
			deleteCursor,
		} {
			if _, err := tx.ExecContext(ctx, statement, erasure.User); err != nil {
				return err
			}
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

// ErasedBefore implements past.Erasures.
func (e *Eraser) ErasedBefore(ctx context.Context, users []domain.UserID) (map[domain.UserID]map[int]int64, error) {
	type offsets = map[domain.UserID]map[int]int64
	return database.Ask(ctx, e.db, "look for erasures", func(ctx context.Context, db sqlx.QueryerContext) (offsets, error) {
		erased := make(offsets)
		return erased, database.InChunks(users, erasedBefore, nil, func(query string, arguments []any) error {
			var rows []struct {
				User      domain.UserID `db:"user_id"`
				Partition int           `db:"log_partition"`
				Until     int64         `db:"until_offset"`
			}
			if err := sqlx.SelectContext(ctx, db, &rows, query, arguments...); err != nil {
				return err
			}
			for _, row := range rows {
				if erased[row.User] == nil {
					erased[row.User] = make(map[int]int64)
				}
				erased[row.User][row.Partition] = row.Until
			}
			return nil
		})
	})
}
