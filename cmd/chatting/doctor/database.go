package doctor

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"chatting/adapters/sqlstore/database"
	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/terminal"
	"chatting/domain"
	"chatting/migrations"
)

// database looks at the database.
func (p *patient) database(ctx context.Context) {
	if file, is := strings.CutPrefix(p.Config.Database.URL.Reveal(), "sqlite:"); is {
		p.sqlite(ctx, installation.Absolute(file))
		return
	}
	options := installation.StoreOptions(p.Config, slog.New(slog.DiscardHandler)).Options
	options.Timeout = patience
	db, err := database.Open(ctx, options)
	if err != nil {
		p.fail(databaseChange(err), "%s: %s", p.Config.Database.URL, terminal.OneLine(err))
		return
	}
	defer db.Close()
	var told postgres
	err = db.Read(ctx, "look", func(ctx context.Context, pool *sqlx.DB) error {
		// The server refuses whatever would change something.
		tx, err := pool.BeginTxx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		defer tx.Rollback()
		told, err = askPostgres(ctx, tx, p.Machine.Now)
		return err
	})
	if err != nil {
		p.fail(databaseChange(err), "%s: %s", p.Config.Database.URL, terminal.OneLine(err))
		return
	}
	p.postgres(told)
}

// databaseChange says what to change if the database does not answer.
func databaseChange(err error) string {
	text := err.Error()
	switch {
	case pq.As(err, pqerror.InvalidPassword, pqerror.InvalidAuthorizationSpecification) != nil:
		return "correct user and password in database.url (CHATTING_DATABASE_URL), or pg_hba.conf of the server"
	case pq.As(err, pqerror.InvalidCatalogName) != nil:
		return "make the database (createdb), or correct its name in database.url"
	case pq.As(err, pqerror.TooManyConnections) != nil:
		return "raise max_connections of the server, or lower database.max_open_conns of all nodes"
	case strings.Contains(text, "SSL is not enabled") || strings.Contains(text, "x509") || strings.Contains(text, "SSL"):
		return "let the server speak TLS, or set sslmode in database.url"
	case strings.Contains(text, "no such host"):
		return "correct the host in database.url (CHATTING_DATABASE_URL), or the name service of this machine"
	case domain.CodeOf(err) == domain.CodeUnavailable:
		return "start the database, or correct database.url (CHATTING_DATABASE_URL)"
	}
	return "correct database.url (CHATTING_DATABASE_URL)"
}

// postgres is what a PostgreSQL server tells.
type postgres struct {
	Version   int           `db:"version"`
	ReadOnly  bool          `db:"read_only"`
	Room      int           `db:"room"`       // for connections of this role
	Busy      int           `db:"busy"`       // connections that are open now
	MayCreate bool          `db:"may_create"` // tables, in the current schema
	HasSchema bool          `db:"has_schema"`
	schema    int64         // the version of the schema
	offset    time.Duration // of this machine's clock
	denied    []string      // the tables on which a right is missing
}

const lookAtPostgres = `
	SELECT current_setting('server_version_num')::int AS version,
		pg_is_in_recovery() AS read_only,
		LEAST(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
			(SELECT CASE WHEN rolconnlimit < 0 THEN 1000000 ELSE rolconnlimit END FROM pg_roles WHERE rolname = current_user),
			(SELECT CASE WHEN datconnlimit < 0 THEN 1000000 ELSE datconnlimit END FROM pg_database WHERE datname = current_database())) AS room,
		(SELECT count(*)::int FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL) AS busy,
		COALESCE(has_schema_privilege(current_schema(), 'CREATE'), FALSE) AS may_create,
		to_regclass('goose_db_version') IS NOT NULL AS has_schema`

// askPostgres asks all questions in one transaction, which changes nothing.
func askPostgres(ctx context.Context, tx *sqlx.Tx, now func() time.Time) (told postgres, err error) {
	if err := tx.GetContext(ctx, &told, lookAtPostgres); err != nil {
		return told, err
	}
	before := now()
	var at int64
	if err := tx.GetContext(ctx, &at, `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint`); err != nil {
		return told, err
	}
	told.offset = before.Add(now().Sub(before) / 2).Sub(time.UnixMilli(at))
	var writes string
	if err := tx.GetContext(ctx, &writes, `SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only'`); err != nil {
		return told, err
	}
	told.ReadOnly = told.ReadOnly || writes == "on"
	if !told.HasSchema {
		return told, nil
	}
	names, err := tables()
	if err != nil {
		return told, err
	}
	if err := tx.SelectContext(ctx, &told.denied, `
		SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL AND NOT (
			has_table_privilege(name, 'SELECT') AND has_table_privilege(name, 'INSERT')
			AND has_table_privilege(name, 'UPDATE') AND has_table_privilege(name, 'DELETE'))`, pq.Array(names)); err != nil {
		return told, err
	}
	var readable bool
	if err := tx.GetContext(ctx, &readable, `SELECT has_table_privilege('goose_db_version', 'SELECT')`); err != nil || !readable {
		told.denied = append(told.denied, "goose_db_version")
		return told, err
	}
	return told, tx.GetContext(ctx, &told.schema, `SELECT COALESCE(max(version_id), 0) FROM goose_db_version WHERE is_applied`)
}

const (
	maxOffset      = 10 * time.Minute // beyond it, a server does not serve
	doubtfulOffset = 5 * time.Second
	leastPostgres  = 150000
)

