package installation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/projector"
	"chatting/application/history"
	"chatting/application/port"
	"chatting/configs"
	"chatting/domain"
)

// Rebuild lets the running servers project the history again. choose gets the number of partitions and returns those that are meant.
// done is called after each. If wait is not nil, Rebuild then waits until the servers have done it, and wait is told about twice a
// second how many records are left of how many.
func Rebuild(
	ctx context.Context, cfg configs.Config, choose func(partitions int) ([]int, error), logger *slog.Logger,
	done func(partition int, rebuilt projector.Rebuilt) error, wait func(left, of int64),
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
	var began []projector.Rebuilt
	rebuilder := i.Projector("", nil, nil, port.Traces{})
	for _, partition := range partitions {
		rebuilt, err := rebuilder.Rebuild(ctx, partition)
		if err != nil {
			return fmt.Errorf("partition %d: %w", partition, err)
		}
		if err := done(partition, rebuilt); err != nil {
			return err
		}
		began = append(began, rebuilt)
	}
	if wait == nil {
		return nil
	}
	return i.awaitRebuilt(ctx, began, wait)
}

// lookEvery is how often a command looks how far the servers are.
const lookEvery = 500 * time.Millisecond

// awaitRebuilt waits until the history is again as far as it was. A database that is away is asked again.
func (i Installation) awaitRebuilt(ctx context.Context, began []projector.Rebuilt, tell func(left, of int64)) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		projections, err := i.Store.Projections.Projections(ctx)
		switch {
		case err == nil:
			left, of := leftToRebuild(began, projections)
			if tell(left, of); left == 0 {
				return nil
			}
		case domain.CodeOf(err) != domain.CodeUnavailable:
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.New("interrupted: the servers go on to project the history again")
		}
	}
}

// leftToRebuild returns how many records have not been projected again, of how many.
func leftToRebuild(began []projector.Rebuilt, projections []history.Projection) (left, of int64) {
	next := make(map[int]domain.Place, len(projections))
	for _, p := range projections {
		next[p.Next.Partition] = p.Next
	}
	for _, r := range began {
		of += r.To.Offset - r.From.Offset
		if at := next[r.To.Partition]; at.Generation <= r.To.Generation { // a later topic has none of these records
			left += max(0, r.To.Offset-max(at.Offset, r.From.Offset))
		}
	}
	return left, of
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
