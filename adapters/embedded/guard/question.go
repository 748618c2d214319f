package guard

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/protocol"
)

// question is a request of a client that is answered in its turn.
type question struct {
	protocol.Request
	client *client
	lane   *lane
}

// answer answers the question. late tells that kfake may answer late, so that the request must not go by this lane.
func (q question) answer() (answer []byte, late bool, err error) {
	var response kmsg.Response
	switch body := q.Body.(type) {
	case nil: // ApiVersions of a later version: told the one that is served, clients ask again (KIP-511)
		versions := protocol.Versions(0)
		versions.ErrorCode = kerr.UnsupportedVersion.Code
		response = versions
	case *kmsg.ApiVersionsRequest:
		response = protocol.Versions(body.Version)
	case *kmsg.SyncGroupRequest:
		return nil, true, nil
	case *kmsg.JoinGroupRequest:
		if response, err = q.refuseJoin(body); response == nil {
			return nil, true, err
		}
	case *kmsg.ProduceRequest:
		quiet := body.Acks == 0 // produce asks kfake for an answer
		response, err = q.produce(body)
		if quiet && err == nil {
			return nil, false, nil
		}
	case *kmsg.ListOffsetsRequest:
		response, err = q.listOffsets(body)
	case *kmsg.OffsetForLeaderEpochRequest:
		more := kmsg.NewPtrOffsetForLeaderEpochResponse()
		if err = q.forward(body, more); err == nil {
			q.client.guard.shown.epochs(more)
		}
		response = more
	case *kmsg.OffsetCommitRequest:
		response, err = q.commitOffsets(body)
	case *kmsg.CreateTopicsRequest:
		response, err = q.createTopics(body)
	case *kmsg.IncrementalAlterConfigsRequest:
		response, err = q.alterConfigs(body)
	default:
		if response = protocol.Refusal(q.Body); response == nil {
			answer, err = q.pass()
			return answer, false, err
		}
	}
	if err != nil {
		return nil, false, err
	}
	answer = protocol.FrameAnswer(q.Correlation, response)
	return answer, false, q.client.makeRoom(answer)
}

// pass has kfake answer the question as it is.
func (q question) pass() (answer []byte, err error) {
	if err := protocol.WithinReason(q.Body); err != nil {
		return nil, err
	}
	answer, err = q.lane.send(q.Frame(q.Body), laneLimit)
	if err == nil {
		err = q.client.makeRoom(answer)
	}
	return answer, err
}

// forward has kfake answer a changed request.
func (q question) forward(body kmsg.Request, response kmsg.Response) error {
	answer, err := q.lane.send(q.Frame(body), laneLimit)
	if err != nil {
		return err
	}
	return protocol.ReadAnswer(answer, body.GetVersion(), response)
}

// listOffsets has kfake answer the parts of a request one after the other. Others are served between them.
func (q question) listOffsets(body *kmsg.ListOffsetsRequest) (kmsg.Response, error) {
	parts, err := protocol.Split(body.Topics, func(t *kmsg.ListOffsetsRequestTopic) *[]kmsg.ListOffsetsRequestTopicPartition {
		return &t.Partitions
	}, protocol.ListPart)
	if err != nil {
		return nil, err
	}
	all := &kmsg.ListOffsetsResponse{Version: body.Version}
	for _, part := range parts {
		var more kmsg.ListOffsetsResponse
		body.Topics = part
		if err := q.forward(body, &more); err != nil {
			return nil, err
		}
		all.Topics = protocol.Merge(all.Topics, more.Topics,
			func(t *kmsg.ListOffsetsResponseTopic) string { return t.Topic },
			func(t *kmsg.ListOffsetsResponseTopic) *[]kmsg.ListOffsetsResponseTopicPartition { return &t.Partitions })
	}
	q.client.guard.shown.offsets(all)
	return all, nil
}
