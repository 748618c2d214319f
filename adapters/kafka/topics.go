package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// TopicNames are the topics of one installation.
type TopicNames struct {
	Conversations string
	Presence      string
	Sessions      string
	// SystemMessages is where other programs write; DeadLetters gets what of that cannot be delivered.
	SystemMessages string
	DeadLetters    string
}

// NamesFor returns the topics under a prefix.
func NamesFor(prefix string) TopicNames {
	return TopicNames{
		Conversations:  prefix + ".conversations",
		Presence:       prefix + ".presence",
		Sessions:       prefix + ".sessions",
		SystemMessages: prefix + ".system-messages",
		DeadLetters:    prefix + ".system-messages.dlt",
	}
}

// All returns their names.
func (n TopicNames) All() []string {
	return []string{n.Conversations, n.Presence, n.Sessions, n.SystemMessages, n.DeadLetters}
}

const (
	day = 24 * time.Hour

	configCleanup    = "cleanup.policy"
	configRetention  = "retention.ms"
	configUnclean    = "unclean.leader.election.enable"
	configMaxMessage = "max.message.bytes"
)

const (
	// maxOwnBytes is what batches of the server's own records may have: maxBatchBytes, or one event with the longest text, every
	// character of it escaped. Kafka's default is 12 bytes more.
	maxOwnBytes = 1 << 20
	// maxSystemMessageBytes bounds a batch of what other programs write. It is far more than a system message can have:
	// what is too large shall become a dead letter that says so, not an error that only its producer sees.
	maxSystemMessageBytes = 4 << 20
	// maxDeadLetterBytes leaves such a batch room for the headers of a dead letter.
	maxDeadLetterBytes = 5 << 20
)

