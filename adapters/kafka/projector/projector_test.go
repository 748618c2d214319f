package projector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/groups"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
	"chatting/test/topictest"
)

// memoryHistory is a history in memory that fails as a database does: before anything was done, or after all was.
type memoryHistory struct {
	mu          sync.Mutex
	projections map[int]history.Projection
	entries     []history.JudgedEntry
	changes     []history.JudgedChange
	stored      []blocks.Stored
	fails       func() (before, after bool)               // nil: never
	refuses     func(batch history.ProjectionBatch) error // nil: none
	// took are the partitions of each transaction that projected something.
	took [][]int
}

func newMemoryHistory() *memoryHistory {
	return &memoryHistory{projections: make(map[int]history.Projection)}
}

var errDatabase = domain.NewError(domain.CodeUnavailable, "The database is not available.")

func (m *memoryHistory) Projections(context.Context) ([]history.Projection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []history.Projection
	for _, p := range m.projections {
		all = append(all, p)
	}
	return all, nil
}

func (m *memoryHistory) StoredBlocks(context.Context) ([]blocks.Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.stored), nil
}

// transaction moves the projections of some batches and does f, or fails.
func (m *memoryHistory) transaction(f func(), batches ...history.ProjectionBatch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var before, after bool
	if m.fails != nil {
		before, after = m.fails()
	}
	if before {
		return errDatabase
	}
	for _, b := range batches {
		at, ok := m.projections[b.To.Next.Partition]
		if ok && at.Next != b.From.Next || !ok && b.From.Next.Generation != 0 {
			return history.ErrProjectionMoved
		}
		if m.refuses != nil {
			if err := m.refuses(b); err != nil {
				return err
			}
		}
	}
	for _, b := range batches {
		m.projections[b.To.Next.Partition] = b.To
	}
	f()
	if after {
		return errDatabase
	}
	return nil
}

func (m *memoryHistory) Project(_ context.Context, batches ...history.ProjectionBatch) error {
	return m.transaction(func() {
		var partitions []int
		for _, batch := range batches {
			partitions = append(partitions, batch.To.Next.Partition)
			m.project(batch)
		}
		m.took = append(m.took, partitions)
	}, batches...)
}

func (m *memoryHistory) project(batch history.ProjectionBatch) {
	m.entries = slices.DeleteFunc(m.entries, func(e history.JudgedEntry) bool {
		return e.Place.Partition == batch.From.Next.Partition &&
			!e.Place.Before(batch.From.Next) && e.Place.Before(batch.To.Next)
	})
	blocks := make(map[blocks.Pair]blocks.State)
	for _, change := range m.changes {
		if change.At.Before(batch.From.Next) && change.Version > blocks[change.Pair].Version {
			blocks[change.Pair] = change.State
		}
	}
	entries, changes := batch.Judge(blocks, nil)
	for _, entry := range entries {
		if !slices.ContainsFunc(m.entries, func(e history.JudgedEntry) bool { return e.ID == entry.ID }) {
			m.entries = append(m.entries, entry)
		}
	}
	for _, change := range changes {
		if at, ok := batch.Replaced(change); ok {
			m.changes = slices.DeleteFunc(m.changes, func(c history.JudgedChange) bool {
				return c.Pair == change.Pair && c.At == at
			})
		}
		if !slices.ContainsFunc(m.changes, func(c history.JudgedChange) bool { return c == change }) {
			m.changes = append(m.changes, change)
		}
	}
}

func (m *memoryHistory) MoveProjection(_ context.Context, from, to history.Projection, blocks []blocks.State) error {
	return m.transaction(func() {
		at := to.Next
		at.Offset--
		for _, block := range blocks {
			m.changes = append(m.changes, history.JudgedChange{State: block, At: at})
		}
	}, history.ProjectionBatch{From: from, To: to})
}

// of returns what the history has of a partition, in the log's order: each entry's id and whether it is hidden.
func (m *memoryHistory) of(partition int) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries := slices.Clone(m.entries)
	slices.SortFunc(entries, func(a, b history.JudgedEntry) int {
		if a.Place.Before(b.Place) {
			return -1
		}
		return 1
	})
	var list []string
	for _, e := range entries {
		if e.Place.Partition == partition {
			list = append(list, entryLine(e.Place.Generation, e.ID, e.Hidden))
		}
	}
	return list
}

func entryLine(generation int64, id domain.EventID, hidden bool) string {
	return fmt.Sprint(generation, " ", id, " hidden: ", hidden)
}

func (m *memoryHistory) next(partition int) domain.Place {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.projections[partition].Next
}

// talk appends random messages and blocks between users 1 and 2, and returns what the history is to have of them.
type talk struct {
	t          *testing.T
	log        *kafka.Conversations
	generation int64
	version    int64
	blocked    bool // 2 blocks 1
	want       []string
}

func (k *talk) append(event domain.Event) {
	k.t.Helper()
	outcome := make(chan error, 1)
	k.log.Append(event, func(err error) { outcome <- err })
	if err := <-outcome; err != nil {
		k.t.Fatal(err)
	}
}

