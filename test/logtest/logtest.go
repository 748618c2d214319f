// Package logtest appends to logs and reads them, for tests of packages that use the log client.
package logtest

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/domain"
	"chatting/test/brokertest"
)

// Each runs a suite on an embedded broker and, if CHATTING_TEST_KAFKA names one, on a real one.
func Each[T brokertest.Tester[T]](t T, suite func(t T, cluster *logclient.Cluster)) {
	brokertest.Each(t, func(t T, brokers []string, isEmbedded bool) { suite(t, cluster(t, brokers, isEmbedded)) })
}

// Cluster connects to brokers until the test ends.
func Cluster(t testing.TB, brokers []string) *logclient.Cluster {
	t.Helper()
	return cluster(t, brokers, false)
}

func cluster(t testing.TB, brokers []string, isEmbedded bool) *logclient.Cluster {
	t.Helper()
	c := logclient.NewCluster(logclient.ClusterOptions{Brokers: brokers, ClientID: "chatting", Embedded: isEmbedded})
	t.Cleanup(c.Close)
	return c
}

// Through connects to the brokers of a cluster over connections that dial makes.
func Through(
	t testing.TB, to *logclient.Cluster, dial func(ctx context.Context, network, address string) (net.Conn, error),
) *logclient.Cluster {
	t.Helper()
	c := logclient.NewCluster(logclient.ClusterOptions{
		Brokers: Brokers(to), ClientID: "chatting", Embedded: to.Options().Embedded, Dial: dial,
	})
	t.Cleanup(c.Close)
	return c
}

// Brokers returns the addresses of a cluster's brokers.
func Brokers(cluster *logclient.Cluster) []string { return strings.Split(cluster.String(), ",") }

// Controlled connects to a broker that can be made to answer wrongly, with a topic of so many partitions.
func Controlled(t testing.TB, partitions int32) (broker *kfake.Cluster, cluster *logclient.Cluster, topic string) {
	t.Helper()
	broker = brokertest.Controlled(t, partitions)
	return broker, Cluster(t, broker.ListenAddrs()), "log"
}

// ClaimedLog connects to a brokertest.ClaimedLog.
func ClaimedLog(t testing.TB) (cluster *logclient.Cluster, topic string, claims *brokertest.Claims) {
	t.Helper()
	brokers, topic, claims := brokertest.ClaimedLog(t)
	return Cluster(t, brokers), topic, claims
}

// Log is what a tail has read.
type Log struct {
	mu      sync.Mutex
	changed chan struct{}
	records map[int][]string // values, a partition
	holes   int
	leftOut []recordbatch.LeftOut
}

func (l *Log) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Record implements logclient.TailHandler.
func (l *Log) Record(r *recordbatch.StoredRecord) {
	l.change(func() { l.records[r.Partition] = append(l.records[r.Partition], string(r.Value)) })
}

// LeftOut implements logclient.TailHandler.
func (l *Log) LeftOut(left recordbatch.LeftOut) {
	left.Key = bytes.Clone(left.Key)
	l.change(func() { l.leftOut = append(l.leftOut, left) })
}

// BatchEnd implements logclient.TailHandler.
func (l *Log) BatchEnd(int, int64) {}

// Hole implements logclient.TailHandler.
func (l *Log) Hole(int, int64, int64) { l.change(func() { l.holes++ }) }

// Of returns the values of a partition.
func (l *Log) Of(partition int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.records[partition]...)
}

// Lost returns how many holes there were, and what was left out.
func (l *Log) Lost() (holes int, leftOut []recordbatch.LeftOut) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holes, append([]recordbatch.LeftOut(nil), l.leftOut...)
}

// WaitFor waits until a partition has as many records as wanted.
func (l *Log) WaitFor(t testing.TB, partition, count int) []string {
	t.Helper()
	ctx := brokertest.Context(t)
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if got := l.Of(partition); len(got) >= count {
			return got
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("only %d of %d records", len(l.Of(partition)), count)
		}
	}
}

// Tail tails a topic from its start until the test ends.
func Tail(t testing.TB, cluster *logclient.Cluster, topic string, partitions int) (*logclient.Tail, *Log) {
	t.Helper()
	log := &Log{records: make(map[int][]string), changed: make(chan struct{})}
	tail := logclient.NewTail(cluster, logclient.TailOptions{
		Topic: topic, From: logclient.ByPartition(make([]int64, partitions)), Handler: log, Logger: brokertest.Logger(t),
	})
	brokertest.Run(t, tail.Run)
	return tail, log
}

// Append appends values to one partition and waits for them.
func Append(t testing.TB, appender *appending.Appender, partition int, values ...string) {
	t.Helper()
	var done sync.WaitGroup
	for _, value := range values {
		done.Add(1)
		appender.Append(partition, recordbatch.Record{Key: []byte("k"), Value: []byte(value)}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			done.Done()
		})
	}
	done.Wait()
}

// Feed hands the records of a batch to a handler.
func Feed(t testing.TB, handler recordbatch.Handler, partition int, batch []byte) {
	reader := recordbatch.NewReader(recordbatch.ReaderOptions{
		Handler: handler, MaxBatch: logclient.MaxForeignBatch, Logger: brokertest.Logger(t),
	})
	reader.Read(&recordbatch.Batches{Partition: partition, Bytes: batch}, 0)
}

// Commit commits an offset of partition 0 for a group without members.
func Commit(t testing.TB, cluster *logclient.Cluster, group, topic string, offset int64) {
	t.Helper()
	// Later versions name topics by their ids.
	client, err := kgo.NewClient(kgo.SeedBrokers(Brokers(cluster)...), kgo.MaxVersions(kversion.V3_0_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.Generation = group, -1
	request.Topics = []kmsg.OffsetCommitRequestTopic{{
		Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: 0, Offset: offset, LeaderEpoch: -1}},
	}}
	response, err := request.RequestWith(brokertest.Context(t), client)
	if err != nil {
		t.Fatal(err)
	}
	if code := response.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("committing an offset: error %d", code)
	}
}

// Text is the text of a message.
func Text(t testing.TB, s string) domain.Text {
	t.Helper()
	text, err := domain.NewText(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
