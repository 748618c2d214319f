package sqlstore

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"chatting/domain"
	"chatting/migrations"
)

var migrationContract = map[string]func(*testing.T, database){
	"MigratingBringsAnEmptyDatabaseToTheKnownVersionAndAgainChangesNothing": func(t *testing.T, d database) {
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
		noError(t, s.Remember(t.Context(), 1))
	},
	"ManyNodesMayMigrateAtOnce": func(t *testing.T, d database) {
		const nodes = 12
		atOnce(nodes, func(i int) {
			s, err := Open(t.Context(), Options{
				URL: d.url, MaxOpen: 1, Timeout: 30 * time.Second, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
			})
			if err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			if err := errors.Join(s.Migrate(t.Context()), s.Remember(t.Context(), domain.UserID(i+1)), s.Close()); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
		s := d.open(t)
		var applied int
		noError(t, s.reader.GetContext(t.Context(), &applied,
			"SELECT COUNT(*) FROM goose_db_version WHERE version_id > 0"))
		all, err := migrations.Of(s.dialect.migrations)
		noError(t, err)
		files, err := fs.Glob(all, "*.sql")
		noError(t, err)
		if applied != len(files) {
			t.Errorf("%d migrations applied, of %d", applied, len(files))
		}
	},
	"ADatabaseNewerThanTheProgramIsRefused": func(t *testing.T, d database) {
		s := d.migrated(t)
		_, known, err := s.Version(t.Context())
		noError(t, err)
		s.writer.MustExecContext(t.Context(),
			"INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)", known+1, true)
		err = s.Migrate(t.Context())
		if err == nil || !strings.Contains(err.Error(), "no newer") {
			t.Fatalf("error %v for a newer database", err)
		}
	},
	"AMigrationWaitsForAnotherOnlyAsLongAsItMay": func(t *testing.T, d database) {
		s := d.open(t)
		_, release, err := s.dialect.openToMigrate(t.Context())
		noError(t, err)
		waiting, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		wantCode(t, s.Migrate(waiting), domain.CodeUnavailable)
		noError(t, release())
		noError(t, s.Migrate(t.Context()))
	},
}
