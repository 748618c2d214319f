package embedded

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// noTransaction is the error that clients take as final: after it none of them tries again.
var noTransaction = kerr.TransactionalIDAuthorizationFailed.Code

// refusal returns the answer to a request that is never served, nil where it may be.
func refusal(body kmsg.Request) kmsg.Response {
	policy := kerr.PolicyViolation.Code
	switch r := body.(type) {
	case *kmsg.InitProducerIDRequest:
		if r.TransactionalID == nil {
			return nil
		}
		response := responseTo(r).(*kmsg.InitProducerIDResponse)
		response.ErrorCode = noTransaction
		return response
	case *kmsg.FindCoordinatorRequest:
		if r.CoordinatorType != coordinatorOfTransactions {
			return nil
		}
		response := responseTo(r).(*kmsg.FindCoordinatorResponse)
		response.ErrorCode, response.ErrorMessage = noTransaction, kmsg.StringPtr(noTransactions)
		response.NodeID = -1
		return response
	case *kmsg.AddPartitionsToTxnRequest:
		response := responseTo(r).(*kmsg.AddPartitionsToTxnResponse)
		for _, topic := range r.Topics {
			of := kmsg.NewAddPartitionsToTxnResponseTopic()
			of.Topic = topic.Topic
			for _, number := range topic.Partitions {
				one := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				one.Partition, one.ErrorCode = number, noTransaction
				of.Partitions = append(of.Partitions, one)
			}
			response.Topics = append(response.Topics, of)
		}
		return response
	case *kmsg.AddOffsetsToTxnRequest:
		response := responseTo(r).(*kmsg.AddOffsetsToTxnResponse)
		response.ErrorCode = noTransaction
		return response
	case *kmsg.EndTxnRequest:
		response := responseTo(r).(*kmsg.EndTxnResponse)
		response.ErrorCode = noTransaction
		return response
	case *kmsg.TxnOffsetCommitRequest:
		response := responseTo(r).(*kmsg.TxnOffsetCommitResponse)
		for _, topic := range r.Topics {
			of := kmsg.NewTxnOffsetCommitResponseTopic()
			of.Topic = topic.Topic
			for _, partition := range topic.Partitions {
				one := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				one.Partition, one.ErrorCode = partition.Partition, noTransaction
				of.Partitions = append(of.Partitions, one)
			}
			response.Topics = append(response.Topics, of)
		}
		return response
	case *kmsg.DeleteTopicsRequest:
		response := responseTo(r).(*kmsg.DeleteTopicsResponse)
		for _, name := range r.TopicNames {
			one := kmsg.NewDeleteTopicsResponseTopic()
			one.Topic, one.ErrorCode, one.ErrorMessage = kmsg.StringPtr(name), policy, kmsg.StringPtr(noDeletion)
			response.Topics = append(response.Topics, one)
		}
		return response
	case *kmsg.DeleteRecordsRequest:
		response := responseTo(r).(*kmsg.DeleteRecordsResponse)
		for _, topic := range r.Topics {
			of := kmsg.NewDeleteRecordsResponseTopic()
			of.Topic = topic.Topic
			for _, partition := range topic.Partitions {
				one := kmsg.NewDeleteRecordsResponseTopicPartition()
				one.Partition, one.LowWatermark, one.ErrorCode = partition.Partition, -1, policy
				of.Partitions = append(of.Partitions, one)
			}
			response.Topics = append(response.Topics, of)
		}
		return response
	case *kmsg.AlterConfigsRequest:
		response := responseTo(r).(*kmsg.AlterConfigsResponse)
		for _, resource := range r.Resources {
			one := kmsg.NewAlterConfigsResponseResource()
			one.ResourceType, one.ResourceName = resource.ResourceType, resource.ResourceName
			one.ErrorCode, one.ErrorMessage = policy, kmsg.StringPtr(noAlterConfigs)
			response.Resources = append(response.Resources, one)
		}
		return response
	case *kmsg.CreatePartitionsRequest:
		response := responseTo(r).(*kmsg.CreatePartitionsResponse)
		for _, topic := range r.Topics {
			one := kmsg.NewCreatePartitionsResponseTopic()
			one.Topic, one.ErrorCode, one.ErrorMessage = topic.Topic, policy, kmsg.StringPtr(noPartitions)
			response.Topics = append(response.Topics, one)
		}
		return response
	case *kmsg.DeleteGroupsRequest:
		response := responseTo(r).(*kmsg.DeleteGroupsResponse)
		for _, group := range r.Groups {
			one := kmsg.NewDeleteGroupsResponseGroup()
			one.Group, one.ErrorCode = group, policy
			response.Groups = append(response.Groups, one)
		}
		return response
	case *kmsg.OffsetDeleteRequest:
		response := responseTo(r).(*kmsg.OffsetDeleteResponse)
		response.ErrorCode = policy
		return response
	}
	return nil
}

// coordinatorOfTransactions is the kind of coordinator that a transactional producer asks for.
const coordinatorOfTransactions = 1

// responseTo returns an empty answer of the request's version.
func responseTo(body kmsg.Request) kmsg.Response {
	response := body.ResponseKind()
	response.SetVersion(body.GetVersion())
	return response
}
