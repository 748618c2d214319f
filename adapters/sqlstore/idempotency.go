package sqlstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

// Idempotency keeps idempotency keys, each with what its request was answered with.
type Idempotency struct {
	db     *database.DB
	logger *slog.Logger
	// purgeAt is when, in milliseconds, a call of Begin next looks for keys to delete.
	purgeAt atomic.Int64
}

const (
	// KeyLifetime is how long an idempotency key is kept from the start of its request. After that it is new again.
	KeyLifetime = 24 * time.Hour
	// KeyProgress is how long a request may be under way. One that takes longer is taken for dead, and a repetition takes
	// its place.
	KeyProgress = 30 * time.Second

	// purgeEvery is how often expired keys are looked for, and purgeAtOnce how many are deleted then. While there are
	// more, every Begin deletes so many.
	purgeEvery  = time.Minute
	purgeAtOnce = 1000
)

// beginKey gives the key to the caller if it is new or expired, or if its request, of the same content, is taken for dead: it
// began neither within the last KeyProgress nor, because clocks differ, within the next. Otherwise it returns no row, and
// holds the key's lock.
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
	selectClaim = `SELECT started_at FROM idempotency_keys WHERE key_hash = $1`
	selectKey   = `SELECT fingerprint, status, body FROM idempotency_keys WHERE key_hash = $1`
	completeKey = `UPDATE idempotency_keys SET status = $2, body = $3 WHERE key_hash = $1 AND status IS NULL`
	abandonKey  = `DELETE FROM idempotency_keys WHERE key_hash = $1 AND status IS NULL`
	purgeKeys   = `
		DELETE FROM idempotency_keys WHERE key_hash IN (
			SELECT key_hash FROM idempotency_keys WHERE started_at <= $1 ORDER BY started_at LIMIT $2)`
)

// joinSeries has a request with a key be one of a series: its row has the start of the latest request, and as its body that of the first.
// If the latest began by $5, another series begins.
const joinSeries = `
	INSERT INTO idempotency_keys (key_hash, fingerprint, started_at, body) VALUES ($1, $2, $3, $4)
	ON CONFLICT (key_hash) DO UPDATE
		SET body = CASE WHEN idempotency_keys.started_at <= $5 THEN excluded.body ELSE idempotency_keys.body END,
			started_at = excluded.started_at
	RETURNING body`

// StoredResponse is what a request with an idempotency key was answered with.
type StoredResponse struct {
	Status int
	Body   []byte
}

// Begin asks whether the request with the idempotency key may be carried out (draft-ietf-httpapi-idempotency-key-header).
// It may if there is neither a stored response nor an error: then the caller owns the key until it calls Complete or Abandon,
// or KeyProgress has passed. Of callers that come at once with a new key exactly one owns it. fingerprint tells the contents
// of requests apart. Errors: CodeKeyReused if the key came with another fingerprint, CodeKeyInProgress if its first request
// is under way.
func (i *Idempotency) Begin(
	ctx context.Context, key string, fingerprint [32]byte, now time.Time,
) (stored *StoredResponse, err error) {
	hash := hashKey(key)
	err = i.db.Write(ctx, "begin idempotency key", func(ctx context.Context, tx *sqlx.Tx) error {
		stored = nil
		expired, err := keyExpiry(ctx, tx, now)
		if err != nil {
			return err
		}
		_, began, err := database.Find[int64](ctx, tx, beginKey, hash, fingerprint[:], now.UnixMilli(),
			expired.UnixMilli(), now.Add(-KeyProgress).UnixMilli())
		if err == nil && !began {
			stored, err = storedResponse(ctx, tx, hash, fingerprint)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	i.purge(ctx, now)
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

// Since returns when the first of the requests with this key and fingerprint began that followed each other within KeyLifetime, the
// one that owns the key included. So a request is known again after Abandon, and as long as its key. Errors: CodeKeyInProgress if
// nobody owns the key, CodeUnavailable.
func (i *Idempotency) Since(ctx context.Context, key string, fingerprint [32]byte) (since time.Time, err error) {
	err = i.db.Write(ctx, "find the first request of an idempotency key", func(ctx context.Context, tx *sqlx.Tx) error {
		began, owned, err := database.Find[int64](ctx, tx, selectClaim, hashKey(key))
		if err != nil {
			return err
		}
		if !owned {
			return domain.NewError(domain.CodeKeyInProgress, "The request with this idempotency key was taken for dead.")
		}
		expired, err := keyExpiry(ctx, tx, time.UnixMilli(began))
		if err != nil {
			return err
		}
		// No client's key has a NUL, so this is the hash of none.
		series := hashKey("\x00" + string(fingerprint[:]) + key)
		var first []byte
		err = tx.GetContext(ctx, &first, joinSeries, series, fingerprint[:], began, []byte(strconv.FormatInt(began, 10)),
			expired.UnixMilli())
		if err != nil {
			return err
		}
		millis, err := strconv.ParseInt(string(first), 10, 64)
		since = time.UnixMilli(millis).UTC()
		return err
	})
	return since, err
}

// Complete stores the response of the request that owns the key. If the key has one already, that one stays.
func (i *Idempotency) Complete(ctx context.Context, key string, status int, body []byte) error {
	_, err := i.db.Exec(ctx, "complete idempotency key", completeKey, hashKey(key), status, body)
	return err
}

// Abandon gives the key up: its request had no effect, and the next one with the key is carried out. A key with a
// response keeps it.
func (i *Idempotency) Abandon(ctx context.Context, key string) error {
	_, err := i.db.Exec(ctx, "abandon idempotency key", abandonKey, hashKey(key))
	return err
}

// purge deletes expired keys, now and then. It may fail: expired keys count for nothing, and the next call tries again.
func (i *Idempotency) purge(ctx context.Context, now time.Time) {
	due := i.purgeAt.Load()
	waits := due - now.UnixMilli() // more than purgeEvery only after the clock went back
	if waits > 0 && waits <= purgeEvery.Milliseconds() || !i.purgeAt.CompareAndSwap(due, now.Add(purgeEvery).UnixMilli()) {
		return
	}
	var deleted int64
	err := i.db.Write(ctx, "purge idempotency keys", func(ctx context.Context, tx *sqlx.Tx) (err error) {
		expired, err := keyExpiry(ctx, tx, now)
		if err != nil {
			return err
		}
		deleted, err = database.Affected(tx.ExecContext(ctx, purgeKeys, expired.UnixMilli(), purgeAtOnce))
		return err
	})
	switch {
	case err != nil:
		i.logger.Warn("expired idempotency keys could not be deleted", "error", err)
	case deleted == purgeAtOnce:
		i.purgeAt.Store(now.UnixMilli())
	}
}

// keyExpiry returns when a key that is expired at now has begun at the latest. If a key expires too early, its request is
// carried out twice: so a clock that leapt does not count.
func keyExpiry(ctx context.Context, tx *sqlx.Tx, now time.Time) (time.Time, error) {
	clock, err := trustedClock(ctx, tx)
	return clock.Limit(now).Add(-KeyLifetime), err
}

// hashKey is what is stored of a key: of one length, and useless to those who read the database.
func hashKey(key string) []byte {
	hash := sha256.Sum256([]byte(key))
	return hash[:]
}
