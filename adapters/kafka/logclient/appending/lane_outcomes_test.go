package appending

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// Whoever sent a message is told whether it can still come.
func TestAnAppendEndsAsItsAnswersSay(t *testing.T) {
	const again = int16(kafkago.NotEnoughReplicas)     // it was not appended
	const maybe = int16(kafkago.NotLeaderForPartition) // the next leader may have it
	const refused = int16(kafkago.TopicAuthorizationFailed)
	for what, c := range map[string]struct {
		codes []int16 // the last one for ever
		late  bool    // the deadline passes once two attempts were answered
		want  code
	}{
		"at once":                      {[]int16{0}, false, ""},
		"after some time":              {[]int16{again, again, 0}, false, ""},
		"after doubts":                 {[]int16{maybe, again, 0}, false, ""},
		"never, as far as is known":    {[]int16{maybe, again}, true, codeUnconfirmed},
		"refused":                      {[]int16{refused}, false, codeUnavailable},
		"refused after some time":      {[]int16{again, refused}, false, codeUnavailable},
		"refused after doubts":         {[]int16{maybe, refused}, false, codeUnconfirmed},
		"refused after another refuse": {[]int16{maybe, again, refused}, false, codeUnconfirmed},
	} {
		broker, cluster, topic := controlledTopic(t)
		var attempts atomic.Int64
		brokertest.Refusing(broker, topic, func(n int64) int16 {
			attempts.Store(n + 1)
			return c.codes[min(n, int64(len(c.codes)-1))]
		})
		appender := NewAppender(cluster, AppenderOptions{
			Topic: topic, Partitions: 1, Deadline: time.Hour, QueueBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
		})
		outcome := appendOne(appender, "value")
		if c.late {
			brokertest.WaitUntil(t, func() bool { return attempts.Load() > 2 })
			passDeadline(appender)
		}
		err := <-outcome
		if (err == nil) != (c.want == "") || err != nil && codeOf(err) != c.want {
			t.Errorf("%s: it ends with %v, want %s", what, err, c.want)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		appender.Close(ended)
	}
}

// passDeadline has an appender do what it does once the deadline of everything that it holds has passed.
func passDeadline(appender *Appender) {
	for _, l := range appender.lanes {
		l.expire(time.Now().Add(l.deadline))
	}
}

// A batch that was never sent is given up at its deadline; one that may have been is sent on until it is answered.
func TestABatchIsGivenUpAtItsDeadlineOnlyIfItWasNeverSent(t *testing.T) {
	const again, maybe = int16(kafkago.NotEnoughReplicas), int16(kafkago.NotLeaderForPartition)
	for what, c := range map[string]struct {
		codes   []int16
		late    bool
		want    code
		answers int64
	}{
		"too late, and never sent":  {[]int16{again, 0}, true, codeUnavailable, 1},
		"in time, and never sent":   {[]int16{again, again, 0}, false, "", 3},
		"too late, and maybe sent":  {[]int16{maybe, again, 0}, true, "", 3},
		"too late, and sent at all": {[]int16{0}, true, "", 1},
	} {
		broker, cluster, topic := controlledTopic(t)
		var answers atomic.Int64
		brokertest.Refusing(broker, topic, func(n int64) int16 {
			answers.Store(n + 1)
			return c.codes[n]
		})
		l := newLane(cluster, AppenderOptions{Topic: topic, Deadline: time.Hour, Logger: brokertest.Logger(t)}, 0)
		b := &batch{pending: []pending{{record: recordbatch.Record{Value: []byte("x"), Time: time.Now()}}}, since: time.Now()}
		if c.late {
			b.since = b.since.Add(-time.Hour)
		}
		err := l.deliver(brokertest.Context(t), b)
		if (err == nil) != (c.want == "") || err != nil && codeOf(err) != c.want || answers.Load() != c.answers {
			t.Errorf("%s: after %d answers it ends with %v", what, answers.Load(), err)
		}
	}
}

// A message to a log that is away is surely not in it, and its sender is told so in time.
func TestALogThatIsAwayIsUnavailableAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const deadline = 5 * time.Second
		cluster := logclient.NewCluster(logclient.ClusterOptions{
			Brokers: []string{"broker:9092"}, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			},
		})
		defer cluster.Close()
		appender := NewAppender(cluster, AppenderOptions{
			Topic: "t", Partitions: 1, Deadline: deadline, QueueBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
		})
		began := time.Now()
		want := func(what string, outcome <-chan error, after time.Duration) {
			t.Helper()
			if err := <-outcome; codeOf(err) != codeUnavailable || time.Since(began) != after {
				t.Errorf("%s: it ends with %v after %s, want %s", what, err, time.Since(began), after)
			}
		}
		first := appendOne(appender, "first")
		time.Sleep(time.Second)
		second := appendOne(appender, "second")
		want("the first", first, deadline)
		want("the second", second, deadline+time.Second)
		appender.Close(t.Context())
	})
}

