package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"

	"chatting/application"
	"chatting/domain"
)

// collector is the handler of an ingest with one partition, whose runs nobody delivers.
func collector(t *testing.T, ctx context.Context, run int, bytes int64) (*ingestHandler, *ingestedPartition) {
	t.Helper()
	p := &ingestedPartition{number: 3, runs: make(chan ingestRun, 100), underWay: semaphore.NewWeighted(bytes)}
	ctx, stop := context.WithCancelCause(ctx)
	t.Cleanup(func() { stop(nil) })
	return &ingestHandler{
		ctx: ctx, stop: stop, options: IngestOptions{Topic: "t.system-messages", Logger: testLogger(t)},
		partitions: map[int]*ingestedPartition{3: p}, run: run, underWay: p.underWay,
	}, p
}

// takeRuns returns the runs that were handed over, as their offsets and what is to be committed after them.
func takeRuns(p *ingestedPartition) (runs []string) {
	for {
		select {
		case run := <-p.runs:
			var offsets []int64
			for _, r := range run.records {
				offsets = append(offsets, r.offset)
			}
			runs = append(runs, fmt.Sprint(offsets, " then ", run.next))
		default:
			return runs
		}
	}
}

func TestRecordsAreHandedOverInRunsWithWhereTheGroupIsAfterThem(t *testing.T) {
	h, p := collector(t, t.Context(), 3, maxUnderWay)
	for offset := range int64(7) {
		h.Record(&TailRecord{Partition: 3, Offset: 10 + 2*offset, Value: []byte("x")}) // every other one is a mark of a transaction
	}
	h.BatchEnd(3, 30)
	h.LeftOut(LeftOut{Partition: 3, From: 30, To: 34, Why: errBadRecord, Size: -1})
	h.BatchEnd(3, 34)
	h.LeftOut(LeftOut{Partition: 3, From: 34, To: 100, Why: errBadRecord, Size: -1})
	h.BatchEnd(3, 100)
	want := []string{
		"[10 12 14] then 15", "[16 18 20] then 21", "[22] then 30",
		"[30 31 32] then 33", "[33] then 34",
		"[34 35 36] then 37", "[37 38 39] then 40", "[40 41 42] then 43", "[43 44 45] then 46", "[46 47 48] then 49", "[49] then 100",
	}
	if got := takeRuns(p); !slices.Equal(got, want) {
		t.Errorf("the runs are\n%q, want\n%q", got, want)
	}
	// The last run ends where the next record is, also if it is full.
	h.Record(&TailRecord{Partition: 3, Offset: 100})
	h.Record(&TailRecord{Partition: 3, Offset: 101})
	h.LeftOut(LeftOut{Partition: 3, From: 102, To: 200, Why: errBadRecord, Size: -1})
	if got := takeRuns(p); len(got) != 6 || got[5] != "[115 116 117] then 200" {
		t.Errorf("the runs are %q", got)
	}
	h.Hole(3, 100, 200)
	if h.ctx.Err() != nil {
		t.Error("a hole ends the generation")
	}
	h.Hole(3, 200, 5)
	if cause := context.Cause(h.ctx); !errors.Is(cause, errMadeAnew) {
		t.Errorf("a topic made anew ends the generation with %v", cause)
	}
}

// What waits for its delivery is bounded in bytes, of all partitions together.
func TestTheIngestHoldsNoMoreThanItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := foreignRecord{value: make([]byte, 1000)}
		h, p := collector(t, t.Context(), 100, 2*one.bytes())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for offset := range int64(3) {
				h.Record(&TailRecord{Partition: 3, Offset: offset, Value: make([]byte, 1000)})
			}
			h.BatchEnd(3, 3)
		}()
		synctest.Wait()
		if got := takeRuns(p); !slices.Equal(got, []string{"[0 1] then 2"}) {
			t.Errorf("with the bound reached, it hands over %q", got)
		}
		select {
		case <-done:
			t.Error("it takes more than its bound")
		default:
		}
		p.underWay.Release(one.bytes())
		<-done
		if got := takeRuns(p); !slices.Equal(got, []string{"[2] then 3"}) {
			t.Errorf("with room, it hands over %q", got)
		}
		h, p = collector(t, t.Context(), 1, one.bytes())
		h.Record(&TailRecord{Partition: 3, Offset: 0, Value: make([]byte, 1000)})
		go func() {
			synctest.Wait()
			p.underWay.Release(one.bytes())
		}()
		h.Record(&TailRecord{Partition: 3, Offset: 1, Value: make([]byte, 1000)})
		if got := takeRuns(p); !slices.Equal(got, []string{"[0] then 1", "[1] then 2"}) {
			t.Errorf("one at a time, it hands over %q", got)
		}
		// One that alone is more than the bound is taken as one of the bound.
		ended, end := context.WithCancel(t.Context())
		h, p = collector(t, ended, 100, 10)
		end()
		h.Record(&TailRecord{Partition: 3, Value: make([]byte, 1000)})
		if len(p.collected) > 0 {
			t.Error("a generation that has ended takes records")
		}
	})
}

