package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/sync/semaphore"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/groups"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/messaging"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
	"chatting/test/topictest"
)

// collector is the handler of an ingest with one partition, whose runs nobody delivers.
func collector(t *testing.T, ctx context.Context, length int, bytes int64) (*handler, *partition) {
	t.Helper()
	p := &partition{number: 3, runs: make(chan run, 100), underWay: semaphore.NewWeighted(bytes)}
	ctx, stop := context.WithCancelCause(ctx)
	t.Cleanup(func() { stop(nil) })
	return &handler{
		ctx: ctx, stop: stop, options: Options{Topic: "t.system-messages", Logger: brokertest.Logger(t)},
		partitions: map[int]*partition{3: p}, run: length, underWay: p.underWay,
	}, p
}

// takeRuns returns the runs that were handed over, as their offsets and what is to be committed after them.
func takeRuns(p *partition) (runs []string) {
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
		h.Record(&recordbatch.StoredRecord{Partition: 3, Offset: 10 + 2*offset, Value: []byte("x")}) // every other one is a mark of a transaction
	}
	h.BatchEnd(3, 30)
	h.LeftOut(recordbatch.LeftOut{Partition: 3, From: 30, To: 34, Why: errBad, Size: -1})
	h.BatchEnd(3, 34)
	h.LeftOut(recordbatch.LeftOut{Partition: 3, From: 34, To: 100, Why: errBad, Size: -1})
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
	h.Record(&recordbatch.StoredRecord{Partition: 3, Offset: 100})
	h.Record(&recordbatch.StoredRecord{Partition: 3, Offset: 101})
	h.LeftOut(recordbatch.LeftOut{Partition: 3, From: 102, To: 200, Why: errBad, Size: -1})
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
				h.Record(&recordbatch.StoredRecord{Partition: 3, Offset: offset, Value: make([]byte, 1000)})
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
		h.Record(&recordbatch.StoredRecord{Partition: 3, Offset: 0, Value: make([]byte, 1000)})
		go func() {
			synctest.Wait()
			p.underWay.Release(one.bytes())
		}()
		h.Record(&recordbatch.StoredRecord{Partition: 3, Offset: 1, Value: make([]byte, 1000)})
		if got := takeRuns(p); !slices.Equal(got, []string{"[0] then 1", "[1] then 2"}) {
			t.Errorf("one at a time, it hands over %q", got)
		}
		// One that alone is more than the bound is taken as one of the bound.
		ended, end := context.WithCancel(t.Context())
		h, p = collector(t, ended, 100, 10)
		end()
		h.Record(&recordbatch.StoredRecord{Partition: 3, Value: make([]byte, 1000)})
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
	_, cluster, _ := logtest.Controlled(t, 7)
	dead := topictest.Appender(t, cluster, "log", 7)
	defer dead.Close(brokertest.Context(t))
	var told outcomes
	defer func() {
		if want := (outcomes{DeadInvalidJSON, DeadInvalidJSON}); !slices.Equal(told, want) {
			t.Errorf("an observer was told %q, want %q", told, want)
		}
	}()
	i := New(nil, Options{DeadLetters: dead, Logger: brokertest.Logger(t), Observer: &told})
	for partition, want := range map[int]int{3: 3, 12: 5} { // fewer partitions than of the messages
		r := foreign("poison")
		r.partition = partition
		if !i.bury(brokertest.Context(t), r, refuse(DeadInvalidJSON, "It is broken.")) {
			t.Fatal("it is not buried")
		}
		found := -1
		err := logclient.ReadTopic(brokertest.Context(t), cluster, logclient.TopicReading{Topic: "log", Logger: brokertest.Logger(t)}, func(r *recordbatch.StoredRecord) error {
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
	r := foreignRecord{key: make([]byte, 10), value: make([]byte, 100), headers: []kafkago.Header{{Key: "abc", Value: make([]byte, 5)}, {}}}
	if got, want := r.bytes(), int64(10+100+recordbatch.Overhead+3+5+4+4+2*40); got != want {
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
		kafkago.RebalanceInProgress: true, kafkago.IllegalGeneration: true, kafkago.UnknownMemberId: true,
		kafkago.NotCoordinatorForGroup: false, kafkago.RequestTimedOut: false, context.DeadlineExceeded: false, nil: false,
	} {
		if got := groups.IsOver(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}

// undeliverable is a use case that always fails.
type undeliverable struct {
	err   error
	tries int
}

func (u *undeliverable) Execute(context.Context, messaging.SystemMessageCommand) (domain.Event, error) {
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
		i := New(nil, Options{Messages: u, Logger: brokertest.Logger(t), Presence: func(context.Context) error {
			waited = true
			return c.presence
		}})
		err := i.send(t.Context(), messaging.SystemMessageCommand{})
		if !errors.Is(err, c.want) || u.tries != c.tries || waited != c.waited {
			t.Errorf("%s: %v after %d tries, presence was waited for: %t", what, err, u.tries, waited)
		}
	}
}

// Whatever has no outcome when the generation ends is delivered by the next one: it must not be committed.
func TestWhatHasNoOutcomeWhenTheGenerationEndsIsNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := kafka.NewAppender(nil, appending.AppenderOptions{Partitions: 1, Logger: brokertest.Logger(t)})
		closed.Close(t.Context()) // it refuses everything
		u := &undeliverable{err: errors.New("away")}
		i := New(nil, Options{Messages: u, DeadLetters: closed, Logger: brokertest.Logger(t)})
		ctx, end := context.WithTimeout(t.Context(), 10*time.Second)
		defer end()
		if (&partition{ingest: i}).deliverAll(ctx, []foreignRecord{foreign(good)}) {
			t.Error("what cannot be delivered is settled")
		}
		if u.tries < 15 {
			t.Errorf("it was tried %d times in ten seconds", u.tries)
		}
		ctx, end = context.WithTimeout(t.Context(), 10*time.Second)
		defer end()
		if (&partition{ingest: i}).deliverAll(ctx, []foreignRecord{foreign("poison")}) {
			t.Error("what cannot be buried is settled")
		}
	})
}

