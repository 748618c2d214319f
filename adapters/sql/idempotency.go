package sqlstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/domain"
)

const (
	// KeyLifetime is how long an idempotency key is kept from the start of its request; after that it is new again.
	KeyLifetime = 24 * time.Hour
	// KeyProgress is how long a request may be under way. One that took longer is taken for dead, and a repetition
	// takes its place; so a caller must have ended a request by then.
	KeyProgress = 30 * time.Second

	// purgeEvery is how often expired keys are looked for, and purgeAtOnce how many are deleted then; while there are
	// more, every Begin deletes so many.
	purgeEvery  = time.Minute
	purgeAtOnce = 1000
)

// beginKey makes the key the caller's where it is new, expired, or its request of the same content is taken for dead: it
// began neither within the last KeyProgress nor, because clocks differ, within the next. It returns no row otherwise, and
// then holds the key's lock.
const (
	progressMillis = "30000" // KeyProgress

	beginKey = `
		INSERT INTO idempotency_keys (key_hash, fingerprint, started_at) VALUES ($1, $2, $3)
		ON CONFLICT (key_hash) DO UPDATE
			SET fingerprint = excluded.fingerprint, started_at = excluded.started_at, status = NULL, body = NULL
			WHERE idempotency_keys.started_at <= $4
				OR (idempotency_keys.status IS NULL AND (idempotency_keys.started_at <= $5 OR idempotency_keys.started_at > $3 + ` + progressMillis + `)
					AND idempotency_keys.fingerprint = excluded.fingerprint)
		RETURNING started_at`
	selectKey   = `SELECT fingerprint, status, body FROM idempotency_keys WHERE key_hash = $1`
	completeKey = `UPDATE idempotency_keys SET status = $2, body = $3 WHERE key_hash = $1 AND status IS NULL`
	abandonKey  = `DELETE FROM idempotency_keys WHERE key_hash = $1 AND status IS NULL`
	purgeKeys   = `
		DELETE FROM idempotency_keys WHERE key_hash IN (
			SELECT key_hash FROM idempotency_keys WHERE started_at <= $1 ORDER BY started_at LIMIT $2)`
)

// StoredResponse is what a request with an idempotency key was answered with.
type StoredResponse struct {
	Status int
	Body   []byte
}

// Begin asks whether the request with the idempotency key may be carried out (draft-ietf-httpapi-idempotency-key-header).
// Without a stored response and an error it may: the caller owns the key until it calls Complete or Abandon, or
// KeyProgress has passed. A stored response is that of the request carried out before. Of callers that come at once with
// a new key exactly one owns it. fingerprint tells the contents of requests apart. Errors: CodeKeyReused where the key
// came with another fingerprint; CodeKeyInProgress where its first request is under way.
func (s *Store) Begin(
	ctx context.Context, key string, fingerprint [32]byte, now time.Time,
) (stored *StoredResponse, err error) {
	hash := hashKey(key)
	err = s.write(ctx, "begin idempotency key", func(ctx context.Context, tx *sqlx.Tx) error {
		stored = nil
		expired, err := keyExpiry(ctx, tx, now)
		if err != nil {
			return err
		}
		var started int64
		err = tx.GetContext(ctx, &started, beginKey, hash, fingerprint[:], now.UnixMilli(),
			expired.UnixMilli(), now.Add(-KeyProgress).UnixMilli())
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		stored, err = storedResponse(ctx, tx, hash, fingerprint)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.purge(ctx, now)
	return stored, nil
}

// storedResponse returns what the key's earlier request was answered with.
func storedResponse(ctx context.Context, tx *sqlx.Tx, hash []byte, fingerprint [32]byte) (*StoredResponse, error) {
	var row struct {
		Fingerprint []byte        `db:"fingerprint"`
		Status      sql.NullInt64 `db:"status"`
		Body        []byte        `db:"body"`
	}
	if err := tx.GetContext(ctx, &row, selectKey, hash); err != nil {
		return nil, err
	}
	switch {
	case !bytes.Equal(row.Fingerprint, fingerprint[:]):
		return nil, domain.NewError(domain.CodeKeyReused, "The idempotency key was used for another request.")
	case !row.Status.Valid:
		return nil, domain.NewError(domain.CodeKeyInProgress, "The first request with this idempotency key is under way.")
	default:
		return &StoredResponse{Status: int(row.Status.Int64), Body: row.Body}, nil
	}
}

// Complete stores the response of the request that owns the key. Where the key has one already, that one stays.
func (s *Store) Complete(ctx context.Context, key string, status int, body []byte) error {
	return s.write(ctx, "complete idempotency key", func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, completeKey, hashKey(key), int64(status), body)
		return err
	})
}

// Abandon gives the key up: its request had no effect, and the next one with the key is carried out. A key with a
// response keeps it.
func (s *Store) Abandon(ctx context.Context, key string) error {
	return s.write(ctx, "abandon idempotency key", func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, abandonKey, hashKey(key))
		return err
	})
}

// purge deletes expired keys, now and then. It may fail: expired keys count for nothing, and the next call tries again.
func (s *Store) purge(ctx context.Context, now time.Time) {
	due := s.purgeAt.Load()
	waits := due - now.UnixMilli() // more than purgeEvery only after the clock went back
	if waits > 0 && waits <= purgeEvery.Milliseconds() || !s.purgeAt.CompareAndSwap(due, now.Add(purgeEvery).UnixMilli()) {
		return
	}
	var deleted int64
	err := s.write(ctx, "purge idempotency keys", func(ctx context.Context, tx *sqlx.Tx) (err error) {
		expired, err := keyExpiry(ctx, tx, now)
		if err != nil {
			return err
		}
		deleted, err = rowsAffected(tx.ExecContext(ctx, purgeKeys, expired.UnixMilli(), int64(purgeAtOnce)))
		return err
	})
	switch {
	case err != nil:
		s.logger.Warn("expired idempotency keys could not be deleted", "error", err)
	case deleted == purgeAtOnce:
		s.purgeAt.Store(now.UnixMilli())
	}
}

// keyExpiry returns when a key that is expired at now has begun at the latest. A key that expires too early has its request
// carried out twice: so a clock that leapt does not count.
func keyExpiry(ctx context.Context, tx *sqlx.Tx, now time.Time) (time.Time, error) {
	clock, err := trustedClock(ctx, tx)
	return clock.Limit(now).Add(-KeyLifetime), err
}

// hashKey is what is stored of a key: of one length, and useless to whoever reads the database.
func hashKey(key string) []byte {
	hash := sha256.Sum256([]byte(key))
	return hash[:]
}

func rowsAffected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
