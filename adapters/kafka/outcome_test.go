package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"chatting/domain"
)

// answers says what becomes of the n-th answer, from 0 on, to a produce request that the broker has appended.
type answers func(n int64) answer

// answer is what the client gets instead of the broker's answer: it with another error code; no answer and a connection
// that ends; or, with neither, the broker's.
type answer struct {
	code kafka.Error
	drop bool
}

// dialAnswering returns a dialer to brokers whose produce answers are replaced.
func dialAnswering(topic string, replace answers) func(context.Context, string, string) (net.Conn, error) {
	var produced atomic.Int64
	var pipes sync.WaitGroup
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		broker, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		client, inner := net.Pipe()
		pipes.Go(func() {
			defer inner.Close()
			defer broker.Close()
			for {
				request, err := readFrame(inner)
				if err != nil {
					return
				}
				if _, err := broker.Write(request); err != nil {
					return
				}
				response, err := readFrame(broker)
				if err != nil {
					return
				}
				// size, correlation id, one topic, its name, one partition, its number, its error
				code := 4 + 4 + 4 + 2 + len(topic) + 4 + 4
				if binary.BigEndian.Uint16(request[4:]) == apiProduce && binary.BigEndian.Uint16(response[code:]) == 0 {
					a := replace(produced.Add(1) - 1)
					if a.drop {
						return
					}
					binary.BigEndian.PutUint16(response[code:], uint16(a.code))
				}
				if _, err := inner.Write(response); err != nil {
					return
				}
			}
		})
		return client, nil
	}
}

// answeredAppender is an appender to one partition over a network that replaces answers, and the topic.
func answeredAppender(t *testing.T, cluster *Cluster, deadline time.Duration, replace answers) (*Appender, string) {
	t.Helper()
	topic := testTopics(t, cluster, 1).Conversations
	answering := NewCluster(cluster.options)
	answering.transport.Dial = dialAnswering(topic, replace)
	t.Cleanup(answering.Close)
	appender := NewAppender(answering, AppenderOptions{
		Topic: topic, Partitions: 1, Deadline: deadline, QueueBytes: 4 << 20, Logger: testLogger(t),
	})
	t.Cleanup(func() { appender.Close(testContext(t)) })
	return appender, topic
}

// appendOne appends a value to partition 0; the outcome comes over the channel.
func appendOne(appender *Appender, value string) <-chan error {
	outcome := make(chan error, 1)
	appender.appendTo(0, record{key: []byte("k"), value: []byte(value), time: time.Now()}, func(err error) { outcome <- err })
	return outcome
}

// A leader answers NOT_LEADER_OR_FOLLOWER also to a batch that it has appended, when it is deposed before the other
// replicas have acknowledged it: the next leader may have it. Were such a batch given up as never sent, the next of the same
// length would carry its sequence, and be acknowledged as its duplicate.
func TestABatchThatADeposedLeaderMayHaveIsNotGivenUp(t *testing.T) {
	for _, code := range []kafka.Error{
		kafka.NotLeaderForPartition, kafka.UnknownTopicOrPartition, kafka.KafkaStorageError,
	} {
		t.Run(fmt.Sprint(int(code)), func(t *testing.T) {
			eachBroker(t, func(t *testing.T, cluster *Cluster) {
				var deposed atomic.Bool
				deposed.Store(true)
				var answered atomic.Int64
				appender, topic := answeredAppender(t, cluster, 200*time.Millisecond, func(n int64) answer {
					answered.Store(n)
					if deposed.Load() {
						return answer{code: code}
					}
					return answer{}
				})
				if err := <-appendOne(appender, "first"); codeOf(err) != domain.CodeUnconfirmed {
					t.Errorf("the append came to %v; it is in the log", err)
				}
				// After the deadline the batch is sent on.
				sent := answered.Load()
				waitUntil(t, func() bool { return answered.Load() > sent+2 || idle(appender.lanes[0]) })
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
	for _, code := range []kafka.Error{kafka.TopicAuthorizationFailed, kafka.InvalidProducerEpoch} {
		t.Run(fmt.Sprint(int(code)), func(t *testing.T) {
			eachBroker(t, func(t *testing.T, cluster *Cluster) {
				appender, topic := answeredAppender(t, cluster, 5*time.Second, func(n int64) answer {
					return []answer{{drop: true}, {code: code}, {}}[min(n, 2)]
				})
				if err := <-appendOne(appender, "first"); codeOf(err) != domain.CodeUnconfirmed {
					t.Errorf("the append came to %v; it is in the log, and the broker refused it", err)
				}
				expectNextIsAppended(t, cluster, appender, topic)
			})
		})
	}
}

// expectNextIsAppended appends "next" until it is acknowledged, and expects the log to hold "first" and "next", once.
func expectNextIsAppended(t *testing.T, cluster *Cluster, appender *Appender, topic string) {
	t.Helper()
	waitUntil(t, func() bool { return <-appendOne(appender, "next") == nil })
	tail, log := startTail(t, cluster, topic, 1)
	ends, err := EndsOf(testContext(t), cluster, topic, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.WaitFor(testContext(t), ends); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(log.of(0)); got != "[first next]" {
		t.Errorf("the log holds %s, not [first next]", got)
	}
}

func TestWhatWasNotSentWhenTheAppenderIsCutIsReportedAsNotSent(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		sent := make(chan struct{}, 1)
		release := make(chan struct{})
		appender, _ := answeredAppender(t, cluster, 5*time.Second, func(int64) answer {
			sent <- struct{}{}
			<-release
			return answer{drop: true}
		})
		defer close(release)
		first := appendOne(appender, "first")
		<-sent
		second := appendOne(appender, "second")
		cut, cancel := context.WithCancel(testContext(t))
		cancel()
		appender.Close(cut)
		if err := <-first; codeOf(err) != domain.CodeUnconfirmed {
			t.Errorf("what was under way came to %v", err)
		}
		if err := <-second; codeOf(err) != domain.CodeUnavailable {
			t.Errorf("what was never sent came to %v", err)
		}
	})
}

func TestABrokerThatIsAwayIsLoggedOnceAndItsReturnToo(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		topic := testTopics(t, cluster, 1).Conversations
		var away atomic.Bool
		away.Store(true)
		unreachable := NewCluster(cluster.options)
		dial := unreachable.transport.Dial
		unreachable.transport.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if away.Load() {
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
			}
			return dial(ctx, network, address)
		}
		t.Cleanup(unreachable.Close)
		lines := make(chan string, 100)
		appender := NewAppender(unreachable, AppenderOptions{
			Topic: topic, Partitions: 1, Deadline: 50 * time.Millisecond, QueueBytes: 4 << 20, Logger: slog.New(messages{lines}),
		})
		defer appender.Close(testContext(t))
		for range 5 {
			if err := <-appendOne(appender, "lost"); err == nil {
				t.Fatal("an append reached a broker that is away")
			}
			waitUntil(t, func() bool { return idle(appender.lanes[0]) })
		}
		away.Store(false)
		waitUntil(t, func() bool { return <-appendOne(appender, "next") == nil })
		waitUntil(t, func() bool { return <-appendOne(appender, "the one after") == nil })
		appender.Close(testContext(t))
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
