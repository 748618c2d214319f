package groups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// controlledGroup is a member of a group over a topic of seven partitions, in a broker that can be made to answer wrongly.
func controlledGroup(t *testing.T) (broker *kfake.Cluster, m *member) {
	t.Helper()
	broker, cluster, topic := logtest.Controlled(t, 7)
	return broker, &member{cluster: cluster, options: Options{
		ID: "g", Topic: topic, Type: ownType, Protocol: ownType, Session: 6 * time.Second, Logger: brokertest.Logger(t),
	}}
}

// Every partition falls to exactly one member, and no member has two more than another.
func TestTheLeaderOfAGroupSharesOutEveryPartitionOnce(t *testing.T) {
	_, m := controlledGroup(t)
	for count, want := range map[int]string{
		1: "[a 0 1 2 3 4 5 6]",
		2: "[a 0 1 2] [b 3 4 5 6]",
		3: "[a 0 1] [b 2 3] [c 4 5 6]",
		7: "[a 0] [b 1] [c 2] [d 3] [e 4] [f 5] [g 6]",
		8: "[a] [b 0] [c 1] [d 2] [e 3] [f 4] [g 5] [h 6]",
	} {
		var members []kafkago.JoinGroupResponseMember
		for i := range count { // in another order than that of their ids
			members = append(members, kafkago.JoinGroupResponseMember{ID: string(rune('a' + count - 1 - i))})
		}
		shares, err := m.share(brokertest.Context(t), members)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i, share := range shares {
			if i > 0 {
				got += " "
			}
			got += fmt.Sprint(slices.Insert(numbersAsAny(share.Assignment.AssignedPartitions["log"]), 0, any(share.MemberID)))
		}
		if got != want {
			t.Errorf("%d members: %s, not %s", count, got, want)
		}
	}
	m.options.Topic = "none"
	if _, err := m.share(brokertest.Context(t), nil); err == nil {
		t.Error("a topic that is not there is shared out")
	}
}

func numbersAsAny(numbers []int) (list []any) {
	for _, n := range numbers {
		list = append(list, n)
	}
	return list
}

func TestAMemberForgetsItsIDOnlyIfTheCoordinatorDoesNotKnowIt(t *testing.T) {
	for err, want := range map[error]string{
		kafkago.UnknownMemberId: "", kafkago.MemberIDRequired: "", fmt.Errorf("joining: %w", kafkago.UnknownMemberId): "",
		kafkago.RebalanceInProgress: "id", kafkago.IllegalGeneration: "id", context.DeadlineExceeded: "id",
	} {
		m := member{id: "id"}
		if m.forget(err); m.id != want {
			t.Errorf("%v: the id is %q", err, m.id)
		}
	}
}

