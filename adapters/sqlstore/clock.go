package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

const (
	selectTrustedClock = `SELECT trusted_at, refused_at, held FROM trusted_clock`
	keepTrustedClock   = `
		INSERT INTO trusted_clock (one_row, trusted_at, refused_at, held) VALUES (1, $1, $2, $3)
		ON CONFLICT (one_row) DO UPDATE
		SET trusted_at = excluded.trusted_at, refused_at = excluded.refused_at, held = excluded.held`
	// lockTrustedClock has transactions that move the clock wait for each other.
	lockTrustedClock = `UPDATE trusted_clock SET held = held`
)

// Clock is the time of the database: that of its server, or with SQLite, which has none, this process's. It keeps the
// time by which data is deleted for its age.
type Clock struct {
	db *database.DB
	// tell tells the time of the database.
	tell func(context.Context, sqlx.QueryerContext) (time.Time, error)
	// independent tells that tell is not this process's clock.
	independent bool
}

func newClock(db *database.DB, dialect dialect, now func() time.Time) *Clock {
	if dialect.now == "" {
		return &Clock{db: db, tell: func(context.Context, sqlx.QueryerContext) (time.Time, error) { return now(), nil }}
	}
	return &Clock{db: db, independent: true, tell: func(ctx context.Context, db sqlx.QueryerContext) (time.Time, error) {
		ms, _, err := database.Find[int64](ctx, db, dialect.now)
		if err != nil {
			return time.Time{}, err
		}
		return time.UnixMilli(ms), nil
	}}
}

// Time returns the time of the database. Nodes on one server have the same.
func (c *Clock) Time(ctx context.Context) (time.Time, error) {
	return database.Ask(ctx, c.db, "read the time", c.tell)
}

// ReferenceTime returns the time that a node's own clock is compared with, and whether that is independent of it. With
// PostgreSQL it is the server's. With SQLite there is only what was last trusted, which the own clock cannot be behind:
// zero if nothing was yet.
func (c *Clock) ReferenceTime(ctx context.Context) (at time.Time, independent bool, err error) {
	if c.independent {
		at, err = c.Time(ctx)
		return at, true, err
	}
	trusted, err := database.Ask(ctx, c.db, "read the time", trustedClock)
	return trusted.At, false, err
}

// trustedClock reads the clock that deleting goes by; the zero value before the first.
func trustedClock(ctx context.Context, db sqlx.QueryerContext) (domain.TrustedClock, error) {
	row, kept, err := database.Find[struct {
		At      int64         `db:"trusted_at"`
		Refused sql.NullInt64 `db:"refused_at"`
		Held    int64         `db:"held"`
	}](ctx, db, selectTrustedClock)
	if err != nil || !kept {
		return domain.TrustedClock{}, err
	}
	c := domain.TrustedClock{At: time.UnixMilli(row.At), Held: time.Duration(row.Held) * time.Millisecond}
	if row.Refused.Valid {
		c.Refused = time.UnixMilli(row.Refused.Int64)
	}
	return c, nil
}

// AdvanceClock implements history.RetentionClock.
func (c *Clock) AdvanceClock(ctx context.Context, log time.Time) (next domain.TrustedClock, err error) {
	err = c.db.Write(ctx, "advance the clock", func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, lockTrustedClock); err != nil {
			return err
		}
		before, err := trustedClock(ctx, tx)
		if err != nil {
			return err
		}
		told, err := c.tell(ctx, tx)
		if err != nil {
			return err
		}
		if log.Before(told) {
			told = log
		}
		if next = before.Next(told); next.At.IsZero() {
			return nil // no clock that was set has told the time yet
		}
		refused := sql.NullInt64{Int64: next.Refused.UnixMilli(), Valid: !next.Refused.IsZero()}
		_, err = tx.ExecContext(ctx, keepTrustedClock, next.At.UnixMilli(), refused, next.Held.Milliseconds())
		return err
	})
	return next, err
}
