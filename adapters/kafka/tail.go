package kafka

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"golang.org/x/time/rate"
)

// Tail reads the committed records of partitions of one topic from absolute offsets on, for as long as Run runs: one
// long-poll to each leader, with all its partitions. Changes of leaders, brokers that are away, lost starts of logs and
// damaged batches are its own affair; what is lost by them is reported as a hole. It reads up to the last stable offset: a
// transaction that is open holds up its partition, and no other.
//
// With a Rest it does not wait for records: a partition that was read to its end rests until the next beat, or until Wake,
// and then all of them are asked for together.
type Tail struct {
	cluster  *Cluster
	options  TailOptions
	patience time.Duration // pastEndPatience, but in tests
	// record is what the handler looks at, and unpacked the bytes behind it; both are used again.
	record   TailRecord
	unpacked []byte
	leftOuts rate.Sometimes // for the log lines
	// between has functions that Run calls between two answers, and woken what Wake says.
	between chan func()
	woken   chan struct{}
	// round counts the beats and Wakes, from 1 on; added the partitions that were added after NewTail.
	round, added int64

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

	added    int64 // as of the tail, then
	fetching bool
	// round is the one in which the partition was last asked for; 0 if it has to be asked for again in any case.
	round   int64
	notYet  time.Time // after an error: when to ask again
	retry   backoff
	damaged int       // how often the batch at the position was damaged
	pastEnd time.Time // since when its leader says that its log ends before the position; zero while it does not
}

// NewTail prepares a tail.
func NewTail(cluster *Cluster, options TailOptions) *Tail {
	t := &Tail{
		cluster: cluster, options: options, patience: pastEndPatience,
		leftOuts: rate.Sometimes{First: 10, Interval: time.Second},
		between:  make(chan func()), woken: make(chan struct{}, 1), round: 1,
		partitions: make(map[int]*tailPartition, len(options.From)), moved: make(chan struct{}),
	}
	for partition, from := range options.From {
		t.partitions[partition] = &tailPartition{position: from}
	}
	return t
}

// Wake has the partitions that rest read now. What was in the log when it is called is read before they rest again.
func (t *Tail) Wake() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

// do has Run call f while it does not call the handler. It is false if ctx ended before.
func (t *Tail) do(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case t.between <- func() { f(); close(done) }:
		<-done
		return true
	case <-ctx.Done():
		return false
	}
}

// add has a further partition read. Only a function that do calls may add or remove one.
func (t *Tail) add(partition int, from int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.added++
	t.partitions[partition] = &tailPartition{position: from, added: t.added}
}

// remove has a partition read no more. What is under way of it is dropped.
func (t *Tail) remove(partition int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.partitions, partition)
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
	added      int64 // as of the tail, when it was sent
	answer     *fetchAnswer
	err        error
}

func (f fetched) release() {
	if f.answer != nil {
		f.answer.release()
	}
}

// Run reads until ctx ends, and then returns nil once its fetches have ended.
func (t *Tail) Run(ctx context.Context) error {
	results := make(chan fetched)
	busy := make(map[int]bool) // leaders with a fetch under way
	defer func() {
		for range busy {
			(<-results).release()
		}
	}()
	ticker := time.NewTicker(leaderPoll)
	defer ticker.Stop()
	beats := t.options.beats
	if beats == nil && t.options.Rest > 0 {
		beat := time.NewTicker(t.options.Rest)
		defer beat.Stop()
		beats = beat.C
	}
	for {
		for leader, partitions := range t.assign(ctx, busy) {
			busy[leader] = true
			asked := fetched{leader: leader, partitions: partitions, added: t.added}
			request := t.request(partitions)
			go func() { results <- t.fetch(ctx, asked, request) }()
		}
		select {
		case <-ctx.Done():
			return nil
		case result := <-results:
			for more := true; more; { // those of several leaders that come together are one
				delete(busy, result.leader)
				t.take(ctx, result)
				result.release()
				select {
				case result = <-results:
				default:
					more = false
				}
			}
			if t.options.Through != nil && ctx.Err() == nil {
				t.options.Through()
			}
		case f := <-t.between:
			f()
		case <-beats:
			t.round++
		case <-t.woken:
			t.round++
		case <-ticker.C:
		}
	}
}

