package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/domain"
)

// listed has the broker of a controlledGroup answer ListOffsets: each partition with its number times ten, then changed.
func listed(t *testing.T, change func(request *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse)) *Cluster {
	t.Helper()
	broker, m := controlledGroup(t)
	broker.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		list, _ := request.(*kmsg.ListOffsetsRequest)
		response, _ := list.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic := kmsg.ListOffsetsResponseTopic{Topic: "log"}
		for _, p := range list.Topics[0].Partitions {
			answer := kmsg.NewListOffsetsResponseTopicPartition()
			answer.Partition, answer.Offset = p.Partition, 10*int64(p.Partition)
			topic.Partitions = append(topic.Partitions, answer)
		}
		slices.Reverse(topic.Partitions)
		response.Topics = append(response.Topics, topic)
		change(list, response)
		return response, nil, true
	})
	return m.cluster
}

func TestTheOffsetOfEachPartitionIsItsOwn(t *testing.T) {
	var isolation int8
	var timestamp int64
	var wrong string
	cluster := listed(t, func(request *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		isolation, timestamp = request.IsolationLevel, request.Topics[0].Partitions[0].Timestamp
		partitions := &response.Topics[0].Partitions
		if number := (*partitions)[0].Partition; number != 3 { // kafka-go asks for each partition alone
			return
		}
		switch wrong {
		case "a partition that nobody asked for":
			more := kmsg.NewListOffsetsResponseTopicPartition()
			more.Partition, more.Offset = 6, 1000
			*partitions = append(*partitions, more)
		case "an error for one":
			(*partitions)[0].ErrorCode = kerr.NotLeaderForPartition.Code
		case "no answer for one":
			*partitions = (*partitions)[1:]
		case "no topic":
			response.Topics = nil
		case "no record as young":
			if timestamp >= 0 {
				(*partitions)[0].Offset = -1
			}
		}
	})
	numbers := []int{5, 0, 3}
	for what, ask := range map[string]struct {
		isolation int8
		timestamp int64
		offsets   func(context.Context, string, []int) ([]int64, error)
	}{
		"ends of the log": {readUncommitted, timestampLatest, cluster.logEnds},
		"stable ends":     {readCommitted, timestampLatest, cluster.stableEnds},
		"starts": {readCommitted, timestampEarliest, func(ctx context.Context, topic string, partitions []int) ([]int64, error) {
			return cluster.listOffsets(ctx, topic, partitions, timestampEarliest)
		}},
	} {
		got, err := ask.offsets(testContext(t), "log", numbers)
		if err != nil || !slices.Equal(got, []int64{50, 0, 30}) || isolation != ask.isolation || timestamp != ask.timestamp {
			t.Errorf("%s: %v, %v, asked with isolation %d for %d", what, got, err, isolation, timestamp)
		}
	}
	wrong = "a partition that nobody asked for"
	if got, err := cluster.tryListOffsets(testContext(t), "log", numbers, 5, readCommitted); err != nil || !slices.Equal(got, []int64{50, 0, 30}) {
		t.Errorf("%s: %v, %v", wrong, got, err)
	}
	wrong = "no record as young" // of partition 5 or 3: there it is the end
	if got, err := cluster.tryListOffsets(testContext(t), "log", numbers, 5, readUncommitted); err != nil || !slices.Equal(got, []int64{50, 0, 30}) || isolation != readUncommitted {
		t.Errorf("%s: %v, %v", wrong, got, err)
	}
	for _, wrong = range []string{"an error for one", "no answer for one", "no topic"} {
		if got, err := cluster.tryListOffsets(testContext(t), "log", numbers, 5, readCommitted); err == nil {
			t.Errorf("%s: %v", wrong, got)
		}
	}
	wrong = "an error for one"
	if _, err := cluster.tryListOffsets(testContext(t), "log", numbers, 5, readCommitted); !errors.Is(err, kafka.NotLeaderForPartition) {
		t.Errorf("%s: %v", wrong, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	// kafka-go may say so, or that the broker failed: the request to it was cut off.
	if _, err := cluster.logEnds(ended, "log", numbers); err == nil {
		t.Error("with its context ended, it has an answer")
	}
	if _, err := cluster.timeOf(ended, "log", 2, 5); err == nil {
		t.Error("with its context ended, it knows the time of a record")
	}
}

func TestALeaderThatDoesNotKnowYetIsAskedAgain(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	var at time.Time
	cluster := listed(t, func(_ *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		mu.Lock()
		defer mu.Unlock()
		if pause := time.Since(at); pause < 10*time.Millisecond { // half of the shortest
			t.Errorf("it is asked again after %s", pause)
		}
		at = time.Now()
		if asked++; asked <= 3 {
			response.Topics[0].Partitions[0].ErrorCode = kerr.LeaderNotAvailable.Code
		}
	})
	if got, err := cluster.logEnds(testContext(t), "log", []int{2}); err != nil || got[0] != 20 || asked != 4 {
		t.Errorf("after %d times: %v, %v", asked, got, err)
	}
}

// What was appended before a call began stands before the ends that it returns, however many calls share a request.
func TestCallsShareARequestThatBeginsAfterThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []int64
		answer := make(chan error)
		e := &endOffsets{topic: "log", partitions: []int{0}}
		e.ask = func(ctx context.Context, topic string, partitions []int) ([]int64, error) {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != endTimeout || topic != "log" || len(partitions) != 1 {
				t.Errorf("it asks for %v of %s, until %s", partitions, topic, deadline)
			}
			number := int64(len(asked) + 1)
			asked = append(asked, number)
			return []int64{number}, <-answer
		}
		type outcome struct {
			end int64
			err error
		}
		call := func(ctx context.Context) <-chan outcome {
			done := make(chan outcome, 1)
			go func() {
				offsets, err := e.get(ctx)
				o := outcome{err: err}
				if len(offsets) > 0 {
					o.end = offsets[0]
				}
				done <- o
			}()
			synctest.Wait()
			return done
		}
		first := call(t.Context())
		second, third := call(t.Context()), call(t.Context())
		impatient, give := context.WithCancel(t.Context())
		fourth := call(impatient)
		give()
		if got := <-fourth; !errors.Is(got.err, context.Canceled) {
			t.Errorf("who does not wait any longer gets %+v", got)
		}
		answer <- nil
		if got := <-first; got.end != 1 || got.err != nil {
			t.Errorf("the first call gets %+v", got)
		}
		answer <- nil
		for _, done := range []<-chan outcome{second, third} {
			if got := <-done; got.end != 2 || got.err != nil {
				t.Errorf("a call that came while the first request was under way gets %+v", got)
			}
		}
		synctest.Wait()
		if len(asked) != 2 || e.running {
			t.Errorf("asked %d times for four calls, running: %t", len(asked), e.running)
		}
		failed := errors.New("away")
		fifth := call(t.Context())
		waited := make(chan struct{})
		go func() { e.wait(); close(waited) }()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("wait does not wait for the request under way")
		default:
		}
		answer <- failed
		if got := <-fifth; !errors.Is(got.err, failed) {
			t.Errorf("a failure comes as %+v", got)
		}
		<-waited
		if err := func() error {
			_, err := (&endOffsets{ask: e.ask, topic: "log", partitions: []int{0}}).endOffsets(impatient)
			return err
		}(); domain.CodeOf(err) != domain.CodeUnavailable {
			t.Errorf("use cases get %v", err)
		}
		answer <- nil
	})
}

