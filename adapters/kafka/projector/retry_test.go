package projector

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// storedProjections is a store that says what its function says.
type storedProjections struct {
	history.ProjectionStore

	say func() ([]history.Projection, error)
}

func (s storedProjections) Projections(context.Context) ([]history.Projection, error) {
	return s.say()
}

func placeOf(partition int, offset int64) domain.Place {
	return domain.Place{Generation: 1, Partition: partition, Offset: offset}
}

// Another node, or an operator, may move a partition back while this node waits at the end of its log.
func TestOnlyAPartitionThatWasMovedBackLooksWhereToGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		next := int64(10)
		p := New(nil, Options{Logger: brokertest.Logger(t), Store: storedProjections{say: func() ([]history.Projection, error) {
			mu.Lock()
			defer mu.Unlock()
			return []history.Projection{{Next: placeOf(9, 1)}, {Next: placeOf(1, 1)}, {Next: placeOf(0, next)}}, nil
		}}})
		moved := make(chan error, 10)
		reads, waits := p.partition(0), p.partition(1) // which does not read yet
		reads.progress.Store(&progress{next: placeOf(0, 10), stop: func(err error) { moved <- err }})
		ctx, stop := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { p.watch(ctx, map[int]*partition{0: reads, 1: waits}) })
		time.Sleep(3 * watchEvery)
		synctest.Wait()
		if len(moved) > 0 {
			t.Errorf("a partition that is where it was stops with %v", <-moved)
		}
		mu.Lock()
		next = 9
		mu.Unlock()
		if err := <-moved; !errors.Is(err, history.ErrProjectionMoved) {
			t.Errorf("a partition that was moved back stops with %v", err)
		}
		stop()
		watching.Wait()
	})
}

func TestAPartitionWhoseDatabaseIsAwayIsTriedAtAnEasyPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		tries := 0
		p := New(nil, Options{Logger: slog.New(slog.NewTextHandler(&out, nil)), Store: storedProjections{
			say: func() ([]history.Projection, error) { tries++; return nil, errDatabase },
		}})
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		p.partition(0).run(ctx)
		if tries < 100 || tries > 300 {
			t.Errorf("it is tried %d times in a minute", tries)
		}
		if lines := strings.Count(out.String(), "will try again"); lines < 3 || lines > 10 {
			t.Errorf("%d lines say so: %s", lines, out.String())
		}
	})
}

// readPartition returns partition 0 of a projector, whose reader runs until the test ends.
func readPartition(t *testing.T, p *Projector) *partition {
	t.Helper()
	ctx, stop := context.WithCancel(brokertest.Context(t))
	reader := newReader(ctx, p)
	var reading sync.WaitGroup
	reading.Go(func() { reader.run(ctx) })
	t.Cleanup(func() { stop(); reading.Wait() })
	partition := p.partition(0)
	partition.reader = reader
	return partition
}

// The topic may have been made anew meanwhile.
func TestAnInterruptedPartitionLooksWhereToGoOn(t *testing.T) {
	broker, cluster, topic := logtest.Controlled(t, 1)
	broker.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		response, _ := request.ResponseKind().(*kmsg.FetchResponse)
		partition := kmsg.NewFetchResponseTopicPartition()
		partition.ErrorCode = kerr.NotLeaderForPartition.Code
		response.Topics = []kmsg.FetchResponseTopic{{Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{partition}}}
		return response, nil, true
	})
	p := readPartition(t, testProjector(t, cluster, topic, newMemoryHistory()))
	if moved, err := p.follow(brokertest.Context(t)); moved || !errors.Is(err, errInterrupted) {
		t.Errorf("it ends with %v, and projected something: %t", err, moved)
	}
}

// A partition that is moved back before it has projected anything since its start notices, too.
func TestAProjectorThatFoundNothingNewFindsThatItIsToProjectAgain(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		stop := project(t, testProjector(t, cluster, topic, store))
		k.say(10)
		wantHistory(t, store, k.want)
		stop()
		end := store.next(0)
		partition := readPartition(t, testProjector(t, cluster, topic, store))
		ctx, cancel := context.WithCancel(brokertest.Context(t))
		defer cancel()
		ended := make(chan error, 1)
		go func() { _, err := partition.follow(ctx); ended <- err }()
		brokertest.WaitUntil(t, func() bool { return partition.progress.Load() != nil || len(ended) > 0 })
		if at := partition.progress.Load(); at == nil || at.next != end {
			t.Errorf("it reads from %+v on, not from %+v", at, end)
		}
		cancel()
		<-ended
	})
}

