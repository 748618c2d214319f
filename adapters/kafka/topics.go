package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient"
)

// TopicNames are the topics of one installation.
type TopicNames struct {
	Conversations string
	Presence      string
	Sessions      string
	// SystemMessages is where other programs write; DeadLetters gets what of that cannot be delivered.
	SystemMessages string
	DeadLetters    string
	// Audit has what the platform did to users.
	Audit string
}

// NamesFor returns the topics under a prefix.
func NamesFor(prefix string) TopicNames {
	return TopicNames{
		Conversations:  prefix + ".conversations",
		Presence:       prefix + ".presence",
		Sessions:       prefix + ".sessions",
		SystemMessages: prefix + ".system-messages",
		DeadLetters:    prefix + ".system-messages.dlt",
		Audit:          prefix + ".audit",
	}
}

// All returns their names.
func (n TopicNames) All() []string {
	return []string{n.Conversations, n.Presence, n.Sessions, n.SystemMessages, n.Audit, n.DeadLetters}
}

const (
	day = 24 * time.Hour

	configCleanup    = "cleanup.policy"
	configRetention  = "retention.ms"
	configUnclean    = "unclean.leader.election.enable"
	configMaxMessage = "max.message.bytes"
)

const (
	// maxOwnBytes is what batches of the server's own records may have: what an appender sends at once, or one event with the
	// longest text, every character of it escaped. Kafka's default is 12 bytes more.
	maxOwnBytes = 1 << 20
	// MaxSystemMessageBytes bounds a batch of what other programs write. It is far more than a system message can have:
	// what is too large shall become a dead letter that says so, not an error that only its producer sees.
	MaxSystemMessageBytes = 4 << 20
	// MaxDeadLetterBytes leaves such a batch room for the headers of a dead letter.
	MaxDeadLetterBytes = 5 << 20
)

// settings returns how each topic is made. No topic is compacted: presence is rebuilt from what was written lately.
func (n TopicNames) settings() []topicSettings {
	return []topicSettings{
		{name: n.Conversations, retention: 7 * day, maxMessage: maxOwnBytes},
		{name: n.Presence, retention: 7 * day, maxMessage: maxOwnBytes},
		{name: n.Sessions, retention: SessionRetention, segment: 10 * time.Minute, maxMessage: maxOwnBytes},
		{name: n.SystemMessages, retention: 7 * day, maxMessage: MaxSystemMessageBytes},
		{name: n.Audit, retention: 90 * day, maxMessage: maxOwnBytes},
		{name: n.DeadLetters, retention: 30 * day, maxMessage: MaxDeadLetterBytes},
	}
}

// Configs returns the settings that the topics are made with on a single broker, by topic and name of the setting.
func (n TopicNames) Configs() map[string]map[string]string {
	configs := make(map[string]map[string]string)
	for _, settings := range n.settings() {
		configs[settings.name] = make(map[string]string)
		for _, entry := range settings.config(1, 1).ConfigEntries {
			configs[settings.name][entry.ConfigName] = entry.ConfigValue
		}
	}
	return configs
}

// topicSettings are a topic's settings; a zero segment leaves that to the broker.
type topicSettings struct {
	name       string
	retention  time.Duration
	segment    time.Duration
	maxMessage int64
}

// replicasFor returns how many copies of a record a cluster of so many brokers keeps.
func replicasFor(brokers int) int { return min(brokers, 3) }

func (s topicSettings) config(partitions, brokers int) kafkago.TopicConfig {
	entries := []kafkago.ConfigEntry{
		{ConfigName: configCleanup, ConfigValue: "delete"},
		{ConfigName: configRetention, ConfigValue: strconv.FormatInt(s.retention.Milliseconds(), 10)},
		{ConfigName: configUnclean, ConfigValue: "false"},
		{ConfigName: configMaxMessage, ConfigValue: strconv.FormatInt(s.maxMessage, 10)},
	}
	if s.segment > 0 {
		entries = append(entries, kafkago.ConfigEntry{
			ConfigName: "segment.ms", ConfigValue: strconv.FormatInt(s.segment.Milliseconds(), 10),
		})
	}
	// One broker of three may be away without stopping appends, and an acknowledged record is on two.
	replicas := replicasFor(brokers)
	if replicas == 3 {
		entries = append(entries, kafkago.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: "2"})
	}
	return kafkago.TopicConfig{
		Topic: s.name, NumPartitions: partitions, ReplicationFactor: replicas, ConfigEntries: entries,
	}
}

