package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"chatting/adapters/kafka/logclient"
)

// Seen is what a cluster tells of the topics of an installation, and of the rights of the user who asks.
type Seen struct {
	// Brokers are host:port, as the brokers say of themselves.
	Brokers []string
	// Missing are topics that are not there, or that the user may not know of.
	Missing []string
	// Problems are what the server cannot work with, Doubts what it can.
	Problems, Doubts []TopicError
	// Rights are those that a server needs and the user lacks. They are complete only if RightsTold.
	Rights     []Right
	RightsTold bool
}

// Right is what an operator grants: an operation on a topic or a consumer group.
type Right struct{ Operation, Kind, Name string }

// String names the right as kafka-acls.sh does.
func (r Right) String() string { return fmt.Sprintf("%s on the %s %s", r.Operation, r.Kind, r.Name) }

// The codes of the protocol (https://kafka.apache.org/protocol) that tell rights.
const (
	opRead, opWrite, opDescribeConfigs = 3, 4, 10
	notTold                            = -1 << 31

	codeUnknownTopic      = 3
	codeTopicAuthorized   = 29
	codeGroupUnauthorized = 30
)

// offsetsTopic is the topic in which brokers keep what groups commit.
const offsetsTopic = "__consumer_offsets"

// Look asks for all that a server needs of the topics and of these consumer groups. It changes nothing.
func (t TopicSetup) Look(ctx context.Context, cluster *logclient.Cluster, groups []string) (Seen, error) {
	// Without the topic of offsets, the question for a group would make it.
	answer, err := cluster.AskAnew(ctx, &metadata.Request{
		TopicNames: append(t.Names.All(), offsetsTopic), IncludeTopicAuthorizedOperations: true,
	})
	if err != nil {
		return Seen{}, fmt.Errorf("asking for the topics: %w", err)
	}
	told, ok := answer.(*metadata.Response)
	if !ok {
		return Seen{}, errors.New("asking for the topics: an answer that is none to the request")
	}
	var seen Seen
	for _, broker := range told.Brokers {
		seen.Brokers = append(seen.Brokers, net.JoinHostPort(broker.Host, strconv.Itoa(int(broker.Port))))
	}
	topics := make(map[string]metadata.ResponseTopic, len(told.Topics))
	for _, topic := range told.Topics {
		topics[topic.Name] = topic
	}
	var present []topicSettings
	for _, settings := range t.Names.settings() {
		if topic := topics[settings.name]; seen.topic(t, settings, topic, len(told.Brokers)) {
			present = append(present, settings)
		}
	}
	if topics[offsetsTopic].ErrorCode != codeUnknownTopic {
		if err := seen.groups(ctx, cluster, groups); err != nil {
			return seen, err
		}
	}
	return seen, seen.settings(ctx, cluster, present, topics)
}

// topic notes what is to be said of a topic, and returns whether it is there.
func (s *Seen) topic(t TopicSetup, settings topicSettings, topic metadata.ResponseTopic, brokers int) (there bool) {
	problem := func(format string, args ...any) {
		s.Problems = append(s.Problems, TopicError{settings.name, fmt.Sprintf(format, args...)})
	}
	s.rights(t, settings.name, topic)
	switch topic.ErrorCode {
	case codeTopicAuthorized:
		return false
	case codeUnknownTopic:
		s.Missing = append(s.Missing, settings.name)
		return false
	}
	leaderless, replicas := 0, replicasFor(brokers)
	for _, partition := range topic.Partitions {
		if partition.LeaderID < 0 || partition.ErrorCode != 0 && len(partition.IsrNodes) == 0 {
			leaderless++
		}
		replicas = min(replicas, len(partition.ReplicaNodes))
	}
	if leaderless > 0 {
		problem("has %d partitions without a leader", leaderless)
	}
	if len(topic.Partitions) != t.Partitions {
		s.Problems = append(s.Problems, *WrongPartitions(settings.name, len(topic.Partitions), t.Partitions))
	}
	if replicas < replicasFor(brokers) {
		s.Doubts = append(s.Doubts, TopicError{settings.name, fmt.Sprintf(
			"has %d replicas on %d brokers: the loss of a broker may lose it", replicas, brokers)})
	}
	return true
}

// rights notes which rights on a topic are missing.
func (s *Seen) rights(t TopicSetup, name string, topic metadata.ResponseTopic) {
	needed := map[string][]int{
		t.Names.Conversations: {opRead, opWrite}, t.Names.Sessions: {opRead, opWrite}, t.Names.Presence: {opWrite},
		t.Names.SystemMessages: {opRead}, t.Names.DeadLetters: {opWrite},
	}[name]
	if t.VerifyOnly {
		needed = append(needed, opDescribeConfigs)
	}
	operations := map[int]string{opRead: "Read", opWrite: "Write", opDescribeConfigs: "DescribeConfigs"}
	granted := topic.TopicAuthorizedOperations
	if topic.ErrorCode == codeTopicAuthorized {
		granted = 0
	} else if topic.ErrorCode != 0 || granted == notTold {
		return
	}
	s.RightsTold = true
	for _, operation := range needed {
		if granted&(1<<operation) == 0 {
			s.Rights = append(s.Rights, Right{operations[operation], "topic", name})
		}
	}
}

