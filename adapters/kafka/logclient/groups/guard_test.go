package groups

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/time/rate"

	"chatting/test/brokertest"
)

// guarded is a guard of a group whose members the test makes up.
type guarded struct {
	*guard

	t        *testing.T
	group    kmsg.DescribeGroupsResponseGroup
	removed  []string
	refusing int16 // to remove
	silent   bool  // the answer names no group
	log      bytes.Buffer
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	broker, m := controlledGroup(t)
	g := &guarded{t: t}
	broker.ControlKey(int16(kmsg.DescribeGroups), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		asked, _ := request.(*kmsg.DescribeGroupsRequest)
		response, _ := asked.ResponseKind().(*kmsg.DescribeGroupsResponse)
		group := g.group
		group.Group = asked.Groups[0]
		if !g.silent {
			response.Groups = append(response.Groups, group)
		}
		return response, nil, true
	})
	broker.ControlKey(int16(kmsg.LeaveGroup), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		leave, _ := request.(*kmsg.LeaveGroupRequest)
		response, _ := leave.ResponseKind().(*kmsg.LeaveGroupResponse)
		for _, member := range leave.Members {
			g.removed = append(g.removed, member.MemberID)
			response.Members = append(response.Members, kmsg.LeaveGroupResponseMember{MemberID: member.MemberID, ErrorCode: g.refusing})
		}
		return response, nil, true
	})
	g.guard = newGuard(m.cluster, Options{ID: "g", Type: ownType, Protocol: "a", Mismatch: errMismatch}, slog.New(slog.NewTextHandler(&g.log, nil)))
	return g
}

// members makes the group consist of members with the client ids, under a type and the name of a protocol.
func (g *guarded) members(kind, protocol string, clients ...string) {
	g.group = kmsg.NewDescribeGroupsResponseGroup()
	g.group.State, g.group.ProtocolType, g.group.Protocol = "Stable", kind, protocol
	for i, client := range clients {
		m := kmsg.NewDescribeGroupsResponseGroupMember()
		m.MemberID, m.ClientID, m.ClientHost = string(rune('A'+i)), client, "/10.0.0.1"
		g.group.Members = append(g.group.Members, m)
	}
}

// want calls keptOut and compares what it comes to.
func (g *guarded) want(when string, again bool, foreign int64, keptOut bool) {
	g.t.Helper()
	got, err := g.keptOut(brokertest.Context(g.t))
	state := g.cluster.Groups()[0]
	if err != nil || got != again || state.Group != "g" || state.Foreign != foreign || state.KeptOutSince.IsZero() == keptOut || state.Joined {
		g.t.Errorf("%s: again %t, %v, and the group is %+v", when, got, err, state)
	}
}

func TestConsumersOfOtherProgramsAreTakenOutAndNobodyElse(t *testing.T) {
	g := newGuarded(t)
	g.joined()
	if state := g.cluster.Groups()[0]; !state.Joined {
		t.Errorf("the group is %+v", state)
	}
	if strings.Contains(g.log.String(), "again") {
		t.Error("it says at the first time that the group is this server's again")
	}
	g.members("consumer", "range", "analytics", clientID, "dashboard")
	g.want("the first time", true, 2, true)
	if !slices.Equal(g.removed, []string{"A", "C"}) {
		t.Errorf("taken out are %v", g.removed)
	}
	if got := g.log.String(); !strings.Contains(got, "analytics at /10.0.0.1") || strings.Contains(got, clientID+" at") {
		t.Errorf("it says %s", got)
	}
	g.want("the second time", true, 4, true)
	g.want("the third time", true, 6, true)
	g.want("the fourth time, a pause", false, 8, true)
	since := g.cluster.Groups()[0].KeptOutSince
	g.joined()
	if state := g.cluster.Groups()[0]; !state.Joined || !state.KeptOutSince.IsZero() || state.Foreign != 8 || since.IsZero() {
		t.Errorf("joined, the group is %+v", state)
	}
	if !strings.Contains(g.log.String(), "this server's again") {
		t.Error("it does not say that the group is this server's again")
	}
	g.want("after it was a member", true, 10, true)
	g.refusing = int16(kafkago.GroupAuthorizationFailed)
	g.log.Reset()
	g.says = rate.Sometimes{First: 1}
	g.want("not allowed to", false, 12, true)
	if got := g.log.String(); !strings.Contains(got, "error=") {
		t.Errorf("it says %s", got)
	}
}

