package kafka

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"
	"golang.org/x/time/rate"
)

// GroupState is how a consumer group of this server looks to this node.
type GroupState struct {
	Group string
	// Joined tells whether this node is a member.
	Joined bool
	// KeptOutSince is since when consumers of other programs keep this node out of the group; zero while none do.
	KeptOutSince time.Time
	// Foreign counts, since the node started, how often consumers of other programs were found in the group.
	Foreign int64
}

// groupStates are those of all groups that this process runs.
type groupStates struct {
	mu     sync.Mutex
	states []GroupState
}

// change changes the state of a group, which is added if it is new.
func (g *groupStates) change(group string, change func(*GroupState)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := slices.IndexFunc(g.states, func(s GroupState) bool { return s.Group == group })
	if at < 0 {
		at = len(g.states)
		g.states = append(g.states, GroupState{Group: group})
	}
	change(&g.states[at])
}

// Groups returns the state of each consumer group that this process runs.
func (c *Cluster) Groups() []GroupState {
	c.groups.mu.Lock()
	defer c.groups.mu.Unlock()
	return slices.Clone(c.groups.states)
}

// groupGuard finds out who keeps this node out of a group, and takes out those who do not belong there.
type groupGuard struct {
	cluster *Cluster
	group   string
	// protocol is the name of the protocol of nodes with the same database.
	protocol string
	logger   *slog.Logger
	says     rate.Sometimes
	member   bool // this node was a member once
	// otherSince is since when nodes with another database have been seen in the group.
	otherSince time.Time
	older      bool // it was said that nodes of an older version are in the group
	unseen     int  // how often in a row somebody kept this node out who is not to be seen
	// takenOut is how often consumers were taken out since this node was a member.
	takenOut int
}

func newGroupGuard(cluster *Cluster, options groupOptions, logger *slog.Logger) *groupGuard {
	cluster.groups.change(options.ID, func(*GroupState) {})
	return &groupGuard{
		cluster: cluster, group: options.ID, protocol: groupProtocol(options.Database), logger: logger,
		says: rate.Sometimes{First: 1, Interval: time.Minute},
	}
}

// joined notes that this node is a member.
func (g *groupGuard) joined() {
	g.member, g.older, g.unseen, g.takenOut, g.otherSince = true, false, 0, 0, time.Time{}
	var keptOut bool
	g.cluster.groups.change(g.group, func(s *GroupState) {
		keptOut = !s.KeptOutSince.IsZero()
		s.Joined, s.KeptOutSince = true, time.Time{}
	})
	if keptOut {
		g.logger.Info("the consumer group is this server's again")
	}
}

// left notes that this node is no member, or not to be told to be one.
func (g *groupGuard) left() {
	g.cluster.groups.change(g.group, func(s *GroupState) { s.Joined = false })
}

// keptOut is called when the broker refuses this node because members of another kind are in the group. It tells whether
// the node shall try again at once, because the group was just emptied and those who were in it will be back soon. The error
// is an *OtherDatabaseError.
func (g *groupGuard) keptOut(ctx context.Context) (again bool, err error) {
	found, err := g.cluster.describeGroup(ctx, g.group)
	if err != nil {
		g.logger.Debug("who is in the consumer group cannot be told", "error", err)
		return false, nil
	}
	var foreign, names []string
	for _, m := range found.Members {
		if m.ClientID != clientID {
			foreign, names = append(foreign, m.MemberID), append(names, m.ClientID+" at "+m.ClientHost)
		}
	}
	switch {
	case len(foreign) > 0:
		g.takenOut++
		return g.takeOut(ctx, foreign, names) && g.takenOut <= maxTakenOutAtOnce, nil
	case otherDatabase(found, g.protocol):
		// A node that was here first goes on: it is the others who should not have started.
		if g.otherSince.IsZero() {
			g.otherSince = time.Now()
		}
		if !g.member {
			if time.Since(g.otherSince) > otherPatience {
				return false, &OtherDatabaseError{g.group}
			}
			return false, nil
		}
		g.noteForeign(len(found.Members), true)
		g.says.Do(func() {
			g.logger.Error("this server is kept out of its consumer group", "error", &OtherDatabaseError{g.group})
		})
	case len(found.Members) > 0:
		g.left()
		if !g.older {
			g.older = true
			g.logger.Info("nodes of an older version do the work of this consumer group; this node takes over when the last has left",
				"members", len(found.Members))
		}
	default:
		// The group was left meanwhile, or its members use the protocol of KIP-848, by which this request shows none.
		if g.unseen++; g.unseen > 1 {
			g.noteForeign(1, g.unseen == 2)
			g.says.Do(func() {
				g.logger.Error("another program's consumer, which uses group.protocol=consumer, keeps this server out of its own " +
					"consumer group: its work stands still until that consumer is ended; give it a group.id of its own")
			})
		}
	}
	return false, nil
}