// TopicSetup makes, or only checks, the topics of one installation.
type TopicSetup struct {
	Names      TopicNames
	Partitions int
	// VerifyOnly leaves the making to the operator.
	VerifyOnly bool
	Logger     *slog.Logger
}

// TopicError tells that a topic is not as the server needs it. Trying again does not help.
type TopicError struct{ Topic, Problem string }

// Error implements error.
func (e *TopicError) Error() string { return "topic " + e.Topic + " " + e.Problem }

// WrongPartitions is the error for a topic with another number of partitions than keys were sent by so far.
func WrongPartitions(topic string, actual, want int) *TopicError {
	return &TopicError{topic, fmt.Sprintf("has %d partitions, not %d: that would move keys between partitions", actual, want)}
}

// Ensure creates the topics that are missing, or refuses them, and waits until every partition has a leader. It tries
// again until ctx ends, a broker that is away included; a *TopicError ends it.
func (t TopicSetup) Ensure(ctx context.Context, cluster *logclient.Cluster) error {
	return t.repeat(ctx, cluster, t.try)
}

// ClusterID returns the id that the cluster gave itself, "" where its brokers tell none. It tries again until ctx ends.
func (t TopicSetup) ClusterID(ctx context.Context, cluster *logclient.Cluster) (id string, err error) {
	err = t.repeat(ctx, cluster, func(ctx context.Context, cluster *logclient.Cluster) error {
		ctx, cancel := context.WithTimeout(ctx, setupTimeout)
		defer cancel()
		found, err := cluster.Layout(ctx)
		id = found.ClusterID
		return err
	})
	return id, err
}

// repeat tries until that succeeds, ctx ends or trying again does not help.
func (t TopicSetup) repeat(ctx context.Context, cluster *logclient.Cluster, try func(context.Context, *logclient.Cluster) error) error {
	retry := logclient.Backoff{}
	for {
		err := try(ctx, cluster)
		var permanent *TopicError
		if err == nil || errors.As(err, &permanent) || ctx.Err() != nil {
			return err
		}
		if retry.First() {
			t.Logger.Warn("the topics are not ready yet, waiting for them", "brokers", cluster.String(), "error", err)
		}
		retry.Wait(ctx)
		if ctx.Err() != nil {
			return err
		}
	}
}

// setupTimeout bounds one attempt.
const setupTimeout = 10 * time.Second

func (t TopicSetup) try(ctx context.Context, cluster *logclient.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	found, err := cluster.Layout(ctx)
	if err != nil {
		return err
	}
	missing := t.missing(found)
	switch {
	case len(missing) > 0 && t.VerifyOnly:
		return &TopicError{missing[0].Topic, fmt.Sprintf(
			"is missing, or hidden from this server: make it with %d partitions, or let the server make it, and grant its rights", t.Partitions)}
	case len(missing) > 0:
		if err := createTopics(ctx, cluster, missing); err != nil {
			return err
		}
		if found, err = cluster.Layout(ctx); err != nil {
			return err
		}
	}
	for _, settings := range t.Names.settings() {
		topic, known := found.Topics[settings.name]
		switch {
		case !known || topic.Missing || topic.Leaderless > 0:
			return fmt.Errorf("topic %s has partitions without a leader", settings.name)
		case topic.Partitions != t.Partitions:
			return WrongPartitions(settings.name, topic.Partitions, t.Partitions)
		}
	}
	t.warnOfFewReplicas(found)
	if t.VerifyOnly {
		return t.verify(ctx, cluster)
	}
	return nil
}

