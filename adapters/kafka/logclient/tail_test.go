package logclient

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// appendAll appends values to one partition, in one batch.
func appendAll(t *testing.T, cluster *Cluster, topic string, partition int, values ...string) {
	t.Helper()
	at := func(i int) *recordbatch.Record {
		return &recordbatch.Record{Key: []byte("k"), Value: []byte(values[i]), Time: time.Now()}
	}
	batch := recordbatch.Append(nil, len(values), at, recordbatch.NoStamp)[lengthOfBatch:]
	if err := brokertest.Produce(t, cluster, topic, partition, batch); err != nil {
		t.Fatal(err)
	}
}

// lengthOfBatch is how many bytes of length recordbatch puts before a batch.
const lengthOfBatch = 4

// waitForValues waits until the log's partition has as many records as wanted.
func waitForValues(t *testing.T, tail *Tail, log *readLog, partition, count int) []string {
	t.Helper()
	ctx := brokertest.Context(t)
	for {
		_, moved := tail.positions.behind(nil)
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
		topic := testTopic(t, cluster, 1)
		appendAll(t, cluster, topic, 0, "a", "b", "c")
		brokertest.DeleteBefore(t, cluster.options.Brokers, topic, 2)

		tail, log := startTail(t, cluster, topic, 1)
		if got := waitForValues(t, tail, log, 0, 1); got[0] != "c" {
			t.Errorf("read %v, not c", got)
		}
		if log.holes != 1 {
			t.Errorf("%d holes, not 1", log.holes)
		}
	})
}

func TestATailPastTheEndOfTheLogReportsTheHoleAndGoesOnAtTheEnd(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		topic := testTopic(t, cluster, 1)
		appendAll(t, cluster, topic, 0, "a")
		log := &readLog{records: make(map[int][]string)}
		tail := NewTail(cluster, TailOptions{
			Topic: topic, From: map[int]int64{0: 1000}, Handler: log, Logger: brokertest.Logger(t),
		})
		tail.patience = 100 * time.Millisecond
		ctx, cancel := context.WithCancel(brokertest.Context(t))
		done := make(chan struct{})
		go func() { defer close(done); _ = tail.Run(ctx) }()
		defer func() { cancel(); <-done }()
		brokertest.WaitUntil(t, func() bool { log.mu.Lock(); defer log.mu.Unlock(); return log.holes == 1 })
		appendAll(t, cluster, topic, 0, "b")
		if got := waitForValues(t, tail, log, 0, 1); got[0] != "b" {
			t.Errorf("read %v, not b", got)
		}
	})
}

// An answer in which one batch is damaged hides all others in it from the decoder, so each partition is asked for alone,
// and the damaged record is stepped over.
func TestADamagedBatchIsSteppedOverAndOthersAreRead(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		topic := testTopic(t, cluster, 2)
		appendAll(t, cluster, topic, 0, "good")
		appendAll(t, cluster, topic, 1, "DAMAGED")
		appendAll(t, cluster, topic, 1, "after")

		damaging := NewCluster(cluster.options)
		damaging.transport.Dial = damagingDial
		t.Cleanup(damaging.Close)
		tail, log := startTail(t, damaging, topic, 2)
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
