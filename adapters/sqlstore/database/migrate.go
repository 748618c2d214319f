package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pressly/goose/v3"

	"chatting/migrations"
)

// Migrate brings the schema to the version that this program knows, and then calls fill. Any number of processes may call it
// at once: one migrates, the others wait for it, as long as ctx lets them; Options.Timeout does not bound it. A database that
// is already newer is an error, because nobody can say what has changed its meaning.
func (db *DB) Migrate(ctx context.Context, fill func(context.Context, *sql.DB) error) (err error) {
	defer func() { err = db.classify(ctx, "migrate", err) }()
	pool, release, err := db.openToMigrate(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	provider, err := db.provider(pool)
	if err != nil {
		return err
	}
	current, known, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > known {
		return fmt.Errorf("the database has schema version %d, this program knows no newer one than %d", current, known)
	}
	applied, err := provider.Up(ctx)
	for _, migration := range applied {
		db.logger.Info("database migrated", "version", migration.Source.Version, "took", migration.Duration.String())
	}
	if err != nil {
		return err
	}
	return fill(ctx, pool)
}

// Version returns the schema version that the database has, 0 before the first migration, and the one that this program
// knows.
func (db *DB) Version(ctx context.Context) (current, known int64, err error) {
	err = db.within(ctx, "schema version", func(ctx context.Context) error {
		provider, err := db.provider(db.Writer.DB)
		if err == nil {
			current, known, err = provider.GetVersions(ctx)
		}
		return err
	})
	return current, known, err
}

func (db *DB) provider(pool *sql.DB) (*goose.Provider, error) {
	files, err := migrations.Of(db.Kind)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(db.goose, pool, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}