// assign groups the partitions that may be asked for now by leader, leaving out leaders with a fetch under way.
func (t *Tail) assign(ctx context.Context, busy map[int]bool) map[int][]int {
	var due []int
	now := time.Now()
	for partition, state := range t.partitions {
		if !state.fetching && !now.Before(state.notYet) && !t.rests(state) {
			due = append(due, partition)
		}
	}
	if len(due) == 0 {
		return nil
	}
	leaders := t.leaders(ctx)
	groups := make(map[int][]int)
	for _, partition := range due {
		leader, known := leaders[partition]
		if !known || busy[leader] {
			continue
		}
		groups[leader] = append(groups[leader], partition)
		t.partitions[partition].fetching, t.partitions[partition].round = true, t.round
	}
	return groups
}

// rests tells whether a partition was read to its end in this round.
func (t *Tail) rests(state *tailPartition) bool {
	return t.options.Rest > 0 && state.atEnd && state.round == t.round
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
func (t *Tail) request(partitions []int) *fetchRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	topic := fetch.RequestTopic{Topic: t.options.Topic}
	for _, partition := range partitions {
		topic.Partitions = append(topic.Partitions, fetch.RequestPartition{
			Partition: int32(partition), CurrentLeaderEpoch: -1, LogStartOffset: -1,
			FetchOffset: t.partitions[partition].position, PartitionMaxBytes: fetchPartitionBytes,
		})
	}
	wait := fetchWait
	if t.options.Rest > 0 {
		wait = 0 // the next beat asks again
	}
	return &fetchRequest{
		Request: fetch.Request{
			ReplicaID: -1, MaxWaitTime: int32(wait.Milliseconds()), MinBytes: 1, MaxBytes: fetchBytes,
			IsolationLevel: t.options.isolation(), SessionEpoch: -1, Topics: []fetch.RequestTopic{topic},
		},
		maxBatch: t.options.maxBatch(), clientID: t.cluster.transport.ClientID,
	}
}

func (t *Tail) fetch(ctx context.Context, result fetched, request *fetchRequest) fetched {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	response, err := t.cluster.transport.RoundTrip(ctx, t.cluster.addr, request)
	if err != nil {
		result.err = err
		return result
	}
	if result.answer, _ = response.(*fetchAnswer); result.answer == nil {
		result.err = errFetchAnswer
	}
	return result
}

// take hands the records of an answer to the handler and moves the positions.
func (t *Tail) take(ctx context.Context, result fetched) {
	// Of a partition that was removed meanwhile, nothing is wanted, nor if it was added again: it may be elsewhere by now.
	result.partitions = slices.DeleteFunc(result.partitions, func(partition int) bool {
		state := t.partitions[partition]
		return state == nil || state.added > result.added
	})
	defer t.released(result.partitions)
	if ctx.Err() != nil {
		return
	}
	if result.err != nil {
		for _, partition := range result.partitions {
			t.postpone(partition, t.partitions[partition])
		}
		if errors.Is(result.err, errFetchAnswer) {
			t.options.Logger.Warn("a broker's answer cannot be read", "topic", t.options.Topic, "broker", result.leader)
		}
		return
	}
	answered := make(map[int]bool, len(result.partitions))
	for i := range result.answer.partitions {
		p := &result.answer.partitions[i]
		answered[p.number] = true
		if slices.Contains(result.partitions, p.number) {
			t.takePartition(ctx, p)
		}
	}
	if cap(t.unpacked) > keptUnpacked {
		t.unpacked = nil
	}
	// A broker that throttles answers at once, and names no partition: nothing was interrupted by that.
	for _, partition := range result.partitions {
		if !answered[partition] {
			t.later(t.partitions[partition])
		}
	}
}

