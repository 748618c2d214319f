package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka"
	sqlstore "chatting/adapters/sql"
	"chatting/configs"
)

func newAdoptCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Have the database go on with another topic prefix or Kafka cluster",
		Long: `Have the database, which belongs to one topic_prefix on one Kafka cluster, belong to the configured ones from now
on. A server refuses to start on a database of another log. Stop all servers on the database first: while one runs,
this fails after some seconds.
Users, friends, blocks and the history stay. What the old log has and the history does not have yet is lost:
wait, before the servers are stopped, until their /readyz says that the history is 0 records behind.`,
		Example: `  chatting adopt
  CHATTING_TOPIC_PREFIX=chat2 CHATTING_KAFKA_BROKERS=k1:9092 chatting adopt`,
	}
	load := configFlags(cmd, s, append([]string{"data_dir"}, kafkaFlags...)...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		said, err := adopt(cmd.Context(), cfg, newLogger(cfg.Log, s.err))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, said)
		return err
	}
	return cmd
}

// adopt moves the database to the configured log, and says in a sentence what became of it.
func adopt(ctx context.Context, cfg configs.Config, logger *slog.Logger) (said string, err error) {
	if err := mustHaveDatabase(cfg); err != nil {
		return "", err
	}
	if cfg.Database.Embedded || cfg.Kafka.Embedded() { // no server may run on them
		lock, err := embedded.LockDir(cfg.DataDir)
		if err != nil {
			return "", causedBy("data_dir", err)
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	cluster, disconnect, err := clusterToAdopt(ctx, cfg, logger)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, disconnect()) }()
	options := storeOptions(cfg, logger)
	options.MustExist = true
	store, err := sqlstore.Open(ctx, options)
	if err != nil {
		return "", databaseError(cfg, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Migrate(ctx); err != nil {
		return "", databaseError(cfg, err)
	}
	topics := topicSetup(cfg, logger)
	own, err := ownLog(ctx, cfg, topics, cluster)
	if err != nil {
		return "", err
	}
	recorded, err := store.Log(ctx, own)
	if err != nil {
		return "", err
	}
	if recorded.Is(own) {
		return fmt.Sprintf("the database belongs to topic_prefix %q on %s already", own.TopicPrefix, clusterName(own.ClusterID)), nil
	}
	if !cfg.Database.Embedded { // whose server would have the lock
		if err := mustBeUnused(ctx, store); err != nil {
			return "", err
		}
	}
	if err := topics.Ensure(ctx, cluster); err != nil {
		return "", err
	}
	if err := moveToLog(ctx, cfg, cluster, store, own, logger); err != nil {
		return "", err
	}
	if recorded == (sqlstore.LogIdentity{}) {
		return fmt.Sprintf("the database was between two logs, and now belongs to topic_prefix %q on %s",
			own.TopicPrefix, clusterName(own.ClusterID)), nil
	}
	return fmt.Sprintf("the database belonged to topic_prefix %q on %s, and now belongs to %q on %s", recorded.TopicPrefix,
		clusterName(recorded.ClusterID), own.TopicPrefix, clusterName(own.ClusterID)), nil
}

// clusterToAdopt connects to the brokers of the configuration. The embedded one, whose server is not running, is started.
func clusterToAdopt(ctx context.Context, cfg configs.Config, logger *slog.Logger) (*kafka.Cluster, func() error, error) {
	if !cfg.Kafka.Embedded() {
		cluster, err := dialKafka(ctx, cfg, kafka.NamesFor(cfg.TopicPrefix).All()...)
		if err != nil {
			return nil, nil, err
		}
		return cluster, func() error { cluster.Close(); return nil }, nil
	}
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	broker, err := embedded.Start(starting, embedded.Options{
		Addr: cfg.EmbeddedKafka.Addr.String(), Dir: filepath.Join(cfg.DataDir, "kafka"), Logger: logger,
	})
	if err != nil {
		return nil, nil, err
	}
	cluster := kafka.NewCluster(kafka.ClusterOptions{Brokers: []string{broker.Addr()}, Embedded: true})
	return cluster, func() error { cluster.Close(); return broker.Close() }, nil
}

// moveToLog has each partition's projection begin with the new log, and then the database belong to it. The database belongs
// to no log meanwhile, so that no server moves the projections back. After a failure it can be repeated.
func moveToLog(
	ctx context.Context, cfg configs.Config, cluster *kafka.Cluster, store *sqlstore.Store, own sqlstore.LogIdentity,
	logger *slog.Logger,
) error {
	if err := store.BeginMove(ctx); err != nil {
		return err
	}
	projections, err := store.Projections(ctx)
	if err != nil {
		return err
	}
	move := sqlstore.LogMove{To: own, Generation: 1}
	for _, projection := range projections {
		move.Generation = max(move.Generation, projection.Next.Generation+1)
	}
	projector := newProjector(cfg, cluster, store, "", logger, nil, nil) // it joins no group
	for partition := range cfg.Kafka.Partitions {
		end, err := projector.BeginAnew(ctx, partition, move.Generation)
		if err != nil {
			return fmt.Errorf("partition %d: %w", partition, err)
		}
		move.Ends = append(move.Ends, end)
	}
	return store.MoveToLog(ctx, move)
}