// warnOfFewReplicas says where a topic was made while fewer brokers were there than now: it stays on those.
func (t TopicSetup) warnOfFewReplicas(found logclient.Layout) {
	for _, settings := range t.Names.settings() {
		if topic := found.Topics[settings.name]; topic.Replicas < replicasFor(found.Brokers) {
			t.Logger.Warn("a topic has fewer replicas than the cluster could hold: the loss of a broker may lose it",
				"topic", settings.name, "replicas", topic.Replicas, "brokers", found.Brokers)
		}
	}
}

func (t TopicSetup) missing(found logclient.Layout) []kafkago.TopicConfig {
	var missing []kafkago.TopicConfig
	for _, settings := range t.Names.settings() {
		if topic, known := found.Topics[settings.name]; !known || topic.Missing {
			missing = append(missing, settings.config(t.Partitions, found.Brokers))
		}
	}
	return missing
}

func createTopics(ctx context.Context, cluster *logclient.Cluster, topics []kafkago.TopicConfig) error {
	response, err := cluster.Client().CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: topics})
	if err != nil {
		return fmt.Errorf("creating topics: %w", err)
	}
	for topic, err := range response.Errors {
		switch {
		case err == nil, errors.Is(err, kafkago.TopicAlreadyExists): // another node was faster
		case errors.Is(err, kafkago.TopicAuthorizationFailed), errors.Is(err, kafkago.ClusterAuthorizationFailed):
			return &TopicError{topic, "is missing, or hidden from this server, and the broker lets it create none"}
		default:
			return fmt.Errorf("creating topic %s: %w", topic, err)
		}
	}
	return nil
}

// verify compares the settings of topics that others made with what the server relies on.
func (t TopicSetup) verify(ctx context.Context, cluster *logclient.Cluster) error {
	request := &kafkago.DescribeConfigsRequest{}
	wanted := make(map[string]topicSettings)
	for _, settings := range t.Names.settings() {
		wanted[settings.name] = settings
		request.Resources = append(request.Resources, kafkago.DescribeConfigRequestResource{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: settings.name,
			ConfigNames: []string{configCleanup, configRetention, configUnclean, configMaxMessage},
		})
	}
	response, err := cluster.Client().DescribeConfigs(ctx, request)
	if err != nil {
		return fmt.Errorf("asking for the settings of topics: %w", err)
	}
	for _, resource := range response.Resources {
		if resource.Error != nil {
			if errors.Is(resource.Error, kafkago.TopicAuthorizationFailed) {
				return &TopicError{resource.ResourceName, "cannot be verified: the broker does not let this server describe its settings"}
			}
			return fmt.Errorf("asking for the settings of %s: %w", resource.ResourceName, resource.Error)
		}
		for _, entry := range resource.ConfigEntries {
			if problem := wanted[resource.ResourceName].complaint(entry.ConfigName, entry.ConfigValue); problem != "" {
				return &TopicError{resource.ResourceName, problem}
			}
		}
	}
	return nil
}

// complaint says what is wrong with a setting; "" where nothing is.
func (s topicSettings) complaint(name, value string) string {
	switch name {
	case configCleanup:
		if value != "delete" {
			return fmt.Sprintf("has %s=%s, not delete: compaction would take records out of conversations", name, value)
		}
	case configRetention:
		millis, err := strconv.ParseInt(value, 10, 64)
		if err == nil && millis >= 0 && millis < s.retention.Milliseconds() {
			return fmt.Sprintf("has %s=%s, less than %d", name, value, s.retention.Milliseconds())
		}
	case configMaxMessage:
		if bytes, err := strconv.ParseInt(value, 10, 64); err == nil && bytes < s.maxMessage {
			return fmt.Sprintf("has %s=%s, less than %d", name, value, s.maxMessage)
		}
	case configUnclean:
		if value == "true" {
			return fmt.Sprintf("has %s=true: acknowledged records could be lost", name)
		}
	}
	return ""
}
