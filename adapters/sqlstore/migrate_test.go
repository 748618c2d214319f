package sqlstore

import (
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
	"chatting/migrations"
	"chatting/test/sqltest"
)

var migrationContract = map[string]func(*testing.T, testDB){
	"MigratingBringsAnEmptyDatabaseToTheKnownVersionAndAgainChangesNothing": func(t *testing.T, d testDB) {
		s := d.open(t)
		current, known, err := s.Version(t.Context())
		sqltest.NoError(t, err)
		if current != 0 || known < 1 {
			t.Fatalf("version %d of %d before migrating", current, known)
		}
		for range 2 {
			sqltest.NoError(t, s.Migrate(t.Context()))
			current, again, err := s.Version(t.Context())
			sqltest.NoError(t, err)
			if current != known || again != known {
				t.Fatalf("version %d of %d after migrating to %d", current, again, known)
			}
		}
		sqltest.NoError(t, s.Users.Remember(t.Context(), 1))
	},
	"ManyNodesMayMigrateAtOnce": func(t *testing.T, d testDB) {
		const nodes = 12
		sqltest.AtOnce(nodes, func(i int) {
			s, err := Open(t.Context(), Options{Now: time.Now, Options: database.Options{
				URL: d.url, MaxOpen: 1, Timeout: 30 * time.Second, Logger: slog.New(slog.DiscardHandler),
			}})
			if err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			if err := errors.Join(s.Migrate(t.Context()), s.Users.Remember(t.Context(), domain.UserID(i+1)), s.Close()); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
		s := d.open(t)
		var applied int
		sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &applied,
			"SELECT COUNT(*) FROM goose_db_version WHERE version_id > 0"))
		all, err := migrations.Of(s.db.Kind)
		sqltest.NoError(t, err)
		files, err := fs.Glob(all, "*.sql")
		sqltest.NoError(t, err)
		if applied != len(files) {
			t.Errorf("%d migrations applied, of %d", applied, len(files))
		}
	},
	"ADatabaseNewerThanTheProgramIsRefused": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		_, known, err := s.Version(t.Context())
		sqltest.NoError(t, err)
		s.db.Writer.MustExecContext(t.Context(),
			"INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)", known+1, true)
		err = s.Migrate(t.Context())
		if err == nil || !strings.Contains(err.Error(), "no newer") {
			t.Fatalf("error %v for a newer database", err)
		}
	},
}
