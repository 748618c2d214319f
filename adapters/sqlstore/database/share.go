package database

import (
	"context"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/semaphore"
)

// Share is a part of the connections. Who uses it leaves the others free.
type Share struct {
	db    *DB
	slots *semaphore.Weighted
}

// Half returns half of the connections for single queries, and at least one.
func (db *DB) Half() *Share {
	return &Share{db, semaphore.NewWeighted(int64(max(1, db.Reader.Stats().MaxOpenConnections/2)))}
}

// Read is that of DB. It waits for a connection of the share, as long as the timeout lets it.
func (s *Share) Read(ctx context.Context, op string, f func(context.Context, *sqlx.DB) error) error {
	return s.use(ctx, op, func(ctx context.Context) error { return s.db.Read(ctx, op, f) })
}

// Write is that of DB. It waits as Read does.
func (s *Share) Write(ctx context.Context, op string, f func(context.Context, *sqlx.Tx) error) error {
	return s.use(ctx, op, func(ctx context.Context) error { return s.db.Write(ctx, op, f) })
}

func (s *Share) use(ctx context.Context, op string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.db.timeout)
	defer cancel()
	if err := s.slots.Acquire(ctx, 1); err != nil {
		return s.db.classify(ctx, op, err)
	}
	defer s.slots.Release(1)
	return f(ctx)
}
