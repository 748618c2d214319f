package groups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient"
)

// member is this process in a group.
type member struct {
	cluster *logclient.Cluster
	options Options
	id      string // "" before the coordinator gave one
}

// Generation is one sharing out of a group's partitions. It ends when a member joins or leaves.
type Generation struct {
	cluster *logclient.Cluster
	group   string
	topic   string
	member  string
	id      int
}

// join joins the group, or joins it again, and returns what falls to this member. It waits until all members have joined.
func (m *member) join(ctx context.Context) (*Generation, []Assignment, error) {
	joined, err := m.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	g := &Generation{
		cluster: m.cluster, group: m.options.ID, topic: m.options.Topic, member: m.id, id: joined.GenerationID,
	}
	request := &kafkago.SyncGroupRequest{
		GroupID: g.group, GenerationID: g.id, MemberID: m.id, ProtocolType: m.protocolType(),
		ProtocolName: m.options.Protocol,
	}
	if joined.LeaderID == m.id {
		if request.Assignments, err = m.share(ctx, joined.Members); err != nil {
			return nil, nil, err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, m.options.Session+groupTimeout)
	defer cancel()
	shared, err := m.cluster.Client().SyncGroup(waiting, request)
	if err == nil {
		err = shared.Error
	}
	if err != nil {
		m.forget(err)
		return nil, nil, fmt.Errorf("hearing of the partitions: %w", err)
	}
	partitions := shared.Assignment.AssignedPartitions[m.options.Topic]
	if len(partitions) == 0 {
		return g, nil, nil
	}
	assignments, err := g.committed(ctx, partitions)
	return g, assignments, err
}

// enter is the first half of joining. A member that has no id is given one first, and asks again with it.
func (m *member) enter(ctx context.Context) (*kafkago.JoinGroupResponse, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, m.options.Session+groupTimeout)
		joined, err := m.cluster.Client().JoinGroup(waiting, &kafkago.JoinGroupRequest{
			GroupID: m.options.ID, SessionTimeout: m.options.Session, RebalanceTimeout: m.options.Session, MemberID: m.id,
			ProtocolType: m.protocolType(),
			Protocols: []kafkago.GroupProtocol{{
				Name: m.options.Protocol, Metadata: kafkago.GroupProtocolSubscription{Topics: []string{m.options.Topic}},
			}},
		})
		cancel()
		if err != nil {
			return nil, fmt.Errorf("joining: %w", err)
		}
		switch {
		case errors.Is(joined.Error, kafkago.MemberIDRequired) && m.id == "":
			m.id = joined.MemberID
		case joined.Error != nil:
			m.forget(joined.Error)
			return nil, fmt.Errorf("joining: %w", joined.Error)
		default:
			m.id = joined.MemberID
			return joined, nil
		}
	}
}

// forget gives up the member's id if the coordinator no longer knows it.
func (m *member) forget(err error) {
	if errors.Is(err, kafkago.UnknownMemberId) || errors.Is(err, kafkago.MemberIDRequired) {
		m.id = ""
	}
}

// share gives each member a run of partitions, as the leader of the group has to.
func (m *member) share(
	ctx context.Context, members []kafkago.JoinGroupResponseMember,
) ([]kafkago.SyncGroupRequestAssignment, error) {
	count, err := m.cluster.Partitions(ctx, m.options.Topic)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b kafkago.JoinGroupResponseMember) int { return strings.Compare(a.ID, b.ID) })
	numbers := logclient.PartitionNumbers(count)
	shares := make([]kafkago.SyncGroupRequestAssignment, len(members))
	for i, member := range members {
		shares[i].MemberID = member.ID
		shares[i].Assignment.AssignedPartitions = map[string][]int{
			m.options.Topic: numbers[i*count/len(members) : (i+1)*count/len(members)],
		}
	}
	return shares, nil
}

