package groups

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"chatting/adapters/kafka/logclient"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// clientID is that of logtest.Cluster. ownType is the type of protocol of the groups.
const (
	clientID = "chatting"
	ownType  = "own"
)

var errMismatch = errors.New("another protocol")

// groupWork is what a member of a test's group was given.
type groupWork struct {
	mu   sync.Mutex
	held []int // the partitions, while a generation lasts
	log  bytes.Buffer
}

// Write implements io.Writer: the member logs to it.
func (w *groupWork) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

func (w *groupWork) said(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.log.String(), text)
}

func (w *groupWork) holds(count int) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.held) == count
	}
}

// joinGroup runs a member of the group of a topic until the function that it returns is called.
func joinGroup(t *testing.T, cluster *logclient.Cluster, topic string) (w *groupWork, leave func()) {
	t.Helper()
	w = &groupWork{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("held %v: %s", w.held, w.log.String())
		}
	})
	options := Options{
		ID: topic + ".g", Topic: topic, Type: ownType, Protocol: ownType, Mismatch: errMismatch, Session: 6 * time.Second, What: "a test's work", Logger: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	go func() {
		done <- Run(ctx, cluster, options, func(ctx context.Context, g *Generation, assignments []Assignment) error {
			w.mu.Lock()
			for _, a := range assignments {
				w.held = append(w.held, a.Partition)
			}
			w.mu.Unlock()
			<-ctx.Done()
			w.mu.Lock()
			w.held = nil
			w.mu.Unlock()
			return nil
		})
	}()
	leave = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(leave)
	return w, leave
}

// groupState returns what a cluster knows of the group of a topic.
func groupState(t *testing.T, cluster *logclient.Cluster, topic string) logclient.GroupState {
	t.Helper()
	states := cluster.Groups()
	i := slices.IndexFunc(states, func(s logclient.GroupState) bool { return s.Group == topic+".g" })
	if i < 0 {
		t.Fatalf("the group of %s is not among %v", topic, states)
	}
	return states[i]
}

// stranger is a consumer of another program, which takes whatever it is given.
type stranger struct {
	*kgo.Client

	mu   sync.Mutex
	held int
}

func (s *stranger) holdsSome() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held > 0
}

func newStranger(t *testing.T, cluster *logclient.Cluster, topic string, options ...kgo.Opt) *stranger {
	t.Helper()
	s := &stranger{}
	change := func(by int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.held += by * len(partitions[topic])
		}
	}
	client, err := kgo.NewClient(append(options,
		kgo.SeedBrokers(logtest.Brokers(cluster)...), kgo.ClientID("somebody"), kgo.ConsumerGroup(topic+".g"),
		kgo.ConsumeTopics(topic), kgo.HeartbeatInterval(time.Second), kgo.SessionTimeout(6*time.Second),
		kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1)),
	)...)
	if err != nil {
		t.Fatal(err)
	}
	s.Client = client
	t.Cleanup(client.CloseAllowingRebalance)
	go func() {
		for !client.PollFetches(context.Background()).IsClientClosed() {
			client.AllowRebalance()
		}
	}()
	return s
}

func TestMembersOfAGroupShareItsPartitionsAndTakeThoseOfOneThatLeaves(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		topic := brokertest.Topic(t, logtest.Brokers(cluster), 4)
		first, leave := joinGroup(t, cluster, topic)
		brokertest.WaitUntil(t, first.holds(4))
		second, _ := joinGroup(t, cluster, topic)
		brokertest.WaitUntil(t, func() bool { return first.holds(2)() && second.holds(2)() })
		leave()
		brokertest.WaitUntil(t, second.holds(4))
	})
}

// Whatever another program's consumer offers, it cannot get into a group that a node is in.
func TestNoConsumerOfAnotherProgramGetsIntoAGroupOfThisServer(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		topic := brokertest.Topic(t, logtest.Brokers(cluster), 4)
		node, _ := joinGroup(t, cluster, topic)
		brokertest.WaitUntil(t, node.holds(4))
		client, err := kgo.NewClient(kgo.SeedBrokers(logtest.Brokers(cluster)...))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for _, protocols := range [][]string{{"range", "cooperative-sticky"}, {"range", "roundrobin"}, {"sticky"}} {
			if code := tryToJoin(t, client, topic, "consumer", protocols...); code != kerr.InconsistentGroupProtocol.Code {
				t.Errorf("a consumer with %v is answered with %v", protocols, kerr.ErrorForCode(code))
			}
		}
		if heartbeat := kmsg.NewPtrConsumerGroupHeartbeatRequest(); !cluster.Options().Embedded { // it does not know KIP-848
			heartbeat.Group, heartbeat.MemberID, heartbeat.RebalanceTimeoutMillis = topic+".g", "AAAAAAAAAAAAAAAAAAAAAA", 6000
			heartbeat.SubscribedTopicNames, heartbeat.Topics = []string{topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			response, err := heartbeat.RequestWith(brokertest.Context(t), client)
			if err != nil || response.ErrorCode != kerr.GroupIDNotFound.Code {
				t.Errorf("a consumer with the newer protocol is answered with %+v, %v", response, err)
			}
		}
		if !node.holds(4)() || groupState(t, cluster, topic) != (logclient.GroupState{Group: topic + ".g", Joined: true}) {
			t.Errorf("the node holds %v, and knows of %+v", node.held, groupState(t, cluster, topic))
		}
	})
}