// As many as a node remembers for each user (see maxUncommitted), however many partitions it reads.
func TestARunIsShorterTheMorePartitionsThereAre(t *testing.T) {
	for partitions, want := range map[int]int{1: 64, 16: 64, 17: 60, 100: 10, 1024: 1, 5000: 1} {
		if got := runLength(partitions); got != want {
			t.Errorf("with %d partitions, a run is of %d records, not %d", partitions, got, want)
		}
	}
}

func TestALetterStandsInThePartitionOfItsRecord(t *testing.T) {
	_, m := controlledGroup(t) // seven partitions
	dead := testAppender(t, m.cluster, "log", 7)
	defer dead.Close(testContext(t))
	i := NewIngest(nil, IngestOptions{DeadLetters: dead, Logger: testLogger(t)})
	for partition, want := range map[int]int{3: 3, 12: 5} { // fewer partitions than of the messages
		r := foreign("poison")
		r.partition = partition
		if !i.bury(testContext(t), r, refuse(DeadInvalidJSON, "It is broken.")) {
			t.Fatal("it is not buried")
		}
		found := -1
		err := m.cluster.ReadTopic(testContext(t), TopicReading{Topic: "log", Logger: testLogger(t)}, func(r *TailRecord) error {
			if letter := copyRecord("log", r); letter.origin().partition == partition {
				found = r.Partition
			}
			return nil
		})
		if err != nil || found != want {
			t.Errorf("that of partition %d stands in %d, %v; want %d", partition, found, err, want)
		}
	}
}

func TestARecordTakesWhatItsBytesAndHeadersTake(t *testing.T) {
	r := foreignRecord{key: make([]byte, 10), value: make([]byte, 100), headers: []kafka.Header{{Key: "abc", Value: make([]byte, 5)}, {}}}
	if got, want := r.bytes(), int64(10+100+recordOverhead+3+5+4+4+2*40); got != want {
		t.Errorf("it takes %d bytes, not %d", got, want)
	}
	r.value = make([]byte, maxUnderWay+1) // else it could never be taken
	if got := r.bytes(); got != maxUnderWay {
		t.Errorf("a very large one takes %d bytes", got)
	}
}

func TestWhichErrorsBuryASystemMessage(t *testing.T) {
	for code, want := range map[domain.Code]string{
		domain.CodeNoUserOrOffline: DeadNoUserOrOffline,
		domain.CodeBadMessage:      DeadInvalidMessage,
		domain.CodeBadTarget:       DeadInvalidMessage,
		domain.CodeBadFrame:        DeadInvalidMessage,
		domain.CodeTooLong:         DeadInvalidMessage,
		domain.CodeUnavailable:     "", domain.CodeUnconfirmed: "", domain.CodeInternal: "", domain.CodeRateLimited: "", domain.CodeMailboxFull: "",
	} {
		got := ""
		if refused := permanent(domain.NewError(code, "a sentence")); refused != nil {
			got = refused.code
			if refused.sentence == "" {
				t.Errorf("%s: it says nothing", code)
			}
		}
		if got != want {
			t.Errorf("%s: it is buried as %q, want %q", code, got, want)
		}
	}
	if permanent(errors.New("any other")) != nil {
		t.Error("an error that nobody knows buries")
	}
}

