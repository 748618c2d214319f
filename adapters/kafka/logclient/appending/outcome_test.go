package appending

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// answeredAppender is an appender to one partition over a network that replaces answers, and the topic.
func answeredAppender(t *testing.T, cluster *logclient.Cluster, replace func(n int64) brokertest.Answer) (*Appender, string) {
	t.Helper()
	topic := testTopic(t, cluster, 1)
	options := cluster.Options()
	options.Dial = brokertest.DialAnswering(topic, replace)
	answering := logclient.NewCluster(options)
	t.Cleanup(answering.Close)
	appender := NewAppender(answering, AppenderOptions{
		Topic: topic, Partitions: 1, Deadline: time.Hour, QueueBytes: 4 << 20, Logger: brokertest.Logger(t),
	})
	t.Cleanup(func() { appender.Close(brokertest.Context(t)) })
	return appender, topic
}

// appendOne appends a value to partition 0; the outcome comes over the channel.
func appendOne(appender *Appender, value string) <-chan error {
	outcome := make(chan error, 1)
	appender.Append(0, recordbatch.Record{Key: []byte("k"), Value: []byte(value), Time: time.Now()}, func(err error) { outcome <- err })
	return outcome
}

// A leader answers NOT_LEADER_OR_FOLLOWER also to a batch that it has appended, when it is deposed before the other
// replicas have acknowledged it: the next leader may have it. Were such a batch given up as never sent, the next of the same
// length would carry its sequence, and be acknowledged as its duplicate.
func TestABatchThatADeposedLeaderMayHaveIsNotGivenUp(t *testing.T) {
	for _, code := range []kafkago.Error{
		kafkago.NotLeaderForPartition, kafkago.UnknownTopicOrPartition, kafkago.KafkaStorageError,
	} {
		t.Run(fmt.Sprint(int(code)), func(t *testing.T) {
			eachBroker(t, func(t *testing.T, cluster *logclient.Cluster) {
				var deposed atomic.Bool
				deposed.Store(true)
				var answered atomic.Int64
				appender, topic := answeredAppender(t, cluster, func(n int64) brokertest.Answer {
					answered.Store(n + 1)
					if deposed.Load() {
						return brokertest.Answer{Code: code}
					}
					return brokertest.Answer{}
				})
				first := appendOne(appender, "first")
				brokertest.WaitUntil(t, func() bool { return answered.Load() > 1 })
				passDeadline(appender)
				if err := <-first; codeOf(err) != codeUnconfirmed {
					t.Errorf("the append came to %v; it is in the log", err)
				}
				// After the deadline the batch is sent on.
				sent := answered.Load()
				brokertest.WaitUntil(t, func() bool { return answered.Load() > sent+2 || idle(appender.lanes[0]) })
				deposed.Store(false)
				expectNextIsAppended(t, cluster, appender, topic)
			})
		})
	}
}

func idle(l *lane) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current == nil
}

func TestARefusalAfterALostAnswerDoesNotCostTheNextRecord(t *testing.T) {
	for _, code := range []kafkago.Error{kafkago.TopicAuthorizationFailed, kafkago.InvalidProducerEpoch} {
		t.Run(fmt.Sprint(int(code)), func(t *testing.T) {
			eachBroker(t, func(t *testing.T, cluster *logclient.Cluster) {
				appender, topic := answeredAppender(t, cluster, func(n int64) brokertest.Answer {
					return []brokertest.Answer{{Drop: true}, {Code: code}, {}}[min(n, 2)]
				})
				if err := <-appendOne(appender, "first"); codeOf(err) != codeUnconfirmed {
					t.Errorf("the append came to %v; it is in the log, and the broker refused it", err)
				}
				expectNextIsAppended(t, cluster, appender, topic)
			})
		})
	}
}

// expectNextIsAppended appends "next" until it is acknowledged, and expects the log to hold "first" and "next", once.
func expectNextIsAppended(t *testing.T, cluster *logclient.Cluster, appender *Appender, topic string) {
	t.Helper()
	brokertest.WaitUntil(t, func() bool { return <-appendOne(appender, "next") == nil })
	if got := fmt.Sprint(logOf(t, cluster, topic, 1)[0]); got != "[first next]" {
		t.Errorf("the log holds %s, not [first next]", got)
	}
}

func TestWhatWasNotSentWhenTheAppenderIsCutIsReportedAsNotSent(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *logclient.Cluster) {
		sent := make(chan struct{}, 1)
		release := make(chan struct{})
		appender, _ := answeredAppender(t, cluster, func(int64) brokertest.Answer {
			sent <- struct{}{}
			<-release
			return brokertest.Answer{Drop: true}
		})
		defer close(release)
		first := appendOne(appender, "first")
		<-sent
		second := appendOne(appender, "second")
		cut, cancel := context.WithCancel(brokertest.Context(t))
		cancel()
		appender.Close(cut)
		if err := <-first; codeOf(err) != codeUnconfirmed {
			t.Errorf("what was under way came to %v", err)
		}
		if err := <-second; codeOf(err) != codeUnavailable {
			t.Errorf("what was never sent came to %v", err)
		}
	})
}

func TestABrokerThatIsAwayIsLoggedOnceAndItsReturnToo(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *logclient.Cluster) {
		topic := testTopic(t, cluster, 1)
		var away atomic.Bool
		away.Store(true)
		options := cluster.Options()
		dial := options.Dial
		options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if away.Load() {
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
			}
			return dial(ctx, network, address)
		}
		unreachable := logclient.NewCluster(options)
		t.Cleanup(unreachable.Close)
		lines := make(chan string, 100)
		appender := NewAppender(unreachable, AppenderOptions{
			Topic: topic, Partitions: 1, Deadline: 50 * time.Millisecond, QueueBytes: 4 << 20, Logger: slog.New(messages{lines}),
		})
		defer appender.Close(brokertest.Context(t))
		for range 5 {
			if err := <-appendOne(appender, "lost"); err == nil {
				t.Fatal("an append reached a broker that is away")
			}
			brokertest.WaitUntil(t, func() bool { return idle(appender.lanes[0]) })
		}
		away.Store(false)
		// The broker may take its time.
		lane := appender.lanes[0]
		lane.mu.Lock()
		lane.deadline = time.Hour
		lane.mu.Unlock()
		for _, value := range []string{"next", "the one after"} {
			if err := <-appendOne(appender, value); err != nil {
				t.Fatal(err)
			}
		}
		appender.Close(brokertest.Context(t))
		close(lines)
		var got []string
		for line := range lines {
			got = append(got, line)
		}
		if len(got) != 2 || got[1] != "appends go through again" {
			t.Errorf("the log says %q", got)
		}
	})
}

// messages is a log handler that hands on the messages.
type messages struct{ to chan<- string }

func (m messages) Enabled(context.Context, slog.Level) bool      { return true }
func (m messages) Handle(_ context.Context, r slog.Record) error { m.to <- r.Message; return nil }
func (m messages) WithAttrs([]slog.Attr) slog.Handler            { return m }
func (m messages) WithGroup(string) slog.Handler                 { return m }
