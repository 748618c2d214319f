package embedded

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Bounds of what clients can have kfake keep about consumer groups and producers: in memory and, of groups, for a week.
const (
	maxGroups         = 200
	maxOffsetMetadata = 256 // bytes, for one partition; Kafka's default is 4096
	maxSession        = 2 * time.Minute
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

// admitGroup tells whether a client may work with a group: one that is there, or a new one while there is a place.
func (g *guard) admitGroup(l *lane, name string) (bool, error) {
	g.mu.Lock()
	_, known := g.groups[name]
	g.mu.Unlock()
	if known {
		return true, nil
	}
	request := kmsg.NewPtrListGroupsRequest()
	request.SetVersion(apis[kmsg.ListGroups].maxVersion)
	var response kmsg.ListGroupsResponse
	if err := l.ask(request, &response); err != nil {
		return false, err
	}
	groups := make(map[string]struct{}, len(response.Groups)+1)
	for _, group := range response.Groups {
		groups[group.Group] = struct{}{}
	}
	_, there := groups[name]
	if !there && len(groups) >= maxGroups {
		return false, nil
	}
	groups[name] = struct{}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.groups = groups
	return true, nil
}

// errTooManyGroups is why a group is not made.
var errTooManyGroups = errors.New("a new consumer group: there are as many as the broker keeps")

// refuseJoin answers a JoinGroup whose group may not be made; nil where it may.
func (c *client) refuseJoin(l *lane, body *kmsg.JoinGroupRequest) (kmsg.Response, error) {
	admitted, err := c.guard.admitGroup(l, body.Group)
	if admitted || err != nil {
		return nil, err
	}
	c.guard.refused("request", c.conn.RemoteAddr(), errTooManyGroups)
	response := responseTo(body).(*kmsg.JoinGroupResponse)
	response.ErrorCode = kerr.GroupAuthorizationFailed.Code
	return response, nil
}

// commitOffsets has kfake keep the offsets that it may keep, some at a time, and answers the others. kfake itself
// refuses those of partitions that do not exist.
func (c *client) commitOffsets(l *lane, r request, body *kmsg.OffsetCommitRequest) (kmsg.Response, error) {
	admitted, err := c.guard.admitGroup(l, body.Group)
	if err != nil {
		return nil, err
	}
	parts, err := split(body.Topics, func(t *kmsg.OffsetCommitRequestTopic) *[]kmsg.OffsetCommitRequestTopicPartition {
		return &t.Partitions
	}, commitPart)
	if err != nil {
		return nil, err
	}
	if !admitted {
		c.guard.refused("request", c.conn.RemoteAddr(), errTooManyGroups)
	}
	var all kmsg.OffsetCommitResponse
	for _, part := range parts {
		kept, answers := judgeOffsets(part, admitted)
		if len(kept) > 0 {
			var more kmsg.OffsetCommitResponse
			body.Topics = kept
			if err := c.forward(l, r, body, &more); err != nil {
				return nil, err
			}
			answers = append(answers, more.Topics...)
		}
		all.Topics = merge(all.Topics, answers,
			func(t *kmsg.OffsetCommitResponseTopic) string { return t.Topic },
			func(t *kmsg.OffsetCommitResponseTopic) *[]kmsg.OffsetCommitResponseTopicPartition {
				return &t.Partitions
			})
	}
	all.SetVersion(body.Version)
	return &all, nil
}

// judgeOffsets parts the offsets that kfake may keep from the answers to the others.
func judgeOffsets(
	topics []kmsg.OffsetCommitRequestTopic, admitted bool,
) (kept []kmsg.OffsetCommitRequestTopic, refused []kmsg.OffsetCommitResponseTopic) {
	for _, topic := range topics {
		good, bad := topic, kmsg.NewOffsetCommitResponseTopic()
		good.Partitions, bad.Topic = nil, topic.Topic
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
			one := kmsg.NewOffsetCommitResponseTopicPartition()
			one.Partition, one.ErrorCode = of.Partition, code
			bad.Partitions = append(bad.Partitions, one)
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
