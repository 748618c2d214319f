package sqlstore

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

	"go.uber.org/goleak"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

// postgresVariable names the URL of a PostgreSQL database in which the suite may make (and drop) schemas.
const postgresVariable = "CHATTING_TEST_POSTGRES"

func TestMain(m *testing.M) {
	if url := os.Getenv(crashVariable); url != "" {
		blockUntilKilled(url)
	}
	goleak.VerifyTestMain(m)
}

// testDB is a fresh, empty database of one test.
type testDB struct{ url string }

func TestStoreOnSQLiteKeepsItsContract(t *testing.T) {
	contract(t, newSQLiteDatabase)
}

func TestStoreOnPostgreSQLKeepsItsContract(t *testing.T) {
	requirePostgres(t)
	contract(t, newPostgresDatabase)
}

// contract is what holds on every database.
func contract(t *testing.T, newDatabase func(*testing.T) testDB) {
	for _, group := range []map[string]func(*testing.T, testDB){
		faultContract, migrationContract, userContract, blockContract, outboxContract, friendContract, idempotencyContract,
		loginContract, partitionContract, installationContract, historyContract, pageContract, markContract, markEventContract, eraseContract,
		cursorContract, forgedContract, failureContract, unchangedContract, clockContract, projectionContract, missedContract,
		moderationContract,
	} {
		for name, test := range group {
			t.Run(name, func(t *testing.T) { test(t, newDatabase(t)) })
		}
	}
}

func newSQLiteDatabase(t *testing.T) testDB {
	return testDB{url: "sqlite:" + t.TempDir() + "/test.db"}
}

func requirePostgres(t *testing.T) {
	t.Helper()
	if os.Getenv(postgresVariable) == "" {
		t.Skipf("no PostgreSQL: set %s to the URL of a database in which schemas may be made", postgresVariable)
	}
}

// newPostgresDatabase makes a schema of its own, which is dropped after the test.
func newPostgresDatabase(t *testing.T) testDB {
	t.Helper()
	return newSchema(t)
}

func newSchema(t testing.TB) testDB {
	t.Helper()
	admin := testDB{url: os.Getenv(postgresVariable)}.open(t).db // it is closed after what is cleaned up below
	schema := "test_" + strings.ToLower(rand.Text())
	admin.Writer.MustExecContext(t.Context(), "CREATE SCHEMA "+schema)
	t.Cleanup(func() {
		if _, err := admin.Writer.ExecContext(context.Background(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	return testDB{url: withParameter(t, os.Getenv(postgresVariable), "search_path", schema)}
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

// open opens the database without migrating it; it is closed after the test.
func (d testDB) open(t testing.TB, adjust ...func(*Options)) *Store {
	t.Helper()
	// A timeout that a slow machine does not meet by chance; MaxOpen such that many stores fit into one server.
	o := Options{
		Options: database.Options{
			URL: d.url, MaxOpen: 4, Timeout: 30 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		},
		Now: time.Now,
	}
	for _, f := range adjust {
		f(&o)
	}
	store, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// migrated opens the database, ready for use.
func (d testDB) migrated(t testing.TB, adjust ...func(*Options)) *Store {
	t.Helper()
	store := d.open(t, adjust...)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

// nodes opens the database n times, as n processes do.
func (d testDB) nodes(t *testing.T, n int) []*Store {
	t.Helper()
	stores := []*Store{d.migrated(t)}
	for len(stores) < n {
		stores = append(stores, d.open(t))
	}
	return stores
}

// atOnce calls f n times concurrently, as near to each other as possible, and waits for all.
func atOnce(n int, f func(i int)) {
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

func newEventID() (id domain.EventID) {
	if _, err := rand.Read(id[:]); err != nil {
		panic(err)
	}
	return id
}
