package kafka

import (
	"bytes"
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// appendAll appends values to one partition and waits for them.
func appendAll(t *testing.T, appender *Appender, partition int, values ...string) {
	t.Helper()
	var done sync.WaitGroup
	for _, value := range values {
		done.Add(1)
		r := record{key: []byte("k"), value: []byte(value), time: time.Now()}
		appender.appendTo(partition, r, func(err error) {
			if err != nil {
				t.Error(err)
			}
			done.Done()
		})
	}
	done.Wait()
}

// waitForValues waits until the log's partition has as many records as wanted.
func waitForValues(t *testing.T, tail *Tail, log *readLog, partition, count int) []string {
	t.Helper()
	ctx := testContext(t)
	for {
		tail.mu.Lock()
		moved := tail.moved
		tail.mu.Unlock()
		if got := log.of(partition); len(got) >= count {
			return got
		}
		select {
		case <-moved:
		case <-ctx.Done():
			t.Fatalf("only %d of %d records", len(log.of(partition)), count)
		}
	}
}

func TestATailBeforeTheStartOfTheLogReportsTheHoleAndGoesOn(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 1)
		appender := testAppender(t, cluster, names.Conversations, 1)
		defer appender.Close(testContext(t))
		appendAll(t, appender, 0, "a", "b", "c")
		deleteBefore(t, cluster, names.Conversations, 2)

		tail, log := startTail(t, cluster, names.Conversations, 1)
		if got := waitForValues(t, tail, log, 0, 1); got[0] != "c" {
			t.Errorf("read %v, not c", got)
		}
		if log.holes != 1 {
			t.Errorf("%d holes, not 1", log.holes)
		}
	})
}

// deleteBefore takes the records before an offset out of partition 0, as retention does. kafka-go has no such request.
func deleteBefore(t *testing.T, cluster *Cluster, topic string, offset int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.options.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis = 5000
	request.Topics = []kmsg.DeleteRecordsRequestTopic{{
		Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: offset}},
	}}
	response, err := request.RequestWith(testContext(t), client)
	if err != nil {
		t.Fatal(err)
	}
	switch code := response.Topics[0].Partitions[0].ErrorCode; {
	case code == 0:
	case code == kerr.PolicyViolation.Code && cluster.options.Embedded:
		t.Skip("the embedded broker deletes no records")
	default:
		t.Fatal(kerr.ErrorForCode(code))
	}
}

func TestATailPastTheEndOfTheLogReportsTheHoleAndGoesOnAtTheEnd(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 1)
		appender := testAppender(t, cluster, names.Conversations, 1)
		defer appender.Close(testContext(t))
		appendAll(t, appender, 0, "a")
		log := &readLog{records: make(map[int][]string)}
		tail := NewTail(cluster, TailOptions{
			Topic: names.Conversations, From: map[int]int64{0: 1000}, Handler: log, Logger: testLogger(t),
		})
		tail.patience = 100 * time.Millisecond
		ctx, cancel := context.WithCancel(testContext(t))
		done := make(chan struct{})
		go func() { defer close(done); _ = tail.Run(ctx) }()
		defer func() { cancel(); <-done }()
		waitUntil(t, func() bool { log.mu.Lock(); defer log.mu.Unlock(); return log.holes == 1 })
		appendAll(t, appender, 0, "b")
		if got := waitForValues(t, tail, log, 0, 1); got[0] != "b" {
			t.Errorf("read %v, not b", got)
		}
	})
}

// waitUntil polls a condition.
func waitUntil(t testing.TB, condition func() bool) {
	t.Helper()
	ctx := testContext(t)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("it did not come to that")
		}
	}
}

// An answer in which one batch is damaged hides all others in it from the decoder, so each partition is asked for alone,
// and the damaged record is stepped over.
func TestADamagedBatchIsSteppedOverAndOthersAreRead(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 2)
		appender := testAppender(t, cluster, names.Conversations, 2)
		defer appender.Close(testContext(t))
		appendAll(t, appender, 0, "good")
		appendAll(t, appender, 1, "DAMAGED")
		appendAll(t, appender, 1, "after")

		damaging := NewCluster(cluster.options)
		damaging.transport.Dial = damagingDial
		t.Cleanup(damaging.Close)
		tail, log := startTail(t, damaging, names.Conversations, 2)
		if got := waitForValues(t, tail, log, 0, 1); got[0] != "good" {
			t.Errorf("read %v, not good", got)
		}
		if got := waitForValues(t, tail, log, 1, 1); got[0] != "after" {
			t.Errorf("read %v, not after", got)
		}
		if log.holes != 1 {
			t.Errorf("%d holes, not 1", log.holes)
		}
	})
}

func TestEndOffsetsCountWhatWasAppended(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 2)
		appender := testAppender(t, cluster, names.Conversations, 2)
		conversations := NewConversations(cluster, appender)
		defer conversations.Close()
		defer appender.Close(testContext(t))
		want := []int64{0, 0}
		for _, partition := range []int{0, 1, 1} {
			appendAll(t, appender, partition, "x")
			want[partition]++
			if ends, err := conversations.EndOffsets(testContext(t)); err != nil || !slices.Equal(ends, want) {
				t.Errorf("the ends are %v, want %v (%v)", ends, want, err)
			}
		}
	})
}

// A round of requests that is under way may have its answer already. Who asks meanwhile shares the next one.
func TestEndOffsetsAreThoseAfterTheCallBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var end, rounds atomic.Int64
		answers := make(chan struct{}, 2)
		ends := &endOffsets{ask: func(context.Context, string, []int) ([]int64, error) {
			rounds.Add(1)
			at := end.Load()
			<-answers
			return []int64{at}, nil
		}}
		var told [3]int64
		var callers sync.WaitGroup
		call := func(i int) {
			callers.Go(func() {
				offsets, err := ends.get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				told[i] = offsets[0]
			})
			synctest.Wait()
		}
		end.Store(1)
		call(0)
		end.Store(2)
		call(1)
		call(2)
		answers <- struct{}{}
		answers <- struct{}{}
		callers.Wait()
		ends.wait()
		if told != [...]int64{1, 2, 2} || rounds.Load() != 2 {
			t.Errorf("the callers were told %v, in %d rounds", told, rounds.Load())
		}
	})
}

// damagingDial connects so that what says DAMAGED arrives damaged.
func damagingDial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return damagingConn{conn}, err
}

type damagingConn struct{ net.Conn }

func (c damagingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if i := bytes.Index(p[:n], []byte("DAMAGED")); i >= 0 {
		p[i] ^= 1
	}
	return n, err
}
