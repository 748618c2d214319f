package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"

	"chatting/adapters/kafka"
	sqlstore "chatting/adapters/sql"
	"chatting/application"
	"chatting/configs"
)

// newProjector takes the log of conversations into the history.
func newProjector(
	cfg configs.Config, cluster *kafka.Cluster, store *sqlstore.Store, database string, logger *slog.Logger,
	notices *application.Notices, flushes *kafka.HistoryFlushes,
) *kafka.Projector {
	options := projectorOptions(cfg)
	options.Database, options.Store, options.Logger, options.Notices = database, store, logger, notices
	options.Flushes = flushes
	return kafka.NewProjector(cluster, options)
}

func projectorOptions(cfg configs.Config) kafka.ProjectorOptions {
	return kafka.ProjectorOptions{
		Topic: kafka.NamesFor(cfg.TopicPrefix).Conversations, Partitions: cfg.Kafka.Partitions,
		Group: cfg.TopicPrefix + ".history", Retention: cfg.History.Retention, Delay: cfg.History.Delay, Embedded: cfg.Kafka.Embedded(),
	}
}

func newHistoryCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Look after the history in the database",
		Long:  `Look after what the database has of what was said.`,
		Example: `  chatting history rebuild
  chatting history rebuild --partition 3`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRebuildCommand(s))
	return cmd
}

func newRebuildCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Project the history again from what the log still has",
		Long: `Have the running servers project the history again from the start of what the log still has. They replace it
stretch by stretch; until then it reads as before. What the log has no more stays as it is. Nothing that was
erased comes back, and nothing that was hidden by a block is shown.`,
		Example: `  chatting history rebuild
  chatting history rebuild --partition 3
  CHATTING_KAFKA_BROKERS=k1:9092 CHATTING_DATABASE_URL_FILE=/run/secrets/database chatting history rebuild`,
	}
	load := configFlags(cmd, s, append([]string{"data_dir"}, kafkaFlags...)...)
	only := &textFlag{unit: "number"}
	cmd.Flags().Var(only, "partition", "this partition of the log alone")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		return rebuild(cmd.Context(), cfg, only, s)
	}
	return cmd
}

func rebuild(ctx context.Context, cfg configs.Config, only *textFlag, s surroundings) (err error) {
	if !cfg.History.Enabled {
		return errors.New("history.enabled is false: there is no history to rebuild")
	}
	if err := mustHaveDatabase(cfg); err != nil {
		return err
	}
	topic := kafka.NamesFor(cfg.TopicPrefix).Conversations
	cluster, err := dialKafka(ctx, cfg, topic)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if cfg.Kafka.Partitions, err = cluster.Partitions(ctx, topic); err != nil {
		return err
	}
	partitions, err := whichPartitions(only, cfg.Kafka.Partitions)
	if err != nil {
		return err
	}
	logger := newLogger(cfg.Log, s.err)
	options := storeOptions(cfg, logger)
	options.MustExist = true
	store, err := sqlstore.Open(ctx, options)
	if err != nil {
		return databaseError(cfg, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := mayRebuild(ctx, cfg, cluster, store, logger); err != nil {
		return err
	}
	projector := newProjector(cfg, cluster, store, "", logger, nil, nil) // it joins no group
	for _, partition := range partitions {
		rebuilt, err := projector.Rebuild(ctx, partition)
		if err != nil {
			return fmt.Errorf("partition %d: %w", partition, err)
		}
		if err := sayRebuilt(s.out, partition, rebuilt); err != nil {
			return err
		}
	}
	return nil
}

// mayRebuild fails if the history in the database is of another log than the configured one. Otherwise a foreign log would
// move the place where the history goes on.
func mayRebuild(
	ctx context.Context, cfg configs.Config, cluster *kafka.Cluster, store *sqlstore.Store, logger *slog.Logger,
) error {
	current, known, err := store.Version(ctx)
	if err != nil || current != known { // an older schema records no log
		return err
	}
	own, err := ownLog(ctx, cfg, topicSetup(cfg, logger), cluster)
	if err != nil {
		return err
	}
	if err := checkLog(ctx, store, own); err != nil {
		return err
	}
	store.HoldTo(own)
	return nil
}

// whichPartitions returns the one that was named, or all.
func whichPartitions(only *textFlag, count int) ([]int, error) {
	if only.given {
		partition, err := strconv.Atoi(only.value)
		if err != nil || partition < 0 || partition >= count {
			return nil, fmt.Errorf("--partition %q: the topic has the partitions 0 to %d", only.value, count-1)
		}
		return []int{partition}, nil
	}
	all := make([]int, count)
	for i := range all {
		all[i] = i
	}
	return all, nil
}

func sayRebuilt(out io.Writer, partition int, rebuilt kafka.Rebuilt) error {
	what := "nothing was projected yet"
	if records := rebuilt.To.Offset - rebuilt.From.Offset; rebuilt.To.Generation > 0 {
		what = fmt.Sprintf("offsets %d to %d are projected again", rebuilt.From.Offset, rebuilt.To.Offset)
		if records == 0 {
			what = fmt.Sprintf("the log has nothing before offset %d, which is next", rebuilt.To.Offset)
		}
	}
	_, err := fmt.Fprintf(out, "partition %d: %s\n", partition, what)
	return err
}