// settings returns how each topic is made. No topic is compacted: presence is rebuilt from what was written lately.
func (n TopicNames) settings() []topicSettings {
	return []topicSettings{
		{name: n.Conversations, retention: 7 * day, maxMessage: maxOwnBytes},
		{name: n.Presence, retention: 7 * day, maxMessage: maxOwnBytes},
		{name: n.Sessions, retention: SessionRetention, segment: 10 * time.Minute, maxMessage: maxOwnBytes},
		{name: n.SystemMessages, retention: 7 * day, maxMessage: maxSystemMessageBytes},
		{name: n.DeadLetters, retention: 30 * day, maxMessage: maxDeadLetterBytes},
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

func (s topicSettings) config(partitions, brokers int) kafka.TopicConfig {
	entries := []kafka.ConfigEntry{
		{ConfigName: configCleanup, ConfigValue: "delete"},
		{ConfigName: configRetention, ConfigValue: strconv.FormatInt(s.retention.Milliseconds(), 10)},
		{ConfigName: configUnclean, ConfigValue: "false"},
		{ConfigName: configMaxMessage, ConfigValue: strconv.FormatInt(s.maxMessage, 10)},
	}
	if s.segment > 0 {
		entries = append(entries, kafka.ConfigEntry{
			ConfigName: "segment.ms", ConfigValue: strconv.FormatInt(s.segment.Milliseconds(), 10),
		})
	}
	// One broker of three may be away without stopping appends, and an acknowledged record is on two.
	replicas := replicasFor(brokers)
	if replicas == 3 {
		entries = append(entries, kafka.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: "2"})
	}
	return kafka.TopicConfig{
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
func (t TopicSetup) Ensure(ctx context.Context, cluster *Cluster) error {
	return t.repeat(ctx, cluster, t.try)
}

// ClusterID returns the id that the cluster gave itself, "" where its brokers tell none. It tries again until ctx ends.
func (t TopicSetup) ClusterID(ctx context.Context, cluster *Cluster) (id string, err error) {
	err = t.repeat(ctx, cluster, func(ctx context.Context, cluster *Cluster) error {
		ctx, cancel := context.WithTimeout(ctx, setupTimeout)
		defer cancel()
		found, err := cluster.layout(ctx)
		id = found.cluster
		return err
	})
	return id, err
}

// repeat tries until that succeeds, ctx ends or trying again does not help.
func (t TopicSetup) repeat(ctx context.Context, cluster *Cluster, try func(context.Context, *Cluster) error) error {
	retry := backoff{}
	for {
		err := try(ctx, cluster)
		var permanent *TopicError
		if err == nil || errors.As(err, &permanent) || ctx.Err() != nil {
			return err
		}
		if retry.count == 0 {
			t.Logger.Warn("the topics are not ready yet, waiting for them", "brokers", cluster.String(), "error", err)
		}
		retry.wait(ctx)
		if ctx.Err() != nil {
			return err
		}
	}
}

// setupTimeout bounds one attempt.
const setupTimeout = 10 * time.Second

func (t TopicSetup) try(ctx context.Context, cluster *Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	found, err := cluster.layout(ctx)
	if err != nil {
		return err
	}
	missing := t.missing(found)
	switch {
	case len(missing) > 0 && t.VerifyOnly:
		return &TopicError{missing[0].Topic, fmt.Sprintf(
			"is missing, or hidden from this server: make it with %d partitions, or let the server make it, and grant its rights", t.Partitions)}
	case len(missing) > 0:
		if err := cluster.createTopics(ctx, missing); err != nil {
			return err
		}
		if found, err = cluster.layout(ctx); err != nil {
			return err
		}
	}
	for _, settings := range t.Names.settings() {
		topic, known := found.topics[settings.name]
		switch {
		case !known || topic.missing || topic.leaderless > 0:
			return fmt.Errorf("topic %s has partitions without a leader", settings.name)
		case topic.partitions != t.Partitions:
			return WrongPartitions(settings.name, topic.partitions, t.Partitions)
		}
	}
	t.warnOfFewReplicas(found)
	if t.VerifyOnly {
		return t.verify(ctx, cluster)
	}
	return nil
}

// warnOfFewReplicas says where a topic was made while fewer brokers were there than now: it stays on those.
func (t TopicSetup) warnOfFewReplicas(found layout) {
	for _, settings := range t.Names.settings() {
		if topic := found.topics[settings.name]; topic.replicas < replicasFor(found.brokers) {
			t.Logger.Warn("a topic has fewer replicas than the cluster could hold: the loss of a broker may lose it",
				"topic", settings.name, "replicas", topic.replicas, "brokers", found.brokers)
		}
	}
}

func (t TopicSetup) missing(found layout) []kafka.TopicConfig {
	var missing []kafka.TopicConfig
	for _, settings := range t.Names.settings() {
		if topic, known := found.topics[settings.name]; !known || topic.missing {
			missing = append(missing, settings.config(t.Partitions, found.brokers))
		}
	}
	return missing
}

func (c *Cluster) createTopics(ctx context.Context, topics []kafka.TopicConfig) error {
	response, err := c.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: topics})
	if err != nil {
		return fmt.Errorf("creating topics: %w", err)
	}
	for topic, err := range response.Errors {
		switch {
		case err == nil, errors.Is(err, kafka.TopicAlreadyExists): // another node was faster
		case errors.Is(err, kafka.TopicAuthorizationFailed), errors.Is(err, kafka.ClusterAuthorizationFailed):
			return &TopicError{topic, "is missing, or hidden from this server, and the broker lets it create none"}
		default:
			return fmt.Errorf("creating topic %s: %w", topic, err)
		}
	}
	return nil
}

// verify compares the settings of topics that others made with what the server relies on.
func (t TopicSetup) verify(ctx context.Context, cluster *Cluster) error {
	request := &kafka.DescribeConfigsRequest{}
	wanted := make(map[string]topicSettings)
	for _, settings := range t.Names.settings() {
		wanted[settings.name] = settings
		request.Resources = append(request.Resources, kafka.DescribeConfigRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: settings.name,
			ConfigNames: []string{configCleanup, configRetention, configUnclean, configMaxMessage},
		})
	}
	response, err := cluster.client.DescribeConfigs(ctx, request)
	if err != nil {
		return fmt.Errorf("asking for the settings of topics: %w", err)
	}
	for _, resource := range response.Resources {
		if resource.Error != nil {
			if errors.Is(resource.Error, kafka.TopicAuthorizationFailed) {
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

// layout is what the transport last heard of the cluster.
type layout struct {
	cluster string // its id, "" where the brokers tell none
	brokers int
	topics  map[string]topicLayout
}

type topicLayout struct {
	missing    bool
	partitions int
	leaderless int
	replicas   int // of the partition with the fewest
}

func (c *Cluster) layout(ctx context.Context) (layout, error) {
	response, err := c.transport.RoundTrip(ctx, c.addr, &metadata.Request{})
	if err != nil {
		return layout{}, fmt.Errorf("asking %s for the cluster's layout: %w", c, err)
	}
	answer, ok := response.(*metadata.Response)
	if !ok {
		return layout{}, errors.New("an answer that is none to the request")
	}
	l := layout{cluster: answer.ClusterID, brokers: len(answer.Brokers), topics: make(map[string]topicLayout, len(answer.Topics))}
	for _, topic := range answer.Topics {
		t := topicLayout{missing: topic.ErrorCode != 0, partitions: len(topic.Partitions)}
		for i, partition := range topic.Partitions {
			if replicas := len(partition.ReplicaNodes); i == 0 || replicas < t.replicas {
				t.replicas = replicas
			}
			if partition.LeaderID < 0 || partition.ErrorCode != 0 {
				t.leaderless++
			}
		}
		l.topics[topic.Name] = t
	}
	return l, nil
}
