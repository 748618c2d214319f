package database

import (
	"context"
	"testing"
	"time"

	"chatting/domain"
)

func TestAMigrationWaitsForAnotherOnlyAsLongAsItMay(t *testing.T) {
	for name, fresh := range map[string]func(*testing.T) testDB{"SQLite": newSQLiteDatabase, "PostgreSQL": newPostgresDatabase} {
		t.Run(name, func(t *testing.T) {
			if name == "PostgreSQL" {
				requirePostgres(t)
			}
			db := fresh(t).open(t)
			_, release, err := db.openToMigrate(t.Context())
			noError(t, err)
			waiting, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			wantCode(t, db.Migrate(waiting, nothing), domain.CodeUnavailable)
			noError(t, release())
			noError(t, db.Migrate(t.Context(), nothing))
		})
	}
}
