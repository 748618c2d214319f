// Package sqlstore is the database of the server, SQLite or PostgreSQL. It keeps users, blocks with their outbox, friends,
// idempotency keys, the clock that deleting goes by, and to which log the database belongs. Each subject has a type of its own,
// which implements the ports of the application; Open hands all of them out, with those of package conversations, which keeps
// the history. How a database is opened, migrated, asked and given up is in package database.
//
// One set of statements serves both databases: they use numbered parameters ($1), RETURNING and ON CONFLICT, which both
// understand alike. What differs is in the dialect.go of each package.
//
// Isolation: every transaction takes the lock that it needs with its first statement. On PostgreSQL (READ COMMITTED) that
// is the lock on a row, or on several in the order of their keys, taken by an UPDATE or by an INSERT … ON CONFLICT DO
// UPDATE, which also serialises those who come first; on SQLite one transaction writes at a time. No transaction asks the pool
// for a second connection.
//
// Errors are those of package database. Times are stored as integers, milliseconds since 1970 UTC.
package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"chatting/adapters/sqlstore/conversations"
	"chatting/adapters/sqlstore/database"
	"chatting/application"
	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/application/moderation"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/application/presence"
)

// Options say which database to use and how.
type Options struct {
	database.Options

	// Notices take the log lines about records of the log; nil makes some that write to Logger.
	Notices *notice.Log
	Now     func() time.Time
}

// Store is an open database, by subjects. It is safe for concurrent use. Close must be called once nobody uses it any more.
type Store struct {
	conversations.Conversations

	Users        *Users
	Friends      *Friends
	Blocks       *Blocks
	Idempotency  *Idempotency
	Eraser       *Eraser
	Clock        *Clock
	Installation *Installation
	Moderation   *Moderation
	Facts        *Facts

	db *database.DB
}

// The ports of the application, and what implements them.
var (
	_ port.KnownUsers           = (*Users)(nil)
	_ application.LoginStore    = (*Users)(nil)
	_ presence.FriendLists      = (*Friends)(nil)
	_ presence.FriendStore      = (*Friends)(nil)
	_ blocks.Store              = (*Blocks)(nil)
	_ delivery.BlockVersions    = (*Blocks)(nil)
	_ blocks.PresenceBlocks     = (*Blocks)(nil)
	_ application.UserEraser    = (*Eraser)(nil)
	_ conversations.GivenBlocks = (*Blocks)(nil)
	_ history.RetentionClock    = (*Clock)(nil)
)

// Open opens a database as database.Open does. It does not migrate.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Notices == nil {
		o.Notices = notice.NewLog(o.Logger, o.Now)
	}
	db, err := database.Open(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	dialect := dialects[db.Kind]
	s := &Store{
		Users:        newUsers(db, dialect, o.Now),
		Friends:      &Friends{db, o.Now},
		Blocks:       &Blocks{db: db},
		Idempotency:  &Idempotency{db: db, logger: o.Logger},
		Clock:        newClock(db, dialect, o.Now),
		Installation: &Installation{db: db, dialect: dialect, now: o.Now},
		db:           db,
	}
	s.Conversations = conversations.New(db, conversations.Options{Blocks: s.Blocks, Clock: trustedClock, Notices: o.Notices})
	s.Eraser = &Eraser{db, s.Users, s.Blocks, s.Erasures}
	s.Moderation = &Moderation{db: db, blocks: s.Blocks, max: moderation.MaxActs}
	s.Facts = &Facts{db}
	db.Guard(s.Installation.lock)
	return s, nil
}

// Close waits for what is under way and closes the connections.
func (s *Store) Close() error { return s.db.Close() }

// Ping tells whether the database answers: nil or CodeUnavailable.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Pools returns the state of the connections: see database.DB.Pools.
func (s *Store) Pools() (read, write sql.DBStats, twoPools bool) { return s.db.Pools() }

// Migrate brings the database to the schema that this program knows: see database.DB.Migrate.
func (s *Store) Migrate(ctx context.Context) error { return s.db.Migrate(ctx, makeBlockKey) }

// Version returns the schema version that the database has, 0 before the first migration, and the one that this program
// knows.
func (s *Store) Version(ctx context.Context) (current, known int64, err error) {
	return s.db.Version(ctx)
}
