package installation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/sqlstore"
	"chatting/application/delivery"
	"chatting/configs"
	"chatting/domain"
)

// otherLogError says that the database belongs to another log than the configured one.
type otherLogError struct{ recorded, own sqlstore.LogIdentity }

// Error implements error: one line.
func (e *otherLogError) Error() string {
	if e.recorded == (sqlstore.LogIdentity{}) {
		return "the database is between two logs, because chatting adopt runs or did not finish: run it again"
	}
	return fmt.Sprintf("the database belongs to topic_prefix %q on %s, but topic_prefix is %q on %s: correct topic_prefix, "+
		"kafka.brokers or database.url; if the database is to go on with another log, stop all servers and run chatting adopt",
		e.recorded.TopicPrefix, clusterName(e.recorded.ClusterID), e.own.TopicPrefix, clusterName(e.own.ClusterID))
}

func clusterName(id string) string {
	if id == "" {
		return "a Kafka cluster without a known id"
	}
	return "the Kafka cluster " + id
}

// mustBe returns an *otherLogError unless the two may be one log.
func mustBe(recorded, own sqlstore.LogIdentity) error {
	if !recorded.Is(own) {
		return &otherLogError{recorded, own}
	}
	return nil
}

// topics are the set-up of the topics, and those whose partitions the database depends on.
func (i Installation) topics() (setup kafka.TopicSetup, fixed []string) {
	setup = TopicSetup(i.Config, i.Logger)
	return setup, []string{setup.Names.Conversations, setup.Names.Sessions}
}

// log returns the configured log, and that of the database.
func (i Installation) log(ctx context.Context) (own, recorded sqlstore.LogIdentity, err error) {
	id, err := TopicSetup(i.Config, i.Logger).ClusterID(ctx, i.Cluster)
	if err != nil {
		return own, recorded, err
	}
	own = sqlstore.LogIdentity{TopicPrefix: i.Config.TopicPrefix, ClusterID: id}
	recorded, err = i.Store.Installation.Log(ctx, own)
	return own, recorded, err
}

// Claim brings the database to the schema of this program, and has it belong to the configured log, whose topics it makes or
// verifies. It fails, and makes none, if the database belongs to another log, or was used with another number of partitions.
func (i Installation) Claim(ctx context.Context) error {
	if err := i.Store.Migrate(ctx); err != nil {
		return configs.CausedBy(DatabaseOption(i.Config), err)
	}
	own, recorded, err := i.log(ctx)
	if err != nil {
		return err
	}
	if err := mustBe(recorded, own); err != nil {
		return err
	}
	topics, fixed := i.topics()
	for _, topic := range fixed {
		recorded, err := i.Store.Installation.RecordedPartitions(ctx, topic)
		if err != nil {
			return err
		}
		if recorded > 0 && recorded != topics.Partitions {
			return fmt.Errorf("kafka.partitions is %d, but the database was used with %d partitions of topic %s: "+
				"set kafka.partitions to %d, because another number would move keys between partitions",
				topics.Partitions, recorded, topic, recorded)
		}
	}
	if err := topics.Ensure(ctx, i.Cluster); err != nil {
		return err
	}
	recorded, err = i.Store.Installation.ClaimLog(ctx, own)
	if err != nil {
		return err
	}
	return mustBe(recorded, own)
}

// Recognise returns the id of the claimed database, by which the members of its consumer groups know each other. It fails if the
// members of group belong to another database.
func (i Installation) Recognise(ctx context.Context, group string) (database string, err error) {
	if database, err = i.Store.Installation.DatabaseID(ctx); err != nil {
		return "", err
	}
	if err := kafka.CheckDatabase(ctx, i.Cluster, group, database); err != nil {
		return "", err
	}
	own := i.Config.Kafka.Partitions
	_, fixed := i.topics()
	for _, topic := range fixed {
		recorded, err := i.Store.Installation.PartitionCount(ctx, topic, own)
		if err != nil {
			return "", err
		}
		if recorded != own {
			return "", kafka.WrongPartitions(topic, own, recorded)
		}
	}
	return database, nil
}

// logName returns what tells the claimed log from all others that this database or another one has had: the same offset of the two
// is another place.
func (i Installation) logName(ctx context.Context) (string, error) {
	database, err := i.Store.Installation.DatabaseID(ctx)
	if err != nil {
		return "", err
	}
	recorded, err := i.Store.Installation.Log(ctx, sqlstore.LogIdentity{})
	if err != nil {
		return "", err
	}
	return database + "/" + recorded.ClusterID + "/" + kafka.NamesFor(recorded.TopicPrefix).Conversations, nil
}

