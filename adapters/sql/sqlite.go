package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"chatting/migrations"
)

const (
	// sqliteReaders is how many readers there are by default: SQLite reads are short, and of the CPU.
	sqliteReaders = 4
	// migrationPoll is how often a process looks whether another one has finished migrating its file.
	migrationPoll = 20 * time.Millisecond
)

// newSQLite is the dialect of the database file at path. There is one writing connection, because SQLite admits one
// writer anyway and callers that wait in the pool are served in turn; readers do not wait for it (WAL).
func newSQLite(path string, timeout time.Duration) (dialect, error) {
	if path == "" || path == ":memory:" {
		return dialect{}, errors.New("sql: sqlite: needs the path of a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return dialect{}, fmt.Errorf("sql: sqlite: %w", err)
	}
	file := sqliteFile{path}
	busy := strconv.FormatInt(timeout.Milliseconds(), 10)
	writing := sqliteDSN(path, url.Values{
		"_busy_timeout": {busy},
		"_foreign_keys": {"1"},
		"_journal_mode": {"WAL"},
		// In WAL mode NORMAL may lose the latest commits on power loss. A block that was answered must survive that.
		"_synchronous": {"FULL"},
		// A transaction that reads first and then finds another writer could only fail: wait at the start instead.
		"_txlock":   {"immediate"},
		"_error_rc": {"1"},
		// What a statement with triggers may have to take back is kept in memory, not in a file: that was a third of the
		// cost of projecting. And the cache is large enough for what one transaction changes.
		"_pragma": {"temp_store(MEMORY)", "cache_size(-8192)"},
	})
	reading := sqliteDSN(path, url.Values{"_busy_timeout": {busy}, "_query_only": {"1"}, "_error_rc": {"1"}})
	return dialect{
		goose: goose.DialectSQLite3, migrations: migrations.SQLite,
		prepare: file.prepare,
		open: func(o Options) (writer, reader *sqlx.DB, err error) {
			if writer, err = openSQLite(writing); err != nil {
				return nil, nil, err
			}
			if reader, err = openSQLite(reading); err != nil {
				return nil, nil, errors.Join(err, writer.Close())
			}
			writer.SetMaxOpenConns(1)
			limit(reader, o, sqliteReaders)
			return writer, reader, nil
		},
		openToMigrate: func(ctx context.Context) (*sql.DB, func() error, error) {
			lock := flock.New(file.migrateLock(), flock.SetPermissions(0o600))
			if _, err := lock.TryLockContext(ctx, migrationPoll); err != nil {
				return nil, nil, errors.Join(fmt.Errorf("lock %s: %w", lock.Path(), err), lock.Close())
			}
			db, err := openSQLite(writing)
			if err != nil {
				return nil, nil, errors.Join(err, lock.Close())
			}
			return db.DB, func() error { return errors.Join(db.Close(), lock.Close()) }, nil
		},
		conflict:   func(err error) bool { return sqliteCode(err, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) },
		movePlaces: movePlacesInTurn, lockProjections: selectGenerations, // one transaction writes at a time
		blocksBefore: sqliteBlocksBefore, insertMessages: sqliteInsertMessages, pages: plainPages,
		lockInstallation: selectInstallation, // one transaction writes at a time
		outage: func(err error) bool {
			return sqliteCode(err, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PROTOCOL)
		},
	}, nil
}

// sqliteDSN names the file by a URI, in which no character of its path can be taken for a parameter.
func sqliteDSN(path string, parameters url.Values) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // a drive letter
		path = "/" + path
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + parameters.Encode()
}

func openSQLite(dsn string) (*sqlx.DB, error) {
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sqlx.NewDb(sql.OpenDB(connector), "sqlite"), nil
}

// sqliteCode tells whether err carries one of the primary result codes (https://www.sqlite.org/rescode.html).
func sqliteCode(err error, codes ...int) bool {
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return false
	}
	for _, code := range codes {
		if failure.Code()&0xff == code {
			return true
		}
	}
	return false
}

// limit sets the bounds of a pool.
func limit(pool *sqlx.DB, o Options, maxOpen int) {
	if o.MaxOpen > 0 {
		maxOpen = o.MaxOpen
	}
	maxIdle := maxOpen
	if o.MaxIdle > 0 {
		maxIdle = o.MaxIdle
	}
	pool.SetMaxOpenConns(maxOpen)
	pool.SetMaxIdleConns(maxIdle)
}
