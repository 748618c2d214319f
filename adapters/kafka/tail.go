package kafka

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// TailHandler takes what a tail reads. All calls come from one goroutine; until it returns, nothing further is read.
type TailHandler interface {
	// Record takes the next record of its partition. It is valid until the call returns.
	Record(record *TailRecord)
	// BatchEnd tells that the records of one answer of one partition are through, if there were any: the next one will be
	// at or past next.
	BatchEnd(partition int, next int64)
	// Hole tells that a partition's offsets from the first (included) to the second (excluded) are lost to this tail; a
	// second below the first tells that the topic was made anew and is read on from there.
	Hole(partition int, from, to int64)
}

// TailOptions say what to read.
type TailOptions struct {
	Topic string
	// From is the first offset to read of each partition to read.
	From    map[int]int64
	Handler TailHandler
	// Interrupted, where it is set, is called by the goroutine of Handler when a partition cannot be read, for whatever
	// reason: what is read later may be of another topic of the same name.
	Interrupted func()
	Logger      *slog.Logger
}

// Tail reads partitions of one topic from absolute offsets on, for as long as Run runs: one long-poll to each leader,
// with all its partitions. Changes of leaders, brokers that are away, lost starts of logs and damaged batches are its
// own affair; what is lost by them is reported as a hole.
type Tail struct {
	cluster  *Cluster
	options  TailOptions
	patience time.Duration // pastEndPatience, but in tests
	// record and key are what the handler looks at, used again for each.
	record TailRecord
	key    [maxKey]byte

	mu         sync.Mutex
	partitions map[int]*tailPartition
	moved      chan struct{} // closed and replaced when a position moved
}

// tailPartition is a partition's state. What the fetching goroutine alone uses is below the blank line.
type tailPartition struct {
	position int64 // the next offset to read
	lastOK   time.Time
	// atEnd tells that the last answer left nothing unread.
	atEnd bool

	fetching bool
	notYet   time.Time // after an error: when to ask again
	retry    backoff
	isolate  bool      // an answer with this partition could not be decoded: ask for it alone
	damaged  int       // how often it could not be decoded alone
	pastEnd  time.Time // since when its leader says that its log ends before the position; zero while it does not
}

// NewTail prepares a tail.
func NewTail(cluster *Cluster, options TailOptions) *Tail {
	t := &Tail{
		cluster: cluster, options: options, patience: pastEndPatience,
		partitions: make(map[int]*tailPartition, len(options.From)), moved: make(chan struct{}),
	}
	for partition, from := range options.From {
		t.partitions[partition] = &tailPartition{position: from}
	}
	return t
}

const (
	// fetchWait is how long a leader without news holds its answer.
	fetchWait = 500 * time.Millisecond
	// fetchTimeout is how long an answer may take before the leader is asked again, or another one.
	fetchTimeout = 3 * time.Second
	// fetchBytes and fetchPartitionBytes bound an answer; a single larger batch still comes (KIP-74).
	fetchBytes          = 8 << 20
	fetchPartitionBytes = 1 << 20
	// leaderPoll is how often partitions without a leader are looked at again.
	leaderPoll = 100 * time.Millisecond
	// pastEndPatience is for how long a log must end before the position until it counts as made anew. A leader that was
	// stopped, or cut off, and does not know yet that it was deposed says the same, and may be asked while the metadata is
	// its own: read from its end, records would come twice.
	pastEndPatience = 15 * time.Second
)

// fetched is what one fetch came to.
type fetched struct {
	leader     int
	partitions []int
	response   *fetch.Response
	err        error
}

// Run reads until ctx ends, and then returns nil once its fetches have ended.
func (t *Tail) Run(ctx context.Context) error {
	results := make(chan fetched)
	busy := make(map[int]bool) // leaders with a fetch under way
	defer func() {
		for range busy {
			<-results
		}
	}()
	ticker := time.NewTicker(leaderPoll)
	defer ticker.Stop()
	for {
		for leader, partitions := range t.assign(ctx, busy) {
			busy[leader] = true
			request := t.request(partitions)
			go func() { results <- t.fetch(ctx, leader, partitions, request) }()
		}
		select {
		case <-ctx.Done():
			return nil
		case result := <-results:
			delete(busy, result.leader)
			t.take(ctx, result)
		case <-ticker.C:
		}
	}
}

