package logclient

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient/recordbatch"
)

// TailHandler takes what a tail reads. All calls come from one goroutine; until it returns, nothing further is read.
type TailHandler interface {
	recordbatch.Handler
	// BatchEnd ends the records of one partition in one answer. The next record will be at or past next.
	BatchEnd(partition int, next int64)
	// Hole tells that the offsets from the first (included) to the second (excluded) are lost. If the second is below the first,
	// the topic was made anew, and the tail goes on at the second.
	Hole(partition int, from, to int64)
}

// TailOptions say what to read.
type TailOptions struct {
	Topic string
	// From is the first offset to read of each partition to read.
	From    map[int]int64
	Handler TailHandler
	// Interrupted, if set, is called like Handler when a partition cannot be read for a while. What is read later may be of
	// another topic with the same name.
	Interrupted func(partition int)
	// Through, if set, is called like Handler at the end of an answer, or of several that came together.
	Through func()
	// Rest is the time between two beats. A partition that was read to its end is asked for again at the next beat. If Rest is
	// 0, its leader is asked at once, and answers when there is something.
	Rest   time.Duration
	Beats  <-chan time.Time // tests beat by hand
	Logger *slog.Logger
	// MaxBatch bounds what one batch unpacks to, in bytes; 0 means DefaultMaxBatch. Records beyond it are left out. A tail holds
	// one unpacked batch at a time.
	MaxBatch int
	// uncommitted has records of open and aborted transactions read, too.
	uncommitted bool
}

const (
	// DefaultMaxBatch is for topics that only this package's appenders write.
	DefaultMaxBatch = 4 << 20
	// MaxForeignBatch is for topics that other programs write. Producers bound a batch before compression by batch.size (16 KiB
	// in the Java client, 1 MB in librdkafka), one record of 1 MiB, or in Java a multiple of that.
	MaxForeignBatch = 32 << 20
)

// Tail reads the committed records of partitions of one topic, from given offsets on: one request at a time to each leader, for
// all its partitions. It goes on after changes of leaders, absent brokers, lost starts of logs and damaged batches, and reports
// what was lost as a hole. An open transaction holds up its partition, and no other.
type Tail struct {
	cluster  *Cluster
	options  TailOptions
	patience time.Duration // PastEndPatience, but in tests
	fetcher  fetcher
	reader   *recordbatch.Reader
	between  chan func()   // functions for Run to call between two answers
	woken    chan struct{} // by Wake
	// round counts the beats and Wakes, from 1 on; added the partitions that were added after NewTail.
	round, added int64

	partitions map[int]*tailPartition // of the goroutine that fetches
	positions  *positions
}

// tailPartition is how the fetching of a partition stands.
type tailPartition struct {
	added    int64 // Tail.added, then
	fetching bool
	// round is the one in which the partition was last asked for; 0 means that it has to be asked for again.
	round   int64
	notYet  time.Time // after an error: when to ask again
	retry   Backoff
	damaged int       // how often the batch at the position was damaged
	pastEnd time.Time // since when its leader says that its log ends before the position; zero while it does not
}

// later has the partition asked for a little later, each time later.
func (p *tailPartition) later() { p.notYet, p.round = time.Now().Add(p.retry.next()), 0 }

// NewTail prepares a tail.
func NewTail(cluster *Cluster, options TailOptions) *Tail {
	if options.MaxBatch == 0 {
		options.MaxBatch = DefaultMaxBatch
	}
	t := &Tail{
		cluster: cluster, options: options, patience: PastEndPatience, fetcher: newFetcher(cluster, options),
		reader: recordbatch.NewReader(recordbatch.ReaderOptions{
			Topic: options.Topic, Handler: options.Handler, MaxBatch: options.MaxBatch, Uncommitted: options.uncommitted,
			Logger: options.Logger,
		}),
		between: make(chan func()), woken: make(chan struct{}, 1), round: 1,
		partitions: make(map[int]*tailPartition, len(options.From)), positions: newPositions(),
	}
	for partition, from := range options.From {
		t.partitions[partition] = new(tailPartition)
		t.positions.add(partition, from)
	}
	return t
}