// A commit that was refused for one partition must not pass for one that was taken.
func TestACommitIsTakenOnlyIfEveryPartitionSaysSo(t *testing.T) {
	broker, m := controlledGroup(t)
	g := &Generation{cluster: m.cluster, group: "g", topic: "log", member: "m", id: 4}
	var answer func(*kmsg.OffsetCommitRequest, *kmsg.OffsetCommitResponse)
	broker.ControlKey(int16(kmsg.OffsetCommit), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		commit, _ := request.(*kmsg.OffsetCommitRequest)
		response, _ := commit.ResponseKind().(*kmsg.OffsetCommitResponse)
		topic := kmsg.OffsetCommitResponseTopic{Topic: "log"}
		for _, p := range commit.Topics[0].Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition})
		}
		response.Topics = append(response.Topics, topic)
		answer(commit, response)
		return response, nil, true
	})
	offsets := map[int]int64{2: 20, 5: 50}
	answer = func(commit *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse) {
		got := make(map[int]int64)
		for _, p := range commit.Topics[0].Partitions {
			got[int(p.Partition)] = p.Offset
		}
		if commit.Group != "g" || commit.Generation != 4 || commit.MemberID != "m" || fmt.Sprint(got) != fmt.Sprint(offsets) {
			t.Errorf("committed %v as %s of %s in generation %d", got, commit.MemberID, commit.Group, commit.Generation)
		}
	}
	if err := g.Commit(brokertest.Context(t), offsets); err != nil {
		t.Error(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := g.Commit(ended, offsets); err != nil {
		t.Errorf("with the generation's context ended, what was delivered is not committed: %v", err)
	}
	answer = func(_ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse) {
		response.Topics[0].Partitions[1].ErrorCode = kerr.IllegalGeneration.Code
	}
	if err := g.Commit(brokertest.Context(t), offsets); !errors.Is(err, kafkago.IllegalGeneration) {
		t.Errorf("one of two refused: %v", err)
	}
	answer = func(_ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse) {
		response.Topics[0].Partitions = response.Topics[0].Partitions[:1]
	}
	if err := g.Commit(brokertest.Context(t), offsets); err == nil {
		t.Error("one of two without an answer passes")
	}
}

// If the committed offset of a partition is not known, its records must be neither left out nor delivered again.
func TestWhatAGroupHasCommittedIsKnownOfEveryPartitionOrOfNone(t *testing.T) {
	broker, m := controlledGroup(t)
	g := &Generation{cluster: m.cluster, group: "g", topic: "log"}
	var change func(*kmsg.OffsetFetchResponse)
	broker.ControlKey(int16(kmsg.OffsetFetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		asked, _ := request.(*kmsg.OffsetFetchRequest)
		response, _ := asked.ResponseKind().(*kmsg.OffsetFetchResponse)
		topic := kmsg.OffsetFetchResponseTopic{Topic: "log"}
		for _, partition := range asked.Topics[0].Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.OffsetFetchResponseTopicPartition{Partition: partition, Offset: 10 * int64(partition)})
		}
		response.Topics = append(response.Topics, topic)
		change(response)
		return response, nil, true
	})
	change = func(*kmsg.OffsetFetchResponse) {}
	got, err := g.committed(brokertest.Context(t), []int{2, 5})
	if err != nil || !slices.Equal(got, []Assignment{{2, 20}, {5, 50}}) {
		t.Errorf("committed is %v, %v", got, err)
	}
	for what, c := range map[string]func(*kmsg.OffsetFetchResponse){
		"an error for one": func(r *kmsg.OffsetFetchResponse) {
			r.Topics[0].Partitions[1].ErrorCode = kerr.UnstableOffsetCommit.Code
		},
		"no answer for one": func(r *kmsg.OffsetFetchResponse) { r.Topics[0].Partitions = r.Topics[0].Partitions[:1] },
		"no topic":          func(r *kmsg.OffsetFetchResponse) { r.Topics = nil },
		"an error for all":  func(r *kmsg.OffsetFetchResponse) { r.ErrorCode = kerr.GroupAuthorizationFailed.Code },
	} {
		change = c
		if got, err := g.committed(brokertest.Context(t), []int{2, 5}); err == nil {
			t.Errorf("%s: committed is %v", what, got)
		}
	}
}

