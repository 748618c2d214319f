package logclient

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"chatting/test/brokertest"
)

// A broker that was stopped while it led goes on as if it still did, until it has heard otherwise.
func TestATailDoesNotGoBackForALeaderThatDoesNotKnowItWasDeposed(t *testing.T) {
	broker, cluster, topic := controlledTopic(t)
	tail, log := startTail(t, cluster, topic, 1)
	appendAll(t, cluster, topic, 0, "a", "b", "c")
	waitForValues(t, tail, log, 0, 3)

	var refused atomic.Int64
	broker.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if refused.Add(1) > 5 {
			return nil, nil, false
		}
		broker.KeepControl()
		fetch, _ := request.(*kmsg.FetchRequest)
		response, _ := fetch.ResponseKind().(*kmsg.FetchResponse)
		partition := kmsg.NewFetchResponseTopicPartition()
		partition.ErrorCode = kerr.OffsetOutOfRange.Code
		response.Topics = []kmsg.FetchResponseTopic{{
			Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{partition},
		}}
		return response, nil, true
	})
	broker.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if refused.Load() > 5 {
			return nil, nil, false
		}
		broker.KeepControl()
		list, _ := request.(*kmsg.ListOffsetsRequest)
		response, _ := list.ResponseKind().(*kmsg.ListOffsetsResponse)
		partition := kmsg.NewListOffsetsResponseTopicPartition()
		partition.Offset = 1 // its end; as its start it says nothing wrong
		if list.Topics[0].Partitions[0].Timestamp == timestampEarliest {
			partition.Offset = 0
		}
		response.Topics = []kmsg.ListOffsetsResponseTopic{{
			Topic: topic, Partitions: []kmsg.ListOffsetsResponseTopicPartition{partition},
		}}
		return response, nil, true
	})
	brokertest.WaitUntil(t, func() bool { return refused.Load() > 5 })
	appendAll(t, cluster, topic, 0, "d")
	waitForValues(t, tail, log, 0, 4)
	if got := log.of(0); len(got) != 4 || got[3] != "d" || log.holes != 0 {
		t.Errorf("read %v, with %d holes", got, log.holes)
	}
}

func TestATailIsNotHurriedByAnswersThatNameNoPartition(t *testing.T) {
	broker, cluster, topic := controlledTopic(t)
	var mu sync.Mutex
	var at []time.Time
	broker.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
		fetch, _ := request.(*kmsg.FetchRequest)
		return fetch.ResponseKind(), nil, true
	})
	startTail(t, cluster, topic, 1)
	brokertest.WaitUntil(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(at) >= 6 })
	if took := at[5].Sub(at[0]); took < 300*time.Millisecond { // 20, 40, 80, 160 and 320 ms
		t.Errorf("six fetches in %s", took)
	}
}

func TestATailThatCannotFindTheEndOfItsLogTriesLater(t *testing.T) {
	cluster := listed(t, func(request *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		if request.Topics[0].Partitions[0].Timestamp == timestampLatest {
			response.Topics[0].Partitions[0].ErrorCode = kerr.LeaderNotAvailable.Code
		}
	})
	events, interrupted := &tailEvents{}, 0
	tail := NewTail(cluster, TailOptions{
		Topic: "log", From: map[int]int64{2: 5}, Handler: events, Logger: brokertest.Logger(t), Interrupted: func(int) { interrupted++ },
	})
	state := tail.partitions[2]
	tail.relocate(brokertest.Context(t), 2)
	events.want(t, "without the end")
	if at(tail, 2) != 5 || state.notYet.IsZero() || interrupted != 1 {
		t.Errorf("it goes on at %d, not before %s, interrupted: %d", at(tail, 2), state.notYet, interrupted)
	}
}

func TestATailThatEndsLeavesNothingRunning(t *testing.T) {
	broker, _, topic := controlledTopic(t)
	before := goleak.IgnoreCurrent()
	ctx, stop := context.WithCancel(brokertest.Context(t))
	defer stop()
	broker.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		stop() // while it waits for the answer
		return nil, nil, false
	})
	cluster := NewCluster(ClusterOptions{Brokers: broker.ListenAddrs()})
	err := NewTail(cluster, TailOptions{Topic: topic, From: map[int]int64{0: 0}, Handler: &tailEvents{}, Logger: brokertest.Logger(t)}).Run(ctx)
	if err != nil {
		t.Error(err)
	}
	cluster.Close()
	goleak.VerifyNone(t, before)
}
