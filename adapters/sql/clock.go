package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/domain"
)

var _ application.RetentionClock = (*Store)(nil)

const (
	postgresNow = `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`

	selectTrustedClock = `SELECT trusted_at, refused_at, held FROM trusted_clock`
	keepTrustedClock   = `
		INSERT INTO trusted_clock (one_row, trusted_at, refused_at, held) VALUES (1, $1, $2, $3)
		ON CONFLICT (one_row) DO UPDATE
		SET trusted_at = excluded.trusted_at, refused_at = excluded.refused_at, held = excluded.held`
	// lockTrustedClock has transactions that move the clock wait for each other.
	lockTrustedClock = `UPDATE trusted_clock SET held = held`
)

// clock returns the time of the database: that of its server, or with SQLite, which has none, this process's.
func (s *Store) clock(ctx context.Context, q sqlx.QueryerContext) (time.Time, error) {
	if s.dialect.now == "" || s.ownClock {
		return s.now(), nil
	}
	var ms int64
	if err := sqlx.GetContext(ctx, q, &ms, s.dialect.now); err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(ms), nil
}

// trustedClock reads the clock that deleting goes by; the zero value before the first.
func trustedClock(ctx context.Context, q sqlx.QueryerContext) (domain.TrustedClock, error) {
	var row struct {
		At      int64         `db:"trusted_at"`
		Refused sql.NullInt64 `db:"refused_at"`
		Held    int64         `db:"held"`
	}
	err := sqlx.GetContext(ctx, q, &row, selectTrustedClock)
	if errors.Is(err, sql.ErrNoRows) {
		return domain.TrustedClock{}, nil
	}
	if err != nil {
		return domain.TrustedClock{}, err
	}
	c := domain.TrustedClock{At: time.UnixMilli(row.At), Held: time.Duration(row.Held) * time.Millisecond}
	if row.Refused.Valid {
		c.Refused = time.UnixMilli(row.Refused.Int64)
	}
	return c, nil
}

// AdvanceClock implements application.RetentionClock.
func (s *Store) AdvanceClock(ctx context.Context, log time.Time) (next domain.TrustedClock, err error) {
	err = s.write(ctx, "advance the clock", func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, lockTrustedClock); err != nil {
			return err
		}
		before, err := trustedClock(ctx, tx)
		if err != nil {
			return err
		}
		told, err := s.clock(ctx, tx)
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

// Time returns the time of the database: that of its server, or with SQLite, which has none, this process's. Nodes on one
// server have the same.
func (s *Store) Time(ctx context.Context) (at time.Time, err error) {
	err = s.read(ctx, "read the time", func(ctx context.Context, db *sqlx.DB) error {
		at, err = s.clock(ctx, db)
		return err
	})
	return at, err
}

// ReferenceTime returns the time that a node's own clock is compared with, and whether that is independent of it. With
// PostgreSQL it is the server's. With SQLite there is only what was last trusted, which the own clock cannot be behind:
// zero where nothing was yet.
func (s *Store) ReferenceTime(ctx context.Context) (at time.Time, independent bool, err error) {
	err = s.read(ctx, "read the time", func(ctx context.Context, db *sqlx.DB) error {
		if s.dialect.now != "" {
			at, err = s.clock(ctx, db)
			return err
		}
		trusted, err := trustedClock(ctx, db)
		at = trusted.At
		return err
	})
	return at, s.dialect.now != "", err
}
