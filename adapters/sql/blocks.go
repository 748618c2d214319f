package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/domain"
)

// setBlocked and setUnblocked lock the pair's row, and only then look whether there is anything to change: another
// transaction that holds the lock is waited for, and what it committed is seen. They return no row where the pair is
// already as wished. The first block of a pair is serialised by the primary key.
const (
	setBlocked = `
		INSERT INTO blocks (blocker, target, blocked, version, changed_at, keyed_version) VALUES ($1, $2, TRUE, 1, $3, 1)
		ON CONFLICT (blocker, target) DO UPDATE
			SET blocked = TRUE, version = blocks.version + 1, changed_at = excluded.changed_at, ` + nextKeyed + `
			WHERE NOT blocks.blocked
		RETURNING version`
	setUnblocked = `
		UPDATE blocks SET blocked = FALSE, version = version + 1, changed_at = $3, ` + nextKeyed + `
		WHERE blocker = $1 AND target = $2 AND blocked
		RETURNING version`
	// The versions that a server of an earlier release gave out have random event ids: see lastRandom.
	nextKeyed    = `random_version = ` + lastRandom + `, keyed_version = blocks.version + 1`
	lastRandom   = `CASE WHEN blocks.keyed_version < blocks.version THEN blocks.version ELSE blocks.random_version END`
	countBlocks  = `SELECT COUNT(*) FROM (SELECT 1 FROM blocks WHERE blocker = $1 LIMIT $2) AS counted`
	insertOutbox = `
		INSERT INTO outbox (event_id, blocker, target, blocked, version, occurred_at) VALUES ($1, $2, $3, $4, $5, $6)`
	selectBlocks = `
		SELECT target, blocked, version,
			EXISTS (SELECT 1 FROM outbox WHERE outbox.blocker = blocks.blocker AND outbox.target = blocks.target) AS pending
		FROM blocks WHERE blocker = $1 ORDER BY target`
	selectIsBlocked = `
		SELECT EXISTS (SELECT 1 FROM blocks WHERE blocker = $1 AND target = $2 AND blocked)`
	selectBlockers = `SELECT blocker FROM blocks WHERE target = ? AND blocked AND blocker IN (?)`
)

// SetBlocked implements application.BlockStore. A pair that is as wished is only looked at: nothing is locked, and nothing is
// written.
func (s *Store) SetBlocked(ctx context.Context, change application.BlockChange) (changed bool, err error) {
	blocked, err := s.IsBlocked(ctx, change.Blocker, change.Target)
	if err != nil || blocked == change.Blocked {
		return false, err
	}
	statement := setUnblocked
	if change.Blocked {
		statement = setBlocked
	}
	key, err := s.blockKey(ctx)
	if err != nil {
		return false, err
	}
	at := change.At.UnixMilli()
	err = s.write(ctx, "set block", func(ctx context.Context, tx *sqlx.Tx) error {
		changed = false
		var version int64
		err := tx.GetContext(ctx, &version, statement,
			int64(change.Blocker), int64(change.Target), at)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if version == 1 { // a pair that was never blocked before
			var pairs int
			if err := tx.GetContext(ctx, &pairs, countBlocks, int64(change.Blocker), application.MaxBlocks+1); err != nil {
				return err
			}
			if pairs > application.MaxBlocks {
				return errManyBlocks
			}
		}
		changed = true
		id := domain.BlockEventID(key, change.Blocker, change.Target, version)
		_, err = tx.ExecContext(ctx, insertOutbox, id.String(),
			int64(change.Blocker), int64(change.Target), change.Blocked, version, at)
		return err
	})
	return changed && err == nil, err
}

var errManyBlocks = domain.NewError(domain.CodeLimit, "The user has blocked too many others.")

// Blocks implements application.BlockStore.
func (s *Store) Blocks(ctx context.Context, blocker domain.UserID) ([]application.BlockEntry, error) {
	var entries []application.BlockEntry
	err := s.read(ctx, "load blocks", func(ctx context.Context, db *sqlx.DB) error {
		return db.SelectContext(ctx, &entries, selectBlocks, int64(blocker))
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// IsBlocked implements application.BlockStore.
func (s *Store) IsBlocked(ctx context.Context, blocker, target domain.UserID) (blocked bool, err error) {
	err = s.read(ctx, "look for block", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &blocked, selectIsBlocked, int64(blocker), int64(target))
	})
	return blocked, err
}

// blockersAtOnce is how many users one statement asks about.
const blockersAtOnce = 500

// BlockersAmong implements application.PresenceBlocks.
func (s *Store) BlockersAmong(ctx context.Context, target domain.UserID, users []domain.UserID) ([]domain.UserID, error) {
	var blockers []domain.UserID
	err := s.read(ctx, "look for blockers", func(ctx context.Context, db *sqlx.DB) error {
		for chunk := range slices.Chunk(users, blockersAtOnce) {
			ids := make([]int64, len(chunk))
			for i, user := range chunk {
				ids[i] = int64(user)
			}
			query, arguments, err := sqlx.In(selectBlockers, int64(target), ids)
			if err != nil {
				return err
			}
			var found []domain.UserID
			if err := db.SelectContext(ctx, &found, sqlx.Rebind(sqlx.DOLLAR, query), arguments...); err != nil {
				return err
			}
			blockers = append(blockers, found...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return blockers, nil
}
