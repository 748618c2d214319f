package database

import (
	"database/sql"
	"testing"

	"github.com/jmoiron/sqlx"
)

func TestSQLiteSurvivesPowerLossAndKeepsReadersFromWriting(t *testing.T) {
	s := newSQLiteDatabase(t).migrated(t)
	pragma := func(pool *sqlx.DB, name string) (value string) {
		noError(t, pool.GetContext(t.Context(), &value, "PRAGMA "+name))
		return value
	}
	for name, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "30000",
	} {
		if got := pragma(s.Writer, name); got != want {
			t.Errorf("%s of the writer is %s, want %s", name, got, want)
		}
	}
	if open := s.Writer.Stats().MaxOpenConnections; open != 1 {
		t.Errorf("%d writers", open)
	}
	if _, err := s.Reader.ExecContext(t.Context(), "INSERT INTO users (id, first_seen) VALUES (1, 1)"); err == nil {
		t.Error("a reader wrote")
	}
}

func TestConnectionsAreBoundedAsTheOptionsSay(t *testing.T) {
	for _, test := range []struct{ maxOpen, maxIdle, wantOpen, wantIdle int }{
		{3, 0, 3, 3}, {3, 2, 3, 2},
	} {
		s := newSQLiteDatabase(t).open(t, func(o *Options) { o.MaxOpen, o.MaxIdle = test.maxOpen, test.maxIdle })
		var used []*sql.Conn
		for range test.wantOpen {
			conn, err := s.Reader.Conn(t.Context())
			noError(t, err)
			used = append(used, conn)
		}
		for _, conn := range used {
			noError(t, conn.Close())
		}
		if stats := s.Reader.Stats(); stats.MaxOpenConnections != test.wantOpen || stats.Idle != test.wantIdle {
			t.Errorf("%+v: %+v", test, stats)
		}
	}
}

func TestSQLiteTakesAnyFileName(t *testing.T) {
	directory := t.TempDir()
	for _, name := range []string{"plain.db", "with space.db", "a?mode=memory", "b#c", "d%20e", "f:g", "ü&=+"} {
		d := testDB{url: "sqlite:" + directory + "/" + name}
		s := d.migrated(t)
		noError(t, insertUser(t.Context(), s, 1))
		var file string
		noError(t, s.Reader.GetContext(t.Context(), &file, "SELECT file FROM pragma_database_list WHERE name = 'main'"))
		if file != directory+"/"+name {
			t.Errorf("%q was opened as %q", name, file)
		}
	}
}
