package database

import (
	"context"
	"crypto/rand"
	"database/sql"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"chatting/domain"
)

// postgresVariable names the URL of a PostgreSQL database in which the tests may make (and drop) schemas.
const postgresVariable = "CHATTING_TEST_POSTGRES"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testDB is a fresh, empty database of one test.
type testDB struct{ url string }

func newSQLiteDatabase(t *testing.T) testDB { return testDB{url: "sqlite:" + t.TempDir() + "/test.db"} }

func requirePostgres(t *testing.T) {
	t.Helper()
	if os.Getenv(postgresVariable) == "" {
		t.Skipf("no PostgreSQL: set %s to the URL of a database in which schemas may be made", postgresVariable)
	}
}

// newPostgresDatabase makes a schema of its own, which is dropped after the test.
func newPostgresDatabase(t *testing.T) testDB {
	t.Helper()
	admin := testDB{url: os.Getenv(postgresVariable)}.open(t)
	schema := "test_" + strings.ToLower(rand.Text())
	admin.Writer.MustExecContext(t.Context(), "CREATE SCHEMA "+schema)
	t.Cleanup(func() {
		if _, err := admin.Writer.ExecContext(context.Background(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	return testDB{url: withParameter(t, os.Getenv(postgresVariable), "search_path", schema)}
}

func withParameter(t *testing.T, rawURL, name, value string) string {
	t.Helper()
	parsed, err := url.Parse(rawURL)
	noError(t, err)
	query := parsed.Query()
	query.Set(name, value)
	parsed.RawQuery = query.Encode()
	return parsed.String()
}

// open opens the database without migrating it; it is closed after the test.
func (d testDB) open(t *testing.T, adjust ...func(*Options)) *DB {
	t.Helper()
	o := Options{URL: d.url, MaxOpen: 4, Timeout: 30 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range adjust {
		f(&o)
	}
	db, err := Open(t.Context(), o)
	noError(t, err)
	t.Cleanup(func() { noError(t, db.Close()) })
	return db
}

// migrated opens the database, ready for use.
func (d testDB) migrated(t *testing.T, adjust ...func(*Options)) *DB {
	t.Helper()
	db := d.open(t, adjust...)
	noError(t, db.Migrate(t.Context(), nothing))
	return db
}

func nothing(context.Context, *sql.DB) error { return nil }

// insertUser adds a user by a transaction.
func insertUser(ctx context.Context, db *DB, id domain.UserID) error {
	return db.Transact(ctx, "insert user", func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO users (id, first_seen) VALUES ($1, 0)", id)
		return err
	})
}

// hasUser reads whether a user is there.
func hasUser(ctx context.Context, db *DB, id domain.UserID) (bool, error) {
	return Get[bool](ctx, db, "look for user", "SELECT EXISTS (SELECT 1 FROM users WHERE id = $1)", id)
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, want domain.Code) {
	t.Helper()
	if got := domain.CodeOf(err); got != want {
		t.Fatalf("code %q of error %v, want %q", got, err, want)
	}
}
