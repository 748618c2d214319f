package kafka

import (
	"context"

	"chatting/domain"
)

// recall returns what became of the invites of the partition before an offset, so that the history judges those after it as
// the nodes that showed them did. What the log has no more counts as never made.
func (p *projectedPartition) recall(ctx context.Context, offset int64) (*domain.Invites, error) {
	invites := domain.NewInvites()
	cluster, topic := p.projector.cluster, p.projector.options.Topic
	at, err := cluster.timeOf(ctx, topic, p.number, offset)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	from, err := cluster.listOffsets(asking, topic, []int{p.number}, max(at.Add(-domain.InviteLookback).UnixMilli(), 0))
	if err != nil || from[0] >= offset {
		return invites, err
	}
	err = p.scan(ctx, from[0], offset, func(r *TailRecord) error {
		if !concernsInvites(r.Value) {
			return nil
		}
		if event, _, err := p.open(r.Key, r.Value); err == nil {
			invites.Apply(event, r.Time)
		}
		return nil
	})
	return invites, err
}
