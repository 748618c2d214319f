package groups

import (
	"context"
	"errors"
	"log/slog"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"
	"golang.org/x/time/rate"

	"chatting/adapters/kafka/logclient"
)

// guard finds out who keeps this process out of a group, and takes out those who do not belong there.
type guard struct {
	cluster *logclient.Cluster
	options Options
	logger  *slog.Logger
	says    rate.Sometimes
	member  bool // this process was a member once
	// otherSince is since when members with another protocol have been seen in the group.
	otherSince time.Time
	older      bool // it was said that processes of an older version are in the group
	unseen     int  // how often in a row somebody kept this process out who is not to be seen
	// takenOut is how often consumers were taken out since this process was a member.
	takenOut int
}

func newGuard(cluster *logclient.Cluster, options Options, logger *slog.Logger) *guard {
	cluster.ChangeGroup(options.ID, func(*logclient.GroupState) {})
	return &guard{cluster: cluster, options: options, logger: logger, says: rate.Sometimes{First: 1, Interval: time.Minute}}
}

// joined notes that this process is a member.
func (g *guard) joined() {
	g.member, g.older, g.unseen, g.takenOut, g.otherSince = true, false, 0, 0, time.Time{}
	var keptOut bool
	g.cluster.ChangeGroup(g.options.ID, func(s *logclient.GroupState) {
		keptOut = !s.KeptOutSince.IsZero()
		s.Joined, s.KeptOutSince = true, time.Time{}
	})
	if keptOut {
		g.logger.Info("the consumer group is this server's again")
	}
}

// left notes that this process is no member, or not to be told to be one.
func (g *guard) left() {
	g.cluster.ChangeGroup(g.options.ID, func(s *logclient.GroupState) { s.Joined = false })
}

// keptOut is called when the broker refuses this process because members of another kind are in the group. It tells whether
// this process shall try again at once, because the group was just emptied and those who were in it will be back soon. The error
// is Options.Mismatch.
func (g *guard) keptOut(ctx context.Context) (again bool, err error) {
	found, err := describe(ctx, g.cluster, g.options.ID)
	if err != nil {
		g.logger.Debug("who is in the consumer group cannot be told", "error", err)
		return false, nil
	}
	var foreign, names []string
	for _, m := range found.Members {
		if m.ClientID != g.cluster.Options().ClientID {
			foreign, names = append(foreign, m.MemberID), append(names, m.ClientID+" at "+m.ClientHost)
		}
	}
	switch {
	case len(foreign) > 0:
		g.takenOut++
		return g.takeOut(ctx, foreign, names) && g.takenOut <= maxTakenOutAtOnce, nil
	case g.options.mismatches(found):
		// A node that was here first goes on: it is the others who should not have started.
		if g.otherSince.IsZero() {
			g.otherSince = time.Now()
		}
		if !g.member {
			if time.Since(g.otherSince) > otherPatience {
				return false, g.options.Mismatch
			}
			return false, nil
		}
		g.noteForeign(len(found.Members), true)
		g.says.Do(func() {
			g.logger.Error("this server is kept out of its consumer group", "error", g.options.Mismatch)
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

// mismatches tells whether the members of a group are of this program, of this version or a later one, and have another
// protocol.
func (o *Options) mismatches(found describegroups.ResponseGroup) bool {
	return found.ProtocolType == o.Type && len(found.Members) > 0 && found.ProtocolData != "" && found.ProtocolData != o.Protocol
}

// otherPatience is for how long members with another protocol must be in a group before they count: longer than one that was
// killed stays in it.
const otherPatience = MaxSession + 2*time.Second

// Check returns Options.Mismatch if members with another protocol are in a group, and stay. If that cannot be told now, Run finds
// out.
func Check(ctx context.Context, cluster *logclient.Cluster, options Options) error {
	for began := time.Now(); ; pause(ctx, joinPause) {
		found, err := describe(ctx, cluster, options.ID)
		switch {
		case err != nil || !options.mismatches(found):
			return ctx.Err()
		case time.Since(began) > otherPatience:
			return options.Mismatch
		}
	}
}

// maxTakenOutAtOnce bounds how often a node joins again without a pause.
const maxTakenOutAtOnce = 3

// takeOut removes consumers of other programs, and tells whether it could. They are refused when they come again, because
// this process is faster.
func (g *guard) takeOut(ctx context.Context, ids, names []string) bool {
	g.noteForeign(len(ids), true)
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	err := removeMembers(ctx, g.cluster, g.options.ID, ids...)
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
func (g *guard) noteForeign(count int, found bool) {
	g.cluster.ChangeGroup(g.options.ID, func(s *logclient.GroupState) {
		s.Joined = false
		if s.KeptOutSince.IsZero() {
			s.KeptOutSince = time.Now()
		}
		if found {
			s.Foreign += int64(count)
		}
	})
}

// describe asks the coordinator who is in a group.
func describe(ctx context.Context, cluster *logclient.Cluster, group string) (describegroups.ResponseGroup, error) {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	response, err := cluster.RoundTrip(ctx, &describegroups.Request{Groups: []string{group}})
	if err != nil {
		return describegroups.ResponseGroup{}, err
	}
	answer, ok := response.(*describegroups.Response)
	if !ok || len(answer.Groups) != 1 {
		return describegroups.ResponseGroup{}, logclient.ErrAnswer
	}
	found := answer.Groups[0]
	if found.ErrorCode != 0 && !errors.Is(kafkago.Error(found.ErrorCode), kafkago.GroupIdNotFound) {
		return found, kafkago.Error(found.ErrorCode)
	}
	return found, nil
}