// Wake is a beat of its own: what is in the log when it is called is read before the partitions rest again.
func (t *Tail) Wake() { nudge(t.woken) }

// nudge sends to a channel of one place, unless it is full.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Between has Run call f while it does not call the handler. It is false if ctx ended before.
func (t *Tail) Between(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case t.between <- func() { f(); close(done) }:
		<-done
		return true
	case <-ctx.Done():
		return false
	}
}

// Add has a further partition read. Only a function that Between calls may add or remove one.
func (t *Tail) Add(partition int, from int64) {
	t.added++
	t.partitions[partition] = &tailPartition{added: t.added}
	t.positions.add(partition, from)
}

// Remove has a partition read no more. What is under way of it is dropped.
func (t *Tail) Remove(partition int) {
	delete(t.partitions, partition)
	t.positions.remove(partition)
}

// Resting tells whether all partitions were read to their ends since the last beat. Only a function that Between calls may ask.
func (t *Tail) Resting() bool {
	for partition, state := range t.partitions {
		if state.fetching || state.round != t.round || !t.positions.get(partition).atEnd {
			return false
		}
	}
	return true
}

// WaitFor waits until the tail has handed over everything before the given offsets of its partitions.
func (t *Tail) WaitFor(ctx context.Context, offsets map[int]int64) error {
	return t.positions.waitFor(ctx, offsets)
}

// CaughtUp tells whether every partition answered within the last age and left nothing unread.
func (t *Tail) CaughtUp(age time.Duration) bool { return t.positions.caughtUp(age) }

const (
	// leaderPoll is how often a leader is looked for.
	leaderPoll = 100 * time.Millisecond
	// PastEndPatience is for how long a log must end before the position until it counts as made anew. A leader that does not
	// know yet that it was deposed says the same. Read from its end, records would come twice.
	PastEndPatience = 15 * time.Second
)