// An attempt that hangs may have been sent. What waits behind it was not.
func TestAnAttemptThatHangsDoesNotHoldUpTheDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const deadline = attemptTimeout / 3
		cluster := logclient.NewCluster(logclient.ClusterOptions{
			Brokers: []string{"broker:9092"}, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		defer cluster.Close()
		appender := NewAppender(cluster, AppenderOptions{
			Topic: "t", Partitions: 1, Deadline: deadline, QueueBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
		})
		began := time.Now()
		var outcomes []<-chan error
		for _, value := range []string{"first", "second", "third"} {
			outcomes = append(outcomes, appendOne(appender, value))
			time.Sleep(100 * time.Millisecond)
		}
		for i, outcome := range outcomes {
			err, after := <-outcome, time.Since(began)
			want := codeUnavailable
			if i == 0 {
				want = codeUnconfirmed
			}
			if at := deadline + time.Duration(i)*100*time.Millisecond; codeOf(err) != want || after != at {
				t.Errorf("record %d: it ends with %v after %s, want %s after %s", i, err, after, want, at)
			}
		}
		appender.Close(t.Context())
	})
}

func TestABatchThatWasSurelyNotSentIsUnavailableAtTheEnd(t *testing.T) {
	_, cluster, topic := controlledTopic(t)
	l := newLane(cluster, AppenderOptions{Topic: topic, Deadline: time.Hour, Logger: brokertest.Logger(t)}, 0)
	ended, end := context.WithCancel(t.Context())
	end()
	err := l.deliver(ended, &batch{pending: []pending{{record: recordbatch.Record{Value: []byte("v")}}}, since: time.Now()})
	if codeOf(err) != codeUnavailable {
		t.Errorf("it comes to %v", err)
	}
}

// longPauses returns a Backoff that has come to its longest pauses.
func longPauses() *logclient.Backoff {
	b := new(logclient.Backoff)
	for range 9 {
		b.Timer().Stop()
	}
	return b
}

func TestAPauseBetweenAttemptsDoesNotHoldUpTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const deadline = 100 * time.Millisecond
		l := idleLane(t, AppenderOptions{Deadline: deadline, QueueBytes: 1 << 20})
		a := &Appender{options: AppenderOptions{Deadline: deadline}, lanes: []*lane{l}, wake: make(chan struct{}, 1)}
		began := time.Now()
		var told []string
		add := func(name string) {
			l.append(Owner{}, sized(100), func(err error) {
				told = append(told, fmt.Sprint(name, " ", codeOf(err), " after ", time.Since(began)))
			})
		}
		add("sent")
		b := l.take()
		b.maybeSent = true
		running, stop := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { defer close(ran); a.run(running) }()
		time.Sleep(50 * time.Millisecond)
		add("waits")
		l.pause(t.Context(), b, longPauses())
		if took := time.Since(began); took <= 200*time.Millisecond {
			t.Errorf("the pause ended after %s", took)
		}
		stop()
		<-ran
		if want := []string{"sent unconfirmed after 100ms", "waits unavailable after 150ms"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		b.maybeSent, b.since, began = false, time.Now(), time.Now()
		if l.pause(t.Context(), b, longPauses()); time.Since(began) != deadline {
			t.Errorf("with a batch that was never sent, the pause ended after %s", time.Since(began))
		}
		ended, end := context.WithCancel(t.Context())
		end()
		b.since, began = time.Now(), time.Now()
		if l.pause(ended, b, longPauses()); time.Since(began) != 0 {
			t.Errorf("with its context ended, the pause ended after %s", time.Since(began))
		}
	})
}

// The next batch after one that may be in the log, although the broker refused it, must not be taken for it.
func TestARefusalAfterADoubtBeginsTheNextEpoch(t *testing.T) {
	broker, cluster, topic := controlledTopic(t)
	codes := []int16{0, int16(kafkago.NotLeaderForPartition), int16(kafkago.TopicAuthorizationFailed), 0}
	brokertest.Refusing(broker, topic, func(n int64) int16 { return codes[min(n, 3)] })
	appender := testAppender(t, cluster, topic, 1)
	defer appender.Close(brokertest.Context(t))
	if err := <-appendOne(appender, "first"); err != nil {
		t.Fatal(err)
	}
	lane := appender.lanes[0]
	before := lane.sender.stamp
	if err := <-appendOne(appender, "second"); codeOf(err) != codeUnconfirmed {
		t.Fatalf("the second came to %v", err)
	}
	if err := <-appendOne(appender, "third"); err != nil {
		t.Fatal(err)
	}
	brokertest.WaitUntil(t, func() bool { return idle(lane) })
	if after, want := lane.sender.stamp, (recordbatch.Stamp{ID: before.ID, Epoch: before.Epoch + 1, Sequence: 1}); after != want {
		t.Errorf("the next stamp is %+v, want %+v", after, want)
	}
}