// groups notes which rights on consumer groups are missing.
func (s *Seen) groups(ctx context.Context, cluster *logclient.Cluster, groups []string) error {
	for _, group := range groups {
		answer, err := cluster.RoundTrip(ctx, &describegroups.Request{Groups: []string{group}, IncludeAuthorizedOperations: true})
		missing := errors.Is(err, kafkago.GroupAuthorizationFailed)
		if err != nil && !missing {
			return fmt.Errorf("asking for the consumer group %s: %w", group, err)
		}
		if told, ok := answer.(*describegroups.Response); ok && err == nil {
			for _, g := range told.Groups {
				missing = missing || g.ErrorCode == codeGroupUnauthorized ||
					g.ErrorCode == 0 && g.AuthorizedOperations != notTold && g.AuthorizedOperations&(1<<opRead) == 0
			}
		}
		if missing {
			s.RightsTold = true
			s.Rights = append(s.Rights, Right{"Read", "group", group})
		}
	}
	return nil
}

// settings notes what is to be said of the settings of topics.
func (s *Seen) settings(
	ctx context.Context, cluster *logclient.Cluster, present []topicSettings, topics map[string]metadata.ResponseTopic,
) error {
	if len(present) == 0 {
		return nil
	}
	const configInSync = "min.insync.replicas"
	request := &kafkago.DescribeConfigsRequest{}
	wanted := make(map[string]topicSettings)
	for _, settings := range present {
		wanted[settings.name] = settings
		request.Resources = append(request.Resources, kafkago.DescribeConfigRequestResource{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: settings.name,
			ConfigNames: []string{configCleanup, configRetention, configUnclean, configMaxMessage, configInSync},
		})
	}
	response, err := cluster.Client().DescribeConfigs(ctx, request)
	if err != nil {
		return fmt.Errorf("asking for the settings of topics: %w", err)
	}
	for _, resource := range response.Resources {
		name := resource.ResourceName
		if resource.Error != nil {
			s.Doubts = append(s.Doubts, TopicError{name, "does not let this server see its settings"})
			continue
		}
		for _, entry := range resource.ConfigEntries {
			if problem := wanted[name].complaint(entry.ConfigName, entry.ConfigValue); problem != "" {
				s.Problems = append(s.Problems, TopicError{name, problem})
			}
			if entry.ConfigName == configInSync {
				s.inSync(name, entry.ConfigValue, topics[name])
			}
		}
	}
	return nil
}

// inSync compares how many replicas must have a record with how many there are.
func (s *Seen) inSync(name, value string, topic metadata.ResponseTopic) {
	needed, err := strconv.Atoi(value)
	if err != nil {
		return
	}
	for _, partition := range topic.Partitions {
		switch replicas := len(partition.ReplicaNodes); {
		case needed > replicas:
			s.Problems = append(s.Problems, TopicError{name, fmt.Sprintf(
				"has min.insync.replicas=%d and %d replicas: nothing can be appended", needed, replicas)})
			return
		case needed == 1 && replicas > 1:
			s.Doubts = append(s.Doubts, TopicError{name, fmt.Sprintf(
				"has min.insync.replicas=1 with %d replicas: an acknowledged record may be on one broker only", replicas)})
			return
		case needed > len(partition.IsrNodes):
			s.Problems = append(s.Problems, TopicError{name, fmt.Sprintf(
				"has a partition with %d in-sync replicas, and min.insync.replicas=%d: nothing can be appended to it",
				len(partition.IsrNodes), needed)})
			return
		}
	}
}

// MayCreate returns nil if the broker would create the topics that are missing. It creates none.
func (t TopicSetup) MayCreate(ctx context.Context, cluster *logclient.Cluster, missing []string) error {
	layout, err := cluster.Layout(ctx)
	if err != nil {
		return err
	}
	request := &kafkago.CreateTopicsRequest{ValidateOnly: true}
	for _, settings := range t.Names.settings() {
		for _, name := range missing {
			if name == settings.name {
				request.Topics = append(request.Topics, settings.config(t.Partitions, layout.Brokers))
			}
		}
	}
	response, err := cluster.Client().CreateTopics(ctx, request)
	if err != nil {
		return err
	}
	for topic, err := range response.Errors {
		if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) {
			return &TopicError{topic, fmt.Sprintf("cannot be created: %v", err)}
		}
	}
	return nil
}