// A broker whose limit is smaller than ours must not hold up the partition for ever.
func TestALetterThatTheBrokerFindsTooLargeIsShortened(t *testing.T) {
	broker, cluster, topic := logtest.Controlled(t, 1)
	brokertest.Refusing(broker, topic, func(n int64) int16 {
		if n == 0 {
			return int16(kafkago.MessageSizeTooLarge)
		}
		return 0
	})
	dead := topictest.Appender(t, cluster, topic, 1)
	defer dead.Close(brokertest.Context(t))
	var log bytes.Buffer
	i := New(nil, Options{DeadLetters: dead, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	r := foreign("poison") // of partition 3
	if !i.bury(brokertest.Context(t), r, refuse(DeadInvalidJSON, "It is broken.")) {
		t.Fatal("it is not buried")
	}
	var letters []DeadLetter
	err := logclient.ReadTopic(brokertest.Context(t), cluster, logclient.TopicReading{Topic: topic, Logger: brokertest.Logger(t)}, func(r *recordbatch.StoredRecord) error {
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

// committing takes down each commit once it may go on, as "partition:offset …" in order.
func committing() (commit func(context.Context, map[int]int64) error, commits chan string, answer chan error) {
	commits, answer = make(chan string, 10), make(chan error, 10)
	return func(_ context.Context, offsets map[int]int64) error {
		var said []string
		for partition, offset := range offsets {
			said = append(said, fmt.Sprint(partition, ":", offset))
		}
		slices.Sort(said)
		commits <- fmt.Sprint(said)
		return <-answer
	}, commits, answer
}

// waitNoted is a context that notes when its end is waited for.
type waitNoted struct {
	context.Context
	noted chan struct{}
	note  func()
}

func newWaitNoted(ctx context.Context) waitNoted {
	noted := make(chan struct{})
	return waitNoted{Context: ctx, noted: noted, note: sync.OnceFunc(func() { close(noted) })}
}

func (c waitNoted) Done() <-chan struct{} {
	c.note()
	return c.Context.Done()
}

func TestPartitionsThatCommitMeanwhileShareTheNextCommit(t *testing.T) {
	commitAll, commits, answer := committing()
	c := newCommits(t.Context(), commitAll)
	outcomes := make(chan error, 3)
	commit := func(partition int, offset int64) {
		waits := newWaitNoted(t.Context())
		go func() {
			_, _, err := c.Ask(waits, committed{partition, offset})
			outcomes <- err
		}()
		<-waits.noted
	}
	commit(1, 10)
	if got := <-commits; got != "[1:10]" {
		t.Errorf("the first commit is %s", got)
	}
	commit(2, 20)
	commit(3, 30)
	if len(outcomes) > 0 {
		t.Error("a commit ends before its answer")
	}
	answer <- nil
	if err := <-outcomes; err != nil {
		t.Error(err)
	}
	if got := <-commits; got != "[2:20 3:30]" {
		t.Errorf("the second commit is %s", got)
	}
	answer <- kafkago.IllegalGeneration
	for range 2 {
		if err := <-outcomes; !errors.Is(err, kafkago.IllegalGeneration) {
			t.Errorf("a commit that is refused ends with %v", err)
		}
	}
	c.Wait()
	answer <- nil
	if err := c.commit(4, 40); err != nil || <-commits != "[4:40]" {
		t.Errorf("a later one: %v", err)
	}
}

// What is committed makes room for more; what is not is delivered by the next generation.
func TestAPartitionCommitsEachRunAndMakesRoom(t *testing.T) {
	commitAll, commits, answer := committing()
	sent := &sentMessages{}
	one := foreign(good)
	p := &partition{
		ingest: New(nil, Options{Messages: sent, Logger: brokertest.Logger(t)}), number: 3, runs: make(chan run),
		commits: newCommits(t.Context(), commitAll), underWay: semaphore.NewWeighted(2 * one.bytes()),
	}
	ended := make(chan error, 1)
	go func() { ended <- p.serve(t.Context()) }()
	hand := func(next int64) {
		t.Helper()
		for range 2 {
			if err := p.underWay.Acquire(brokertest.Context(t), one.bytes()); err != nil {
				t.Fatal("there is no room")
			}
		}
		p.runs <- run{records: []foreignRecord{one, one}, next: next}
	}
	for next := range int64(3) {
		answer <- nil
		hand(next)
		if got, want := <-commits, fmt.Sprintf("[3:%d]", next); got != want {
			t.Errorf("the commit is %s, not %s", got, want)
		}
	}
	answer <- kafkago.IllegalGeneration
	hand(4)
	if err := <-ended; !errors.Is(err, kafkago.IllegalGeneration) {
		t.Errorf("it ends with %v", err)
	}
	if got := len(sent.texts(7)); got != 8 {
		t.Errorf("%d messages are delivered", got)
	}
	if p.underWay.TryAcquire(1) {
		t.Error("what is not committed makes room")
	}
}

// outcomes notes what an Observer is told, by one goroutine.
type outcomes []string

func (o *outcomes) Delivered()         { *o = append(*o, "delivered") }
func (o *outcomes) Buried(code string) { *o = append(*o, code) }

func TestAnObserverIsToldOfADelivery(t *testing.T) {
	var told outcomes
	i := New(nil, Options{Messages: &undeliverable{}, Logger: brokertest.Logger(t), Observer: &told})
	if !i.deliver(t.Context(), foreign("x"), messaging.SystemMessageCommand{}) || !slices.Equal(told, outcomes{"delivered"}) {
		t.Errorf("it was told %q", told)
	}
}