func TestNodesOfThisServerAreLeftInTheirGroup(t *testing.T) {
	g := newGuarded(t)
	g.joined()
	g.members("consumer", "range", clientID, clientID)
	for range 2 {
		g.want("of an older version", false, 0, false)
	}
	if got := strings.Count(g.log.String(), "older version"); got != 1 {
		t.Errorf("it says so %d times", got)
	}
	g.members(ownType, "a", clientID)
	g.want("with the same database", false, 0, false)
	if len(g.removed) > 0 {
		t.Errorf("taken out are %v", g.removed)
	}
}

func TestNodesWithAnotherDatabaseKeepOutWhoComesLater(t *testing.T) {
	g := newGuarded(t)
	g.members(ownType, "b", clientID, clientID)
	g.want("at first, they may be dead", false, 0, false)
	g.otherSince = time.Now().Add(-otherPatience + time.Minute/2)
	g.want("for a while", false, 0, false)
	g.otherSince = time.Now().Add(-otherPatience - time.Second)
	if again, err := g.keptOut(brokertest.Context(t)); again || !errors.Is(err, errMismatch) {
		t.Errorf("when they stay: %t, %v", again, err)
	}
	g.joined() // it was here first
	g.otherSince = time.Now().Add(-otherPatience - time.Second)
	g.want("of who was here first", false, 2, true)
	if !strings.Contains(g.log.String(), "kept out") {
		t.Errorf("it says %s", g.log.String())
	}
	if len(g.removed) > 0 {
		t.Errorf("taken out are %v", g.removed)
	}
}

func TestAMemberThatIsNotToBeSeenIsNoticedTheSecondTime(t *testing.T) {
	g := newGuarded(t)
	g.members("", "")
	g.want("once: somebody left meanwhile", false, 0, false)
	g.want("twice", false, 1, true)
	if got := g.log.String(); !strings.Contains(got, "group.protocol=consumer") {
		t.Errorf("it says %s", got)
	}
	g.want("three times", false, 1, true)
	g.joined()
	g.left()
	g.want("once after it was a member", false, 1, false)
}

func TestAGroupThatCannotBeDescribedIsTriedLater(t *testing.T) {
	g := newGuarded(t)
	g.members("consumer", "range", "analytics")
	g.group.ErrorCode = kerr.CoordinatorLoadInProgress.Code
	if again, err := g.keptOut(brokertest.Context(t)); again || err != nil || len(g.removed) > 0 {
		t.Errorf("%t, %v, taken out are %v", again, err, g.removed)
	}
	g.silent = true
	if again, err := g.keptOut(brokertest.Context(t)); again || err != nil {
		t.Errorf("an answer for no group: %t, %v", again, err)
	}
	g.silent = false
	g.group.ErrorCode = kerr.GroupIDNotFound.Code // all have left
	if found, err := describe(brokertest.Context(t), g.cluster, "g"); err != nil || len(found.Members) != 1 {
		t.Errorf("described as %+v, %v", found, err)
	}
}

func TestTheDatabaseOfAGroupIsCheckedAtTheStart(t *testing.T) {
	g := newGuarded(t)
	for what, c := range map[string]struct {
		kind, protocol string
		code           int16
	}{
		"nobody":            {"", "", 0},
		"the same database": {ownType, "a", 0},
		"another program":   {"consumer", "range", 0},
		"not to be told":    {ownType, "b", kerr.CoordinatorNotAvailable.Code},
	} {
		g.members(c.kind, c.protocol, "x")
		g.group.ErrorCode = c.code
		if err := Check(brokertest.Context(t), g.cluster, g.options); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	g.members(ownType, "b", "x")
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := Check(ctx, g.cluster, g.options); err == nil || errors.Is(err, errMismatch) {
		t.Errorf("nodes with another database, which may be dead, come to %v", err)
	}
}