// say appends so many. The last one is a message: the history that has all messages has then come to the end of the log.
func (k *talk) say(n int) {
	k.t.Helper()
	var appended sync.WaitGroup
	for i := range n {
		if rand.N(10) == 0 && i < n-1 {
			appended.Wait() // the order of two that are under way is theirs
			k.block(!k.blocked)
			continue
		}
		text, err := domain.NewText("hello")
		if err != nil {
			k.t.Fatal(err)
		}
		body := domain.ChatMessage{From: 1, To: 2, Text: text}
		if rand.N(3) == 0 {
			body.From, body.To = 2, 1
		}
		event := domain.Event{ID: newEventID(), Time: time.Now(), Body: body}
		k.want = append(k.want, entryLine(k.generation, event.ID, k.blocked && body.From == 1))
		appended.Add(1)
		k.log.Append(event, func(err error) {
			defer appended.Done()
			if err != nil {
				k.t.Error(err)
			}
		})
	}
	appended.Wait()
}

// message makes a message of 1 to 2 that the history is to have.
func (k *talk) message() domain.Event {
	k.t.Helper()
	text, err := domain.NewText("hello")
	if err != nil {
		k.t.Fatal(err)
	}
	event := domain.Event{ID: newEventID(), Time: time.Now(), Body: domain.ChatMessage{From: 1, To: 2, Text: text}}
	k.want = append(k.want, entryLine(k.generation, event.ID, k.blocked))
	return event
}

func (k *talk) block(on bool) {
	k.version++
	k.blocked = on
	change := domain.Event{ID: newEventID(), Time: time.Now(), Body: domain.BlockChanged{
		Blocker: 2, Target: 1, Blocked: on, Version: k.version,
	}}
	k.append(change)
	if rand.N(2) == 0 {
		k.append(change) // a relay publishes it again
	}
}

func newEventID() (id domain.EventID) {
	for i := range id {
		id[i] = byte(rand.N(256))
	}
	return id
}

// historyTopic makes a topic of one partition, and what writes and reads it.
func historyTopic(t *testing.T, cluster *logclient.Cluster) (*talk, string) {
	t.Helper()
	names := topictest.Topics(t, cluster, 1)
	return &talk{t: t, log: testConversations(t, cluster, names.Conversations), generation: 1}, names.Conversations
}

func testConversations(t *testing.T, cluster *logclient.Cluster, topic string) *kafka.Conversations {
	t.Helper()
	appender := topictest.Appender(t, cluster, topic, 1)
	log := kafka.NewConversations(cluster, appender)
	t.Cleanup(func() {
		appender.Close(brokertest.Context(t))
		log.Close()
	})
	return log
}

func testProjector(t *testing.T, cluster *logclient.Cluster, topic string, store history.ProjectionStore) *Projector {
	t.Helper()
	return New(cluster, Options{
		Topic: topic, Partitions: 1, Group: topic + ".history", Store: store, Retention: time.Hour,
		Embedded: true, Logger: brokertest.Logger(t),
	})
}

// project has a projector serve the partition, as the group does, until the function that it returns is called.
func project(t *testing.T, projector *Projector) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- projector.serve(ctx, nil, []groups.Assignment{{Partition: 0}}) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func wantHistory(t *testing.T, store *memoryHistory, want []string) {
	t.Helper()
	brokertest.WaitUntil(t, func() bool { return len(store.of(0)) >= len(want) })
	if got := store.of(0); !slices.Equal(got, want) {
		t.Fatalf("the history has\n%q, want\n%q", got, want)
	}
}

func TestTheProjectorOfAGroupTakesTheLogIntoTheHistory(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		k.say(100)
		store := newMemoryHistory()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- testProjector(t, cluster, topic, store).Run(ctx) }()
		wantHistory(t, store, k.want)
		k.say(100)
		wantHistory(t, store, k.want)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestFailuresOfTheDatabaseAndTwoProjectorsAtOnceLeaveTheHistoryWhole(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		store.fails = func() (before, after bool) { return rand.N(4) == 0, rand.N(4) == 0 }
		project(t, testProjector(t, cluster, topic, store))
		project(t, testProjector(t, cluster, topic, store))
		for range 20 {
			k.say(20)
		}
		wantHistory(t, store, k.want)
	})
}

func TestARebuildGivesTheSameHistoryThoughProjectorsCrash(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		for range 5 {
			projector := testProjector(t, cluster, topic, store)
			stop := project(t, projector)
			k.say(30)
			if len(k.want) > 40 {
				wantHistory(t, store, k.want)
				end := store.next(0)
				rebuilt, err := projector.Rebuild(brokertest.Context(t), 0)
				if err != nil || rebuilt.From.Offset != 0 || rebuilt.To.Offset < end.Offset {
					t.Fatalf("rebuilt %+v, %v", rebuilt, err)
				}
			}
			stop() // wherever it is
		}
		project(t, testProjector(t, cluster, topic, store))
		brokertest.WaitUntil(t, func() bool { return store.next(0).Offset >= int64(len(k.want)) })
		wantHistory(t, store, k.want)
	})
}

