package server

import (
	"context"
	"errors"
	"log/slog"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/projector"
	"chatting/adapters/sqlstore"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/cmd/chatting/installation"
	"chatting/configs"
)

// dataLock keeps other processes out of the data directory. It is nil if nothing embedded is in it.
type dataLock struct{ *embedded.DirLock }

func lockDataDir(cfg configs.Config) (dataLock, error) {
	if !cfg.Kafka.Embedded() && !cfg.Database.Embedded {
		return dataLock{}, nil // at most the secret is there, which several processes may share
	}
	lock, err := embedded.LockDir(cfg.DataDir)
	return dataLock{lock}, configs.CausedBy("data_dir", err)
}

// broker is the embedded broker; nil if brokers are configured.
type broker struct{ *embedded.Broker }

// watch ends when the broker does.
func (b broker) watch(ctx context.Context) error {
	select {
	case <-b.Failed():
		return errors.New("it stopped, for the reason in the line before")
	case <-ctx.Done():
		return nil
	}
}

func startBroker(cfg configs.Config, _ dataLock, now port.Clock, logger *slog.Logger) (broker, error) {
	if !cfg.Kafka.Embedded() {
		return broker{}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), installation.OpenTimeout)
	defer cancel()
	options := brokerOptions(cfg)
	options.Logger, options.Now = logger, now
	started, err := embedded.Start(ctx, options)
	if err != nil {
		return broker{}, brokerError(cfg, err)
	}
	return broker{started}, nil
}

func brokerOptions(cfg configs.Config) embedded.Options {
	return embedded.Options{
		Addr: cfg.EmbeddedKafka.Addr.String(), AllowRemote: cfg.EmbeddedKafka.AllowRemote,
		ClientBytes: cfg.EmbeddedKafka.ClientBytes, Own: kafka.NamesFor(cfg.TopicPrefix).Configs(),
		Dir: installation.BrokerDir(cfg),
	}
}

// newCluster prepares the connection to the brokers. It fails if a file of the configuration cannot be used, not if brokers are away.
func newCluster(cfg configs.Config, own broker, logger *slog.Logger) (*logclient.Cluster, error) {
	if own.Broker != nil {
		return kafka.NewCluster(logclient.ClusterOptions{Brokers: []string{own.Addr()}, Dial: own.Dial, Embedded: true}), nil
	}
	options, err := installation.ClusterOptions(cfg.Kafka, kafka.NamesFor(cfg.TopicPrefix).All()...)
	if err != nil {
		return nil, err
	}
	if cfg.Kafka.SASL.Mechanism == configs.SASLPlain && !cfg.Kafka.TLS.On {
		logger.Warn("the password for Kafka crosses the network in clear text: " +
			"kafka.sasl_mechanism is PLAIN and kafka.tls is off")
	}
	return kafka.NewCluster(options), nil
}

func openStore(
	cfg configs.Config, _ dataLock, now port.Clock, notices *notice.Log, observers observers, logger *slog.Logger,
) (*sqlstore.Store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), installation.OpenTimeout)
	defer cancel()
	options := installation.StoreOptions(cfg, logger)
	options.Notices, options.Now, options.Observer = notices, now, observers.database
	store, err := sqlstore.Open(ctx, options)
	return store, configs.CausedBy(installation.DatabaseOption(cfg), err)
}

func newInstallation(
	cfg configs.Config, cluster *logclient.Cluster, store *sqlstore.Store, logger *slog.Logger,
) installation.Installation {
	return installation.Installation{Config: cfg, Cluster: cluster, Store: store, Logger: logger}
}

// appenders are those of the topics that a node writes.
type appenders struct {
	conversations, sessions, presence, deadLetters, audit *appending.Appender
}

// appendQueueBytes bounds what waits for one partition: some seconds of an embedded broker's throughput.
const appendQueueBytes = 8 << 20

func newAppenders(
	cfg configs.Config, cluster *logclient.Cluster, now port.Clock, observers observers, logger *slog.Logger,
) appenders {
	names := kafka.NamesFor(cfg.TopicPrefix)
	appendTo := func(topic, measured string) *appending.Appender {
		options := appenderOptions(cfg, topic)
		options.Logger, options.Now, options.Observer = logger, now, observers.appends(measured)
		return kafka.NewAppender(cluster, options)
	}
	return appenders{
		conversations: appendTo(names.Conversations, "conversations"), sessions: appendTo(names.Sessions, "sessions"),
		presence: appendTo(names.Presence, "presence"), deadLetters: appendTo(names.DeadLetters, "dead_letters"),
		audit: appendTo(names.Audit, "audit"),
	}
}

func appenderOptions(cfg configs.Config, topic string) appending.AppenderOptions {
	return appending.AppenderOptions{
		Topic: topic, Partitions: cfg.Kafka.Partitions, Deadline: cfg.Kafka.AppendDeadline, QueueBytes: appendQueueBytes,
	}
}

func newConversations(cluster *logclient.Cluster, appenders appenders, traces port.Traces) *kafka.Conversations {
	log := kafka.NewConversations(cluster, appenders.conversations)
	log.Traces = traces
	return log
}

func newSessions(appenders appenders) *kafka.Sessions { return kafka.NewSessions(appenders.sessions) }

func newFlushes(sessions *kafka.Sessions) *projector.Flushes { return projector.NewFlushes(sessions) }

// Close writes what is queued and ends the appenders, the last one first.
func (a appenders) Close(ctx context.Context) error {
	for _, appender := range []*appending.Appender{a.audit, a.deadLetters, a.presence, a.sessions, a.conversations} {
		appender.Close(ctx)
	}
	return nil
}
