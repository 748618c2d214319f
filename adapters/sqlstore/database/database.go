// Package database opens SQLite and PostgreSQL databases and runs statements on them. It bounds each call, retries conflicts,
// classifies errors, migrates the schema, and keeps secrets out of errors. It does not know what is in the tables: that is
// for package sqlstore and what is below it.
//
// Isolation: PostgreSQL runs at READ COMMITTED. On SQLite transactions are immediate, and there is one writing connection.
//
// Errors: domain.CodeUnavailable if the database is away, does not answer in time or is too busy, and if the caller's context
// ends first. A write that failed so may still have been committed. Conflicts with other transactions are retried a few times
// before that. Anything else is a plain error, which domain.CodeOf calls CodeInternal.
package database

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"github.com/sethvargo/go-retry"

	"chatting/domain"
	"chatting/migrations"
)

// Options say which database to use and how. MustExist and MaxIdle may be zero.
type Options struct {
	// URL is sqlite:PATH or postgres://user:password@host:port/database?parameters as lib/pq takes them (its sslmode is
	// "require" unless the URL says otherwise). It is never logged and appears in no error.
	URL string
	// MustExist lets Open fail instead of making an SQLite file.
	MustExist bool
	// MaxOpen bounds the connections in use at once. On SQLite it bounds the readers; there is one writer. Callers beyond it
	// wait, as long as Timeout lets them.
	MaxOpen int
	// MaxIdle bounds the connections kept while nobody uses them, by default MaxOpen.
	MaxIdle int
	// Timeout bounds each call, waiting for a connection included. A caller waits at most twice as long if the server stops
	// answering in the middle of a transaction. It does not bound Migrate.
	Timeout time.Duration
	Logger  *slog.Logger
	// Observer is told of each call; nil: nobody is.
	Observer Observer
}

// DB is an open database. It is safe for concurrent use. Close must be called once nobody uses it any more.
type DB struct {
	dialect

	// Writer is for transactions, Reader for single queries. On PostgreSQL they are the same. Read, Write and Transact use
	// them, and add what the package comment promises.
	Writer, Reader *sqlx.DB

	timeout  time.Duration
	logger   *slog.Logger
	observer Observer
	guard    func(context.Context, *sqlx.Tx) error
}

// dialect is what opening, migrating and reading errors differs in. Statements that differ belong to those who ask them.
type dialect struct {
	// Kind tells SQLite from PostgreSQL.
	Kind  migrations.Database
	goose goose.Dialect
	// prepare looks at the files of the database before any connection is made; nil if it has none.
	prepare func(context.Context, Options) error
	// open returns the pools for transactions and for single queries.
	open func(Options) (writer, reader *sqlx.DB, err error)
	// openToMigrate returns a pool for migrations, which may take longer than other calls, once no other process
	// migrates this database. release lets the next one in and closes the pool.
	openToMigrate func(context.Context) (db *sql.DB, release func() error, err error)
	// conflict tells that another transaction got in the way: nothing was done, and trying again may help at once.
	conflict func(error) bool
	// outage tells that the database cannot do anything now, through no fault of the statement.
	outage func(error) bool
	// scrub takes what may be a secret out of the texts of errors.
	scrub scrubber
}