func TestAClosedAppenderSaysWhatBecameOfEverything(t *testing.T) {
	for what, c := range map[string]struct {
		code   int16
		second code
	}{
		"surely not sent": {int16(kafkago.NotEnoughReplicas), codeUnavailable},
		"maybe sent":      {int16(kafkago.NotLeaderForPartition), codeUnconfirmed},
	} {
		broker, cluster, topic := controlledTopic(t)
		var once sync.Once
		tried := make(chan struct{})
		brokertest.Refusing(broker, topic, func(n int64) int16 {
			if n > 0 {
				once.Do(func() { close(tried) }) // the answer to the first attempt was read
			}
			return c.code
		})
		appender := NewAppender(cluster, AppenderOptions{
			Topic: topic, Partitions: 2, Deadline: time.Hour, QueueBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
		})
		underWay := appendOne(appender, "under way")
		<-tried
		waits := appendOne(appender, "waits")
		ended, end := context.WithCancel(t.Context())
		end()
		appender.Close(ended)
		// The attempt that was cut off by the end may have been sent, whatever the ones before it came to.
		if err := <-underWay; codeOf(err) != c.second && codeOf(err) != codeUnconfirmed {
			t.Errorf("%s: what was under way came to %v", what, err)
		}
		if err := <-waits; codeOf(err) != codeUnavailable {
			t.Errorf("%s: what waited came to %v", what, err)
		}
		if err := <-appendOne(appender, "late"); codeOf(err) != codeUnavailable {
			t.Errorf("%s: what comes afterwards came to %v", what, err)
		}
	}
}

func TestACloseWaitsForWhatIsQueued(t *testing.T) {
	broker, cluster, topic := controlledTopic(t)
	release := make(chan struct{})
	brokertest.Refusing(broker, topic, func(int64) int16 { <-release; return 0 })
	appender := testAppender(t, cluster, topic, 1)
	outcomes := []<-chan error{appendOne(appender, "a"), appendOne(appender, "b")}
	time.AfterFunc(10*time.Millisecond, func() { close(release) })
	appender.Close(brokertest.Context(t))
	for i, outcome := range outcomes {
		select {
		case err := <-outcome:
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		default:
			t.Errorf("record %d has no outcome", i)
		}
	}
}

func TestAnAppenderKnowsItsPartitionsAndWhetherOneIsStuck(t *testing.T) {
	appender := NewAppender(nil, AppenderOptions{Topic: "t", Partitions: 3, Deadline: time.Minute, QueueBytes: 1 << 20, Logger: brokertest.Logger(t)})
	defer appender.Close(brokertest.Context(t))
	if got := appender.Partitions(); got != 3 {
		t.Errorf("it has %d partitions", got)
	}
	for _, partition := range []int{-1, 3} {
		var outcome error
		appender.Append(partition, recordbatch.Record{}, func(err error) { outcome = err })
		if codeOf(outcome) != codeOther {
			t.Errorf("partition %d: %v", partition, outcome)
		}
	}
	if appender.Stuck() {
		t.Error("it is stuck")
	}
	last := appender.lanes[2]
	last.mu.Lock()
	last.current = &batch{since: time.Now().Add(-time.Minute - time.Second)}
	last.mu.Unlock()
	if !appender.Stuck() {
		t.Error("it is not stuck")
	}
	last.finish(&batch{answered: true}, nil)
}

// A server that goes on without a lane would refuse nothing and append nothing.
func TestAnAppenderTellsThatItEnded(t *testing.T) {
	appender := NewAppender(nil, AppenderOptions{Topic: "t", Partitions: 2, Deadline: time.Minute, QueueBytes: 1 << 20, Logger: brokertest.Logger(t)})
	select {
	case <-appender.Ended():
		t.Error("it says so at once")
	default:
	}
	for _, l := range appender.lanes {
		l.close()
	}
	select {
	case <-appender.Ended():
	case <-brokertest.Context(t).Done():
		t.Error("its lanes are over, and it does not say so")
	}
	appender.Close(brokertest.Context(t))
}

func TestACloseThatIsCutShortStillWaitsForTheLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, abort := context.WithCancel(t.Context())
		appender := &Appender{abort: abort, ended: make(chan struct{})}
		answer := make(chan struct{})
		go func() {
			defer close(appender.ended)
			<-ctx.Done()
			<-answer // as the callback of a record may take a moment
		}()
		ended, end := context.WithCancel(t.Context())
		end()
		closed := make(chan struct{})
		go func() { appender.Close(ended); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("it leaves a lane behind")
		default:
		}
		close(answer)
		<-closed
	})
}