// What the log cannot tell must not count as told.
func TestAProjectionDoesNotGuessWhatTheLogWouldSay(t *testing.T) {
	ctx, stop := context.WithCancel(brokertest.Context(t))
	broker, cluster, _ := logtest.Controlled(t, 7)
	brokertest.Listed(broker, func(request *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		if request.Topics[0].Partitions[0].Timestamp >= 0 {
			stop()
			response.Topics[0].Partitions[0].ErrorCode = int16(kafkago.LeaderNotAvailable)
		}
	})
	p := New(cluster, Options{Topic: "log", Logger: brokertest.Logger(t)}).partition(2)
	if _, err := p.recall(ctx, 20); err == nil {
		t.Error("without an answer, it knows which invites are open")
	}
	if _, err := p.rebuildFrom(ctx); err == nil {
		t.Error("with its context ended, it knows where to begin")
	}

	broker, cluster, topic := logtest.Controlled(t, 1)
	ctx, stop = context.WithCancel(brokertest.Context(t))
	broker.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		stop()
		return nil, nil, false
	})
	p = testProjector(t, cluster, topic, newMemoryHistory()).partition(0)
	if anew, err := p.madeAnew(ctx, history.Projection{Next: placeOf(0, 5), Last: 4}, 0, 5); err == nil || anew {
		t.Errorf("with its last record not read, the log is another one: %t, %v", anew, err)
	}
}

// A record may have become unreadable since it was projected, or have been taken out.
func TestALogWithoutItsLastRecordIsTheSame(t *testing.T) {
	cluster, topic, _ := logtest.ClaimedLog(t)
	if err := brokertest.Produce(t, cluster, topic, 0, brokertest.StampedNow(brokertest.Batch{Count: 1, Producer: -1, Plain: []byte{200, 1}}.Bytes())); err != nil {
		t.Fatal(err)
	}
	p := testProjector(t, cluster, topic, newMemoryHistory()).partition(0)
	projected := history.Projection{Next: placeOf(0, 11), Last: 10, Fingerprint: history.RecordFingerprint{1}}
	if anew, err := p.madeAnew(brokertest.Context(t), projected, 5, 11); err != nil || anew {
		t.Errorf("it is another one: %t, %v", anew, err)
	}
}

// contended is a history that somebody else moves, and that tells how often it is asked.
type contended struct {
	*memoryHistory

	asked, moves int
	asking       func(n int)
}

func (c *contended) Projections(ctx context.Context) ([]history.Projection, error) {
	c.asked++
	c.asking(c.asked)
	return c.memoryHistory.Projections(ctx)
}

func (c *contended) MoveProjection(ctx context.Context, from, to history.Projection, blocks []blocks.State) error {
	if c.moves++; c.moves == 1 {
		return history.ErrProjectionMoved
	}
	return c.memoryHistory.MoveProjection(ctx, from, to, blocks)
}

func TestARebuildIsTriedUntilThePartitionStandsStill(t *testing.T) {
	cluster, topic, claims := logtest.ClaimedLog(t)
	claims.EndAt(9) // a leader that is behind
	store := &contended{memoryHistory: newMemoryHistory(), asking: func(n int) {
		if n == 3 { // the second try
			claims.EndAt(10)
		}
	}}
	store.projections[0] = history.Projection{Next: placeOf(0, 10), Last: -1}
	projector := testProjector(t, cluster, topic, store)
	projector.options.Embedded = false
	began := time.Now()
	rebuilt, err := projector.Rebuild(brokertest.Context(t), 0)
	if err != nil || store.moves != 2 || rebuilt.To != placeOf(0, 10) {
		t.Errorf("after %d moves, rebuilt is %+v, %v", store.moves, rebuilt, err)
	}
	if took := time.Since(began); took < 30*time.Millisecond { // half of the two pauses
		t.Errorf("it was tried three times in %s", took)
	}
}
