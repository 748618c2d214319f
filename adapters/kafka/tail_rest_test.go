package kafka

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
)

func TestAPartitionThatWasReadToItsEndRestsUntilTheNextBeat(t *testing.T) {
	_, m := controlledGroup(t) // seven partitions on broker 0
	tail := NewTail(m.cluster, TailOptions{
		Topic: "log", From: map[int]int64{1: 10, 2: 10}, Handler: &tailEvents{}, Logger: testLogger(t), Rest: time.Hour,
	})
	asked := func(when string, want ...int) {
		t.Helper()
		groups := slices.Collect(maps.Values(tail.assign(testContext(t), nil)))
		got := slices.Sorted(slices.Values(slices.Concat(groups...)))
		if !slices.Equal(got, want) {
			t.Errorf("%s: asked for are %v, want %v", when, got, want)
		}
	}
	batch := madeBatch{base: 10, records: valuesOf("a", "b")}.bytes(t)
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
	tail.take(t.Context(), refusedFetch(1, kafka.NotLeaderForPartition))
	tail.take(t.Context(), answered(2, 12))
	tail.partitions[1].notYet = time.Now()
	asked("after a failure", 1)
}

// An answer that is under way has records from where the partition was read before.
func TestTheAnswerForAPartitionThatWasAddedAgainIsDropped(t *testing.T) {
	events := &tailEvents{}
	tail := NewTail(nil, TailOptions{Topic: "topic", From: map[int]int64{3: 10}, Handler: events, Logger: testLogger(t)})
	answer := answered(3, 20, madeBatch{base: 10, records: valuesOf("a", "b")}.bytes(t))
	answer.added = tail.added
	tail.remove(3)
	tail.take(t.Context(), answer)
	events.want(t, "removed")
	tail.add(3, 0)
	answer.partitions = []int{3}
	tail.take(t.Context(), answer)
	events.want(t, "added again")
	if state := tail.partitions[3]; state.position != 0 {
		t.Errorf("it goes on at %d", state.position)
	}
	answer.added, answer.partitions = tail.added, []int{3}
	tail.take(t.Context(), answer)
	events.want(t, "asked for again", "record 10", "record 11", "end of 3 at 12")
}

func TestWishesAreFulfilledAtOnceAndThenNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var fulfilled []time.Duration
		wishes, ended := make(chan struct{}, 1), make(chan struct{})
		ctx, end := testEnd(t)
		go func() {
			defer close(ended)
			paced(ctx, wishes, time.Minute, func() { fulfilled = append(fulfilled, time.Since(began)) })
		}()
		wish(wishes)
		synctest.Wait()
		for range 3 {
			wish(wishes)
		}
		time.Sleep(90 * time.Second)
		wish(wishes)
		time.Sleep(time.Hour)
		wish(wishes)
		synctest.Wait()
		want := []time.Duration{0, time.Minute, 2 * time.Minute, time.Hour + 90*time.Second}
		if !slices.Equal(fulfilled, want) {
			t.Errorf("fulfilled after %v, want %v", fulfilled, want)
		}
		end()
		<-ended
	})
}
