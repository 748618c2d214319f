package groups

import (
	"context"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	_ "github.com/segmentio/kafka-go/protocol/heartbeat" // registers its messages first

	"chatting/adapters/kafka/logclient"
)

// heartbeatRequest and heartbeatResponse stand for those of kafka-go (protocol/heartbeat, as of 0.4.51), which are sent to
// any broker instead of the coordinator, and whose error is read from the bytes of the throttle time, so that it is always
// zero. A member would never hear that its generation has ended.
type heartbeatRequest struct {
	GroupID         string `kafka:"min=v0,max=v3"`
	GenerationID    int32  `kafka:"min=v0,max=v3"`
	MemberID        string `kafka:"min=v0,max=v3"`
	GroupInstanceID string `kafka:"min=v3,max=v3,nullable"`
}

type heartbeatResponse struct {
	ThrottleTimeMs int32 `kafka:"min=v1,max=v3"`
	ErrorCode      int16 `kafka:"min=v0,max=v3"`
}

var _ protocol.GroupMessage = (*heartbeatRequest)(nil)

// heartbeatRegistered has kafka-go encode and decode the two. Nothing else in it uses its own.
var heartbeatRegistered = func() bool {
	protocol.Register(&heartbeatRequest{}, &heartbeatResponse{})
	return true
}()

// ApiKey implements protocol.Message.
func (r *heartbeatRequest) ApiKey() protocol.ApiKey { //nolint:revive // the interface's name
	return protocol.Heartbeat
}

// Group implements protocol.GroupMessage.
func (r *heartbeatRequest) Group() string { return r.GroupID }

// ApiKey implements protocol.Message.
func (r *heartbeatResponse) ApiKey() protocol.ApiKey { //nolint:revive // the interface's name
	return protocol.Heartbeat
}

// heartbeat tells the coordinator once that the member lives. The error may be that the generation has ended.
func (g *Generation) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	response, err := g.cluster.RoundTrip(ctx, &heartbeatRequest{
		GroupID: g.group, GenerationID: int32(g.id), MemberID: g.member,
	})
	if err != nil {
		return err
	}
	answer, ok := response.(*heartbeatResponse)
	if !ok || !heartbeatRegistered {
		return logclient.ErrAnswer
	}
	if answer.ErrorCode != 0 {
		return kafkago.Error(answer.ErrorCode)
	}
	return nil
}
