package logclient

import (
	"maps"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/test/brokertest"
)

func TestAPartitionThatWasReadToItsEndRestsUntilTheNextBeat(t *testing.T) {
	cluster := testCluster(t, brokertest.Controlled(t, 7).ListenAddrs())
	tail := NewTail(cluster, TailOptions{
		Topic: "log", From: map[int]int64{1: 10, 2: 10}, Handler: &tailEvents{}, Logger: brokertest.Logger(t), Rest: time.Hour,
	})
	asked := func(when string, want ...int) {
		t.Helper()
		groups := slices.Collect(maps.Values(tail.assign(brokertest.Context(t), nil)))
		got := slices.Sorted(slices.Values(slices.Concat(groups...)))
		if !slices.Equal(got, want) {
			t.Errorf("%s: asked for are %v, want %v", when, got, want)
		}
	}
	batch := brokertest.Batch{Base: 10, Records: brokertest.Values("a", "b")}.Bytes()
	asked("at first", 1, 2)
	tail.take(t.Context(), answered(1, 12, batch))
	asked("with one of two at its end")
	tail.take(t.Context(), answered(2, 20, batch))
	asked("where more is to come", 2)
	tail.round++
	asked("at a beat, while the other one is asked for", 1)
	tail.take(t.Context(), answered(2, 12))
	asked("where it was asked for before the beat", 2)
	tail.take(t.Context(), answered(1, 12))
	tail.take(t.Context(), answered(2, 12))
	asked("with both at their ends")
	tail.round++
	asked("at the next beat", 1, 2)
	tail.take(t.Context(), refusedFetch(1, kafkago.NotLeaderForPartition))
	tail.take(t.Context(), answered(2, 12))
	tail.partitions[1].notYet = time.Now()
	asked("after a failure", 1)
}

// An answer that is under way has records from where the partition was read before.
func TestTheAnswerForAPartitionThatWasAddedAgainIsDropped(t *testing.T) {
	events := &tailEvents{}
	tail := NewTail(nil, TailOptions{Topic: "topic", From: map[int]int64{3: 10}, Handler: events, Logger: brokertest.Logger(t)})
	answer := answered(3, 20, brokertest.Batch{Base: 10, Records: brokertest.Values("a", "b")}.Bytes())
	answer.added = tail.added
	tail.Remove(3)
	tail.take(t.Context(), answer)
	events.want(t, "removed")
	tail.Add(3, 0)
	answer.partitions = []int{3}
	tail.take(t.Context(), answer)
	events.want(t, "added again")
	if now := at(tail, 3); now != 0 {
		t.Errorf("it goes on at %d", now)
	}
	answer.added, answer.partitions = tail.added, []int{3}
	tail.take(t.Context(), answer)
	events.want(t, "asked for again", "record 10", "record 11", "end of 3 at 12")
}
