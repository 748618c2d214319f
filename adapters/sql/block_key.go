package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"

	"github.com/jmoiron/sqlx"
)

const (
	selectKept = `SELECT value FROM secrets WHERE name = $1`
	insertKept = `INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`

	// blockKeyName is the secret that domain.BlockEventID is given. It never changes: the events that are in the log are known
	// by it.
	blockKeyName = "block-events"
	blockKeySize = 32
)

// blockKey returns the key that tells the changes of blocks that this database gave out from all others.
func (s *Store) blockKey(ctx context.Context) ([]byte, error) {
	if key := s.key.Load(); key != nil {
		return *key, nil
	}
	var value string
	err := s.read(ctx, "read the key of blocks", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &value, selectKept, blockKeyName)
	})
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(value)
	if err != nil || len(key) != blockKeySize {
		return nil, fmt.Errorf("sql: the secret %q of the database is damaged", blockKeyName)
	}
	s.key.Store(&key)
	return key, nil
}

// makeSecrets makes what a new database does not have yet. Any number of processes may call it at once.
func makeSecrets(ctx context.Context, db *sql.DB) error {
	key := make([]byte, blockKeySize)
	_, _ = rand.Read(key) // it never fails
	_, err := db.ExecContext(ctx, insertKept, blockKeyName, hex.EncodeToString(key))
	return err
}
