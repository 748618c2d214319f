package sqlstore

import (
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
		if got := pragma(s.writer, name); got != want {
			t.Errorf("%s of the writer is %s, want %s", name, got, want)
		}
	}
	if open := s.writer.Stats().MaxOpenConnections; open != 1 {
		t.Errorf("%d writers", open)
	}
	if _, err := s.reader.ExecContext(t.Context(), rememberUser, 1, 1); err == nil {
		t.Error("a reader wrote")
	}
}

func TestSQLiteTakesAnyFileName(t *testing.T) {
	directory := t.TempDir()
	for _, name := range []string{"plain.db", "with space.db", "a?mode=memory", "b#c", "d%20e", "f:g", "ü&=+"} {
		d := database{url: "sqlite:" + directory + "/" + name}
		s := d.migrated(t)
		noError(t, s.Remember(t.Context(), 1))
		var file string
		noError(t, s.reader.GetContext(t.Context(), &file, "SELECT file FROM pragma_database_list WHERE name = 'main'"))
		if file != directory+"/"+name {
			t.Errorf("%q was opened as %q", name, file)
		}
	}
}
