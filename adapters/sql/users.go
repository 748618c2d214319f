package sqlstore

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/domain"
)

const (
	rememberUser = `INSERT INTO users (id, first_seen) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`
	selectKnown  = `SELECT EXISTS (SELECT 1 FROM users WHERE id = $1)`
)

// Remember implements application.KnownUsers. Only the first call for a user on this node goes to the database, as long
// as the user stays in the cache.
func (s *Store) Remember(ctx context.Context, user domain.UserID) error {
	if s.known.Contains(user) {
		return nil
	}
	known, err := s.Known(ctx, user)
	if known || err != nil {
		return err
	}
	err = s.write(ctx, "remember user", func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, rememberUser, int64(user), s.now().UnixMilli())
		return err
	})
	if err == nil {
		s.known.Add(user, struct{}{})
	}
	return err
}

// Known implements application.KnownUsers.
func (s *Store) Known(ctx context.Context, user domain.UserID) (known bool, err error) {
	if _, hit := s.known.Get(user); hit {
		return true, nil
	}
	err = s.read(ctx, "look for user", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &known, selectKnown, int64(user))
	})
	if err != nil {
		return false, err
	}
	if known {
		s.known.Add(user, struct{}{})
	}
	return known, nil
}
