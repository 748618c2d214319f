package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// groupProtocolName, with the id of the database, is the name of the protocol, and groupType is the type of protocol. By
// them the members of a group agree on who reads what. A broker lets only members of one type, with a protocol in common,
// into a group. So a consumer of another program, whose type is "consumer", cannot join a group that has a node of this
// server in it, neither in the classic way nor in that of KIP-848. Otherwise it would get partitions that no node reads
// then. A node with another database cannot join either. Otherwise all others would miss what it projects and whom it
// knows.
//
// A node of a version up to schema 4 joined as a "consumer". While one is in the group, newer nodes stay out of it, and the
// older ones do the work of all; when the last has left, the newer ones take over. The other way round it is the same.
const (
	groupProtocolName = "chatting"
	groupType         = "chatting"
	// embeddedGroupType is the type on the embedded broker, which keeps the type that a group once had for ever and knows
	// nothing of KIP-848: there the name alone keeps others out.
	embeddedGroupType = "consumer"
)

// groupProtocol returns the name of the protocol among nodes with a database.
func groupProtocol(database string) string {
	if database == "" {
		return groupProtocolName
	}
	return groupProtocolName + "-" + database
}

// member is this process in a group.
type member struct {
	cluster *Cluster
	options groupOptions
	id      string // "" before the coordinator gave one
}

// generation is one sharing out of a group's partitions. It ends when a member joins or leaves.
type generation struct {
	cluster *Cluster
	group   string
	topic   string
	member  string
	id      int
}

// join joins the group, or joins it again, and returns what falls to this member. It waits until all members have joined.
func (m *member) join(ctx context.Context) (*generation, []assignment, error) {
	joined, err := m.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	g := &generation{
		cluster: m.cluster, group: m.options.ID, topic: m.options.Topic, member: m.id, id: joined.GenerationID,
	}
	request := &kafka.SyncGroupRequest{
		GroupID: g.group, GenerationID: g.id, MemberID: m.id, ProtocolType: m.cluster.groupType(),
		ProtocolName: groupProtocol(m.options.Database),
	}
	if joined.LeaderID == m.id {
		if request.Assignments, err = m.share(ctx, joined.Members); err != nil {
			return nil, nil, err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, m.options.Session+groupTimeout)
	defer cancel()
	shared, err := m.cluster.client.SyncGroup(waiting, request)
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
func (m *member) enter(ctx context.Context) (*kafka.JoinGroupResponse, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, m.options.Session+groupTimeout)
		joined, err := m.cluster.client.JoinGroup(waiting, &kafka.JoinGroupRequest{
			GroupID: m.options.ID, SessionTimeout: m.options.Session, RebalanceTimeout: m.options.Session, MemberID: m.id,
			ProtocolType: m.cluster.groupType(),
			Protocols: []kafka.GroupProtocol{{
				Name: groupProtocol(m.options.Database), Metadata: kafka.GroupProtocolSubscription{Topics: []string{m.options.Topic}},
			}},
		})
		cancel()
		if err != nil {
			return nil, fmt.Errorf("joining: %w", err)
		}
		switch {
		case errors.Is(joined.Error, kafka.MemberIDRequired) && m.id == "":
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
	if errors.Is(err, kafka.UnknownMemberId) || errors.Is(err, kafka.MemberIDRequired) {
		m.id = ""
	}
}

// share gives each member a run of partitions, as the leader of the group has to.
func (m *member) share(
	ctx context.Context, members []kafka.JoinGroupResponseMember,
) ([]kafka.SyncGroupRequestAssignment, error) {
	count, err := m.cluster.Partitions(ctx, m.options.Topic)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b kafka.JoinGroupResponseMember) int { return strings.Compare(a.ID, b.ID) })
	numbers := partitionNumbers(count)
	shares := make([]kafka.SyncGroupRequestAssignment, len(members))
	for i, member := range members {
		shares[i].MemberID = member.ID
		shares[i].Assignment.AssignedPartitions = map[string][]int{
			m.options.Topic: numbers[i*count/len(members) : (i+1)*count/len(members)],
		}
	}
	return shares, nil
}

// committed returns the partitions with the offsets that the group has committed.
func (g *generation) committed(ctx context.Context, partitions []int) ([]assignment, error) {
	asking, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	response, err := g.cluster.client.OffsetFetch(asking, &kafka.OffsetFetchRequest{
		GroupID: g.group, Topics: map[string][]int{g.topic: partitions},
	})
	if err == nil {
		err = response.Error
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the committed offsets: %w", err)
	}
	var assignments []assignment
	for _, p := range response.Topics[g.topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("asking for the committed offset of partition %d: %w", p.Partition, p.Error)
		}
		assignments = append(assignments, assignment{ID: p.Partition, Offset: p.CommittedOffset})
	}
	if len(assignments) != len(partitions) {
		return nil, fmt.Errorf("asking for the committed offsets: %d of %d partitions answered", len(assignments), len(partitions))
	}
	return assignments, nil
}

// commit commits offsets by partition. After the generation has ended, it fails with one of the errors that
// isOfNextGeneration knows.
func (g *generation) commit(ctx context.Context, offsets map[int]int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTimeout)
	defer cancel()
	request := &kafka.OffsetCommitRequest{
		GroupID: g.group, GenerationID: g.id, MemberID: g.member, Topics: make(map[string][]kafka.OffsetCommit, 1),
	}
	for partition, offset := range offsets {
		request.Topics[g.topic] = append(request.Topics[g.topic], kafka.OffsetCommit{Partition: partition, Offset: offset})
	}
	response, err := g.cluster.client.OffsetCommit(ctx, request)
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
func (m *member) beat(ctx context.Context, g *generation) {
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
		case isOfNextGeneration(err), time.Since(answered) > m.options.Session:
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	_ = m.cluster.removeMembers(ctx, m.options.ID, m.id) // a group that was not left finds out by the session timeout
}

// removeMembers takes members out of a group.
func (c *Cluster) removeMembers(ctx context.Context, group string, ids ...string) error {
	request := &kafka.LeaveGroupRequest{GroupID: group}
	for _, id := range ids {
		request.Members = append(request.Members, kafka.LeaveGroupRequestMember{ID: id})
	}
	response, err := c.client.LeaveGroup(ctx, request)
	if err != nil {
		return err
	}
	// kafka-go reads the error of the whole answer from another field's bytes. Those of the members are right.
	for _, removed := range response.Members {
		if removed.Error != nil && !errors.Is(removed.Error, kafka.UnknownMemberId) {
			return removed.Error
		}
	}
	return nil
}

// groupType returns the type of protocol of this server's groups.
func (c *Cluster) groupType() string {
	if c.options.Embedded {
		return embeddedGroupType
	}
	return groupType
}
