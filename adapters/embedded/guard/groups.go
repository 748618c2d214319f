package guard

import (
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/protocol"
)

// Bounds of what clients can have kfake keep about consumer groups and producers: in memory and, of groups, for a week.
const (
	maxGroups         = 200
	maxOffsetMetadata = 256 // bytes, for one partition; Kafka's default is 4096
	// MaxSession is the longest session of a member of a group.
	MaxSession = 2 * time.Minute
	// Each new member and each new producer leaves something behind for some time. These are the rates, and what may come at
	// once, of all clients together; who comes faster waits.
	joinsPerSecond, joinsAtOnce         = 20, 200
	producersPerSecond, producersAtOnce = 10, 200
)

// pace lets what leaves something behind wait for its rate.
func (c *client) pace(key kmsg.Key) error {
	switch key {
	case kmsg.JoinGroup:
		return c.guard.joins.Wait(c.ctx)
	case kmsg.InitProducerID:
		return c.guard.producers.Wait(c.ctx)
	}
	return nil
}

// groups are the consumer groups that kfake keeps, as of when it was asked last.
type groups struct {
	mu    sync.Mutex
	known map[string]struct{}
}

// admit tells whether a client may work with a group: one that is there, or a new one while there is a place.
func (g *groups) admit(l *lane, name string) (bool, error) {
	g.mu.Lock()
	_, known := g.known[name]
	g.mu.Unlock()
	if known {
		return true, nil
	}
	var response kmsg.ListGroupsResponse
	if err := l.ask(&kmsg.ListGroupsRequest{Version: protocol.MaxVersion(kmsg.ListGroups)}, &response); err != nil {
		return false, err
	}
	there := make(map[string]struct{}, len(response.Groups)+1)
	for _, group := range response.Groups {
		there[group.Group] = struct{}{}
	}
	if _, known = there[name]; !known && len(there) >= maxGroups {
		return false, nil
	}
	there[name] = struct{}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known = there
	return true, nil
}

// errTooManyGroups is why a group is not made.
var errTooManyGroups = errors.New("a new consumer group: there are as many as the broker keeps")

// refuseJoin answers a JoinGroup whose group may not be made; nil if it may.
func (q question) refuseJoin(body *kmsg.JoinGroupRequest) (kmsg.Response, error) {
	admitted, err := q.client.guard.groups.admit(q.lane, body.Group)
	if admitted || err != nil {
		return nil, err
	}
	q.client.refused("request", errTooManyGroups)
	response := kmsg.NewPtrJoinGroupResponse()
	response.Version, response.ErrorCode = body.Version, kerr.GroupAuthorizationFailed.Code
	return response, nil
}

// commitOffsets has kfake keep the offsets that it may keep, some at a time, and answers the others. kfake itself
// refuses those of partitions that do not exist.
func (q question) commitOffsets(body *kmsg.OffsetCommitRequest) (kmsg.Response, error) {
	admitted, err := q.client.guard.groups.admit(q.lane, body.Group)
	if err != nil {
		return nil, err
	}
	parts, err := protocol.Split(body.Topics, func(t *kmsg.OffsetCommitRequestTopic) *[]kmsg.OffsetCommitRequestTopicPartition {
		return &t.Partitions
	}, protocol.CommitPart)
	if err != nil {
		return nil, err
	}
	if !admitted {
		q.client.refused("request", errTooManyGroups)
	}
	all := kmsg.OffsetCommitResponse{Version: body.Version}
	for _, part := range parts {
		kept, answers := judgeOffsets(part, admitted)
		if len(kept) > 0 {
			var more kmsg.OffsetCommitResponse
			body.Topics = kept
			if err := q.forward(body, &more); err != nil {
				return nil, err
			}
			answers = append(answers, more.Topics...)
		}
		all.Topics = protocol.Merge(all.Topics, answers,
			func(t *kmsg.OffsetCommitResponseTopic) string { return t.Topic },
			func(t *kmsg.OffsetCommitResponseTopic) *[]kmsg.OffsetCommitResponseTopicPartition {
				return &t.Partitions
			})
	}
	return &all, nil
}

// judgeOffsets parts the offsets that kfake may keep from the answers to the others.
func judgeOffsets(
	topics []kmsg.OffsetCommitRequestTopic, admitted bool,
) (kept []kmsg.OffsetCommitRequestTopic, refused []kmsg.OffsetCommitResponseTopic) {
	for _, topic := range topics {
		good, bad := topic, kmsg.OffsetCommitResponseTopic{Topic: topic.Topic}
		good.Partitions = nil
		for _, of := range topic.Partitions {
			var code int16
			switch {
			case !admitted:
				code = kerr.GroupAuthorizationFailed.Code
			case of.Metadata != nil && len(*of.Metadata) > maxOffsetMetadata:
				code = kerr.OffsetMetadataTooLarge.Code
			default:
				good.Partitions = append(good.Partitions, of)
				continue
			}
			bad.Partitions = append(bad.Partitions,
				kmsg.OffsetCommitResponseTopicPartition{Partition: of.Partition, ErrorCode: code})
		}
		if good.Partitions != nil {
			kept = append(kept, good)
		}
		if bad.Partitions != nil {
			refused = append(refused, bad)
		}
	}
	return kept, refused
}
