package appending

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// sharedRequests is an appender to several partitions of one leader, whose produce requests are answered by a test.
type sharedRequests struct {
	*Appender

	mu    sync.Mutex
	asked []string        // the partitions of each request
	codes map[int32]int16 // what partitions are answered
}

// newSharedRequests returns one whose partitions all have a producer id.
func newSharedRequests(t *testing.T, partitions int) *sharedRequests {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(int32(partitions), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	s := &sharedRequests{codes: map[int32]int16{}}
	broker.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		produce, _ := request.(*kmsg.ProduceRequest)
		return s.answer(produce), nil, true
	})
	s.Appender = NewAppender(testCluster(t, broker.ListenAddrs()), AppenderOptions{
		Topic: "log", Partitions: partitions, Deadline: time.Minute, QueueBytes: 4 << 20, Logger: brokertest.Logger(t),
	})
	t.Cleanup(func() { s.Close(brokertest.Context(t)) })
	for p := range partitions {
		if err := <-s.add(p); err != nil {
			t.Fatal(err)
		}
	}
	s.idle(t)
	s.said()
	return s
}

func (s *sharedRequests) answer(request *kmsg.ProduceRequest) kmsg.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	response, _ := request.ResponseKind().(*kmsg.ProduceResponse)
	answer := kmsg.NewProduceResponseTopic()
	answer.Topic = request.Topics[0].Topic
	var asked []int32
	for _, p := range request.Topics[0].Partitions {
		partition := kmsg.NewProduceResponseTopicPartition()
		partition.Partition, partition.ErrorCode = p.Partition, s.codes[p.Partition]
		answer.Partitions = append(answer.Partitions, partition)
		asked = append(asked, p.Partition)
	}
	slices.Sort(asked)
	s.asked = append(s.asked, fmt.Sprint(asked))
	response.Topics = append(response.Topics, answer)
	return response
}

func (s *sharedRequests) answersWith(partition int32, code kafkago.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[partition] = int16(code)
}

// said returns the requests since it was last asked.
func (s *sharedRequests) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func (s *sharedRequests) add(partition int) <-chan error {
	outcome := make(chan error, 1)
	s.Append(partition, recordbatch.Record{Key: []byte("k"), Value: []byte("v")}, func(err error) { outcome <- err })
	return outcome
}

// idle waits until nothing is under way.
func (s *sharedRequests) idle(t *testing.T) {
	t.Helper()
	brokertest.WaitUntil(t, func() bool {
		s.underWay.mu.Lock()
		defer s.underWay.mu.Unlock()
		for _, l := range s.lanes {
			if !idle(l) {
				return false
			}
		}
		return len(s.underWay.byLeader) == 0
	})
}

// whileBusy calls f while as many requests are under way as may be.
func (s *sharedRequests) whileBusy(t *testing.T, f func()) {
	t.Helper()
	s.idle(t)
	leader := s.cluster.Leaders(brokertest.Context(t), "log")[0]
	for s.underWay.begin(leader) {
	}
	f()
	for range maxRequests {
		s.endRequest(leader)
	}
}

func TestWhatIsQueuedWhileRequestsAreUnderWayGoesInOne(t *testing.T) {
	const partitions = 6
	s := newSharedRequests(t, partitions)
	var outcomes []<-chan error
	s.whileBusy(t, func() {
		for range 3 {
			for p := range partitions {
				outcomes = append(outcomes, s.add(p))
			}
		}
	})
	for i, outcome := range outcomes {
		if err := <-outcome; err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}
	if asked := s.said(); !slices.Equal(asked, []string{"[0 1 2 3 4 5]"}) {
		t.Errorf("the requests have the partitions %q, want one with all", asked)
	}
	for _, l := range s.lanes {
		if l.sender.stamp.Sequence != 4 {
			t.Errorf("partition %d goes on at %d after four records", l.sender.partition, l.sender.stamp.Sequence)
		}
	}
	s.idle(t)
}