func TestWhichErrorsEndAGeneration(t *testing.T) {
	for err, want := range map[error]bool{
		kafka.RebalanceInProgress: true, kafka.IllegalGeneration: true, kafka.UnknownMemberId: true,
		kafka.NotCoordinatorForGroup: false, kafka.RequestTimedOut: false, context.DeadlineExceeded: false, nil: false,
	} {
		if got := isOfNextGeneration(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}

// undeliverable is a use case that always fails.
type undeliverable struct {
	err   error
	tries int
}

func (u *undeliverable) Execute(context.Context, application.SystemMessageCommand) (domain.Event, error) {
	u.tries++
	return domain.Event{}, u.err
}

func TestAUserIsLookedForTwiceBeforeItCountsAsOffline(t *testing.T) {
	offline, away := domain.NewError(domain.CodeNoUserOrOffline, "offline"), errors.New("away")
	for what, c := range map[string]struct {
		fails, presence error
		tries           int
		waited          bool
		want            error
	}{
		"offline":                   {offline, nil, 2, true, offline},
		"offline, and nobody knows": {offline, away, 1, true, away},
		"another failure":           {away, nil, 1, false, away},
		"delivered":                 {nil, nil, 1, false, nil},
	} {
		waited := false
		u := &undeliverable{err: c.fails}
		i := NewIngest(nil, IngestOptions{Messages: u, Logger: testLogger(t), Presence: func(context.Context) error {
			waited = true
			return c.presence
		}})
		err := i.send(t.Context(), application.SystemMessageCommand{})
		if !errors.Is(err, c.want) || u.tries != c.tries || waited != c.waited {
			t.Errorf("%s: %v after %d tries, presence was waited for: %t", what, err, u.tries, waited)
		}
	}
}

// Whatever has no outcome when the generation ends is delivered by the next one: it must not be committed.
func TestWhatHasNoOutcomeWhenTheGenerationEndsIsNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := NewAppender(nil, AppenderOptions{Partitions: 1, Logger: testLogger(t)})
		closed.Close(t.Context()) // it refuses everything
		u := &undeliverable{err: errors.New("away")}
		i := NewIngest(nil, IngestOptions{Messages: u, DeadLetters: closed, Logger: testLogger(t)})
		ctx, end := context.WithTimeout(t.Context(), 10*time.Second)
		defer end()
		if (&ingestedPartition{ingest: i}).deliverAll(ctx, []foreignRecord{foreign(good)}) {
			t.Error("what cannot be delivered is settled")
		}
		if u.tries < 15 {
			t.Errorf("it was tried %d times in ten seconds", u.tries)
		}
		ctx, end = context.WithTimeout(t.Context(), 10*time.Second)
		defer end()
		if (&ingestedPartition{ingest: i}).deliverAll(ctx, []foreignRecord{foreign("poison")}) {
			t.Error("what cannot be buried is settled")
		}
	})
}

// A broker whose limit is smaller than ours must not hold up the partition for ever.
func TestALetterThatTheBrokerFindsTooLargeIsShortened(t *testing.T) {
	broker, cluster, topic := controlledTopic(t)
	refusing(broker, topic, func(n int64) int16 {
		if n == 0 {
			return int16(kafka.MessageSizeTooLarge)
		}
		return 0
	})
	dead := testAppender(t, cluster, topic, 1)
	defer dead.Close(testContext(t))
	var log bytes.Buffer
	i := NewIngest(nil, IngestOptions{DeadLetters: dead, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	r := foreign("poison") // of partition 3
	if !i.bury(testContext(t), r, refuse(DeadInvalidJSON, "It is broken.")) {
		t.Fatal("it is not buried")
	}
	var letters []DeadLetter
	err := cluster.ReadTopic(testContext(t), TopicReading{Topic: topic, Logger: testLogger(t)}, func(r *TailRecord) error {
		letter := copyRecord(topic, r)
		letters = append(letters, describe(&letter))
		return nil
	})
	if err != nil || len(letters) != 1 || !letters[0].LeftOut || letters[0].Size != 6 || letters[0].FirstPartition != 3 {
		t.Errorf("the letters are %+v, %v", letters, err)
	}
	for text, want := range map[string]bool{
		"partition=3 offset=17 code=" + DeadInvalidJSON: true, "a dead letter cannot be written now": true, "poison": false,
	} {
		if strings.Contains(log.String(), text) != want {
			t.Errorf("it says %q: %t: %s", text, !want, log.String())
		}
	}
}

// committing has the broker of a group take down each commit once it may go on, as "partition:offset …" in order.
func committing(t *testing.T) (g *generation, commits chan string, answer chan int16) {
	t.Helper()
	broker, m := controlledGroup(t)
	commits, answer = make(chan string, 10), make(chan int16, 10)
	broker.ControlKey(int16(kmsg.OffsetCommit), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		commit, _ := request.(*kmsg.OffsetCommitRequest)
		response, _ := commit.ResponseKind().(*kmsg.OffsetCommitResponse)
		topic := kmsg.OffsetCommitResponseTopic{Topic: "log"}
		var said []string
		for _, p := range commit.Topics[0].Partitions {
			said = append(said, fmt.Sprint(p.Partition, ":", p.Offset))
		}
		slices.Sort(said)
		commits <- fmt.Sprint(said)
		code := <-answer
		for _, p := range commit.Topics[0].Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: code})
		}
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
	return &generation{cluster: m.cluster, group: "g", topic: "log", member: "m", id: 4}, commits, answer
}

