package sqlstore

import (
	"database/sql"
	"errors"
	"strings"
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

func TestConnectionsAreBoundedAsTheOptionsSay(t *testing.T) {
	for _, test := range []struct{ maxOpen, maxIdle, wantOpen, wantIdle int }{
		{0, 0, sqliteReaders, sqliteReaders}, {3, 0, 3, 3}, {3, 2, 3, 2},
	} {
		s := newSQLiteDatabase(t).open(t, func(o *Options) { o.MaxOpen, o.MaxIdle = test.maxOpen, test.maxIdle })
		var used []*sql.Conn
		for range test.wantOpen {
			conn, err := s.reader.Conn(t.Context())
			noError(t, err)
			used = append(used, conn)
		}
		for _, conn := range used {
			noError(t, conn.Close())
		}
		if stats := s.reader.Stats(); stats.MaxOpenConnections != test.wantOpen || stats.Idle != test.wantIdle {
			t.Errorf("%+v: %+v", test, stats)
		}
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

func TestPagesOfTheHistoryUseAnIndexOnSQLite(t *testing.T) {
	s := newSQLiteDatabase(t).migrated(t)
	for _, query := range []string{newestOfLow, newestOfHigh, earlierOfLow, earlierOfHigh} {
		arguments := []any{1, 2, []byte("0123456789abcdef"), 50}
		if query == newestOfLow || query == newestOfHigh {
			arguments = []any{1, 2, 50}
		}
		rows, err := s.reader.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, arguments...)
		noError(t, err)
		plan := ""
		for rows.Next() {
			var id, parent, unused int
			var detail string
			noError(t, rows.Scan(&id, &parent, &unused, &detail))
			plan += detail + "\n"
		}
		noError(t, errors.Join(rows.Err(), rows.Close())) //nolint:sqlclosecheck // the next query is asked on the same connection
		index := "SEARCH messages USING INDEX messages_seen_by_"
		bounded := len(arguments) == 3 || strings.Contains(plan, "(generation,log_offset)<(?,?)")
		if !strings.Contains(plan, index) || !bounded || strings.Contains(plan, "SCAN messages") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s\n%s", query, plan)
		}
	}
}
