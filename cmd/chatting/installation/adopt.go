package installation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/sqlstore"
	"chatting/application/port"
	"chatting/configs"
)

// Adopt moves the database to the configured log, and says in a sentence what became of it.
func Adopt(ctx context.Context, cfg configs.Config, logger *slog.Logger) (said string, err error) {
	if err := mustHaveDatabase(cfg); err != nil {
		return "", err
	}
	if cfg.Database.Embedded || cfg.Kafka.Embedded() { // no server may run on them
		lock, err := embedded.LockDir(cfg.DataDir)
		if err != nil {
			return "", configs.CausedBy("data_dir", err)
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	cfg = WithPartitions(cfg)
	cluster, disconnect, err := clusterToAdopt(ctx, cfg, logger)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, disconnect()) }()
	store, err := openExisting(ctx, cfg, logger)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Migrate(ctx); err != nil {
		return "", databaseError(cfg, err)
	}
	return Installation{cfg, cluster, store, logger}.adopt(ctx)
}

// openExisting opens the database of a configuration, which must be there.
func openExisting(ctx context.Context, cfg configs.Config, logger *slog.Logger) (*sqlstore.Store, error) {
	options := StoreOptions(cfg, logger)
	options.MustExist = true
	store, err := sqlstore.Open(ctx, options)
	if err != nil {
		return nil, databaseError(cfg, err)
	}
	return store, nil
}

// clusterToAdopt connects to the brokers of the configuration. The embedded one, whose server is not running, is started.
func clusterToAdopt(ctx context.Context, cfg configs.Config, logger *slog.Logger) (*logclient.Cluster, func() error, error) {
	if !cfg.Kafka.Embedded() {
		cluster, err := Dial(ctx, cfg, kafka.NamesFor(cfg.TopicPrefix).All()...)
		if err != nil {
			return nil, nil, err
		}
		return cluster, func() error { cluster.Close(); return nil }, nil
	}
	starting, cancel := context.WithTimeout(ctx, OpenTimeout)
	defer cancel()
	broker, err := embedded.Start(starting, embedded.Options{
		Addr: cfg.EmbeddedKafka.Addr.String(), Dir: BrokerDir(cfg), Logger: logger,
	})
	if err != nil {
		return nil, nil, err
	}
	cluster := kafka.NewCluster(logclient.ClusterOptions{Brokers: []string{broker.Addr()}, Embedded: true})
	return cluster, func() error { cluster.Close(); return broker.Close() }, nil
}

func (i Installation) adopt(ctx context.Context) (said string, err error) {
	own, recorded, err := i.log(ctx)
	if err != nil {
		return "", err
	}
	to := fmt.Sprintf("%q on %s", own.TopicPrefix, clusterName(own.ClusterID))
	if recorded.Is(own) {
		return "the database belongs to topic_prefix " + to + " already", nil
	}
	if err := i.keepsPartitions(ctx, recorded); err != nil {
		return "", err
	}
	if !i.Config.Database.Embedded { // whose server would have the lock
		if err := i.mustBeUnused(ctx); err != nil {
			return "", err
		}
	}
	if err := TopicSetup(i.Config, i.Logger).Ensure(ctx, i.Cluster); err != nil {
		return "", err
	}
	if err := i.moveTo(ctx, own); err != nil {
		return "", err
	}
	if recorded == (sqlstore.LogIdentity{}) {
		return "the database was between two logs, and now belongs to topic_prefix " + to, nil
	}
	return fmt.Sprintf("the database belonged to topic_prefix %q on %s, and now belongs to %s",
		recorded.TopicPrefix, clusterName(recorded.ClusterID), to), nil
}

// keepsPartitions fails if the number of partitions would change without having been configured. The defaults of the embedded broker
// and of a cluster differ, and storing for offline users would begin anew.
func (i Installation) keepsPartitions(ctx context.Context, from sqlstore.LogIdentity) error {
	own := i.Config.Kafka
	before, err := i.Store.Installation.RecordedPartitions(ctx, kafka.NamesFor(from.TopicPrefix).Conversations)
	if err != nil || before == 0 || before == own.Partitions || own.PartitionsGiven {
		return err
	}
	return fmt.Errorf("the database was used with %d partitions, and %d are the default here: set kafka.partitions, to %d if "+
		"what is stored for offline users is to be delivered", before, own.Partitions, before)
}

// moveTo lets each partition's projection begin with the new log, and then assigns the database to it. In between, the database
// belongs to no log, so that no server moves the projections back. After a failure it can be repeated.
func (i Installation) moveTo(ctx context.Context, own sqlstore.LogIdentity) error {
	if err := i.Store.Installation.BeginMove(ctx); err != nil {
		return err
	}
	projections, err := i.Store.Projections.Projections(ctx)
	if err != nil {
		return err
	}
	move := sqlstore.LogMove{To: own, Generation: 1}
	for _, projection := range projections {
		move.Generation = max(move.Generation, projection.Next.Generation+1)
	}
	projector := i.Projector("", nil, nil, port.Traces{})
	for partition := range i.Config.Kafka.Partitions {
		end, err := projector.BeginAnew(ctx, partition, move.Generation)
		if err != nil {
			return fmt.Errorf("partition %d: %w", partition, err)
		}
		move.Ends = append(move.Ends, end)
	}
	return i.Store.Installation.MoveToLog(ctx, move)
}
