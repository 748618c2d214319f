package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jmoiron/sqlx"
	"github.com/sethvargo/go-retry"
	"golang.org/x/sync/semaphore"

	"chatting/application"
	"chatting/domain"
)

var (
	_ application.KnownUsers  = (*Store)(nil)
	_ application.BlockStore  = (*Store)(nil)
	_ application.FriendStore = (*Store)(nil)
)

// Options say which database to use and how. Zero values take the defaults named.
type Options struct {
	// URL is sqlite:PATH or postgres://user:password@host:port/database?parameters as lib/pq takes them (its sslmode is
	// "require" unless the URL says otherwise). It is never logged and appears in no error.
	URL string
	// MustExist lets Open fail instead of making an SQLite file.
	MustExist bool
	// MaxOpen bounds the connections in use at once, by default 16 to PostgreSQL. On SQLite it bounds the readers, 4 by
	// default; there is one writer. Callers beyond it wait, as long as Timeout lets them.
	MaxOpen int
	// MaxIdle bounds the connections kept while nobody uses them, by default MaxOpen.
	MaxIdle int
	// ConnMaxLifetime is after how long a connection to PostgreSQL is replaced, by default 30 minutes.
	ConnMaxLifetime time.Duration
	// Timeout bounds each call, waiting for a connection included, by default 5 s. A caller waits at most twice as long
	// where the server stops answering in the middle of a transaction. It does not bound Migrate.
	Timeout time.Duration
	Logger  *slog.Logger
	// Notices take the log lines about records of the log; nil makes some that write to Logger.
	Notices *application.Notices
	Now     func() time.Time
}

// Store is an open database. It is safe for concurrent use. Close must be called once nobody uses it any more.
type Store struct {
	dialect dialect
	// writer is for transactions, reader for single queries. On PostgreSQL they are the same.
	writer, reader *sqlx.DB
	timeout        time.Duration
	// history holds the connections that questions about the history may take; pages are the statements of those.
	history *semaphore.Weighted
	pages   pageStatements
	logger  *slog.Logger
	notices *application.Notices
	now     func() time.Time
	// ownClock has now taken for the clock of the database server: tests set it.
	ownClock bool

	// known holds users that the database had, and when: a hit of late needs no query.
	known *lru.Cache[domain.UserID, time.Time]
	// key is what blockKey has read; nil before.
	key atomic.Pointer[[]byte]
	// held is the log that the database has to belong to; nil before ClaimLog or HoldTo.
	held atomic.Pointer[LogIdentity]
	// forgotten counts how often a user was taken out of known.
	forgotten atomic.Int64
	// purgeAt is when, in milliseconds, a call of Begin next looks for idempotency keys to delete.
	purgeAt atomic.Int64
}

const (
	defaultTimeout         = 5 * time.Second
	defaultConnMaxLifetime = 30 * time.Minute
	// knownUsers bounds the cache of known users: some 100 bytes each.
	knownUsers = 1 << 16
)

