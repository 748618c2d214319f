package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"chatting/application"
	"chatting/domain"
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
	reader     *projectionReader
	beats      chan time.Time
	flushes    *HistoryFlushes
}

// startPaced starts a projector of some partitions of a topic, and returns it once all of them rest.
func startPaced(
	t *testing.T, cluster *Cluster, topic string, count int, store *memoryHistory, flushes *HistoryFlushes, partitions ...int,
) *pacedProjector {
	t.Helper()
	p := &pacedProjector{t: t, partitions: partitions, store: store, beats: make(chan time.Time), flushes: flushes}
	projector := NewProjector(cluster, ProjectorOptions{
		Topic: topic, Partitions: count, Group: topic + ".history", Store: store, Retention: time.Hour, Embedded: true,
		Delay: time.Hour, Flushes: flushes, Logger: testLogger(t), beats: p.beats,
	})
	ctx, end := testEnd(t)
	ended := make(chan struct{}, len(partitions)+1)
	p.reader = newProjectionReader(ctx, projector)
	t.Cleanup(flushes.projects(partitions))
	go func() {
		p.reader.run(ctx)
		ended <- struct{}{}
	}()
	for _, number := range partitions {
		partition := &projectedPartition{projector: projector, number: number, reader: p.reader}
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
	waitUntil(p.t, func() (rest bool) {
		p.reader.tail.do(p.t.Context(), func() {
			rest = len(p.reader.tail.partitions) == len(p.partitions)
			for _, state := range p.reader.tail.partitions {
				rest = rest && !state.fetching && p.reader.tail.rests(state)
			}
		})
		return rest
	})
}

// readings returns what is read of each partition.
func (p *pacedProjector) readings() (of map[int]*projection) {
	p.reader.tail.do(p.t.Context(), func() { of = maps.Clone(p.reader.of) })
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
func sayInEach(t *testing.T, appender *Appender, partitions ...int) {
	t.Helper()
	for _, wanted := range partitions {
		for user := domain.UserID(1); ; user++ {
			body := domain.ChatMessage{From: user, To: user + 1, Text: mustText(t, "hello")}
			key := []byte(body.Conversation().Key())
			if appender.PartitionOf(key) != wanted {
				continue
			}
			value, err := encodeEvent(domain.Event{ID: newEventID(), Time: time.Now(), Body: body})
			if err != nil {
				t.Fatal(err)
			}
			outcome := make(chan error, 1)
			appender.appendTo(wanted, eventRecord(key, value), func(err error) { outcome <- err })
			if err := <-outcome; err != nil {
				t.Fatal(err)
			}
			break
		}
	}
}

func (m *memoryHistory) wantNext(t *testing.T, want int64, partitions ...int) {
	t.Helper()
	waitUntil(t, func() bool {
		return !slices.ContainsFunc(partitions, func(p int) bool { return m.next(p).Offset < want })
	})
}

// However little is said, and in however many conversations: what comes between two beats is one transaction.
func TestWhatAllPartitionsHaveIsOneTransactionABeat(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		const partitions, beats, trickle = 4, 5, 3
		topic := testTopics(t, cluster, partitions).Conversations
		appender := testAppender(t, cluster, topic, partitions)
		defer appender.Close(testContext(t))
		store := newMemoryHistory()
		p := startPaced(t, cluster, topic, partitions, store, NewHistoryFlushes(nil), 0, 1, 2, 3)
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
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		const partitions = 4
		topic := testTopics(t, cluster, partitions).Conversations
		appender := testAppender(t, cluster, topic, partitions)
		defer appender.Close(testContext(t))
		for _, why := range []error{application.ErrProjectionMoved, errDatabase, errors.New("the row is refused")} {
			store := newMemoryHistory()
			p := startPaced(t, cluster, topic, partitions, store, NewHistoryFlushes(nil), 0, 1, 2, 3)
			before := store.next(0).Offset
			store.mu.Lock()
			store.refuses = func(b application.ProjectionBatch) error {
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
	application.ProjectionStore

	calls int
}

func (c *countedCalls) Project(context.Context, ...application.ProjectionBatch) error {
	c.calls++
	return errDatabase
}

func TestADatabaseThatIsAwayIsNotAskedForEachPartition(t *testing.T) {
	store := &countedCalls{}
	reader := newProjectionReader(t.Context(), NewProjector(nil, ProjectorOptions{Store: store, Logger: testLogger(t)}))
	for batches, want := range map[int]int{0: 0, 1: 1, 2: 3, 16: 3} {
		store.calls = 0
		outcomes := reader.project(make([]application.ProjectionBatch, batches))
		if store.calls != want || len(outcomes) != batches || slices.Contains(outcomes, nil) {
			t.Errorf("%d batches: asked %d times, want %d; the outcomes are %v", batches, store.calls, want, outcomes)
		}
	}
}

// The wish of a node comes to the projectors of all nodes, and leaves no trace in who is online: these nodes know of nobody.
func TestAWishForTheHistoryComesToTheNodeThatProjectsThePartition(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		const partitions = 2
		names := testTopics(t, cluster, partitions)
		appender := testAppender(t, cluster, names.Conversations, partitions)
		defer appender.Close(testContext(t))
		store := newMemoryHistory()
		var nodes []*pacedProjector
		for number := range partitions {
			sessions := testAppender(t, cluster, names.Sessions, partitions)
			defer sessions.Close(testContext(t))
			flushes := NewHistoryFlushes(NewSessions(sessions))
			ctx, end := testEnd(t)
			tail := NewTail(cluster, TailOptions{
				Topic: names.Sessions, From: map[int]int64{0: 0, 1: 0}, Logger: testLogger(t),
				Handler: &SessionTail{
					HistoryWanted: flushes.Hear, Lost: func() { t.Error("records are lost") },
					Notices: application.NewNotices(slog.New(slog.DiscardHandler), now),
				},
			})
			ended := make(chan error, 2)
			go func() { ended <- tail.Run(ctx) }()
			go func() { flushes.Run(ctx); ended <- nil }()
			defer func() { end(); <-ended; <-ended }()
			nodes = append(nodes, startPaced(t, cluster, names.Conversations, partitions, store, flushes, number))
		}
		told := func() int64 {
			ends, err := EndsOf(testContext(t), cluster, names.Sessions, partitions)
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
			sayInEach(t, appender, c.partitions...)
			before := []int64{store.next(0).Offset, store.next(1).Offset}
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