func TestTheFirstRecordOfAStretchGivesItsTime(t *testing.T) {
	at := time.UnixMilli(5)
	ends := 0
	f := &firstRecord{end: 10, found: func() { ends++ }}
	f.BatchEnd(0, 9)
	if ends != 0 || f.seen {
		t.Error("it ends before the log does")
	}
	f.Record(&TailRecord{Time: at})
	f.Record(&TailRecord{Time: at.Add(time.Second)})
	f.LeftOut(LeftOut{Time: at.Add(time.Minute)})
	f.BatchEnd(0, 9)
	if ends != 1 || !f.at.Equal(at) {
		t.Errorf("the first record is of %s, ended %d times", f.at, ends)
	}
	f = &firstRecord{end: 10, found: func() { ends++ }}
	f.LeftOut(LeftOut{Time: at})
	f.Record(&TailRecord{Time: at.Add(time.Second)})
	if !f.seen || !f.at.Equal(at) {
		t.Errorf("what was left out is of %s", f.at)
	}
	f = &firstRecord{end: 10, found: func() { ends++ }}
	before := time.Now()
	if f.BatchEnd(0, 10); ends != 2 || f.at.Before(before) {
		t.Errorf("a log that ends with marks is of %s, ended %d times", f.at, ends)
	}
	f = &firstRecord{end: 10, found: func() { ends++ }}
	if f.Hole(0, 5, 7); ends != 3 || !f.at.IsZero() {
		t.Errorf("a hole is of %s, ended %d times", f.at, ends)
	}
}