// postgres judges what the server has told.
func (p *patient) postgres(told postgres) {
	if told.Version < leastPostgres {
		p.fail("use PostgreSQL 15 or newer", "the server is PostgreSQL %d", told.Version/10000)
	}
	if told.ReadOnly {
		p.fail("let database.url lead to the primary, which can be written",
			"the database is read-only: it is a standby, or default_transaction_read_only is on")
	}
	if room := told.Room; p.Config.Database.MaxOpenConns > room {
		p.fail("raise max_connections of the server or the limit of the role, or lower database.max_open_conns",
			"database.max_open_conns is %d, but the server lets this role have %d connections", p.Config.Database.MaxOpenConns, room)
	} else if told.Busy+p.Config.Database.MaxOpenConns > room {
		p.warn("raise max_connections of the server, or lower database.max_open_conns of all nodes",
			"%d connections are open, and this node may open %d, but the server has room for %d", told.Busy, p.Config.Database.MaxOpenConns, room)
	}
	for _, table := range told.denied {
		p.fail("GRANT SELECT, INSERT, UPDATE, DELETE ON "+table+" TO the role of database.url, or let it own the table",
			"the role has not all rights on the table %s", table)
	}
	p.clock(told.offset)
	p.schema(told.schema, migrations.PostgreSQL, told.MayCreate)
}

// clock compares this machine's clock with that of the database.
func (p *patient) clock(offset time.Duration) {
	direction := "ahead of"
	if offset < 0 {
		direction = "behind"
	}
	const change = "let both machines follow a time server"
	switch by := offset.Abs(); {
	case by > maxOffset:
		p.fail(change, "the clock of this machine is %s %s that of the database: a server does not serve so", by.Round(time.Second), direction)
	case by > doubtfulOffset:
		p.warn(change, "the clock of this machine is %s %s that of the database", by.Round(time.Second), direction)
	default:
		p.ok("the clocks of this machine and of the database agree within %s", doubtfulOffset)
	}
}

// schema compares the schema of the database with that of this program.
func (p *patient) schema(version int64, kind migrations.Database, mayCreate bool) {
	known, err := knownVersion(kind)
	switch {
	case err != nil:
		p.fail("", "%v", err)
	case version > known:
		p.fail("run the program of that version, or a newer one", "the database has schema version %d, and this program knows %d", version, known)
	case version == known:
		p.ok("the database has schema version %d, that of this program", version)
	case !mayCreate:
		p.fail("run chatting migrate with a role that may, or GRANT CREATE ON SCHEMA to this one",
			"the database has schema version %d, not %d, and this role may not create tables", version, known)
	case version == 0:
		p.ok("the database has no tables yet: the first start makes them")
	default:
		p.warn("run chatting migrate, or let the next start do it", "the database has schema version %d, and this program %d", version, known)
	}
}

// knownVersion returns the schema version of this program.
func knownVersion(kind migrations.Database) (version int64, err error) {
	files, err := migrations.Of(kind)
	if err != nil {
		return 0, err
	}
	entries, err := fs.ReadDir(files, ".")
	for _, entry := range entries {
		number, _, _ := strings.Cut(entry.Name(), "_")
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			version = max(version, n)
		}
	}
	return version, err
}

var createTable = regexp.MustCompile(`(?i)CREATE TABLE (?:IF NOT EXISTS )?([a-z_]+)`)

// tables returns the names of the tables that the migrations make.
func tables() (names []string, err error) {
	files, err := migrations.Of(migrations.PostgreSQL)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		content, err := fs.ReadFile(files, entry.Name())
		if err != nil {
			return nil, err
		}
		for _, found := range createTable.FindAllStringSubmatch(string(content), -1) {
			names = append(names, found[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// sqlite looks at a file. If no server has it open, it is read as a file that nobody changes, because SQLite would make others
// beside it.
func (p *patient) sqlite(ctx context.Context, file string) {
	switch info, err := os.Stat(file); {
	case errors.Is(err, fs.ErrNotExist):
		if dir := filepath.Dir(file); !p.Config.Database.Embedded {
			if at, err := os.Stat(dir); err != nil || !at.IsDir() || writable(dir) != nil {
				p.fail("make the directory for the user who runs the server, or correct database.url",
					"there is no file %s, and none can be made there", file)
				return
			}
		}
		p.ok("there is no database at %s yet: the first start makes it", file)
		return
	case err != nil:
		p.fail("let the user who runs the server read and write it", "%s cannot be used: %v", file, installation.PlainCause(err))
		return
	case !info.Mode().IsRegular():
		p.fail("correct database.url or data_dir", "%s is no file", file)
		return
	}
	parameters := url.Values{"mode": {"ro"}}
	switch _, err := os.Stat(file + "-wal"); {
	case errors.Is(err, fs.ErrNotExist):
		parameters.Set("immutable", "1")
	case !p.serving: // to read the log, SQLite would write its index anew
		p.skip("the database %s has a write-ahead log that the next start reads back", file)
		return
	}
	db, err := sqlx.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(file)}).EscapedPath()+"?"+parameters.Encode())
	if err != nil {
		p.fail("restore a backup", "%s: %v", file, err)
		return
	}
	defer db.Close()
	version, err := within(ctx, func(ctx context.Context) (version int64, err error) {
		var has bool
		if err := db.GetContext(ctx, &has, `SELECT COUNT(*) > 0 FROM sqlite_master WHERE name = 'goose_db_version'`); err != nil || !has {
			return 0, err
		}
		err = db.GetContext(ctx, &version, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`)
		return version, err
	})
	if err != nil {
		p.fail("restore a backup, or name the right file in database.url or data_dir",
			"%s is no database, or damaged: %s", file, terminal.OneLine(err))
		return
	}
	p.schema(version, migrations.SQLite, writable(filepath.Dir(file)) == nil)
}