// assign groups the partitions that may be asked for now by leader, leaving out leaders with a fetch under way. A
// partition whose answers could not be decoded goes alone.
func (t *Tail) assign(ctx context.Context, busy map[int]bool) map[int][]int {
	leaders := t.leaders(ctx)
	groups := make(map[int][]int)
	alone := make(map[int]bool)
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for partition, state := range t.partitions {
		leader, known := leaders[partition]
		if !known || busy[leader] || alone[leader] || state.fetching || now.Before(state.notYet) {
			continue
		}
		if state.isolate {
			groups[leader] = []int{partition}
			alone[leader] = true
			continue
		}
		groups[leader] = append(groups[leader], partition)
	}
	for _, partitions := range groups {
		for _, partition := range partitions {
			t.partitions[partition].fetching = true
		}
	}
	return groups
}

// leaders returns who leads each partition, as the transport last heard.
func (t *Tail) leaders(ctx context.Context) map[int]int {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	response, err := t.cluster.transport.RoundTrip(ctx, t.cluster.addr, &metadata.Request{TopicNames: []string{t.options.Topic}})
	if err != nil {
		return nil
	}
	answer, ok := response.(*metadata.Response)
	if !ok {
		return nil
	}
	leaders := make(map[int]int)
	for _, topic := range answer.Topics {
		for _, partition := range topic.Partitions {
			if partition.LeaderID >= 0 {
				leaders[int(partition.PartitionIndex)] = int(partition.LeaderID)
			}
		}
	}
	return leaders
}

// request asks for the partitions from their positions on. Leader and session epochs are -1 for none: zero would name an
// epoch, which after the first change of leaders is refused for ever (error 74), and open a session at each call.
func (t *Tail) request(partitions []int) *fetch.Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	topic := fetch.RequestTopic{Topic: t.options.Topic}
	for _, partition := range partitions {
		topic.Partitions = append(topic.Partitions, fetch.RequestPartition{
			Partition: int32(partition), CurrentLeaderEpoch: -1, LogStartOffset: -1,
			FetchOffset: t.partitions[partition].position, PartitionMaxBytes: fetchPartitionBytes,
		})
	}
	return &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(fetchWait.Milliseconds()), MinBytes: 1, MaxBytes: fetchBytes,
		SessionEpoch: -1, Topics: []fetch.RequestTopic{topic},
	}
}

func (t *Tail) fetch(ctx context.Context, leader int, partitions []int, request *fetch.Request) fetched {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	result := fetched{leader: leader, partitions: partitions}
	response, err := t.cluster.transport.RoundTrip(ctx, t.cluster.addr, request)
	if err != nil {
		result.err = err
		return result
	}
	result.response, _ = response.(*fetch.Response)
	if result.response == nil {
		result.err = errors.New("an answer that is none to the request")
	}
	return result
}

// take hands the records of an answer to the handler and moves the positions.
func (t *Tail) take(ctx context.Context, result fetched) {
	defer t.released(result.partitions)
	if ctx.Err() != nil {
		return
	}
	if result.err != nil {
		t.failed(ctx, result)
		return
	}
	answered := make(map[int]bool, len(result.partitions))
	for i := range result.response.Topics {
		topic := &result.response.Topics[i]
		for j := range topic.Partitions {
			answered[int(topic.Partitions[j].Partition)] = true
			t.takePartition(ctx, &topic.Partitions[j])
		}
	}
	// A broker that throttles answers at once, and names no partition: nothing was interrupted by that.
	for _, partition := range result.partitions {
		if !answered[partition] {
			t.later(t.partitions[partition])
		}
	}
}

func (t *Tail) takePartition(ctx context.Context, p *fetch.ResponsePartition) {
	partition := int(p.Partition)
	state := t.partitions[partition]
	if state == nil {
		return
	}
	switch code := kafka.Error(p.ErrorCode); code {
	case 0:
		before := state.position
		next := t.records(partition, state, p)
		state.retry, state.isolate, state.damaged, state.pastEnd = backoff{}, false, 0, time.Time{}
		if next > before {
			t.options.Handler.BatchEnd(partition, next)
		}
		t.move(state, next, next >= p.HighWatermark)
	case kafka.OffsetOutOfRange:
		t.relocate(ctx, partition, state)
	default:
		level := slog.LevelDebug
		if code == kafka.TopicAuthorizationFailed && state.retry.count == 0 {
			level = slog.LevelError // it will not pass
		}
		t.options.Logger.Log(ctx, level, "a partition cannot be read now", "topic", t.options.Topic, "partition", partition, "error", code)
		t.postpone(state)
	}
}