// committed returns the partitions with the offsets that the group has committed.
func (g *Generation) committed(ctx context.Context, partitions []int) ([]Assignment, error) {
	asking, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	response, err := g.cluster.Client().OffsetFetch(asking, &kafkago.OffsetFetchRequest{
		GroupID: g.group, Topics: map[string][]int{g.topic: partitions},
	})
	if err == nil {
		err = response.Error
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the committed offsets: %w", err)
	}
	var assignments []Assignment
	for _, p := range response.Topics[g.topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("asking for the committed offset of partition %d: %w", p.Partition, p.Error)
		}
		assignments = append(assignments, Assignment{Partition: p.Partition, Offset: p.CommittedOffset})
	}
	if len(assignments) != len(partitions) {
		return nil, fmt.Errorf("asking for the committed offsets: %d of %d partitions answered", len(assignments), len(partitions))
	}
	return assignments, nil
}

// Commit commits offsets by partition. After the generation has ended, it fails with an error for which IsOver is true.
func (g *Generation) Commit(ctx context.Context, offsets map[int]int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTimeout)
	defer cancel()
	request := &kafkago.OffsetCommitRequest{
		GroupID: g.group, GenerationID: g.id, MemberID: g.member, Topics: make(map[string][]kafkago.OffsetCommit, 1),
	}
	for partition, offset := range offsets {
		request.Topics[g.topic] = append(request.Topics[g.topic], kafkago.OffsetCommit{Partition: partition, Offset: offset})
	}
	response, err := g.cluster.Client().OffsetCommit(ctx, request)
	if err != nil {
		return err
	}
	committed := response.Topics[g.topic]
	for _, p := range committed {
		if p.Error != nil {
			return p.Error
		}
	}
	if len(committed) != len(offsets) {
		return fmt.Errorf("%d of %d partitions answered", len(committed), len(offsets))
	}
	return nil
}

// beat tells the coordinator that the member lives. It returns when ctx ends, when the coordinator says that the generation
// has ended, or when it has not answered for so long that it may have given the partitions to others.
func (m *member) beat(ctx context.Context, g *Generation) {
	ticker := time.NewTicker(m.options.Session / 5)
	defer ticker.Stop()
	answered := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		asked := time.Now()
		err := g.heartbeat(ctx)
		switch {
		case err == nil:
			answered = asked
		case IsOver(err), time.Since(answered) > m.options.Session:
			m.forget(err)
			return
		}
	}
}

// leave leaves the group, so that its partitions fall to others at once.
func (m *member) leave(ctx context.Context) {
	if m.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), LeaveTimeout)
	defer cancel()
	_ = removeMembers(ctx, m.cluster, m.options.ID, m.id) // a group that was not left finds out by the session timeout
}

// removeMembers takes members out of a group.
func removeMembers(ctx context.Context, cluster *logclient.Cluster, group string, ids ...string) error {
	request := &kafkago.LeaveGroupRequest{GroupID: group}
	for _, id := range ids {
		request.Members = append(request.Members, kafkago.LeaveGroupRequestMember{ID: id})
	}
	response, err := cluster.Client().LeaveGroup(ctx, request)
	if err != nil {
		return err
	}
	// kafka-go reads the error of the whole answer from another field's bytes. Those of the members are right.
	for _, removed := range response.Members {
		if removed.Error != nil && !errors.Is(removed.Error, kafkago.UnknownMemberId) {
			return removed.Error
		}
	}
	return nil
}

// embeddedType is the type of protocol on an embedded broker, which keeps the type that a group once had for ever and knows
// nothing of KIP-848: there the name of the protocol alone keeps others out.
const embeddedType = "consumer"

// protocolType returns the type of protocol to join with.
func (m *member) protocolType() string {
	if m.cluster.Options().Embedded {
		return embeddedType
	}
	return m.options.Type
}

// IsOver tells whether a commit was refused because the group is being shared out anew.
func IsOver(err error) bool {
	return errors.Is(err, kafkago.RebalanceInProgress) || errors.Is(err, kafkago.IllegalGeneration) ||
		errors.Is(err, kafkago.UnknownMemberId)
}
