package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pressly/goose/v3"

	"chatting/migrations"
)

// Migrate brings the schema to the version that this program knows. Any number of processes may call it at once: one
// migrates, the others wait for it, as long as ctx lets them; Options.Timeout does not bound it. A database that is
// already newer is an error, because nobody can say what has changed its meaning.
func (s *Store) Migrate(ctx context.Context) (err error) {
	defer func() { err = s.classify(ctx, "migrate", err) }()
	db, release, err := s.dialect.openToMigrate(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	provider, err := s.provider(db)
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
		s.logger.Info("database migrated", "version", migration.Source.Version, "took", migration.Duration.String())
	}
	if err != nil {
		return err
	}
	return makeSecrets(ctx, db)
}

// Version returns the schema version that the database has, 0 before the first migration, and the one that this program
// knows.
func (s *Store) Version(ctx context.Context) (current, known int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	provider, err := s.provider(s.writer.DB)
	if err == nil {
		current, known, err = provider.GetVersions(ctx)
	}
	return current, known, s.classify(ctx, "schema version", err)
}

func (s *Store) provider(db *sql.DB) (*goose.Provider, error) {
	files, err := migrations.Of(s.dialect.migrations)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(s.dialect.goose, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}
