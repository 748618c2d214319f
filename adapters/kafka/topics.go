package kafka

import (
	"context"
	"errors"
	"fmt"
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
}

// NamesFor returns the topics under a prefix.
func NamesFor(prefix string) TopicNames {
	return TopicNames{
		Conversations: prefix + ".conversations",
		Presence:      prefix + ".presence",
		Sessions:      prefix + ".sessions",
	}
}

const day = 24 * time.Hour

// settings returns how each topic is made. No topic is compacted: presence is rebuilt from what was written lately.
func (n TopicNames) settings() []topicSettings {
	return []topicSettings{
		{name: n.Conversations, retention: 7 * day},
		{name: n.Presence, retention: 7 * day},
		{name: n.Sessions, retention: time.Hour, segment: 10 * time.Minute},
	}
}

// topicSettings are a topic's settings; a zero segment leaves that to the broker.
type topicSettings struct {
	name      string
	retention time.Duration
	segment   time.Duration
}

func (s topicSettings) config(partitions, brokers int) kafka.TopicConfig {
	entries := []kafka.ConfigEntry{
		{ConfigName: "cleanup.policy", ConfigValue: "delete"},
		{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(s.retention.Milliseconds(), 10)},
		{ConfigName: "unclean.leader.election.enable", ConfigValue: "false"},
	}
	if s.segment > 0 {
		entries = append(entries, kafka.ConfigEntry{
			ConfigName: "segment.ms", ConfigValue: strconv.FormatInt(s.segment.Milliseconds(), 10),
		})
	}
	// One broker of three may be away without stopping appends, and an acknowledged record is on two.
	replicas := min(brokers, 3)
	if replicas == 3 {
		entries = append(entries, kafka.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: "2"})
	}
	return kafka.TopicConfig{
		Topic: s.name, NumPartitions: partitions, ReplicationFactor: replicas, ConfigEntries: entries,
	}
}

// EnsureTopics creates the topics that are missing and waits until every partition has a leader. A topic with another
// number of partitions is an error: keys would move between partitions. It tries again until ctx ends.
func EnsureTopics(ctx context.Context, cluster *Cluster, names TopicNames, partitions int) error {
	retry := backoff{}
	for {
		err := ensureTopics(ctx, cluster, names, partitions)
		var mismatch *PartitionMismatchError
		if err == nil || errors.As(err, &mismatch) {
			return err
		}
		retry.wait(ctx)
		if ctx.Err() != nil {
			return err
		}
	}
}

// PartitionMismatchError tells that a topic has another number of partitions than the configuration says.
type PartitionMismatchError struct {
	Topic        string
	Actual, Want int
}

// Error implements error.
func (e *PartitionMismatchError) Error() string {
	return fmt.Sprintf("topic %s has %d partitions, not %d: that would move keys between partitions", e.Topic, e.Actual, e.Want)
}

func ensureTopics(ctx context.Context, cluster *Cluster, names TopicNames, partitions int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	layout, err := cluster.layout(ctx)
	if err != nil {
		return err
	}
	var missing []kafka.TopicConfig
	for _, settings := range names.settings() {
		if topic, known := layout.topics[settings.name]; !known || topic.missing {
			missing = append(missing, settings.config(partitions, layout.brokers))
		}
	}
	if len(missing) > 0 {
		response, err := cluster.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: missing})
		if err != nil {
			return fmt.Errorf("creating topics: %w", err)
		}
		for topic, err := range response.Errors {
			if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
				return fmt.Errorf("creating topic %s: %w", topic, err)
			}
		}
		if layout, err = cluster.layout(ctx); err != nil {
			return err
		}
	}
	for _, settings := range names.settings() {
		topic, known := layout.topics[settings.name]
		switch {
		case !known || topic.missing || topic.leaderless > 0:
			return fmt.Errorf("topic %s is not ready yet", settings.name)
		case topic.partitions != partitions:
			return &PartitionMismatchError{Topic: settings.name, Actual: topic.partitions, Want: partitions}
		}
	}
	return nil
}

// layout is what the transport last heard of the cluster.
type layout struct {
	brokers int
	topics  map[string]topicLayout
}

type topicLayout struct {
	missing    bool
	partitions int
	leaderless int
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
	l := layout{brokers: len(answer.Brokers), topics: make(map[string]topicLayout, len(answer.Topics))}
	for _, topic := range answer.Topics {
		t := topicLayout{missing: topic.ErrorCode != 0, partitions: len(topic.Partitions)}
		for _, partition := range topic.Partitions {
			if partition.LeaderID < 0 || partition.ErrorCode != 0 {
				t.leaderless++
			}
		}
		l.topics[topic.Name] = t
	}
	return l, nil
}
