package protocol

import (
	"regexp"
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
	leastSegment        = 1 << 20 // the lowest segment.bytes
)

// SegmentBytes is where kfake begins a new file of a topic without segment.bytes. It cuts files by size only (segment.ms does
// nothing) and frees disk space by whole files.
const SegmentBytes = 16 << 20

// Policy knows the server's own topics, and the settings that the server makes each with. Clients neither make them nor
// change their settings.
type Policy struct{ Own map[string]map[string]string }

// RollsAt is a size below which kfake begins no new file of a topic.
func (p Policy) RollsAt(topic string) int64 {
	if configs, own := p.Own[topic]; own && configs["segment.bytes"] == "" {
		return SegmentBytes
	}
	return leastSegment
}

// Owns tells whether a topic is the server's own, or has a name that would keep the server from making one: Kafka takes
// a.b and a_b for the same.
func (p Policy) Owns(topic string) bool {
	for name := range p.Own {
		if strings.ReplaceAll(name, ".", "_") == strings.ReplaceAll(topic, ".", "_") {
			return true
		}
	}
	return false
}

// topicName is what Kafka allows (org.apache.kafka.common.internals.Topic). kfake allows everything, and a name becomes part
// of a path.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// IsTopicName tells whether a topic may have a name, unless that is . or .. alone.
func IsTopicName(name string) bool { return topicName.MatchString(name) }

// JudgeTopic says why a client may not make a topic. partitions are those of all topics of clients with it.
func (p Policy) JudgeTopic(topic kmsg.CreateTopicsRequestTopic, partitions int64) *Error {
	switch {
	case !IsTopicName(topic.Topic), topic.Topic == ".", topic.Topic == "..":
		return Errorf(kerr.InvalidTopicException, "Not a legal name of a topic.")
	case p.Owns(topic.Topic):
		return Errorf(kerr.PolicyViolation, "The chat server makes its own topics, and no other may have such a name.")
	case partitions > maxOthersPartitions:
		return Errorf(kerr.InvalidPartitions,
			"The broker inside the chat server holds at most %d partitions beside the server's own.", maxOthersPartitions)
	}
	for _, config := range topic.Configs {
		if wrong := judgeConfig(config.Name, config.Value); wrong != nil {
			return wrong
		}
	}
	return nil
}

// JudgeResource says why a client may not change settings: kfake panics at some of a broker's, and stores them first.
func (p Policy) JudgeResource(resource kmsg.IncrementalAlterConfigsRequestResource) *Error {
	if resource.ResourceType != kmsg.ConfigResourceTypeTopic {
		return Errorf(kerr.PolicyViolation, "The broker inside the chat server takes settings of topics only.")
	}
	if p.Owns(resource.ResourceName) {
		return Errorf(kerr.PolicyViolation, "The chat server depends on the settings of its own topics.")
	}
	for _, config := range resource.Configs {
		switch config.Op {
		case kmsg.IncrementalAlterConfigOpSet:
			if wrong := judgeConfig(config.Name, config.Value); wrong != nil {
				return wrong
			}
		case kmsg.IncrementalAlterConfigOpDelete:
			if _, known := topicConfigs[config.Name]; !known {
				return Errorf(kerr.InvalidConfig, "Unknown topic config name: %s", config.Name)
			}
		default:
			return Errorf(kerr.InvalidConfig, "The broker inside the chat server sets and deletes settings only.")
		}
	}
	return nil
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
	"segment.bytes":          between(leastSegment, 1<<30),
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
func judgeConfig(name string, value *string) *Error {
	check, known := topicConfigs[name]
	switch {
	case !known:
		return Errorf(kerr.InvalidConfig, "Unknown topic config name: %.100q", name)
	case value == nil:
		return nil
	case len(*value) > maxConfigValue, !check(*value):
		return Errorf(kerr.InvalidConfig, "The broker inside the chat server does not take %s=%.100s.", name, *value)
	}
	return nil
}
