package installation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/projector"
	"chatting/configs"
)

// Rebuild lets the running servers project the history again. choose gets the number of partitions and returns those that are meant.
// done is called after each.
func Rebuild(
	ctx context.Context, cfg configs.Config, choose func(partitions int) ([]int, error), logger *slog.Logger,
	done func(partition int, rebuilt projector.Rebuilt) error,
) (err error) {
	if !cfg.History.Enabled {
		return errors.New("history.enabled is false: there is no history to rebuild")
	}
	if err := mustHaveDatabase(cfg); err != nil {
		return err
	}
	topic := kafka.NamesFor(cfg.TopicPrefix).Conversations
	cluster, err := Dial(ctx, cfg, topic)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if cfg.Kafka.Partitions, err = cluster.Partitions(ctx, topic); err != nil {
		return err
	}
	partitions, err := choose(cfg.Kafka.Partitions)
	if err != nil {
		return err
	}
	store, err := openExisting(ctx, cfg, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	i := Installation{cfg, cluster, store, logger}
	if err := i.mayRebuild(ctx); err != nil {
		return err
	}
	projector := i.Projector("", nil, nil)
	for _, partition := range partitions {
		rebuilt, err := projector.Rebuild(ctx, partition)
		if err != nil {
			return fmt.Errorf("partition %d: %w", partition, err)
		}
		if err := done(partition, rebuilt); err != nil {
			return err
		}
	}
	return nil
}

// mayRebuild fails if the history is of another log than the configured one: a foreign log would move the place where it goes on.
func (i Installation) mayRebuild(ctx context.Context) error {
	current, known, err := i.Store.Version(ctx)
	if err != nil || current != known { // an older schema records no log
		return err
	}
	own, recorded, err := i.log(ctx)
	if err != nil {
		return err
	}
	if err := mustBe(recorded, own); err != nil {
		return err
	}
	i.Store.Installation.HoldTo(own)
	return nil
}