// Open connects to the database and sees that it answers; it does not migrate. Errors: a plain one for a URL that cannot
// be used, a damaged SQLite file, which is left as it is, or a database that refuses; CodeUnavailable for one that is away.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.ConnMaxLifetime <= 0 {
		o.ConnMaxLifetime = defaultConnMaxLifetime
	}
	if o.Notices == nil {
		o.Notices = application.NewNotices(o.Logger, o.Now)
	}
	dialect, err := newDialect(o)
	if err != nil {
		return nil, err
	}
	if dialect.prepare != nil {
		if err := dialect.prepare(ctx, o); err != nil {
			return nil, err
		}
	}
	known, err := lru.New[domain.UserID, time.Time](knownUsers)
	if err != nil {
		return nil, fmt.Errorf("sql: cache of known users: %w", err)
	}
	s := &Store{dialect: dialect, timeout: o.Timeout, logger: o.Logger, notices: o.Notices, now: o.Now, known: known}
	s.writer, s.reader, err = dialect.open(o)
	if err != nil {
		return nil, fmt.Errorf("sql: open: %w", dialect.scrub.error(err))
	}
	s.history, s.pages = historyShare(s.reader.Stats().MaxOpenConnections), dialect.pages()
	// The writer first: on SQLite its first connection makes the file.
	for _, pool := range []*sqlx.DB{s.writer, s.reader} {
		if err := s.ping(ctx, pool); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func newDialect(o Options) (dialect, error) {
	scheme, rest, _ := strings.Cut(o.URL, ":")
	switch scheme {
	case "sqlite":
		return newSQLite(rest, o.Timeout)
	case "postgres", "postgresql":
		return newPostgres(o.URL, o.Timeout)
	default:
		return dialect{}, errors.New("sql: the database URL must begin with sqlite: or postgres://")
	}
}

// Close waits for what is under way and closes the connections.
func (s *Store) Close() error {
	err := s.writer.Close()
	if s.reader != s.writer {
		err = errors.Join(err, s.reader.Close())
	}
	if err != nil {
		return fmt.Errorf("sql: close: %w", err)
	}
	return nil
}

// Ping tells whether the database answers: nil or CodeUnavailable.
func (s *Store) Ping(ctx context.Context) error { return s.ping(ctx, s.reader) }

func (s *Store) ping(ctx context.Context, pool *sqlx.DB) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.classify(ctx, "ping", s.retryConflicts(ctx, func(ctx context.Context) error {
		var one int
		return pool.GetContext(ctx, &one, "SELECT 1")
	}))
}

// read runs queries that change nothing.
func (s *Store) read(ctx context.Context, op string, f func(context.Context, *sqlx.DB) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.classify(ctx, op, f(ctx, s.reader))
}

// write runs f in a transaction as transact does, unless the database does not belong to the log any more that the store
// is held to: then it returns an *OtherLogError, and changes nothing.
func (s *Store) write(ctx context.Context, op string, f func(context.Context, *sqlx.Tx) error) error {
	return s.transact(ctx, op, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := s.lockLog(ctx, tx); err != nil {
			return err
		}
		return f(ctx, tx)
	})
}

// transact runs f in a transaction, again where another transaction got in its way. So f may only change the database and
// set results; and it must use nothing but tx, because another connection may never come free. An error of f rolls back.
func (s *Store) transact(ctx context.Context, op string, f func(context.Context, *sqlx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.classify(ctx, op, s.retryConflicts(ctx, func(ctx context.Context) error {
		tx, err := s.writer.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return err
		}
		defer tx.Rollback() // after Commit it does nothing; after a failure the failure is what counts
		if err := f(ctx, tx); err != nil {
			return err
		}
		return tx.Commit()
	}))
}

// retryConflicts runs f again, a few times within about a second, while it fails by a conflict after which nothing of it
// was done. On SQLite that also happens to those who open a new file at once: its change to WAL waits for nobody.
func (s *Store) retryConflicts(ctx context.Context, f func(context.Context) error) error {
	backoff := retry.WithMaxRetries(7, retry.WithJitterPercent(50, retry.NewExponential(10*time.Millisecond)))
	return retry.Do(ctx, backoff, func(ctx context.Context) error {
		err := f(ctx)
		if err != nil && s.dialect.conflict(err) {
			return retry.RetryableError(err)
		}
		return err
	})
}

// classify gives err, which op ended with under ctx, its code.
func (s *Store) classify(ctx context.Context, op string, err error) error {
	var classified *domain.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &classified):
		return err
	}
	err = s.dialect.scrub.error(err)
	switch {
	case ctx.Err() != nil, isOutage(err), s.dialect.outage(err), s.dialect.conflict(err):
		return domain.WrapError(domain.CodeUnavailable, "The database is not available.", fmt.Errorf("sql: %s: %w", op, err))
	default:
		return fmt.Errorf("sql: %s: %w", op, err)
	}
}

// isOutage tells whether err says that the connection, not the statement, failed.
func isOutage(err error) bool {
	var network net.Error
	return errors.As(err, &network) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
