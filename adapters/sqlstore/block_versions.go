package sqlstore

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/conversations"
	"chatting/adapters/sqlstore/database"
	"chatting/application/blocks"
	"chatting/domain"
)

const (
	selectKept = `SELECT value FROM secrets WHERE name = $1`
	insertKept = `INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`

	versionsOfPair = `
		SELECT blocker, target, version, '' AS event_id, ` + lastRandom + ` AS random_version
		FROM blocks WHERE blocker = $%d AND target = $%d
		UNION ALL
		SELECT blocker, target, version, event_id, 0 AS random_version FROM outbox WHERE blocker = $%d AND target = $%d`

	// blockKeyName is the secret that domain.BlockEventID is given. It never changes: the events that are in the log are known
	// by it.
	blockKeyName = "block-events"
	blockKeySize = 32
)

// key returns the key that tells the changes of blocks that this database gave out from all others.
func (b *Blocks) key(ctx context.Context) ([]byte, error) {
	if key := b.secret.Load(); key != nil {
		return *key, nil
	}
	value, err := database.Get[string](ctx, b.db, "read the key of blocks", selectKept, blockKeyName)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(value)
	if err != nil || len(key) != blockKeySize {
		return nil, fmt.Errorf("sql: the secret %q of the database is damaged", blockKeyName)
	}
	b.secret.Store(&key)
	return key, nil
}

// Secret returns the secret of this database for a purpose: 32 bytes that are the same for all nodes and as long as the database
// lives, and that nobody can tell who does not read it. Secrets of two purposes say nothing of each other.
func (b *Blocks) Secret(ctx context.Context, purpose string) ([]byte, error) {
	key, err := b.key(ctx)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, key, nil, purpose, sha256.Size)
}

// makeBlockKey makes the key of a new database. Any number of processes may call it at once.
func makeBlockKey(ctx context.Context, db *sql.DB) error {
	key := make([]byte, blockKeySize)
	_, _ = rand.Read(key) // it never fails
	_, err := db.ExecContext(ctx, insertKept, blockKeyName, hex.EncodeToString(key))
	return err
}

// Versions implements delivery.BlockVersions.
func (b *Blocks) Versions(ctx context.Context, pair blocks.Pair) (blocks.GivenVersions, error) {
	given, err := b.VersionsOf(ctx, []blocks.Pair{pair})
	return given[pair], err
}

// VersionsOf implements past.GivenBlocks.
func (b *Blocks) VersionsOf(ctx context.Context, pairs []blocks.Pair) (map[blocks.Pair]blocks.GivenVersions, error) {
	given, err := b.GivenIn(ctx)
	if err != nil {
		return nil, err
	}
	return database.Ask(ctx, b.db, "look up versions of blocks",
		func(ctx context.Context, db sqlx.QueryerContext) (map[blocks.Pair]blocks.GivenVersions, error) {
			return given(ctx, db, pairs)
		})
}

// GivenIn implements conversations.GivenBlocks.
func (b *Blocks) GivenIn(ctx context.Context) (conversations.GivenIn, error) {
	key, err := b.key(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, db sqlx.QueryerContext, pairs []blocks.Pair) (map[blocks.Pair]blocks.GivenVersions, error) {
		return givenVersions(ctx, db, key, pairs)
	}, nil
}

func givenVersions(
	ctx context.Context, db sqlx.QueryerContext, key []byte, pairs []blocks.Pair,
) (map[blocks.Pair]blocks.GivenVersions, error) {
	rows, err := database.SelectEach[struct {
		blocks.State

		EventID string `db:"event_id"`
		Random  int64  `db:"random_version"`
	}](ctx, db, versionsOfPair, nil, pairs, func(pair blocks.Pair) []any {
		return []any{pair.Blocker, pair.Target, pair.Blocker, pair.Target}
	})
	if err != nil {
		return nil, err
	}
	given := make(map[blocks.Pair]blocks.GivenVersions, len(pairs))
	for _, row := range rows {
		pair := row.Pair
		of, ok := given[pair]
		if !ok {
			of.EventOf = func(version int64) domain.EventID {
				return domain.BlockEventID(key, pair.Blocker, pair.Target, version)
			}
			of.Events, of.Places = make(map[int64]domain.EventID), make(map[int64]domain.Place)
		}
		of.Newest, of.Random = max(of.Newest, row.Version), max(of.Random, row.Random)
		if id, ok := domain.ParseEventID(row.EventID); ok {
			of.Events[row.Version] = id
		}
		given[pair] = of
	}
	return given, nil
}