// Open connects to the database and sees that it answers; it does not migrate. Errors: a plain one for a URL that cannot
// be used, a damaged SQLite file, which is left as it is, or a database that refuses; CodeUnavailable for one that is away.
func Open(ctx context.Context, o Options) (*DB, error) {
	dialect, err := newDialect(o)
	if err != nil {
		return nil, err
	}
	if dialect.prepare != nil {
		if err := dialect.prepare(ctx, o); err != nil {
			return nil, err
		}
	}
	db := &DB{dialect: dialect, timeout: o.Timeout, logger: o.Logger, observer: o.Observer}
	db.Writer, db.Reader, err = dialect.open(o)
	if err != nil {
		return nil, fmt.Errorf("sql: open: %w", dialect.scrub.error(err))
	}
	// The writer first: on SQLite its first connection makes the file.
	for _, pool := range []*sqlx.DB{db.Writer, db.Reader} {
		if err := db.ping(ctx, pool); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
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

// limit sets the bounds of a pool.
func (o Options) limit(pool *sqlx.DB) {
	pool.SetMaxOpenConns(o.MaxOpen)
	pool.SetMaxIdleConns(cmp.Or(o.MaxIdle, o.MaxOpen))
}

// Close waits for what is under way and closes the connections.
func (db *DB) Close() error {
	err := db.Writer.Close()
	if db.Reader != db.Writer {
		err = errors.Join(err, db.Reader.Close())
	}
	if err != nil {
		return fmt.Errorf("sql: close: %w", err)
	}
	return nil
}

// Ping tells whether the database answers: nil or CodeUnavailable.
func (db *DB) Ping(ctx context.Context) error { return db.ping(ctx, db.Reader) }

func (db *DB) ping(ctx context.Context, pool *sqlx.DB) error {
	return db.within(ctx, "ping", func(ctx context.Context) error {
		return db.retryConflicts(ctx, func(ctx context.Context) error {
			var one int
			return pool.GetContext(ctx, &one, "SELECT 1")
		})
	})
}

// Read runs queries that change nothing. op names them in errors.
func (db *DB) Read(ctx context.Context, op string, f func(context.Context, *sqlx.DB) error) error {
	return db.within(ctx, op, func(ctx context.Context) error { return f(ctx, db.Reader) })
}

// Guard has Write call check first in each transaction. It must be called before Write.
func (db *DB) Guard(check func(context.Context, *sqlx.Tx) error) { db.guard = check }

// Write runs f in a transaction as Transact does, unless the guard returns an error: then nothing changes.
func (db *DB) Write(ctx context.Context, op string, f func(context.Context, *sqlx.Tx) error) error {
	return db.Transact(ctx, op, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := db.guard(ctx, tx); err != nil {
			return err
		}
		return f(ctx, tx)
	})
}

// Exec runs one statement as Write does, and returns how many rows it changed.
func (db *DB) Exec(ctx context.Context, op, statement string, arguments ...any) (changed int64, err error) {
	err = db.Write(ctx, op, func(ctx context.Context, tx *sqlx.Tx) (err error) {
		changed, err = Affected(tx.ExecContext(ctx, statement, arguments...))
		return err
	})
	if err != nil {
		return 0, err
	}
	return changed, nil
}

// Transact runs f in a transaction, again if another transaction got in its way. So f may only change the database and
// set results; and it must use nothing but tx, because another connection may never come free. An error of f rolls back.
func (db *DB) Transact(ctx context.Context, op string, f func(context.Context, *sqlx.Tx) error) error {
	once := func(ctx context.Context) error {
		tx, err := db.Writer.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return err
		}
		defer tx.Rollback() // after Commit it does nothing; after a failure the failure is what counts
		if err := f(ctx, tx); err != nil {
			return err
		}
		return tx.Commit()
	}
	return db.within(ctx, op, func(ctx context.Context) error { return db.retryConflicts(ctx, once) })
}

// within runs f within the timeout, and classifies its error.
func (db *DB) within(ctx context.Context, op string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	if db.observer == nil {
		return db.classify(ctx, op, f(ctx))
	}
	begin := time.Now()
	err := db.classify(ctx, op, f(ctx))
	db.observer.Called(outcomeOf(err), time.Since(begin))
	return err
}

// retryConflicts runs f again, a few times within about a second, while it fails by a conflict after which nothing of it
// was done. On SQLite that also happens to those who open a new file at once: its change to WAL waits for nobody.
func (db *DB) retryConflicts(ctx context.Context, f func(context.Context) error) error {
	backoff := retry.WithMaxRetries(7, retry.WithJitterPercent(50, retry.NewExponential(10*time.Millisecond)))
	return retry.Do(ctx, backoff, func(ctx context.Context) error {
		err := f(ctx)
		if err != nil && db.conflict(err) {
			return retry.RetryableError(err)
		}
		return err
	})
}

// classify gives err, which op ended with under ctx, its code.
func (db *DB) classify(ctx context.Context, op string, err error) error {
	if err == nil || errors.As(err, new(*domain.Error)) {
		return err
	}
	err = fmt.Errorf("sql: %s: %w", op, db.scrub.error(err))
	if ctx.Err() != nil || isOutage(err) || db.outage(err) || db.conflict(err) {
		return domain.WrapError(domain.CodeUnavailable, "The database is not available.", err)
	}
	return err
}

// isOutage tells whether err says that the connection, not the statement, failed.
func isOutage(err error) bool {
	return errors.As(err, new(net.Error)) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