func tryToJoin(t *testing.T, client *kgo.Client, topic, kind string, protocols ...string) int16 {
	t.Helper()
	request := kmsg.NewPtrJoinGroupRequest()
	request.Group, request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = topic+".g", 6000, 6000
	request.ProtocolType = kind
	metadata := kmsg.NewConsumerMemberMetadata()
	metadata.Topics = []string{topic}
	for _, name := range protocols {
		protocol := kmsg.NewJoinGroupRequestProtocol()
		protocol.Name, protocol.Metadata = name, metadata.AppendTo(nil)
		request.Protocols = append(request.Protocols, protocol)
	}
	response, err := request.RequestWith(brokertest.Context(t), client)
	if err != nil {
		t.Fatal(err)
	}
	return response.ErrorCode
}

func TestConsumersOfOtherProgramsThatCameFirstAreTakenOut(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		for name, balancers := range map[string]kgo.Opt{
			"range":       kgo.Balancers(kgo.RangeBalancer(), kgo.RoundRobinBalancer()),
			"cooperative": kgo.Balancers(kgo.CooperativeStickyBalancer()),
		} {
			t.Run(name, func(t *testing.T) {
				topic := brokertest.Topic(t, logtest.Brokers(cluster), 4)
				there := newStranger(t, cluster, topic, balancers)
				brokertest.WaitUntil(t, there.holdsSome)
				node, _ := joinGroup(t, cluster, topic)
				brokertest.WaitUntil(t, node.holds(4))
				if state := groupState(t, cluster, topic); state.Foreign == 0 || !state.Joined || !state.KeptOutSince.IsZero() {
					t.Errorf("afterwards, the group is %+v", state)
				}
				if !node.said("consumers of other programs") || !node.said("somebody at ") {
					t.Error("nothing is logged of it")
				}
				brokertest.WaitUntil(t, func() bool { return !there.holdsSome() })
			})
		}
	})
}

// Of a consumer with the newer protocol, a node cannot see who it is, nor take it out: it says so, and takes its turn later.
func TestAConsumerWithTheNewerProtocolThatCameFirstIsNoticed(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		if cluster.Options().Embedded {
			t.Skip("the embedded broker does not know the newer protocol")
		}
		topic := brokertest.Topic(t, logtest.Brokers(cluster), 4)
		there := newStranger(t, cluster, topic, kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.ServerSideBalancer())
		brokertest.WaitUntil(t, there.holdsSome)
		node, _ := joinGroup(t, cluster, topic)
		brokertest.WaitUntil(t, func() bool { return node.said("group.protocol=consumer") })
		if state := groupState(t, cluster, topic); state.Foreign != 1 || state.Joined || state.KeptOutSince.IsZero() {
			t.Errorf("the group is %+v", state)
		}
		there.CloseAllowingRebalance()
		brokertest.WaitUntil(t, node.holds(4))
		if state := groupState(t, cluster, topic); state.Foreign != 1 || !state.Joined || !state.KeptOutSince.IsZero() {
			t.Errorf("afterwards, the group is %+v", state)
		}
	})
}

// Nodes of the versions that joined as any consumer does keep the group until the last of them leaves.
func TestANodeOfAnOlderVersionKeepsTheGroupUntilItLeaves(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		topic := brokertest.Topic(t, logtest.Brokers(cluster), 4)
		older, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
			ID: topic + ".g", Brokers: logtest.Brokers(cluster), Topics: []string{topic},
			Dialer:         &kafkago.Dialer{ClientID: clientID, Timeout: 3 * time.Second},
			SessionTimeout: 6 * time.Second, RebalanceTimeout: 6 * time.Second, HeartbeatInterval: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = older.Close() })
		generation, err := older.Next(brokertest.Context(t))
		if err != nil || len(generation.Assignments[topic]) != 4 {
			t.Fatalf("the older node gets %+v, %v", generation, err)
		}
		node, _ := joinGroup(t, cluster, topic)
		brokertest.WaitUntil(t, func() bool { return node.said("nodes of an older version") })
		if state := groupState(t, cluster, topic); state.Foreign != 0 || state.Joined || !state.KeptOutSince.IsZero() {
			t.Errorf("beside it, the group is %+v", state)
		}
		if err := older.Close(); err != nil {
			t.Fatal(err)
		}
		brokertest.WaitUntil(t, node.holds(4))
	})
}

// A coordinator that does not answer must not hold up those who wait for the end of a group's work.
func TestAMemberOfAGroupWithoutBrokersEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cluster := logclient.NewCluster(logclient.ClusterOptions{Brokers: []string{"127.0.0.1:1"}})
	defer cluster.Close()
	_, leave := joinGroup(t, cluster, "nothing")
	leave()
}

func TestOnlyMembersWithAnotherProtocolCountAsSuch(t *testing.T) {
	members := []describegroups.ResponseGroupMember{{ClientID: clientID}}
	for _, c := range []struct {
		group describegroups.ResponseGroup
		want  bool
	}{
		{describegroups.ResponseGroup{ProtocolType: ownType, ProtocolData: "b", Members: members}, true},
		{describegroups.ResponseGroup{ProtocolType: ownType, ProtocolData: "a", Members: members}, false},
		{describegroups.ResponseGroup{ProtocolType: ownType, Members: members}, false}, // they are about to share out
		{describegroups.ResponseGroup{ProtocolType: ownType, ProtocolData: "b"}, false},
		{describegroups.ResponseGroup{ProtocolType: "consumer", ProtocolData: "range", Members: members}, false}, // an older version
	} {
		options := Options{Type: ownType, Protocol: "a"}
		if got := options.mismatches(c.group); got != c.want {
			t.Errorf("%+v: %t", c.group, got)
		}
	}
}
