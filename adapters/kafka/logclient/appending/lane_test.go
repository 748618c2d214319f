package appending

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// idleLane is a lane that nobody sends from.
func idleLane(t *testing.T, options AppenderOptions) *lane {
	t.Helper()
	options.Logger = brokertest.Logger(t)
	return newLane(nil, options, 0)
}

// sized is a record that counts as so many bytes.
func sized(size int) recordbatch.Record {
	return recordbatch.Record{Value: make([]byte, size-recordbatch.Overhead)}
}

func TestABatchIsBoundedInRecordsAndInBytes(t *testing.T) {
	const mostBytes, mostRecords = 512 << 10, 1000 // brokers take 1 MiB
	repeat := func(n, size int) []int { return slices.Repeat([]int{size}, n) }
	for what, c := range map[string]struct{ sizes, batches []int }{
		"few":                    {[]int{100, 200}, []int{2}},
		"as many as fit":         {repeat(mostRecords, 40), []int{mostRecords}},
		"one more":               {repeat(mostRecords+1, 40), []int{mostRecords, 1}},
		"as many bytes as fit":   {[]int{mostBytes - 100, 100}, []int{2}},
		"a byte more":            {[]int{mostBytes - 100, 101}, []int{1, 1}},
		"a byte more, of three":  {[]int{100, mostBytes - 200, 101, 50}, []int{2, 2}},
		"one that is too large":  {[]int{2 * mostBytes, 100}, []int{1, 1}},
		"one that is, behind":    {[]int{100, 2 * mostBytes, 100, 100}, []int{1, 1, 2}},
		"many that are too much": {repeat(5, mostBytes/2), []int{2, 2, 1}},
	} {
		l := idleLane(t, AppenderOptions{Deadline: time.Minute, QueueBytes: 64 << 20})
		sum := 0
		for _, size := range c.sizes {
			sum += size
			l.append(Owner{}, sized(size), func(err error) { t.Errorf("%s: it came to %v", what, err) })
		}
		if l.queued != sum {
			t.Errorf("%s: %d bytes are counted, not %d", what, l.queued, sum)
		}
		var batches []int
		for {
			if _, over := l.state(); over {
				t.Errorf("%s: an open lane says that it is over", what)
			}
			b := l.take()
			if b == nil {
				break
			}
			batches = append(batches, len(b.pending))
			l.finish(&batch{answered: true}, nil)
		}
		if !slices.Equal(batches, c.batches) || l.queued != 0 {
			t.Errorf("%s: the batches have %v records, want %v; %d bytes are counted behind them", what, batches, c.batches, l.queued)
		}
		l.close()
		if ready, over := l.state(); ready || !over {
			t.Errorf("%s: a closed and empty lane goes on", what)
		}
	}
}

// An owner may have as much of the queue as is free.
func TestAnOwnerMayHaveAsMuchAsIsFree(t *testing.T) {
	for what, c := range map[string]struct {
		queue int
		want  int // records of 100 bytes
	}{"just as much": {900, 5}, "a byte less": {899, 4}, "more": {1000, 5}} {
		l := idleLane(t, AppenderOptions{Deadline: time.Minute, QueueBytes: c.queue})
		taken := 0
		for range 9 {
			var outcome error
			if l.append(OwnedBy(7), sized(100), func(err error) { outcome = err }); outcome == nil {
				taken++
			}
		}
		if taken != c.want {
			t.Errorf("%s: %d records are taken, not %d", what, taken, c.want)
		}
		if l.finish(l.take(), nil); l.queued != 0 || len(l.shares) != 0 {
			t.Errorf("%s: %d bytes are counted, of %d owners, with nothing queued", what, l.queued, len(l.shares))
		}
	}
}

func TestTheArrayOfABatchThatIsDoneIsUsedAgain(t *testing.T) {
	l := idleLane(t, AppenderOptions{Deadline: time.Minute, QueueBytes: 1 << 20})
	add := func(n int) {
		for range n {
			l.append(Owner{}, sized(100), func(error) {})
		}
	}
	add(5)
	b := l.take()
	array := &b.pending[0]
	if l.finish(b, nil); len(l.spare) != 0 || array.done != nil || array.record.Value != nil {
		t.Errorf("it still holds %+v", array)
	}
	if add(3); &l.queue[0] != array || l.spare != nil {
		t.Error("it is not used")
	}
	b = l.take()
	b.answered = true // somebody else may be telling those who wait
	if l.finish(b, nil); l.spare != nil || array.done == nil {
		t.Error("it is used although it may still be read")
	}
}

func TestARecordCountsWithItsKeyAndItsHeaders(t *testing.T) {
	r := recordbatch.Record{Key: make([]byte, 3), Value: make([]byte, 50), Headers: []kafkago.Header{{Key: "content-type", Value: []byte("text/plain")}}}
	if got, want := r.Size(), 3+50+32+len("content-type")+len("text/plain")+4; got != want {
		t.Errorf("it counts as %d bytes, not %d", got, want)
	}
}

func TestAPartitionTakesNothingNewWhileItIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const deadline = 5 * time.Second
		l := idleLane(t, AppenderOptions{Deadline: deadline, QueueBytes: 1 << 20})
		refused := func() error {
			var outcome error
			l.append(Owner{}, sized(100), func(err error) { outcome = err })
			return outcome
		}
		if err := refused(); err != nil || l.stuck() {
			t.Fatalf("an idle lane: %v", err)
		}
		time.Sleep(deadline + 1)
		if err := refused(); err != nil || l.stuck() {
			t.Errorf("what waits for long, with nothing under way: %v", err)
		}
		l.expire(time.Now())
		b := l.take()
		if b == nil || len(b.pending) != 1 {
			t.Fatalf("the batch is %+v", b)
		}
		time.Sleep(deadline)
		if err := refused(); err != nil || l.stuck() {
			t.Errorf("at the deadline of the batch under way: %v", err)
		}
		time.Sleep(1)
		if err := refused(); !errors.Is(err, errStuck) || !l.stuck() {
			t.Errorf("beyond it: %v", err)
		}
		l.finish(b, &AppendError{Reason: "away"})
		if err := refused(); err != nil || l.stuck() {
			t.Errorf("after a batch that was given up, one finds out: %v", err)
		}
		if b = l.take(); b == nil {
			t.Fatal("nothing is to be sent")
		}
		if err := refused(); !errors.Is(err, errStuck) {
			t.Errorf("while one finds out: %v", err)
		}
		l.finish(b, nil)
		for range 2 {
			if err := refused(); err != nil {
				t.Errorf("after one that went through: %v", err)
			}
			l.take()
		}
		l.close()
		if err := refused(); !errors.Is(err, errClosed) {
			t.Errorf("a closed lane: %v", err)
		}
	})
}

// What was never sent is not in the log, what may have been is unconfirmed, and each is told once.
func TestWhatReachesItsDeadlineIsToldSoOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const deadline = 5 * time.Second
		l := idleLane(t, AppenderOptions{Deadline: deadline, QueueBytes: 1 << 20})
		var told []string
		add := func(name string) {
			l.append(Owner{}, sized(100), func(err error) { told = append(told, fmt.Sprint(name, " ", codeOf(err))) })
		}
		want := func(when string, want ...string) {
			t.Helper()
			if !slices.Equal(told, want) {
				t.Errorf("%s: told %q, want %q", when, told, want)
			}
			told = nil
		}
		began := time.Now()
		wantNext := func(when string, after time.Duration) {
			t.Helper()
			if got := l.expire(time.Now()); !got.Equal(began.Add(after)) {
				t.Errorf("%s: the next look is %s after the start, not %s", when, got.Sub(began), after)
			}
		}
		wantNext("idle", deadline)
		add("sent")
		time.Sleep(time.Second)
		b := l.take()
		add("waits")
		wantNext("with one under way", deadline)
		time.Sleep(time.Second)
		add("waits too")
		time.Sleep(3*time.Second - 1)
		for _, b.maybeSent = range []bool{true, false} {
			wantNext("just before the deadline", deadline)
			want("just before the deadline")
		}
		time.Sleep(1)
		l.expire(time.Now())
		want("at the deadline of one that surely was not sent")
		b.maybeSent = true
		wantNext("with one waiting", deadline+time.Second)
		want("at the deadline of one that may have been sent", "sent "+string(codeUnconfirmed))
		time.Sleep(time.Second - 1)
		wantNext("just before the second deadline", deadline+time.Second)
		time.Sleep(1)
		wantNext("at the second deadline", deadline+2*time.Second)
		want("at the second deadline", "waits "+string(codeUnavailable))
		if l.queued != 100 {
			t.Errorf("%d bytes are counted with one record waiting", l.queued)
		}
		l.finish(b, nil)
		want("when the answer comes after all")
		if l.current != nil || l.failing {
			t.Errorf("afterwards, %+v is under way, failing: %t", l.current, l.failing)
		}
		time.Sleep(time.Second)
		wantNext("with nothing left", 2*deadline+2*time.Second)
		want("at the third deadline", "waits too "+string(codeUnavailable))
	})
}

func TestABatchIsAsOldAsItsOldestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := idleLane(t, AppenderOptions{Deadline: 5 * time.Second, QueueBytes: 1 << 20})
		began := time.Now()
		for range 3 {
			l.append(Owner{}, sized(100), func(error) {})
			time.Sleep(time.Second)
		}
		if b := l.take(); len(b.pending) != 3 || !b.since.Equal(began) || !b.pending[2].since.Equal(began.Add(2*time.Second)) {
			t.Errorf("it is of %s, %s after its oldest record", b.since, b.since.Sub(began))
		}
	})
}

// BenchmarkAppend is a record on its way through the queue of its partition into a batch.
func BenchmarkAppend(b *testing.B) {
	const most = 1000
	l := newLane(nil, AppenderOptions{Deadline: time.Hour, QueueBytes: 64 << 20, Logger: brokertest.Logger(b)}, 0)
	r := recordbatch.Record{Key: []byte("9:10"), Value: make([]byte, 400), Time: time.Now()}
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.append(OwnedBy(9), r, done)
		if i%most == most-1 {
			if batch := l.take(); batch != nil {
				l.finish(batch, nil)
			}
		}
	}
}
