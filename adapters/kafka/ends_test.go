package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

func TestEndOffsetsCountWhatWasAppended(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		topic := testTopics(t, cluster, 2).Conversations
		appender := testAppender(t, cluster, topic, 2)
		conversations := NewConversations(cluster, appender)
		defer conversations.Close()
		defer appender.Close(brokertest.Context(t))
		want := []int64{0, 0}
		for _, partition := range []int{0, 1, 1} {
			logtest.Append(t, appender, partition, "x")
			want[partition]++
			if ends, err := conversations.EndOffsets(brokertest.Context(t)); err != nil || !slices.Equal(ends, want) {
				t.Errorf("the ends are %v, want %v (%v)", ends, want, err)
			}
		}
	})
}

// A round of requests that is under way may have its answer already. Who asks meanwhile shares the next one.
func TestEndOffsetsAreThoseAfterTheCallBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var end, rounds atomic.Int64
		answers := make(chan struct{}, 2)
		ends := sharedEnds(func(context.Context) ([]int64, error) {
			rounds.Add(1)
			at := end.Load()
			<-answers
			return []int64{at}, nil
		})
		var told [3]int64
		var callers sync.WaitGroup
		call := func(i int) {
			callers.Go(func() {
				offsets, err := ends.EndOffsets(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				told[i] = offsets[0]
			})
			synctest.Wait()
		}
		end.Store(1)
		call(0)
		end.Store(2)
		call(1)
		call(2)
		answers <- struct{}{}
		answers <- struct{}{}
		callers.Wait()
		ends.Wait()
		if told != [...]int64{1, 2, 2} || rounds.Load() != 2 {
			t.Errorf("the callers were told %v, in %d rounds", told, rounds.Load())
		}
	})
}

func TestARequestForEndsIsBoundedAndItsFailureIsThatOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		e := sharedEnds(func(ctx context.Context) ([]int64, error) {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != endTimeout {
				t.Errorf("it asks until %s", deadline)
			}
			return nil, away
		})
		if _, err := e.EndOffsets(t.Context()); !errors.Is(err, away) || codeOf(err) != domain.CodeUnavailable {
			t.Errorf("use cases get %v", err)
		}
	})
}

func TestWhoAsksForEndsIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan int64)
		asking := func() endOffsets {
			return sharedEnds(func(context.Context) ([]int64, error) { return []int64{<-answer}, nil })
		}
		barrier := &ReadBarrier{ends: asking(), tail: logclient.NewTail(nil, logclient.TailOptions{From: map[int]int64{0: 5}})}
		conversations := &Conversations{ends: asking(), readable: asking()}
		for what, c := range map[string]struct {
			ask   func(context.Context) error
			close func()
		}{
			"the barrier":   {barrier.Wait, barrier.Close},
			"the ends":      {func(ctx context.Context) error { _, err := conversations.EndOffsets(ctx); return err }, conversations.Close},
			"what is there": {func(ctx context.Context) error { _, err := conversations.Readable().EndOffsets(ctx); return err }, conversations.Close},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			gaveUp := make(chan error)
			go func() { gaveUp <- c.ask(ctx) }()
			synctest.Wait()
			cancel()
			if err := <-gaveUp; err == nil {
				t.Errorf("%s: who does not wait any longer gets no error", what)
			}
			closed := make(chan struct{})
			go func() { c.close(); close(closed) }()
			synctest.Wait()
			select {
			case <-closed:
				t.Errorf("%s: the request under way is left behind", what)
			default:
			}
			answer <- 5
			<-closed
		}
		// The barrier lets through once the tail is there.
		passed := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { passed <- barrier.Wait(ctx) }()
		answer <- 6
		synctest.Wait()
		if len(passed) > 0 {
			t.Error("the barrier does not wait for the tail")
		}
		cancel()
		if err := <-passed; err == nil {
			t.Error("the barrier lets through although the tail is not there")
		}
		barrier.tail.Add(0, 6) // it is there
		again := make(chan error, 1)
		go func() { again <- barrier.Wait(t.Context()) }()
		answer <- 6
		if err := <-again; err != nil {
			t.Error(err)
		}
		barrier.Close()
	})
}