// OtherDatabaseError tells that running nodes on the same topics use another database. Trying again does not help.
type OtherDatabaseError struct{ Group string }

// Error implements error: one line.
func (e *OtherDatabaseError) Error() string {
	return "nodes with another database are in the consumer group " + e.Group +
		": all nodes with one topic_prefix need one database: correct database.url or topic_prefix"
}

// otherDatabase tells whether the members of a group are nodes of this server, of this version or a later one, that do not
// have the protocol of their database.
func otherDatabase(found describegroups.ResponseGroup, protocol string) bool {
	return found.ProtocolType == groupType && len(found.Members) > 0 &&
		found.ProtocolData != "" && found.ProtocolData != protocol
}

// otherPatience is for how long nodes with another database must be in a group before they count: longer than one that was
// killed stays in it.
const otherPatience = auditSession + 2*time.Second

// CheckDatabase returns an *OtherDatabaseError if nodes with another database are in a consumer group of this server, and
// stay. Who is not to be told now is found out when this node joins.
func CheckDatabase(ctx context.Context, cluster *Cluster, group, database string) error {
	for began := time.Now(); ; pause(ctx, joinPause) {
		found, err := cluster.describeGroup(ctx, group)
		switch {
		case err != nil || !otherDatabase(found, groupProtocol(database)):
			return ctx.Err()
		case time.Since(began) > otherPatience:
			return &OtherDatabaseError{group}
		}
	}
}

// maxTakenOutAtOnce bounds how often a node joins again without a pause.
const maxTakenOutAtOnce = 3

// takeOut removes consumers of other programs, and tells whether it could. They are refused when they come again, because
// this node is faster.
func (g *groupGuard) takeOut(ctx context.Context, ids, names []string) bool {
	g.noteForeign(len(ids), true)
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	err := g.cluster.removeMembers(ctx, g.group, ids...)
	g.says.Do(func() {
		attributes := []any{"consumers", names}
		if err != nil {
			attributes = append(attributes, "error", err)
		}
		g.logger.Warn("consumers of other programs were in this server's consumer group, whose work stood still, and are taken out: "+
			"give them a group.id of their own", attributes...)
	})
	return err == nil
}

// noteForeign counts consumers of other programs, if they are newly found.
func (g *groupGuard) noteForeign(count int, found bool) {
	g.cluster.groups.change(g.group, func(s *GroupState) {
		s.Joined = false
		if s.KeptOutSince.IsZero() {
			s.KeptOutSince = time.Now()
		}
		if found {
			s.Foreign += int64(count)
		}
	})
}

// describeGroup asks the coordinator who is in a group.
func (c *Cluster) describeGroup(ctx context.Context, group string) (describegroups.ResponseGroup, error) {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	response, err := c.transport.RoundTrip(ctx, c.addr, &describegroups.Request{Groups: []string{group}})
	if err != nil {
		return describegroups.ResponseGroup{}, err
	}
	answer, ok := response.(*describegroups.Response)
	if !ok || len(answer.Groups) != 1 {
		return describegroups.ResponseGroup{}, errors.New("an answer that is none to the request")
	}
	found := answer.Groups[0]
	if found.ErrorCode != 0 && !errors.Is(kafka.Error(found.ErrorCode), kafka.GroupIdNotFound) {
		return found, kafka.Error(found.ErrorCode)
	}
	return found, nil
}
