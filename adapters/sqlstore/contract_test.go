package sqlstore

import (
	"os"
	"testing"
	"time"

	"chatting/test/sqltest"

	"go.uber.org/goleak"
)

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
	contract(t, newPostgresDatabase)
}

// contract is what holds on every database.
func contract(t *testing.T, newDatabase func(*testing.T) testDB) {
	for _, group := range []map[string]func(*testing.T, testDB){
		faultContract, migrationContract, userContract, blockContract, outboxContract, friendContract, idempotencyContract,
		loginContract, partitionContract, installationContract, eraseContract, failureContract, unchangedContract, clockContract,
		moderationContract, factsContract,
	} {
		for name, test := range group {
			t.Run(name, func(t *testing.T) { test(t, newDatabase(t)) })
		}
	}
}

func newSQLiteDatabase(t *testing.T) testDB {
	t.Helper()
	return testDB{url: sqltest.NewSQLite(t)}
}

func newPostgresDatabase(t *testing.T) testDB {
	t.Helper()
	sqltest.RequirePostgres(t)
	return testDB{url: sqltest.NewPostgres(t)}
}

// open opens the database without migrating it; it is closed after the test.
func (d testDB) open(t testing.TB, adjust ...func(*Options)) *Store {
	t.Helper()
	o := Options{Options: sqltest.OptionsFor(t, d.url), Now: time.Now}
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
