// Package installation opens what a configuration names, the brokers and the database, and sees to it that they belong together:
// a database goes on with one log, whose topics keep their partitions. It also has the commands' work on both: to migrate, to move
// the database to another log, and to project the history again. What runs for as long as a server does is package server's.
package installation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/projector"
	"chatting/adapters/sqlstore"
	"chatting/adapters/sqlstore/database"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/configs"
)

// An Installation is a database and the brokers that have its log.
type Installation struct {
	Config  configs.Config
	Cluster *logclient.Cluster
	Store   *sqlstore.Store
	Logger  *slog.Logger
}

// OpenTimeout bounds how long it may take to open files and to have a first word with the database.
const OpenTimeout = 30 * time.Second

// BrokerDir is where the embedded broker keeps its log.
func BrokerDir(cfg configs.Config) string { return filepath.Join(cfg.DataDir, "kafka") }

// WithPartitions returns cfg with the number of partitions that the topics of the embedded broker have, unless a number is
// configured. Topics keep theirs for ever, and the default has changed.
func WithPartitions(cfg configs.Config) configs.Config {
	if !cfg.Kafka.Embedded() || cfg.Kafka.PartitionsGiven {
		return cfg
	}
	if there := embedded.Partitions(BrokerDir(cfg), kafka.NamesFor(cfg.TopicPrefix).Conversations); there > 0 {
		cfg.Kafka.Partitions = there
	}
	return cfg
}

// DatabaseOption names the option that says where the database is.
func DatabaseOption(cfg configs.Config) string {
	if cfg.Database.Embedded {
		return "data_dir"
	}
	return "database.url"
}

// StoreOptions are those of the configured database.
func StoreOptions(cfg configs.Config, logger *slog.Logger) sqlstore.Options {
	return sqlstore.Options{Now: time.Now, Options: database.Options{
		URL: cfg.Database.URL.Reveal(), MaxOpen: cfg.Database.MaxOpenConns, MaxIdle: cfg.Database.MaxIdleConns,
		Timeout: cfg.Database.Timeout, Logger: logger,
	}}
}

// TopicSetup is how the topics of a configuration are made or verified.
func TopicSetup(cfg configs.Config, logger *slog.Logger) kafka.TopicSetup {
	return kafka.TopicSetup{
		Names: kafka.NamesFor(cfg.TopicPrefix), Partitions: cfg.Kafka.Partitions,
		VerifyOnly: cfg.Kafka.Topics == configs.TopicsVerify, Logger: logger,
	}
}

// ProjectorOptions are those of the projection of a configuration's log into its history.
func ProjectorOptions(cfg configs.Config) projector.Options {
	return projector.Options{
		Topic: kafka.NamesFor(cfg.TopicPrefix).Conversations, Partitions: cfg.Kafka.Partitions,
		Group: cfg.TopicPrefix + ".history", Retention: cfg.History.Retention, Delay: cfg.History.Delay, Embedded: cfg.Kafka.Embedded(),
	}
}

// Projector takes the log into the history. It runs as a member of the consumer group of the database with this id.
func (i Installation) Projector(
	database string, notices *notice.Log, flushes *projector.Flushes, traces port.Traces,
) *projector.Projector {
	options := ProjectorOptions(i.Config)
	options.Database, options.Store, options.Flushes, options.Acts = database, i.Store.Projections, flushes, i.Store.Moderation
	options.Logger, options.Notices, options.Traces = i.Logger, notices, traces
	return projector.New(i.Cluster, options)
}

// mustHaveDataDir fails if there is no data directory where this command looks for the one of a server.
func mustHaveDataDir(cfg configs.Config) error {
	if _, err := os.Stat(cfg.DataDir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no data directory %s: name the server's with --data-dir or CHATTING_DATA_DIR", Absolute(cfg.DataDir))
	}
	return nil
}

// mustHaveDatabase fails if the database is a file, and there is none.
func mustHaveDatabase(cfg configs.Config) error {
	file, isFile := strings.CutPrefix(cfg.Database.URL.Reveal(), "sqlite:")
	if !isFile {
		return nil
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no database at %s: name the server's data directory with --data-dir or CHATTING_DATA_DIR, "+
			"or its database with CHATTING_DATABASE_URL", Absolute(file))
	}
	return nil
}

// Absolute returns a name that does not depend on the working directory.
func Absolute(name string) string {
	if path, err := filepath.Abs(name); err == nil {
		return path
	}
	return name
}

// databaseError tells a command why the database of the configuration cannot be used.
func databaseError(cfg configs.Config, err error) error {
	key := DatabaseOption(cfg)
	return fmt.Errorf("%s: %w (the option is %s, %s)", cfg.Database.URL, err, key, configs.Option{Key: key}.Env())
}

// Migrate brings the database to the schema of this program, and returns its version. An embedded database that is missing is
// created.
func Migrate(ctx context.Context, cfg configs.Config, logger *slog.Logger) (version int64, err error) {
	if cfg.Database.Embedded {
		if cfg.IsDefault("data_dir") { // whoever names it wants it made
			if err := mustHaveDataDir(cfg); err != nil {
				return 0, err
			}
		}
		if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
			return 0, configs.CausedBy("data_dir", err)
		}
	}
	store, err := sqlstore.Open(ctx, StoreOptions(cfg, logger))
	if err != nil {
		return 0, databaseError(cfg, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Migrate(ctx); err != nil {
		return 0, databaseError(cfg, err)
	}
	version, _, err = store.Version(ctx)
	return version, err
}
