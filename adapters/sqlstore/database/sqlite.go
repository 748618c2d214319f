package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
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

// migrationPoll is how often a process looks whether another one has finished migrating its file.
const migrationPoll = 20 * time.Millisecond

// newSQLite is the dialect of the database file at path.
func newSQLite(path string, timeout time.Duration) (dialect, error) {
	if path == "" || path == ":memory:" {
		return dialect{}, errors.New("sql: sqlite: needs the path of a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return dialect{}, fmt.Errorf("sql: sqlite: %w", err)
	}
	file, busy := sqliteFile{path}, strconv.FormatInt(timeout.Milliseconds(), 10)
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
		// cost of projecting. And the cache is large enough for what one transaction changes. The write-ahead log grows to
		// 16 MB before it is copied into the file, so that a page which many transactions change is copied less often.
		"_pragma": {"temp_store(MEMORY)", "cache_size(-8192)", "wal_autocheckpoint(4000)"},
	})
	reading := sqliteDSN(path, url.Values{"_busy_timeout": {busy}, "_query_only": {"1"}, "_error_rc": {"1"}})
	return dialect{
		Kind: migrations.SQLite, goose: goose.DialectSQLite3,
		prepare: file.prepare,
		open: func(o Options) (writer, reader *sqlx.DB, err error) {
			if writer, err = openSQLite(writing); err != nil {
				return nil, nil, err
			}
			if reader, err = openSQLite(reading); err != nil {
				return nil, nil, errors.Join(err, writer.Close())
			}
			// SQLite admits one writer anyway, and callers that wait in the pool are served in turn. Readers do not wait for it.
			writer.SetMaxOpenConns(1)
			o.limit(reader)
			return writer, reader, nil
		},
		openToMigrate: func(ctx context.Context) (*sql.DB, func() error, error) {
			return file.openToMigrate(ctx, writing)
		},
		conflict: func(err error) bool { return sqliteCode(err, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) },
		outage: func(err error) bool {
			return sqliteCode(err, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PROTOCOL)
		},
	}, nil
}

func (f sqliteFile) openToMigrate(ctx context.Context, dsn string) (*sql.DB, func() error, error) {
	lock := flock.New(f.migrateLock(), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, migrationPoll); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("lock %s: %w", lock.Path(), err), lock.Close())
	}
	db, err := openSQLite(dsn)
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	return db.DB, func() error { return errors.Join(db.Close(), lock.Close()) }, nil
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
	return errors.As(err, &failure) && slices.Contains(codes, failure.Code()&0xff)
}
