package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/history"
	"chatting/application/notice"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
	"chatting/test/topictest"
)

func testEnd(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	return ctx, end
}

// pacedProjector is a projector of some partitions whose beats a test gives.
type pacedProjector struct {
	t          *testing.T
	partitions []int
	store      *memoryHistory
	reader     *reader
	beats      chan time.Time
	flushes    *Flushes
}

// startPaced starts a projector of some partitions of a topic, and returns it once all of them rest.
func startPaced(
	t *testing.T, cluster *logclient.Cluster, topic string, count int, store *memoryHistory, flushes *Flushes, partitions ...int,
) *pacedProjector {
	t.Helper()
	p := &pacedProjector{t: t, partitions: partitions, store: store, beats: make(chan time.Time), flushes: flushes}
	projector := New(cluster, Options{
		Topic: topic, Partitions: count, Group: topic + ".history", Store: store, Retention: time.Hour, Embedded: true,
		Delay: time.Hour, Flushes: flushes, Logger: brokertest.Logger(t), beats: p.beats,
	})
	ctx, end := testEnd(t)
	ended := make(chan struct{}, len(partitions)+1)
	p.reader = newReader(ctx, projector)
	t.Cleanup(flushes.projects(partitions))
	go func() {
		p.reader.run(ctx)
		ended <- struct{}{}
	}()
	for _, number := range partitions {
		partition := projector.partition(number)
		partition.reader = p.reader
		go func() {
			partition.run(ctx)
			ended <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		end()
		for range cap(ended) {
			<-ended
		}
	})
	p.rest()
	return p
}

// rest waits until all partitions rest.
func (p *pacedProjector) rest() {
	p.t.Helper()
	brokertest.WaitUntil(p.t, func() (rest bool) {
		p.reader.tail.Between(p.t.Context(), func() {
			rest = len(p.reader.of) == len(p.partitions) && p.reader.tail.Resting()
		})
		return rest
	})
}

// readings returns what is read of each partition.
func (p *pacedProjector) readings() (of map[int]*projection) {
	p.reader.tail.Between(p.t.Context(), func() { of = maps.Clone(p.reader.of) })
	return of
}

func (p *pacedProjector) beat() { p.beats <- time.Time{} }

// transactions returns the partitions of each transaction since the last call.
func (m *memoryHistory) transactions() (took [][]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	took, m.took = m.took, nil
	for _, partitions := range took {
		slices.Sort(partitions)
	}
	return took
}

// sayInEach appends a message to each partition.
func sayInEach(t *testing.T, appender *appending.Appender, partitions ...int) {
	t.Helper()
	for _, wanted := range partitions {
		for user := domain.UserID(1); ; user++ {
			body := domain.ChatMessage{From: user, To: user + 1, Text: logtest.Text(t, "hello")}
			key := []byte(body.Conversation().Key())
			if appender.PartitionOf(key) != wanted {
				continue
			}
			value, err := kafka.EncodeEvent(domain.Event{ID: newEventID(), Time: time.Now(), Body: body})
			if err != nil {
				t.Fatal(err)
			}
			if err := appender.Await(brokertest.Context(t), wanted, recordbatch.Record{Key: key, Value: value}); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
}

func (m *memoryHistory) wantNext(t *testing.T, want int64, partitions ...int) {
	t.Helper()
	brokertest.WaitUntil(t, func() bool {
		return !slices.ContainsFunc(partitions, func(p int) bool { return m.next(p).Offset < want })
	})
}

// However little is said, and in however many conversations: what comes between two beats is one transaction.
func TestWhatAllPartitionsHaveIsOneTransactionABeat(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		const partitions, beats, trickle = 4, 5, 3
		topic := topictest.Topics(t, cluster, partitions).Conversations
		appender := topictest.Appender(t, cluster, topic, partitions)
		defer appender.Close(brokertest.Context(t))
		store := newMemoryHistory()
		p := startPaced(t, cluster, topic, partitions, store, NewFlushes(nil), 0, 1, 2, 3)
		if took := store.transactions(); len(took) != 0 {
			t.Errorf("nothing is projected in %v", took)
		}
		for n := range int64(beats) {
			for range trickle {
				sayInEach(t, appender, 0, 1, 2, 3)
			}
			p.beat()
			store.wantNext(t, trickle*(n+1), 0, 1, 2, 3)
			p.rest()
			if took := store.transactions(); len(took) != 1 || !slices.Equal(took[0], []int{0, 1, 2, 3}) {
				t.Errorf("beat %d: projected in %v, want one transaction of four partitions", n, took)
			}
		}
		sayInEach(t, appender, 2)
		p.flushes.Hear()
		store.wantNext(t, trickle*beats+1, 2)
		p.rest()
		if took := store.transactions(); len(took) != 1 || !slices.Equal(took[0], []int{2}) {
			t.Errorf("after a wish: projected in %v", took)
		}
	})
}

