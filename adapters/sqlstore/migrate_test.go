package sqlstore

import (
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
	"chatting/migrations"
)

var migrationContract = map[string]func(*testing.T, testDB){
	"MigratingBringsAnEmptyDatabaseToTheKnownVersionAndAgainChangesNothing": func(t *testing.T, d testDB) {
		s := d.open(t)
		current, known, err := s.Version(t.Context())
		noError(t, err)
		if current != 0 || known < 1 {
			t.Fatalf("version %d of %d before migrating", current, known)
		}
		for range 2 {
			noError(t, s.Migrate(t.Context()))
			current, again, err := s.Version(t.Context())
			noError(t, err)
			if current != known || again != known {
				t.Fatalf("version %d of %d after migrating to %d", current, again, known)
			}
		}
		noError(t, s.Users.Remember(t.Context(), 1))
	},
	"ManyNodesMayMigrateAtOnce": func(t *testing.T, d testDB) {
		const nodes = 12
		atOnce(nodes, func(i int) {
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
		noError(t, s.db.Reader.GetContext(t.Context(), &applied,
			"SELECT COUNT(*) FROM goose_db_version WHERE version_id > 0"))
		all, err := migrations.Of(s.db.Kind)
		noError(t, err)
		files, err := fs.Glob(all, "*.sql")
		noError(t, err)
		if applied != len(files) {
			t.Errorf("%d migrations applied, of %d", applied, len(files))
		}
	},
	"ADatabaseNewerThanTheProgramIsRefused": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		_, known, err := s.Version(t.Context())
		noError(t, err)
		s.db.Writer.MustExecContext(t.Context(),
			"INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)", known+1, true)
		err = s.Migrate(t.Context())
		if err == nil || !strings.Contains(err.Error(), "no newer") {
			t.Fatalf("error %v for a newer database", err)
		}
	},
}

// migrateTo brings the database to an earlier version of the schema.
func migrateTo(t *testing.T, s *Store, version int64) {
	t.Helper()
	files, err := migrations.Of(s.db.Kind)
	noError(t, err)
	dialect := goose.DialectSQLite3
	if s.db.Kind == migrations.PostgreSQL {
		dialect = goose.DialectPostgres
	}
	provider, err := goose.NewProvider(dialect, s.db.Writer.DB, files)
	noError(t, err)
	_, err = provider.UpTo(t.Context(), version)
	noError(t, err)
}