func TestAProjectorThatWaitsAtTheEndOfItsLogFindsThatItIsToProjectAgain(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		projector := testProjector(t, cluster, topic, store)
		project(t, projector)
		k.say(30)
		wantHistory(t, store, k.want)
		end := store.next(0)
		store.mu.Lock()
		store.entries = nil // somebody has spoilt it
		store.mu.Unlock()
		if _, err := projector.Rebuild(brokertest.Context(t), 0); err != nil {
			t.Fatal(err)
		}
		brokertest.WaitUntil(t, func() bool { return !store.next(0).Before(end) })
		wantHistory(t, store, k.want)
	})
}

func TestAPartitionThatWasNeverProjectedIsNotRebuilt(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		k.say(10)
		rebuilt, err := testProjector(t, cluster, topic, newMemoryHistory()).Rebuild(brokertest.Context(t), 0)
		if err != nil || rebuilt != (Rebuilt{}) {
			t.Errorf("rebuilt %+v, %v", rebuilt, err)
		}
	})
}

func TestWhatIsNoEventOfThisServerIsLeftOut(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		writer := kafkago.Writer{
			Addr: cluster.Client().Addr, Topic: topic, RequiredAcks: kafkago.RequireAll, Transport: cluster.Client().Transport, BatchTimeout: time.Millisecond,
		}
		if err := writer.WriteMessages(brokertest.Context(t),
			kafkago.Message{Key: []byte("1:2"), Value: []byte("poison")}, kafkago.Message{Key: []byte("2:1"), Value: []byte("{}")},
			kafkago.Message{}, kafkago.Message{Key: []byte("1:2")}, kafkago.Message{Key: make([]byte, 1000), Value: []byte("x")},
		); err != nil {
			t.Fatal(err)
		}
		k.say(10)
		project(t, testProjector(t, cluster, topic, store))
		wantHistory(t, store, k.want)
	})
}

// The log begins in the middle of the story: what of it is expired was said before a history was kept.
func TestAHistoryThatBeginsLateKnowsTheBlocksWhoseRecordsAreGone(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		k.version, k.blocked = 5, true // the record of version 5 is gone
		k.say(20)
		for range 3 {
			k.block(!k.blocked)
			k.say(20)
		}
		pair := blocks.Pair{Blocker: 2, Target: 1}
		store.stored = []blocks.Stored{
			{State: blocks.State{Pair: pair, Blocked: k.blocked, Version: k.version}},
			{State: blocks.State{Pair: blocks.Pair{Blocker: 1, Target: 2}, Version: 2}},
		}
		project(t, testProjector(t, cluster, topic, store))
		wantHistory(t, store, k.want)
	})
}

func TestATopicMadeAnewIsProjectedFromItsStart(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		if strings.HasSuffix(t.Name(), "/embedded") {
			t.Skip("the broker inside the process deletes no topics")
		}
		for name, running := range map[string]bool{"while a projector runs": true, "while none does": false} {
			t.Run(name, func(t *testing.T) {
				k, topic := historyTopic(t, cluster)
				store := newMemoryHistory()
				projector := testProjector(t, cluster, topic, store)
				stop := project(t, projector)
				k.say(30)
				wantHistory(t, store, k.want)
				if !running {
					stop()
				}
				makeAnew(t, cluster, topic)
				again := &talk{
					t: t, log: testConversations(t, cluster, topic), generation: 2, version: k.version, blocked: k.blocked,
				}
				again.say(60) // beyond where the earlier one ended
				if !running {
					project(t, projector)
				}
				wantHistory(t, store, append(k.want, again.want...))
			})
		}
	})
}

// makeAnew deletes a topic of one partition and makes it again.
func makeAnew(t *testing.T, cluster *logclient.Cluster, topic string) {
	t.Helper()
	ctx := brokertest.Context(t)
	deleted, err := cluster.Client().DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil || deleted.Errors[topic] != nil {
		t.Fatal(err, deleted)
	}
	brokertest.WaitUntil(t, func() bool {
		created, err := cluster.Client().CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
			{Topic: topic, NumPartitions: 1, ReplicationFactor: 1},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return created.Errors[topic] == nil
	})
	brokertest.WaitUntil(t, func() bool {
		ends, err := cluster.Offsets(ctx, topic, []int{0}, logclient.End)
		return err == nil && ends[0] == 0
	})
}

func TestALogThatEndsEarlierIsBelievedOnceItHasSaidSoForAWhile(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		k.say(10)
		store := newMemoryHistory()
		store.projections[0] = history.Projection{
			Next: domain.Place{Generation: 1, Offset: 1000}, Last: 999,
		}
		projector := testProjector(t, cluster, topic, store)
		projector.options.Embedded = false
		partition := projector.partition(0)
		if _, err := partition.locate(brokertest.Context(t)); !errors.Is(err, errPastEnd) {
			t.Fatalf("%v at first", err)
		}
		partition.pastEnd = partition.pastEnd.Add(-logclient.PastEndPatience)
		at, err := partition.locate(brokertest.Context(t))
		if want := (domain.Place{Generation: 2}); err != nil || at.Next != want {
			t.Errorf("goes on at %+v, %v", at.Next, err)
		}
	})
}