// ResumeKeys returns the key of the resume tokens of the claimed log, and those of before. All nodes have it, also after the history
// was made anew; another log of the same database has another one. A log in the data directory may be put back as it once was, so
// each of its lives has a key of its own; lives are those that are known, this server's first. Other brokers keep what they have
// acknowledged, and have none.
func (i Installation) ResumeKeys(
	ctx context.Context, lives []embedded.Life,
) (key domain.ResumeKey, earlier []delivery.EarlierTokens, err error) {
	if len(lives) == 0 {
		key, err = i.resumeKey(ctx, "")
		return key, nil, err
	}
	if key, err = i.resumeKey(ctx, lives[0].ID); err != nil {
		return key, nil, err
	}
	for n := 1; n < len(lives); n++ {
		of := delivery.EarlierTokens{Ends: lives[n-1].Began}
		if of.Key, err = i.resumeKey(ctx, lives[n].ID); err != nil {
			return key, nil, err
		}
		earlier = append(earlier, of)
	}
	return key, earlier, nil
}

func (i Installation) resumeKey(ctx context.Context, life string) (key domain.ResumeKey, err error) {
	log, err := i.logName(ctx)
	if err != nil {
		return key, err
	}
	if life != "" {
		log += "/" + life
	}
	secret, err := i.Store.Blocks.Secret(ctx, "resume tokens of "+log)
	copy(key[:], secret)
	return key, err
}

const (
	// beatEvery is how long it may take a server to notice that its database was moved. Its writes fail at once.
	beatEvery = 2 * time.Second
	// beatWithin is how long a server may be silent until it counts as stopped.
	beatWithin = 3 * beatEvery
)

// Beat shows that a server runs on the database, until the database belongs to another log. It waits for a database that is away.
func (i Installation) Beat(ctx context.Context) error {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		var other *sqlstore.OtherLogError
		if errors.As(i.Store.Installation.Beat(ctx), &other) {
			return errors.New("the database was moved to another log while this server ran")
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// mustBeUnused fails if a server runs on the database.
func (i Installation) mustBeUnused(ctx context.Context) error {
	before, err := i.Store.Installation.Beats(ctx)
	if err != nil {
		return err
	}
	select {
	case <-time.After(beatWithin):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := i.Store.Installation.Beats(ctx)
	if err == nil && after != before {
		return errors.New("a server runs on the database: stop all servers that use it, and run chatting adopt again")
	}
	return err
}

// ErrNotKnown says that the database does not tell yet to which log it belongs.
var ErrNotKnown = errors.New("the database has not the schema of this program")

// Belongs returns nil if the PostgreSQL database of a configuration may belong to the log of this cluster, ErrNotKnown if that cannot
// be told, and an error for which IsOtherLog is true if it belongs to another log or to topics with other partitions. It changes
// nothing. The caller has looked whether the schema is that of this program.
func Belongs(ctx context.Context, cfg configs.Config, cluster *logclient.Cluster) error {
	if cfg.Database.Embedded || strings.HasPrefix(cfg.Database.URL.Reveal(), "sqlite:") {
		return ErrNotKnown // to open it would make files beside it
	}
	logger := slog.New(slog.DiscardHandler)
	store, err := openExisting(ctx, cfg, logger)
	if err != nil {
		return err
	}
	defer store.Close()
	i := Installation{cfg, cluster, store, logger}
	own, recorded, err := i.log(ctx)
	if err != nil {
		return errors.Join(ErrNotKnown, err)
	}
	if err := mustBe(recorded, own); err != nil {
		return err
	}
	_, fixed := i.topics()
	for _, topic := range fixed {
		partitions, err := store.Installation.RecordedPartitions(ctx, topic)
		if err == nil && partitions > 0 && partitions != cfg.Kafka.Partitions {
			return kafka.WrongPartitions(topic, cfg.Kafka.Partitions, partitions)
		}
	}
	return nil
}

// IsOtherLog tells whether an error of Belongs says that the database belongs to another log than the configured one.
func IsOtherLog(err error) bool {
	return errors.As(err, new(*otherLogError)) || errors.As(err, new(*kafka.TopicError))
}
