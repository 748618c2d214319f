package embedded

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxOthersPartitions bounds the partitions of all topics that are not the server's own. Each holds two open files
	// once it was written to.
	maxOthersPartitions = 1000
	maxMessageBytes     = 6 << 20 // the highest max.message.bytes: a batch has to fit into a frame
	maxConfigValue      = 256     // bytes
)

// policy knows which topics are the server's own.
type policy struct{ own map[string]map[string]string }

// owns tells whether a topic is the server's own, or has a name that would keep the server from making one: Kafka takes
// a.b and a_b for the same.
func (p policy) owns(topic string) bool {
	for name := range p.own {
		if strings.ReplaceAll(name, ".", "_") == strings.ReplaceAll(topic, ".", "_") {
			return true
		}
	}
	return false
}

// problem is why a client's wish is not granted, by a code of the protocol and in words.
type problem struct {
	code int16
	text string
}

// createTopics has kfake make the topics of a request that may be made.
func (c *client) createTopics(l *lane, r request, body *kmsg.CreateTopicsRequest) (kmsg.Response, error) {
	there, err := c.guard.policy.othersPartitions(l)
	if err != nil {
		return nil, err
	}
	all := responseTo(body).(*kmsg.CreateTopicsResponse)
	var kept []kmsg.CreateTopicsRequestTopic
	for _, topic := range body.Topics {
		partitions := int64(max(topic.NumPartitions, 1)) + int64(len(topic.ReplicaAssignment))
		if wrong := c.guard.policy.judgeTopic(topic, there+partitions); wrong.code != 0 {
			one := kmsg.NewCreateTopicsResponseTopic()
			one.Topic, one.ErrorCode, one.ErrorMessage = topic.Topic, wrong.code, &wrong.text
			all.Topics = append(all.Topics, one)
			continue
		}
		there += partitions
		kept = append(kept, topic)
	}
	if len(kept) > 0 {
		body.Topics = kept
		more := kmsg.NewPtrCreateTopicsResponse()
		if err := c.forward(l, r, body, more); err != nil {
			return nil, err
		}
		all.Topics = append(all.Topics, more.Topics...)
		c.guard.topicsChanged()
	}
	return all, nil
}

// othersPartitions counts the partitions of topics that are not the server's own.
func (p policy) othersPartitions(l *lane) (int64, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.SetVersion(apis[kmsg.Metadata].maxVersion)
	var response kmsg.MetadataResponse
	if err := l.ask(request, &response); err != nil {
		return 0, err
	}
	count := int64(0)
	for _, topic := range response.Topics {
		if topic.Topic != nil && !p.owns(*topic.Topic) {
			count += int64(len(topic.Partitions))
		}
	}
	return count, nil
}

// judgeTopic says why a client may not make a topic. partitions are those of all topics of clients with it.
func (p policy) judgeTopic(topic kmsg.CreateTopicsRequestTopic, partitions int64) problem {
	switch {
	case !topicName.MatchString(topic.Topic), topic.Topic == ".", topic.Topic == "..":
		return problem{kerr.InvalidTopicException.Code, "Not a legal name of a topic."}
	case p.owns(topic.Topic):
		return problem{kerr.PolicyViolation.Code, "The chat server makes its own topics, and no other may have such a name."}
	case partitions > maxOthersPartitions:
		return problem{kerr.InvalidPartitions.Code, fmt.Sprintf(
			"The broker inside the chat server holds at most %d partitions beside the server's own.", maxOthersPartitions)}
	}
	for _, config := range topic.Configs {
		if wrong := judgeConfig(config.Name, config.Value); wrong.code != 0 {
			return wrong
		}
	}
	return problem{}
}

// alterConfigs has kfake change the settings that may be changed. Those of the server's own topics may not: with
// max.message.bytes=0 it could write nothing more, with retention.ms=0 its log would be gone.
func (c *client) alterConfigs(l *lane, r request, body *kmsg.IncrementalAlterConfigsRequest) (kmsg.Response, error) {
	all := responseTo(body).(*kmsg.IncrementalAlterConfigsResponse)
	var kept []kmsg.IncrementalAlterConfigsRequestResource
	for _, resource := range body.Resources {
		wrong := c.guard.policy.judgeResource(resource)
		if wrong.code == 0 {
			kept = append(kept, resource)
			continue
		}
		one := kmsg.NewIncrementalAlterConfigsResponseResource()
		one.ResourceType, one.ResourceName = resource.ResourceType, resource.ResourceName
		one.ErrorCode, one.ErrorMessage = wrong.code, &wrong.text
		all.Resources = append(all.Resources, one)
	}
	if len(kept) > 0 {
		body.Resources = kept
		more := kmsg.NewPtrIncrementalAlterConfigsResponse()
		if err := c.forward(l, r, body, more); err != nil {
			return nil, err
		}
		all.Resources = append(all.Resources, more.Resources...)
		c.guard.topicsChanged()
	}
	return all, nil
}

