package sqlstore

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/domain"
)

const (
	rememberUser = `INSERT INTO users (id, first_seen) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`
	selectKnown  = `SELECT EXISTS (SELECT 1 FROM users WHERE id = $1)`
)

// knownFor is how long a node takes a user for known without asking the database again, which may have forgotten it.
const knownFor = time.Minute

// Remember implements application.KnownUsers. Calls for a user soon after another one on this node do not go to the
// database, as long as the user stays in the cache.
func (s *Store) Remember(ctx context.Context, user domain.UserID) error {
	known, err := s.Known(ctx, user)
	if known || err != nil {
		return err
	}
	err = s.write(ctx, "remember user", func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, rememberUser, int64(user), s.now().UnixMilli())
		return err
	})
	if err == nil {
		s.known.Add(user, s.now())
	}
	return err
}

// Known implements application.KnownUsers.
func (s *Store) Known(ctx context.Context, user domain.UserID) (bool, error) {
	now := s.now()
	if at, hit := s.known.Get(user); hit && now.Sub(at) < knownFor {
		return true, nil
	}
	forgotten := s.forgotten.Load()
	known, err := s.inUsers(ctx, user)
	if known && s.forgotten.Load() == forgotten { // else what was read may be old
		s.known.Add(user, now)
	}
	return known, err
}

// LookUpAgain has the database asked when a user is next named, whom another node may have erased.
func (s *Store) LookUpAgain(user domain.UserID) {
	s.forgotten.Add(1)
	s.known.Remove(user)
}

// inUsers asks the database itself.
func (s *Store) inUsers(ctx context.Context, user domain.UserID) (known bool, err error) {
	err = s.read(ctx, "look for user", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &known, selectKnown, int64(user))
	})
	return known, err
}