// Run reads until ctx ends, and then returns nil once its fetches have ended.
func (t *Tail) Run(ctx context.Context) error {
	results := make(chan fetched)
	busy := make(map[int]bool)           // leaders with a fetch under way
	notBefore := make(map[int]time.Time) // when to ask leaders again, see fetcher.pace
	defer func() {
		for range busy {
			(<-results).release()
		}
	}()
	ticker := time.NewTicker(leaderPoll)
	defer ticker.Stop()
	beats := t.options.Beats
	if beats == nil && t.options.Rest > 0 {
		beat := time.NewTicker(t.options.Rest)
		defer beat.Stop()
		beats = beat.C
	}
	for {
		for leader, partitions := range t.assign(ctx, busy) {
			busy[leader] = true
			asked := fetched{leader: leader, partitions: partitions, added: t.added, notBefore: notBefore[leader]}
			request := t.fetcher.request(partitions, t.positions)
			go func() { results <- t.fetcher.fetch(ctx, asked, request) }()
		}
		select {
		case <-ctx.Done():
			return nil
		case result := <-results:
			for more := true; more; { // those of several leaders that come together are one
				delete(busy, result.leader)
				notBefore[result.leader] = t.fetcher.pace(result)
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
		rests := t.options.Rest > 0 && state.round == t.round && t.positions.get(partition).atEnd
		if !state.fetching && !now.Before(state.notYet) && !rests {
			due = append(due, partition)
		}
	}
	if len(due) == 0 {
		return nil
	}
	leaders := t.cluster.Leaders(ctx, t.options.Topic)
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

// take hands the records of an answer to the handler and moves the positions.
func (t *Tail) take(ctx context.Context, result fetched) {
	// Partitions that were removed, or removed and added at another position, meanwhile are not wanted.
	result.partitions = slices.DeleteFunc(result.partitions, func(partition int) bool {
		state := t.partitions[partition]
		return state == nil || state.added > result.added
	})
	for _, partition := range result.partitions {
		t.partitions[partition].fetching = false
	}
	if ctx.Err() != nil {
		return
	}
	if result.err != nil {
		for _, partition := range result.partitions {
			t.postpone(partition)
		}
		if errors.Is(result.err, ErrAnswer) {
			t.options.Logger.Warn("a broker's answer cannot be read", "topic", t.options.Topic, "broker", result.leader)
		}
		return
	}
	answered := make(map[int]bool, len(result.partitions))
	for i := range result.answer.partitions {
		p := &result.answer.partitions[i]
		answered[p.Partition] = true
		if slices.Contains(result.partitions, p.Partition) {
			t.takePartition(ctx, p)
		}
	}
	t.reader.Trim()
	// A broker that throttles names no partition.
	for _, partition := range result.partitions {
		if !answered[partition] {
			t.partitions[partition].later()
		}
	}
}

func (t *Tail) takePartition(ctx context.Context, p *fetchedPartition) {
	switch p.code {
	case 0:
		t.takeRecords(p)
	case kafkago.OffsetOutOfRange:
		t.relocate(ctx, p.Partition)
	default:
		level := slog.LevelDebug
		if p.code == kafkago.TopicAuthorizationFailed && t.partitions[p.Partition].retry.count == 0 {
			level = slog.LevelError // it will not pass
		}
		t.options.Logger.Log(ctx, level, "a partition cannot be read now",
			"topic", t.options.Topic, "partition", p.Partition, "error", p.code)
		t.postpone(p.Partition)
	}
}

func (t *Tail) takeRecords(p *fetchedPartition) {
	state := t.partitions[p.Partition]
	before, end := t.positions.get(p.Partition).next, p.end(t.fetcher.isolation)
	r := t.reader.Read(&p.Batches, before)
	if r.Stale && r.Next < end {
		// There are batches, but none at the position: it is gone.
		r.Next++
	}
	state.pastEnd = time.Time{}
	if r.Next > before {
		state.damaged = 0
		t.options.Handler.BatchEnd(p.Partition, r.Next)
	}
	t.positions.read(p.Partition, r.Next, end)
	switch {
	case r.Damage != nil:
		t.damaged(p.Partition, r)
	case r.CutOff:
		state.later()
	default:
		state.retry, state.damaged = Backoff{}, 0
	}
}

// damagedTries is how often a damaged batch is asked for: it may have been damaged on its way.
const damagedTries = 3

// damaged has a damaged batch asked for again, and in the end gives it up.
func (t *Tail) damaged(partition int, r recordbatch.Reading) {
	state := t.partitions[partition]
	if state.damaged++; state.damaged < damagedTries {
		t.options.Logger.Warn("a batch of the log is damaged", "topic", t.options.Topic, "partition", partition,
			"offset", r.Next, "error", r.Damage)
		state.later()
		return
	}
	t.options.Logger.Error("stepping over a damaged batch", "topic", t.options.Topic, "partition", partition,
		"offset", r.Next, "next", r.LostTo, "error", r.Damage)
	state.retry, state.damaged = Backoff{}, 0
	t.positions.move(partition, r.LostTo)
	t.options.Handler.Hole(partition, r.Next, r.LostTo)
}

// postpone has a partition that cannot be read asked for later.
func (t *Tail) postpone(partition int) {
	if t.options.Interrupted != nil {
		t.options.Interrupted(partition)
	}
	t.partitions[partition].later()
}

// relocate moves a position before the log to its start, and one past its end to the end, once that has lasted for
// Tail.patience.
func (t *Tail) relocate(ctx context.Context, partition int) {
	state, from := t.partitions[partition], t.positions.get(partition).next
	start, end, err := t.fetcher.bounds(ctx, partition)
	to := end
	switch {
	case err != nil:
		t.postpone(partition)
		return
	case from < start:
		to = start
	case from <= end: // back in range: a leader that was behind
		state.pastEnd = time.Time{}
		t.postpone(partition)
		return
	case state.pastEnd.IsZero():
		state.pastEnd = time.Now()
		fallthrough
	case time.Since(state.pastEnd) < t.patience:
		t.postpone(partition)
		return
	}
	t.options.Logger.Error("the log was lost at the position of the tail", "topic", t.options.Topic,
		"partition", partition, "position", from, "start", start, "end", end)
	t.positions.move(partition, to)
	t.options.Handler.Hole(partition, from, to)
}
