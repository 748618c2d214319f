package conversations_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatting/adapters/sqlstore"
	"chatting/adapters/sqlstore/conversations"
	"chatting/adapters/sqlstore/database"
	"chatting/test/sqltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testDB is a fresh, empty database of one test.
type testDB struct{ url string }

// store is an open database, with connections of the test's own.
type store struct {
	*sqlstore.Store

	db *database.DB
}

func TestConversationsOnSQLiteKeepTheirContract(t *testing.T) {
	contract(t, newSQLiteDatabase)
}

func TestConversationsOnPostgreSQLKeepTheirContract(t *testing.T) {
	contract(t, newPostgresDatabase)
}

// contract is what holds on every database.
func contract(t *testing.T, newDatabase func(*testing.T) testDB) {
	for _, group := range []map[string]func(*testing.T, testDB){
		historyContract, pageContract, markContract, markEventContract, cursorContract, forgedContract, projectionContract,
		missedContract, erasureContract, doneContract,
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
func (d testDB) open(t testing.TB, adjust ...func(*sqlstore.Options)) *store {
	t.Helper()
	o := sqlstore.Options{Options: sqltest.OptionsFor(t, d.url), Now: time.Now}
	for _, f := range adjust {
		f(&o)
	}
	opened, err := sqlstore.Open(t.Context(), o)
	sqltest.NoError(t, err)
	t.Cleanup(func() { sqltest.NoError(t, opened.Close()) })
	return &store{opened, sqltest.Open(t, sqltest.OptionsFor(t, d.url))}
}

// migrated opens the database, ready for use.
func (d testDB) migrated(t testing.TB, adjust ...func(*sqlstore.Options)) *store {
	t.Helper()
	s := d.open(t, adjust...)
	sqltest.NoError(t, s.Migrate(t.Context()))
	return s
}

// newFaulty opens the database a second time, through one connection whose steps call before.
func newFaulty(t *testing.T, d testDB, before func(step string) error) conversations.Conversations {
	t.Helper()
	db := sqltest.Open(t, sqltest.OptionsFor(t, d.url))
	sqltest.Break(t, db, d.url, before)
	return conversations.New(db, conversations.Options{})
}
