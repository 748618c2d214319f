package guard

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/protocol"
)

// createTopics has kfake make the topics of a request that may be made.
func (q question) createTopics(body *kmsg.CreateTopicsRequest) (kmsg.Response, error) {
	there, err := q.othersPartitions()
	if err != nil {
		return nil, err
	}
	all := &kmsg.CreateTopicsResponse{Version: body.Version}
	var kept []kmsg.CreateTopicsRequestTopic
	for _, topic := range body.Topics {
		partitions := int64(max(topic.NumPartitions, 1)) + int64(len(topic.ReplicaAssignment))
		if wrong := q.client.guard.policy.JudgeTopic(topic, there+partitions); wrong != nil {
			one := kmsg.NewCreateTopicsResponseTopic()
			one.Topic, one.ErrorCode, one.ErrorMessage = topic.Topic, wrong.Code, &wrong.Text
			all.Topics = append(all.Topics, one)
			continue
		}
		there += partitions
		kept = append(kept, topic)
	}
	if len(kept) > 0 {
		body.Topics = kept
		more := kmsg.NewPtrCreateTopicsResponse()
		if err := q.forward(body, more); err != nil {
			return nil, err
		}
		all.Topics = append(all.Topics, more.Topics...)
		q.client.guard.topicsChanged()
	}
	return all, nil
}

// othersPartitions counts the partitions of topics that are not the server's own.
func (q question) othersPartitions() (count int64, err error) {
	var response kmsg.MetadataResponse
	if err := q.lane.ask(metadataRequest(), &response); err != nil {
		return 0, err
	}
	for _, topic := range response.Topics {
		if topic.Topic != nil && !q.client.guard.policy.Owns(*topic.Topic) {
			count += int64(len(topic.Partitions))
		}
	}
	return count, nil
}

// metadataRequest asks about all topics.
func metadataRequest() *kmsg.MetadataRequest {
	return &kmsg.MetadataRequest{Version: protocol.MaxVersion(kmsg.Metadata)}
}

// alterConfigs has kfake change the settings that may be changed. Those of the server's own topics may not: with
// max.message.bytes=0 it could write nothing more, with retention.ms=0 its log would be gone.
func (q question) alterConfigs(body *kmsg.IncrementalAlterConfigsRequest) (kmsg.Response, error) {
	all := &kmsg.IncrementalAlterConfigsResponse{Version: body.Version}
	var kept []kmsg.IncrementalAlterConfigsRequestResource
	for _, resource := range body.Resources {
		wrong := q.client.guard.policy.JudgeResource(resource)
		if wrong == nil {
			kept = append(kept, resource)
			continue
		}
		all.Resources = append(all.Resources, kmsg.IncrementalAlterConfigsResponseResource{
			ResourceType: resource.ResourceType, ResourceName: resource.ResourceName, ErrorCode: wrong.Code, ErrorMessage: &wrong.Text,
		})
	}
	if len(kept) > 0 {
		body.Resources = kept
		more := kmsg.NewPtrIncrementalAlterConfigsResponse()
		if err := q.forward(body, more); err != nil {
			return nil, err
		}
		all.Resources = append(all.Resources, more.Resources...)
		q.client.guard.topicsChanged()
	}
	return all, nil
}