// judgeResource says why a client may not change settings: kfake panics at some of a broker's, and stores them first.
func (p policy) judgeResource(resource kmsg.IncrementalAlterConfigsRequestResource) problem {
	if resource.ResourceType != kmsg.ConfigResourceTypeTopic {
		return problem{kerr.PolicyViolation.Code, "The broker inside the chat server takes settings of topics only."}
	}
	if p.owns(resource.ResourceName) {
		return problem{kerr.PolicyViolation.Code, "The chat server depends on the settings of its own topics."}
	}
	for _, config := range resource.Configs {
		switch config.Op {
		case kmsg.IncrementalAlterConfigOpSet:
			if wrong := judgeConfig(config.Name, config.Value); wrong.code != 0 {
				return wrong
			}
		case kmsg.IncrementalAlterConfigOpDelete:
			if _, known := topicConfigs[config.Name]; !known {
				return problem{kerr.InvalidConfig.Code, "Unknown topic config name: " + config.Name}
			}
		default:
			return problem{kerr.InvalidConfig.Code, "The broker inside the chat server sets and deletes settings only."}
		}
	}
	return problem{}
}

const any64 = 1<<63 - 1

// between returns a check for a number.
func between(low, high int64) func(string) bool {
	return func(value string) bool {
		n, err := strconv.ParseInt(value, 10, 64)
		return err == nil && n >= low && n <= high
	}
}

// oneOf returns a check for a word.
func oneOf(words ...string) func(string) bool {
	return func(value string) bool { return slices.Contains(words, value) }
}

func anything(string) bool { return true }

// topicConfigs are the settings of Kafka's topics, and which values the broker takes. kfake acts on the first few without
// looking at them: retention.ms that is no number counts as 0 there and empties the topic. The others it only keeps.
var topicConfigs = map[string]func(string) bool{
	"retention.ms":           between(-1, any64),
	"retention.bytes":        between(-1, -1),
	"max.message.bytes":      between(0, maxMessageBytes),
	"segment.bytes":          between(1<<20, 1<<30),
	"segment.ms":             between(0, any64),
	"delete.retention.ms":    between(0, any64),
	"cleanup.policy":         oneOf("delete"),
	"message.timestamp.type": oneOf("CreateTime"),
	"min.insync.replicas":    between(1, 1),

	"compression.type":                        anything,
	"compression.gzip.level":                  anything,
	"compression.lz4.level":                   anything,
	"compression.zstd.level":                  anything,
	"file.delete.delay.ms":                    between(0, any64),
	"flush.messages":                          between(1, any64),
	"flush.ms":                                between(0, any64),
	"follower.replication.throttled.replicas": anything,
	"index.interval.bytes":                    between(0, any64),
	"leader.replication.throttled.replicas":   anything,
	"local.retention.bytes":                   anything,
	"local.retention.ms":                      anything,
	"max.compaction.lag.ms":                   between(1, any64),
	"message.downconversion.enable":           oneOf("true", "false"),
	"message.format.version":                  anything,
	"message.timestamp.after.max.ms":          between(0, any64),
	"message.timestamp.before.max.ms":         between(0, any64),
	"message.timestamp.difference.max.ms":     between(0, any64),
	"min.cleanable.dirty.ratio":               anything,
	"min.compaction.lag.ms":                   between(0, any64),
	"preallocate":                             oneOf("true", "false"),
	"remote.storage.enable":                   oneOf("false"),
	"segment.index.bytes":                     between(4, any64),
	"segment.jitter.ms":                       between(0, any64),
	"unclean.leader.election.enable":          oneOf("true", "false"),
}

// judgeConfig says what is wrong with a setting of a topic; nil is the default.
func judgeConfig(name string, value *string) problem {
	check, known := topicConfigs[name]
	switch {
	case !known:
		return problem{kerr.InvalidConfig.Code, fmt.Sprintf("Unknown topic config name: %.100q", name)}
	case value == nil:
		return problem{}
	case len(*value) > maxConfigValue, !check(*value):
		return problem{kerr.InvalidConfig.Code, fmt.Sprintf(
			"The broker inside the chat server does not take %s=%.100s.", name, *value)}
	}
	return problem{}
}

// restore gives the server's own topics the settings that the server depends on, where they have others, as a client of
// an earlier version may have left them. It returns which topics it changed.
func (p policy) restore(l *lane, topics []topic) (changed []string, err error) {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, topic := range topics {
		resource := kmsg.NewIncrementalAlterConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic.Name
		set := func(name string, op kmsg.IncrementalAlterConfigOp, value *string) {
			config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			config.Name, config.Op, config.Value = name, op, value
			resource.Configs = append(resource.Configs, config)
		}
		wanted, own := p.own[topic.Name]
		if !own {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			if value := wanted[name]; topic.Configs[name] != value {
				set(name, kmsg.IncrementalAlterConfigOpSet, &value)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(topic.Configs)) {
			if _, keep := wanted[name]; !keep {
				set(name, kmsg.IncrementalAlterConfigOpDelete, nil)
			}
		}
		if len(resource.Configs) > 0 {
			request.Resources = append(request.Resources, resource)
			changed = append(changed, topic.Name)
		}
	}
	if len(changed) == 0 {
		return nil, nil
	}
	var response kmsg.IncrementalAlterConfigsResponse
	if err := l.ask(request, &response); err != nil {
		return nil, err
	}
	for _, resource := range response.Resources {
		if err := kerr.ErrorForCode(resource.ErrorCode); err != nil {
			return nil, fmt.Errorf("the settings of topic %s: %w", resource.ResourceName, err)
		}
	}
	return changed, nil
}