// beating has a member beat until its generation ends or the test does, with what the coordinator answers.
func beating(t *testing.T, session time.Duration, answer func(beat int64) (code int16, silent bool)) (m *member, ended <-chan struct{}) {
	t.Helper()
	broker, m := controlledGroup(t)
	m.id, m.options.Session = "m", session
	var beats atomic.Int64
	broker.ControlKey(int16(kmsg.Heartbeat), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		beat, _ := request.(*kmsg.HeartbeatRequest)
		if beat.Group != "g" || beat.Generation != 4 || beat.MemberID != "m" {
			t.Errorf("%s of %s beats for generation %d", beat.MemberID, beat.Group, beat.Generation)
		}
		response, _ := beat.ResponseKind().(*kmsg.HeartbeatResponse)
		var silent bool
		if response.ErrorCode, silent = answer(beats.Add(1)); silent {
			return nil, errors.New("the connection ends"), true
		}
		return response, nil, true
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.beat(ctx, &Generation{cluster: m.cluster, group: "g", topic: "log", member: "m", id: 4})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return m, done
}

func TestAMemberStopsWorkingWhenItsGenerationHasEnded(t *testing.T) {
	for code, id := range map[*kerr.Error]string{kerr.RebalanceInProgress: "m", kerr.IllegalGeneration: "m", kerr.UnknownMemberID: ""} {
		m, ended := beating(t, 100*time.Millisecond, func(beat int64) (int16, bool) {
			if beat == 3 {
				return code.Code, false
			}
			return 0, false
		})
		select {
		case <-ended:
		case <-brokertest.Context(t).Done():
			t.Fatalf("%s: it goes on", code.Message)
		}
		if m.id != id {
			t.Errorf("%s: its id is %q", code.Message, m.id)
		}
	}
}

// By then the coordinator may have given its partitions to others. One beat that fails means nothing.
func TestAMemberStopsWorkingWhenTheCoordinatorHasNotAnsweredForASession(t *testing.T) {
	stopsAt := func(session time.Duration) int64 {
		var beats atomic.Int64
		_, ended := beating(t, session, func(beat int64) (int16, bool) {
			beats.Store(beat)
			if beat <= 6 || beat == 8 { // for longer than a session
				return 0, false
			}
			return kerr.CoordinatorNotAvailable.Code, beat%2 == 0
		})
		select {
		case <-ended:
		case <-brokertest.Context(t).Done():
			t.Fatal("it goes on")
		}
		return beats.Load()
	}
	// A machine that stands still for most of a session makes two beats one: then the session is too short to tell.
	var at int64
	for _, session := range []time.Duration{600 * time.Millisecond, 2 * time.Second, 8 * time.Second} {
		if at = stopsAt(session); at > 8 {
			return
		}
	}
	t.Errorf("it stopped at beat %d, the first one without an answer", at)
}

func TestTheTypeOfAGroupKeepsOthersOut(t *testing.T) {
	for embedded, want := range map[bool]string{false: ownType, true: "consumer"} {
		m := &member{options: Options{Type: ownType}, cluster: logclient.NewCluster(logclient.ClusterOptions{Embedded: embedded})}
		defer m.cluster.Close()
		if got := m.protocolType(); got != want {
			t.Errorf("embedded: %t: it is %s", embedded, got)
		}
	}
}

func TestAMemberLeavesItsGroupUnderItsID(t *testing.T) {
	broker, m := controlledGroup(t)
	left := make(chan string, 2)
	broker.ControlKey(int16(kmsg.LeaveGroup), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		leave, _ := request.(*kmsg.LeaveGroupRequest)
		left <- leave.Group + " " + leave.Members[0].MemberID
		return leave.ResponseKind(), nil, true
	})
	ended, end := context.WithCancel(t.Context())
	end() // it leaves because it ends
	m.leave(ended)
	if len(left) > 0 {
		t.Errorf("without an id, it leaves as %s", <-left)
	}
	m.id = "m"
	if m.leave(ended); len(left) != 1 || <-left != "g m" {
		t.Error("it does not leave")
	}
}

func TestMembersThatAreGoneAlreadyCountAsRemoved(t *testing.T) {
	broker, m := controlledGroup(t)
	var codes []int16
	broker.ControlKey(int16(kmsg.LeaveGroup), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		leave, _ := request.(*kmsg.LeaveGroupRequest)
		response, _ := leave.ResponseKind().(*kmsg.LeaveGroupResponse)
		for i, member := range leave.Members {
			response.Members = append(response.Members, kmsg.LeaveGroupResponseMember{MemberID: member.MemberID, ErrorCode: codes[i]})
		}
		return response, nil, true
	})
	for what, c := range map[string]struct {
		codes []int16
		want  error
	}{
		"removed":        {[]int16{0, 0}, nil},
		"one is gone":    {[]int16{0, kerr.UnknownMemberID.Code}, nil},
		"not allowed":    {[]int16{0, kerr.GroupAuthorizationFailed.Code}, kafkago.GroupAuthorizationFailed},
		"gone, and not":  {[]int16{kerr.UnknownMemberID.Code, kerr.GroupAuthorizationFailed.Code}, kafkago.GroupAuthorizationFailed},
		"neither of two": {[]int16{kerr.FencedInstanceID.Code, kerr.FencedInstanceID.Code}, kafkago.FencedInstanceID},
	} {
		codes = c.codes
		if err := removeMembers(brokertest.Context(t), m.cluster, "g", "a", "b"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