func TestAPartitionThatCannotBeProjectedDoesNotHoldUpTheOthers(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		const partitions = 4
		topic := topictest.Topics(t, cluster, partitions).Conversations
		appender := topictest.Appender(t, cluster, topic, partitions)
		defer appender.Close(brokertest.Context(t))
		for _, why := range []error{history.ErrProjectionMoved, errDatabase, errors.New("the row is refused")} {
			store := newMemoryHistory()
			p := startPaced(t, cluster, topic, partitions, store, NewFlushes(nil), 0, 1, 2, 3)
			before := store.next(0).Offset
			store.mu.Lock()
			store.refuses = func(b history.ProjectionBatch) error {
				if b.To.Next.Partition == 1 {
					return why
				}
				return nil
			}
			store.mu.Unlock()
			sayInEach(t, appender, 0, 1, 2, 3)
			readings := p.readings()
			p.beat()
			store.wantNext(t, before+1, 0, 2, 3)
			for number, h := range p.readings() {
				if goesOn := h == readings[number]; number != 1 && !goesOn {
					t.Errorf("%v: partition %d has to find where to go on", why, number)
				}
			}
			if next := store.next(1).Offset; next != before {
				t.Errorf("%v: the partition is projected up to %d", why, next)
			}
			store.mu.Lock()
			store.refuses = nil
			store.mu.Unlock()
			store.wantNext(t, before+1, 1) // without a beat
		}
	})
}

// countedCalls is a store that counts how often something is projected, and whose database is away.
type countedCalls struct {
	history.ProjectionStore

	calls int
}

func (c *countedCalls) Project(context.Context, ...history.ProjectionBatch) error {
	c.calls++
	return errDatabase
}

func TestADatabaseThatIsAwayIsNotAskedForEachPartition(t *testing.T) {
	store := &countedCalls{}
	reader := newReader(t.Context(), New(nil, Options{Store: store, Logger: brokertest.Logger(t)}))
	for batches, want := range map[int]int{0: 0, 1: 1, 2: 3, 16: 3} {
		store.calls = 0
		outcomes := reader.project(make([]history.ProjectionBatch, batches))
		if store.calls != want || len(outcomes) != batches || slices.Contains(outcomes, nil) {
			t.Errorf("%d batches: asked %d times, want %d; the outcomes are %v", batches, store.calls, want, outcomes)
		}
	}
}

// The wish of a node comes to the projectors of all nodes, and leaves no trace in who is online: these nodes know of nobody.
func TestAWishForTheHistoryComesToTheNodeThatProjectsThePartition(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		const partitions = 2
		names := topictest.Topics(t, cluster, partitions)
		appender := topictest.Appender(t, cluster, names.Conversations, partitions)
		defer appender.Close(brokertest.Context(t))
		store := newMemoryHistory()
		var nodes []*pacedProjector
		for number := range partitions {
			sessions := topictest.Appender(t, cluster, names.Sessions, partitions)
			defer sessions.Close(brokertest.Context(t))
			flushes := NewFlushes(kafka.NewSessions(sessions))
			ctx, end := testEnd(t)
			tail := logclient.NewTail(cluster, logclient.TailOptions{
				Topic: names.Sessions, From: map[int]int64{0: 0, 1: 0}, Logger: brokertest.Logger(t),
				Handler: &kafka.SessionTail{
					FlushWanted: flushes.Hear, Lost: func() { t.Error("records are lost") },
					Notices: notice.NewLog(slog.New(slog.DiscardHandler), time.Now),
				},
			})
			ended := make(chan error, 2)
			go func() { ended <- tail.Run(ctx) }()
			go func() { flushes.Run(ctx); ended <- nil }()
			defer func() { end(); <-ended; <-ended }()
			nodes = append(nodes, startPaced(t, cluster, names.Conversations, partitions, store, flushes, number))
		}
		told := func() int64 {
			ends, err := logclient.Ends(brokertest.Context(t), cluster, names.Sessions, partitions)
			if err != nil || ends[1] != 0 {
				t.Fatalf("%v, %v", ends, err)
			}
			return ends[0]
		}
		for i, c := range []struct {
			partitions []int
			told       int64
		}{
			{[]int{0}, 0}, // its own: nobody else has to know
			{[]int{1}, 1},
			{[]int{0, 1}, 2},
		} {
			// Before anything is said: node 0 may still hear the wish of the round before, and project it at once.
			before := []int64{store.next(0).Offset, store.next(1).Offset}
			sayInEach(t, appender, c.partitions...)
			nodes[0].flushes.FlushHistory(c.partitions)
			for _, p := range c.partitions {
				store.wantNext(t, before[p]+1, p)
			}
			if got := told(); got != c.told {
				t.Errorf("%s: the log of sessions has %d records, want %d", fmt.Sprint("wish ", i), got, c.told)
			}
		}
	})
}
