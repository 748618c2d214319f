package protocol

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Why requests are refused, for their clients.
var (
	noDeletion     = kmsg.StringPtr("The broker inside the chat server deletes no topics, records, groups or offsets.")
	noPartitions   = kmsg.StringPtr("The broker inside the chat server adds no partitions to a topic.")
	noAlterConfigs = kmsg.StringPtr("The broker inside the chat server takes IncrementalAlterConfigs only.")
)

// ErrTransactional is why transactions are refused. Clients take its code as final: after it none of them tries again.
var ErrTransactional = Errorf(kerr.TransactionalIDAuthorizationFailed,
	"The broker inside the chat server has no transactions. Use a producer without transactional.id, or a Kafka cluster.")

// coordinatorOfTransactions is the kind of coordinator that a transactional producer asks for.
const coordinatorOfTransactions = 1

// Refusal returns the answer to a request that is never served, nil if it may be. Clients wait for an answer about each
// topic and each partition that they named.
func Refusal(body kmsg.Request) kmsg.Response {
	if response := refuseTransaction(body); response != nil {
		return response
	}
	return refuseChange(body)
}

// refuseTransaction answers what belongs to transactions.
func refuseTransaction(body kmsg.Request) kmsg.Response {
	code := ErrTransactional.Code
	switch r := body.(type) {
	case *kmsg.InitProducerIDRequest:
		if r.TransactionalID == nil {
			return nil
		}
		return &kmsg.InitProducerIDResponse{Version: r.Version, ErrorCode: code, ProducerID: -1}
	case *kmsg.FindCoordinatorRequest:
		if r.CoordinatorType != coordinatorOfTransactions {
			return nil
		}
		return &kmsg.FindCoordinatorResponse{Version: r.Version, ErrorCode: code, ErrorMessage: &ErrTransactional.Text, NodeID: -1}
	case *kmsg.AddPartitionsToTxnRequest:
		response := &kmsg.AddPartitionsToTxnResponse{Version: r.Version}
		for _, topic := range r.Topics {
			of := kmsg.AddPartitionsToTxnResponseTopic{Topic: topic.Topic}
			for _, number := range topic.Partitions {
				of.Partitions = append(of.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: number, ErrorCode: code})
			}
			response.Topics = append(response.Topics, of)
		}
		return response
	case *kmsg.AddOffsetsToTxnRequest:
		return &kmsg.AddOffsetsToTxnResponse{Version: r.Version, ErrorCode: code}
	case *kmsg.EndTxnRequest:
		return &kmsg.EndTxnResponse{Version: r.Version, ErrorCode: code}
	case *kmsg.TxnOffsetCommitRequest:
		response := &kmsg.TxnOffsetCommitResponse{Version: r.Version}
		for _, topic := range r.Topics {
			of := kmsg.TxnOffsetCommitResponseTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				of.Partitions = append(of.Partitions, kmsg.TxnOffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: code})
			}
			response.Topics = append(response.Topics, of)
		}
		return response
	}
	return nil
}

// refuseChange answers what would take something away, or change it in a way that is not offered.
func refuseChange(body kmsg.Request) kmsg.Response {
	code := kerr.PolicyViolation.Code
	switch r := body.(type) {
	case *kmsg.DeleteTopicsRequest:
		response := &kmsg.DeleteTopicsResponse{Version: r.Version}
		for _, name := range r.TopicNames {
			response.Topics = append(response.Topics, kmsg.DeleteTopicsResponseTopic{
				Topic: kmsg.StringPtr(name), ErrorCode: code, ErrorMessage: noDeletion})
		}
		return response
	case *kmsg.DeleteRecordsRequest:
		response := &kmsg.DeleteRecordsResponse{Version: r.Version}
		for _, topic := range r.Topics {
			of := kmsg.DeleteRecordsResponseTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				of.Partitions = append(of.Partitions, kmsg.DeleteRecordsResponseTopicPartition{
					Partition: p.Partition, LowWatermark: -1, ErrorCode: code})
			}
			response.Topics = append(response.Topics, of)
		}
		return response
	case *kmsg.AlterConfigsRequest:
		response := &kmsg.AlterConfigsResponse{Version: r.Version}
		for _, resource := range r.Resources {
			response.Resources = append(response.Resources, kmsg.AlterConfigsResponseResource{
				ResourceType: resource.ResourceType, ResourceName: resource.ResourceName, ErrorCode: code, ErrorMessage: noAlterConfigs})
		}
		return response
	case *kmsg.CreatePartitionsRequest:
		response := &kmsg.CreatePartitionsResponse{Version: r.Version}
		for _, topic := range r.Topics {
			response.Topics = append(response.Topics, kmsg.CreatePartitionsResponseTopic{
				Topic: topic.Topic, ErrorCode: code, ErrorMessage: noPartitions})
		}
		return response
	case *kmsg.DeleteGroupsRequest:
		response := &kmsg.DeleteGroupsResponse{Version: r.Version}
		for _, group := range r.Groups {
			response.Groups = append(response.Groups, kmsg.DeleteGroupsResponseGroup{Group: group, ErrorCode: code})
		}
		return response
	case *kmsg.OffsetDeleteRequest:
		return &kmsg.OffsetDeleteResponse{Version: r.Version, ErrorCode: code}
	}
	return nil
}