// move notes the next offset to read and wakes who waits for it.
func (t *Tail) move(state *tailPartition, next int64, atEnd bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	state.position = next
	state.lastOK = time.Now()
	state.atEnd = atEnd
	close(t.moved)
	t.moved = make(chan struct{})
}

// postpone has a partition that cannot be read asked for later.
func (t *Tail) postpone(state *tailPartition) {
	if t.options.Interrupted != nil {
		t.options.Interrupted()
	}
	t.later(state)
}

// later has the partition asked for a little later, each time later.
func (t *Tail) later(state *tailPartition) {
	state.notYet = time.Now().Add(state.retry.next())
}

func (t *Tail) released(partitions []int) {
	for _, partition := range partitions {
		t.partitions[partition].fetching = false
	}
}

// failed handles a fetch without an answer. Where the answer came but could not be decoded, one bad batch hides all the
// others of the answer: each partition is asked for alone until one of them turns out to be the damaged one.
func (t *Tail) failed(ctx context.Context, result fetched) {
	damaged := !isTransient(result.err)
	for _, partition := range result.partitions {
		state := t.partitions[partition]
		t.postpone(state)
		if !damaged {
			continue
		}
		if !state.isolate || len(result.partitions) > 1 {
			state.isolate = true
			continue
		}
		if state.damaged++; state.damaged >= damagedTries {
			t.stepOver(ctx, partition, state, result.err)
		}
	}
	if damaged {
		t.options.Logger.Warn("an answer of the log cannot be read", "topic", t.options.Topic,
			"partitions", len(result.partitions), "error", result.err)
	}
}

// damagedTries is how often a partition is asked for alone before its next offset counts as lost: a connection that broke
// within an answer looks the same as a damaged batch.
const damagedTries = 3

// stepOver gives up the next offset of a damaged partition, below its end.
func (t *Tail) stepOver(ctx context.Context, partition int, state *tailPartition, cause error) {
	ends, err := t.cluster.tryListOffsets(ctx, t.options.Topic, []int{partition}, timestampLatest)
	if err != nil || state.position >= ends[0] {
		return
	}
	from := state.position
	t.options.Logger.Error("stepping over a damaged record", "topic", t.options.Topic, "partition", partition,
		"offset", from, "error", cause)
	state.notYet = time.Time{} // the rest of the batch is as damaged: do not take a backoff for each of its records
	t.move(state, from+1, false)
	t.options.Handler.Hole(partition, from, from+1)
}

// relocate handles a position outside the log: before its start to the start; past its end to the end, once that has
// lasted (a topic made anew).
func (t *Tail) relocate(ctx context.Context, partition int, state *tailPartition) {
	one := []int{partition}
	starts, err := t.cluster.tryListOffsets(ctx, t.options.Topic, one, timestampEarliest)
	if err != nil {
		t.postpone(state)
		return
	}
	ends, err := t.cluster.tryListOffsets(ctx, t.options.Topic, one, timestampLatest)
	if err != nil {
		t.postpone(state)
		return
	}
	from, to := state.position, ends[0]
	switch {
	case from < starts[0]:
		to = starts[0]
	case from <= to: // back in range: a leader that was behind
		state.pastEnd = time.Time{}
		t.postpone(state)
		return
	case state.pastEnd.IsZero():
		state.pastEnd = time.Now()
		fallthrough
	case time.Since(state.pastEnd) < t.patience:
		t.postpone(state)
		return
	}
	t.options.Logger.Error("the log was lost at the position of the tail", "topic", t.options.Topic,
		"partition", partition, "position", from, "start", starts[0], "end", ends[0])
	t.move(state, to, false)
	t.options.Handler.Hole(partition, from, to)
}

// WaitFor waits until the tail has handed over everything before the given offsets of its partitions.
func (t *Tail) WaitFor(ctx context.Context, offsets map[int]int64) error {
	for {
		t.mu.Lock()
		behind := false
		for partition, offset := range offsets {
			if state := t.partitions[partition]; state != nil && state.position < offset {
				behind = true
			}
		}
		moved := t.moved
		t.mu.Unlock()
		if !behind {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// CaughtUp tells whether every partition answered within the last age and left nothing unread.
func (t *Tail) CaughtUp(age time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, state := range t.partitions {
		if !state.atEnd || now.Sub(state.lastOK) > age {
			return false
		}
	}
	return true
}
