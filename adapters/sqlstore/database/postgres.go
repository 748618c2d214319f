package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/pressly/goose/v3"

	"chatting/migrations"
)

// migrationLock is the key of the advisory lock under which this program migrates; locks are a database's own.
const migrationLock = 0x63686174_74696e67 // "chatting"

// connectionLife is after how long a connection is replaced; tests change it.
var connectionLife = 30 * time.Minute

// newPostgres is the dialect of the PostgreSQL database at rawURL.
func newPostgres(rawURL string, timeout time.Duration) (dialect, error) {
	// The parser's own error would show the URL, and with it the password.
	if _, err := url.Parse(rawURL); err != nil {
		return dialect{}, errors.New("sql: postgres: the database URL cannot be parsed; is its password percent-encoded?")
	}
	config, err := pq.NewConfig(rawURL)
	if err != nil {
		return dialect{}, fmt.Errorf("sql: postgres: the database URL cannot be used: %s", newScrubber(rawURL, config).text(err.Error()))
	}
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = timeout
	}
	return dialect{
		Kind: migrations.PostgreSQL, goose: goose.DialectPostgres,
		open: func(o Options) (writer, reader *sqlx.DB, err error) {
			pool, err := openBounded(config.Clone(), timeout)
			if err != nil {
				return nil, nil, err
			}
			o.limit(pool)
			pool.SetConnMaxLifetime(connectionLife)
			return pool, pool, nil
		},
		openToMigrate: func(ctx context.Context) (*sql.DB, func() error, error) {
			return openPostgresToMigrate(ctx, config)
		},
		conflict: func(err error) bool {
			return pq.As(err, pqerror.TRSerializationFailure, pqerror.TRDeadlockDetected) != nil
		},
		outage: isPostgresOutage,
		scrub:  newScrubber(rawURL, config),
	}, nil
}

// openBounded bounds statements by timeout, on both ends. The server ends what its client can no longer end: statements and
// transactions of a node that is gone, whose locks would bar the others. (Behind PgBouncer both names have to be in
// ignore_startup_parameters.)
func openBounded(config pq.Config, timeout time.Duration) (*sqlx.DB, error) {
	setDefault(config.Runtime, "statement_timeout", timeout)
	setDefault(config.Runtime, "idle_in_transaction_session_timeout", 2*timeout)
	return openPostgres(config, func(conn net.Conn) net.Conn { return &boundedConn{Conn: conn, timeout: timeout} })
}

func setDefault(parameters map[string]string, name string, timeout time.Duration) {
	if _, set := parameters[name]; !set {
		parameters[name] = strconv.FormatInt(max(timeout.Milliseconds(), 1), 10)
	}
}

// openPostgresToMigrate takes the migration lock on a connection of its own. Where ctx ends, its connections are cut: the
// driver alone would wait for a server that does not answer.
func openPostgresToMigrate(ctx context.Context, config pq.Config) (*sql.DB, func() error, error) {
	pool, err := openPostgres(config, func(conn net.Conn) net.Conn {
		return &cutConn{Conn: conn, stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}
	})
	if err != nil {
		return nil, nil, err
	}
	lock, err := pool.Conn(ctx)
	if err == nil {
		_, err = lock.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock))
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("migration lock: %w", err), pool.Close())
	}
	return pool.DB, func() error {
		// The lock lives as long as the session, and pooled sessions are closed with the pool.
		return errors.Join(lock.Close(), pool.Close())
	}, nil
}

func openPostgres(config pq.Config, wrap func(net.Conn) net.Conn) (*sqlx.DB, error) {
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, err
	}
	connector.Dialer(dialer{wrap: wrap})
	return sqlx.NewDb(sql.OpenDB(connector), "postgres"), nil
}

// isPostgresOutage reads the error classes of https://www.postgresql.org/docs/15/errcodes-appendix.html.
func isPostgresOutage(err error) bool {
	failure := pq.As(err)
	if failure == nil || len(failure.Code) != 5 {
		return false
	}
	switch failure.Code.Class() {
	case pqerror.ClassConnectionException, pqerror.ClassInsufficientResources, pqerror.ClassOperatorIntervention:
		return true // 57 has the cancelled statement (a timeout), the shutdown and the start-up
	}
	switch failure.Code {
	case pqerror.LockNotAvailable, pqerror.ReadOnlySQLTransaction, pqerror.IdleInTransactionSessionTimeout:
		return true // a read-only server is a standby that the address still leads to
	}
	return false
}

// dialer dials for the driver, which cannot itself bound a read from a server that does not answer.
type dialer struct {
	pq.Dialer // nil: the driver prefers DialContext

	wrap func(net.Conn) net.Conn
}

// DialContext implements pq.DialerContext.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return d.wrap(conn), nil
}

// boundedConn lets no read or write take longer than timeout. The driver gives up a connection on which one failed.
type boundedConn struct {
	net.Conn
	timeout time.Duration
}

// Read implements net.Conn.
func (c *boundedConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write implements net.Conn.
func (c *boundedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// cutConn is closed by a context; stop ends that.
type cutConn struct {
	net.Conn
	stop func() bool
}

// Close implements net.Conn.
func (c *cutConn) Close() error {
	c.stop()
	return c.Conn.Close()
}
