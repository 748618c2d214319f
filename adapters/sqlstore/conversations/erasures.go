package conversations

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application"
	"chatting/domain"
)

// Erasures deletes what users who want to be forgotten said and read, and keeps up to where in the log nothing of them is kept.
type Erasures struct {
	db      *database.DB
	dialect dialect
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
	moveErasures = `
		INSERT INTO erasures (user_id, log_partition, generation, until_offset)
		SELECT DISTINCT user_id, CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT) FROM erasures WHERE TRUE
		ON CONFLICT (user_id, log_partition) DO UPDATE
		SET generation = excluded.generation, until_offset = excluded.until_offset`

	// erasedBefore is for the topic that the history follows, or one that it does not know yet.
	erasedBefore = `
		SELECT erasures.user_id, erasures.log_partition, erasures.until_offset FROM erasures
		LEFT JOIN projections ON projections.log_partition = erasures.log_partition
		WHERE erasures.generation >= COALESCE(projections.generation, 1) AND erasures.until_offset > 0 AND erasures.user_id IN (?)`

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

// Erase notes an erasure, and deletes the messages that it is about. It may be repeated.
func (e *Erasures) Erase(ctx context.Context, erasure application.Erasure) error {
	if err := e.note(ctx, erasure); err != nil {
		return err
	}
	for _, of := range []*side{ofLow, ofHigh} {
		for erased := int64(eraseAtOnce); erased == eraseAtOnce; {
			var err error
			if erased, err = e.db.Exec(ctx, "erase messages", of.erase, erasure.User, eraseAtOnce); err != nil {
				return err
			}
		}
	}
	return nil
}

// note keeps up to where in the log nothing of the user is kept.
func (e *Erasures) note(ctx context.Context, erasure application.Erasure) error {
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

// Forget deletes a user's read marks and cursor in a transaction, and the marks that others have in conversations with it.
func (*Erasures) Forget(ctx context.Context, tx *sqlx.Tx, user domain.UserID) error {
	for _, statement := range []string{deleteMarks, deleteMarksOfOther, deleteMarkEvents, deleteMarksShown, deleteCursor} {
		if _, err := tx.ExecContext(ctx, statement, user); err != nil {
			return err
		}
	}
	return nil
}

// ErasedBefore implements past.Erasures.
func (e *Erasures) ErasedBefore(ctx context.Context, users []domain.UserID) (map[domain.UserID]map[int]int64, error) {
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

// MoveToLog readies cursors and erasures for another log, in a transaction. All places of the new log have the generation, and
// its partitions end at ends now. Erased users stay erased, whatever the new log has of them. Cursors stay, unless the new log
// has another number of partitions: then conversations are in other ones, and storing for offline users begins anew.
func MoveToLog(ctx context.Context, tx *sqlx.Tx, generation int64, ends []int64) error {
	began, err := readCursor(ctx, tx, domain.System)
	if err != nil {
		return err
	}
	if len(began) != len(ends) {
		if _, err := tx.ExecContext(ctx, forgetCursors); err != nil {
			return err
		}
	}
	for partition, end := range ends {
		if _, err := tx.ExecContext(ctx, moveErasures, partition, generation, end); err != nil {
			return fmt.Errorf("erasures: %w", err)
		}
	}
	return nil
}