func TestPartitionsThatCommitMeanwhileShareTheNextCommit(t *testing.T) {
	g, commits, answer := committing(t)
	c := &offsetCommits{ctx: t.Context(), generation: g}
	outcomes := make(chan error, 3)
	commit := func(partition int, offset int64) {
		go func() { outcomes <- c.commit(partition, offset) }()
	}
	commit(1, 10)
	if got := <-commits; got != "[1:10]" {
		t.Errorf("the first commit is %s", got)
	}
	commit(2, 20)
	commit(3, 30)
	waitUntil(t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.next != nil && len(c.next.offsets) == 2 })
	if len(outcomes) > 0 {
		t.Error("a commit ends before its answer")
	}
	answer <- 0
	if err := <-outcomes; err != nil {
		t.Error(err)
	}
	if got := <-commits; got != "[2:20 3:30]" {
		t.Errorf("the second commit is %s", got)
	}
	answer <- int16(kafka.IllegalGeneration)
	for range 2 {
		if err := <-outcomes; !errors.Is(err, kafka.IllegalGeneration) {
			t.Errorf("a commit that is refused ends with %v", err)
		}
	}
	c.wait()
	if c.running || c.next != nil {
		t.Error("it runs on")
	}
	answer <- 0
	if err := c.commit(4, 40); err != nil || <-commits != "[4:40]" {
		t.Errorf("a later one: %v", err)
	}
}

// What is committed makes room for more; what is not is delivered by the next generation.
func TestAPartitionCommitsEachRunAndMakesRoom(t *testing.T) {
	g, commits, answer := committing(t)
	sent := &sentMessages{}
	one := foreign(good)
	p := &ingestedPartition{
		ingest: NewIngest(nil, IngestOptions{Messages: sent, Logger: testLogger(t)}), number: 3, runs: make(chan ingestRun),
		commits: &offsetCommits{ctx: t.Context(), generation: g}, underWay: semaphore.NewWeighted(2 * one.bytes()),
	}
	ended := make(chan error, 1)
	go func() { ended <- p.serve(t.Context()) }()
	hand := func(next int64) {
		t.Helper()
		for range 2 {
			if err := p.underWay.Acquire(testContext(t), one.bytes()); err != nil {
				t.Fatal("there is no room")
			}
		}
		p.runs <- ingestRun{records: []foreignRecord{one, one}, next: next}
	}
	for next := range int64(3) {
		answer <- 0
		hand(next)
		if got, want := <-commits, fmt.Sprintf("[3:%d]", next); got != want {
			t.Errorf("the commit is %s, not %s", got, want)
		}
	}
	answer <- int16(kafka.IllegalGeneration)
	hand(4)
	if err := <-ended; !errors.Is(err, kafka.IllegalGeneration) {
		t.Errorf("it ends with %v", err)
	}
	if got := len(sent.texts(7)); got != 8 {
		t.Errorf("%d messages are delivered", got)
	}
	if p.underWay.TryAcquire(1) {
		t.Error("what is not committed makes room")
	}
}
