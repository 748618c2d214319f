package sqlstore

import (
	"context"
	"sync/atomic"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application/blocks"
	"chatting/domain"
)

// Blocks keeps who blocks whom, the outbox of changes that the log may not have yet, and the key by which it knows changes again.
type Blocks struct {
	db *database.DB
	// secret is what key has read; nil before.
	secret atomic.Pointer[[]byte]
}

// setBlocked and setUnblocked lock the pair's row, and only then look whether there is anything to change: they wait for
// another transaction that holds the lock, and see what it committed. They return no row if the pair is already as wished.
// The primary key serialises the first blocks of a pair.
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
	selectBlocks = `
		SELECT target, blocked, version,
			EXISTS (SELECT 1 FROM outbox WHERE outbox.blocker = blocks.blocker AND outbox.target = blocks.target) AS pending
		FROM blocks WHERE blocker = $1 ORDER BY target`
	selectIsBlocked = `
		SELECT EXISTS (SELECT 1 FROM blocks WHERE blocker = $1 AND target = $2 AND blocked)`
	selectBlockers = `SELECT blocker FROM blocks WHERE target = ? AND blocked AND blocker IN (?)`
)

// SetBlocked implements blocks.Store. A pair that is as wished is only looked at: nothing is locked, and nothing is
// written.
func (b *Blocks) SetBlocked(ctx context.Context, change blocks.Change) (changed bool, err error) {
	blocked, err := b.IsBlocked(ctx, change.Blocker, change.Target)
	if err != nil || blocked == change.Blocked {
		return false, err
	}
	statement := setUnblocked
	if change.Blocked {
		statement = setBlocked
	}
	key, err := b.key(ctx)
	if err != nil {
		return false, err
	}
	at := change.At.UnixMilli()
	err = b.db.Write(ctx, "set block", func(ctx context.Context, tx *sqlx.Tx) error {
		var version int64
		version, changed, err = database.Find[int64](ctx, tx, statement, change.Blocker, change.Target, at)
		if err != nil || !changed {
			return err
		}
		if version == 1 { // a pair that was never blocked before
			pairs, _, err := database.Find[int](ctx, tx, countBlocks, change.Blocker, blocks.MaxBlocks+1)
			if err != nil {
				return err
			}
			if pairs > blocks.MaxBlocks {
				return errManyBlocks
			}
		}
		return publish(ctx, tx, key, domain.BlockChanged{
			Blocker: change.Blocker, Target: change.Target, Blocked: change.Blocked, Version: version,
		}, at)
	})
	return changed && err == nil, err
}

var errManyBlocks = domain.NewError(domain.CodeLimit, "The user has blocked too many others.")

// Blocks implements blocks.Store.
func (b *Blocks) Blocks(ctx context.Context, blocker domain.UserID) ([]blocks.Entry, error) {
	return database.Select[blocks.Entry](ctx, b.db, "load blocks", selectBlocks, blocker)
}

// IsBlocked implements blocks.Store.
func (b *Blocks) IsBlocked(ctx context.Context, blocker, target domain.UserID) (bool, error) {
	return database.Get[bool](ctx, b.db, "look for block", selectIsBlocked, blocker, target)
}

// BlockersAmong implements blocks.PresenceBlocks.
func (b *Blocks) BlockersAmong(ctx context.Context, target domain.UserID, users []domain.UserID) ([]domain.UserID, error) {
	var blockers []domain.UserID
	err := b.db.Read(ctx, "look for blockers", func(ctx context.Context, db *sqlx.DB) error {
		return database.InChunks(users, selectBlockers, []any{target}, func(query string, arguments []any) error {
			var found []domain.UserID // sqlx empties the slice that it is given
			err := db.SelectContext(ctx, &found, query, arguments...)
			blockers = append(blockers, found...)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return blockers, nil
}
