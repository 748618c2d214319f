// Package sqltest makes databases, breaks their connections, and tells stories into the history, for tests of the packages that
// keep data in SQL.
package sqltest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"

	"chatting/adapters/sqlstore/database"
	"chatting/application/blocks"
	"chatting/domain"
	"chatting/migrations"
)

// PostgresVariable names the URL of a PostgreSQL database in which suites may make (and drop) schemas.
const PostgresVariable = "CHATTING_TEST_POSTGRES"

// Time is when everything happens in tests that do not care.
var Time = time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)

// NewSQLite returns the URL of a database file that does not exist yet.
func NewSQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + t.TempDir() + "/test.db"
}

// RequirePostgres skips the test if there is no PostgreSQL.
func RequirePostgres(t testing.TB) {
	t.Helper()
	if os.Getenv(PostgresVariable) == "" {
		t.Skipf("no PostgreSQL: set %s to the URL of a database in which schemas may be made", PostgresVariable)
	}
}

// NewPostgres makes a schema of its own, which is dropped after the test, and returns its URL.
func NewPostgres(t testing.TB) string {
	t.Helper()
	admin := Open(t, OptionsFor(t, os.Getenv(PostgresVariable))) // it is closed after what is cleaned up below
	schema := "test_" + strings.ToLower(rand.Text())
	admin.Writer.MustExecContext(t.Context(), "CREATE SCHEMA "+schema)
	t.Cleanup(func() {
		if _, err := admin.Writer.ExecContext(context.Background(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	return withParameter(t, os.Getenv(PostgresVariable), "search_path", schema)
}

func withParameter(t testing.TB, rawURL, name, value string) string {
	t.Helper()
	parsed, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	query := parsed.Query()
	query.Set(name, value)
	parsed.RawQuery = query.Encode()
	return parsed.String()
}

// OptionsFor are the options of tests: a timeout that a slow machine does not meet by chance, and so few connections that many
// stores fit into one server.
func OptionsFor(t testing.TB, url string) database.Options {
	t.Helper()
	return database.Options{
		URL: url, MaxOpen: 4, Timeout: 30 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// Open opens a database without migrating it; it is closed after the test. Writes are held to no log.
func Open(t testing.TB, o database.Options) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), o)
	NoError(t, err)
	db.Guard(func(context.Context, *sqlx.Tx) error { return nil })
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// MigrateTo brings the database to an earlier version of the schema.
func MigrateTo(t testing.TB, db *database.DB, version int64) {
	t.Helper()
	files, err := migrations.Of(db.Kind)
	NoError(t, err)
	dialect := goose.DialectSQLite3
	if db.Kind == migrations.PostgreSQL {
		dialect = goose.DialectPostgres
	}
	provider, err := goose.NewProvider(dialect, db.Writer.DB, files)
	NoError(t, err)
	_, err = provider.UpTo(t.Context(), version)
	NoError(t, err)
}

// Count returns how many rows a table has.
func Count(t testing.TB, db *database.DB, table string) (n int) {
	t.Helper()
	NoError(t, db.Read(t.Context(), "count", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &n, "SELECT COUNT(*) FROM "+table)
	}))
	return n
}

// AtOnce calls f n times concurrently, as near to each other as possible, and waits for all.
func AtOnce(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}

// NoError ends the test with an error.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// WantCode demands an error with a code.
func WantCode(t testing.TB, err error, want domain.Code) {
	t.Helper()
	if got := domain.CodeOf(err); got != want {
		t.Fatalf("code %q of error %v, want %q", got, err, want)
	}
}

// NewEventID returns an id that no other event has.
func NewEventID() (id domain.EventID) {
	if _, err := rand.Read(id[:]); err != nil {
		panic(err)
	}
	return id
}

// Change is a wish to block, or not, at Time.
func Change(blocker, target domain.UserID, blocked bool) blocks.Change {
	return blocks.Change{
		Blocker: blocker, Target: target, Blocked: blocked, At: Time,
	}
}

// Blocks keep who blocks whom, and what of that is not yet in the log.
type Blocks interface {
	SetBlocked(context.Context, blocks.Change) (changed bool, err error)
	PendingOf(ctx context.Context, blocker, target domain.UserID) ([]domain.Event, error)
	MarkPublished(context.Context, []domain.EventID) error
}

// Set carries out a change and tells whether it was one.
func Set(t testing.TB, b Blocks, c blocks.Change) bool {
	t.Helper()
	changed, err := b.SetBlocked(t.Context(), c)
	NoError(t, err)
	return changed
}