func (t *Tail) takePartition(ctx context.Context, p *fetchedPartition) {
	state := t.partitions[p.number]
	switch p.code {
	case 0:
		t.takeRecords(state, p)
	case kafka.OffsetOutOfRange:
		t.relocate(ctx, p.number, state)
	default:
		level := slog.LevelDebug
		if p.code == kafka.TopicAuthorizationFailed && state.retry.count == 0 {
			level = slog.LevelError // it will not pass
		}
		t.options.Logger.Log(ctx, level, "a partition cannot be read now", "topic", t.options.Topic, "partition", p.number, "error", p.code)
		t.postpone(p.number, state)
	}
}

func (t *Tail) takeRecords(state *tailPartition, p *fetchedPartition) {
	before, end := state.position, p.end(t.options.isolation())
	r := t.read(p, before)
	if r.stale && r.next < end {
		// Batches, but none at or past the position: the ones there are gone.
		r.next++
	}
	state.pastEnd = time.Time{}
	if r.next > before {
		state.damaged = 0
		t.options.Handler.BatchEnd(p.number, r.next)
	}
	t.move(state, r.next, r.next >= end)
	switch {
	case r.damage != nil:
		t.damaged(p.number, state, r)
	case r.cutOff:
		t.later(state)
	default:
		state.retry, state.damaged = backoff{}, 0
	}
}

// damagedTries is how often a damaged batch is asked for until it counts as lost: it may have been damaged on its way.
const damagedTries = 3

// damaged has a damaged batch asked for again, and in the end gives it up.
func (t *Tail) damaged(partition int, state *tailPartition, r reading) {
	if state.damaged++; state.damaged < damagedTries {
		t.options.Logger.Warn("a batch of the log is damaged", "topic", t.options.Topic, "partition", partition,
			"offset", r.next, "error", r.damage)
		t.later(state)
		return
	}
	t.options.Logger.Error("stepping over a damaged batch", "topic", t.options.Topic, "partition", partition,
		"offset", r.next, "next", r.lostTo, "error", r.damage)
	state.retry, state.damaged = backoff{}, 0
	t.move(state, r.lostTo, false)
	t.options.Handler.Hole(partition, r.next, r.lostTo)
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
func (t *Tail) postpone(partition int, state *tailPartition) {
	if t.options.Interrupted != nil {
		t.options.Interrupted(partition)
	}
	t.later(state)
}

// later has the partition asked for a little later, each time later.
func (t *Tail) later(state *tailPartition) {
	state.notYet, state.round = time.Now().Add(state.retry.next()), 0
}

func (t *Tail) released(partitions []int) {
	for _, partition := range partitions {
		t.partitions[partition].fetching = false
	}
}

// relocate handles a position outside the log: before its start to the start; past its end to the end, once that has
// lasted (a topic made anew).
func (t *Tail) relocate(ctx context.Context, partition int, state *tailPartition) {
	one := []int{partition}
	starts, err := t.cluster.tryListOffsets(ctx, t.options.Topic, one, timestampEarliest, readUncommitted)
	if err != nil {
		t.postpone(partition, state)
		return
	}
	ends, err := t.cluster.tryListOffsets(ctx, t.options.Topic, one, timestampLatest, readUncommitted)
	if err != nil {
		t.postpone(partition, state)
		return
	}
	from, to := state.position, ends[0]
	switch {
	case from < starts[0]:
		to = starts[0]
	case from <= to: // back in range: a leader that was behind
		state.pastEnd = time.Time{}
		t.postpone(partition, state)
		return
	case state.pastEnd.IsZero():
		state.pastEnd = time.Now()
		fallthrough
	case time.Since(state.pastEnd) < t.patience:
		t.postpone(partition, state)
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