func TestARequestTakesNoFurtherBatchWhenItIsLong(t *testing.T) {
	s := newSharedRequests(t, 4)
	var outcomes []<-chan error
	s.whileBusy(t, func() {
		for p := range 4 {
			outcome := make(chan error, 1)
			outcomes = append(outcomes, outcome)
			s.Append(p, recordbatch.Record{Value: make([]byte, maxRequestBytes/2)}, func(err error) { outcome <- err })
		}
	})
	for i, outcome := range outcomes {
		if err := <-outcome; err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}
	asked := s.said()
	for _, partitions := range asked {
		if len(partitions) > len("[0 1]") {
			t.Errorf("the requests have the partitions %q, want two at most", asked)
		}
	}
}

func TestAPartitionInTroubleSharesNoRequest(t *testing.T) {
	s := newSharedRequests(t, 2)
	addBoth := func() (outcomes [2]<-chan error) {
		s.whileBusy(t, func() { outcomes[0], outcomes[1] = s.add(0), s.add(1) })
		return outcomes
	}
	both := func() (one, other error) {
		outcomes := addBoth()
		one, other = <-outcomes[0], <-outcomes[1]
		s.idle(t)
		return one, other
	}
	s.answersWith(1, kafkago.NotEnoughReplicas)
	outcomes := addBoth()
	if err := <-outcomes[0]; err != nil {
		t.Errorf("the one that is well comes to %v", err)
	}
	var asked []string
	brokertest.WaitUntil(t, func() bool {
		asked = append(asked, s.said()...)
		return len(asked) > 2
	})
	s.answersWith(1, kafkago.MessageSizeTooLarge)
	if err := <-outcomes[1]; err == nil {
		t.Error("the one in trouble is appended")
	}
	s.idle(t)
	if asked = append(asked, s.said()...); asked[0] != "[0 1]" || slices.ContainsFunc(asked[1:], func(p string) bool { return p != "[1]" }) {
		t.Errorf("the requests have the partitions %q, want it alone from the second on", asked)
	}
	s.answersWith(1, 0)
	for _, want := range [][]string{{"[0]", "[1]"}, {"[0 1]"}} {
		if one, other := both(); one != nil || other != nil {
			t.Errorf("afterwards: %v, %v", one, other)
		}
		asked := s.said()
		if slices.Sort(asked); !slices.Equal(asked, want) {
			t.Errorf("afterwards the requests have the partitions %q, want %q", asked, want)
		}
	}
}

func TestTroubleOfOnePartitionKeepsNobodyElseWaiting(t *testing.T) {
	s := newSharedRequests(t, 4)
	s.answersWith(0, kafkago.NotEnoughReplicas)
	s.answersWith(2, kafkago.NotEnoughReplicas)
	var outcomes [4]<-chan error
	s.whileBusy(t, func() {
		for p := range outcomes {
			outcomes[p] = s.add(p)
		}
	})
	for _, p := range []int{1, 3} {
		if err := <-outcomes[p]; err != nil {
			t.Errorf("partition %d: %v", p, err)
		}
	}
	for _, p := range []int{0, 2} {
		select {
		case err := <-outcomes[p]:
			t.Errorf("partition %d already has its outcome: %v", p, err)
		default:
		}
	}
	for _, p := range []int{0, 2} {
		s.answersWith(int32(p), 0)
		if err := <-outcomes[p]; err != nil {
			t.Errorf("partition %d: %v", p, err)
		}
	}
}

// While its answer is not there, others go without it.
func TestARequestThatTakesLongIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := logclient.NewCluster(logclient.ClusterOptions{
			Brokers: []string{"broker:9092"}, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		defer cluster.Close()
		l := newLane(cluster, AppenderOptions{Topic: "t", Deadline: time.Minute, QueueBytes: 1 << 20, Logger: brokertest.Logger(t)}, 0)
		l.append(Owner{}, sized(100), func(error) {})
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		attempt(ctx, []shipment{{l, l.take()}}, func() {
			if took := time.Since(began); took != slowRequest {
				t.Errorf("it is slow after %s", took)
			}
			cancel()
		})
		if ctx.Err() == nil {
			t.Error("it is not told")
		}
	})
}
