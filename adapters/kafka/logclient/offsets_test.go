package logclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// listed connects to a broker that answers ListOffsets of the seven partitions of "log" by brokertest.Listed.
func listed(t *testing.T, change func(request *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse)) *Cluster {
	t.Helper()
	broker := brokertest.Controlled(t, 7)
	brokertest.Listed(broker, change)
	return testCluster(t, broker.ListenAddrs())
}

func TestTheOffsetOfEachPartitionIsItsOwn(t *testing.T) {
	var isolation int8
	var timestamp int64
	var wrong string
	cluster := listed(t, func(request *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		isolation, timestamp = request.IsolationLevel, request.Topics[0].Partitions[0].Timestamp
		partitions := &response.Topics[0].Partitions // 3, 0 and 5
		switch wrong {
		case "a partition that nobody asked for":
			more := kmsg.NewListOffsetsResponseTopicPartition()
			more.Partition, more.Offset = 6, 1000
			*partitions = append(*partitions, more)
		case "an error for one":
			(*partitions)[0].ErrorCode = kerr.NotLeaderForPartition.Code
		case "no answer for one":
			*partitions = (*partitions)[1:]
		case "no topic":
			response.Topics = nil
		case "no record as young":
			if timestamp >= 0 {
				(*partitions)[0].Offset = -1
			}
		}
	})
	numbers := []int{5, 0, 3}
	for what, ask := range map[string]struct {
		isolation int8
		timestamp int64
		place     Place
	}{
		"ends of the log": {readUncommitted, timestampLatest, End},
		"readable ends":   {readCommitted, timestampLatest, ReadableEnd},
		"starts":          {readCommitted, timestampEarliest, Start},
	} {
		got, err := cluster.Offsets(brokertest.Context(t), "log", numbers, ask.place)
		if err != nil || !slices.Equal(got, []int64{50, 0, 30}) || isolation != ask.isolation || timestamp != ask.timestamp {
			t.Errorf("%s: %v, %v, asked with isolation %d for %d", what, got, err, isolation, timestamp)
		}
	}
	wrong = "a partition that nobody asked for"
	if got, err := cluster.tryOffsets(brokertest.Context(t), "log", numbers, Place{5, readCommitted}); err != nil || !slices.Equal(got, []int64{50, 0, 30}) {
		t.Errorf("%s: %v, %v", wrong, got, err)
	}
	wrong = "no record as young" // in partition 3: there it is the end
	if got, err := cluster.tryOffsets(brokertest.Context(t), "log", numbers, Place{5, readUncommitted}); err != nil || !slices.Equal(got, []int64{50, 0, 30}) || isolation != readUncommitted {
		t.Errorf("%s: %v, %v", wrong, got, err)
	}
	for _, wrong = range []string{"an error for one", "no answer for one", "no topic"} {
		if got, err := cluster.tryOffsets(brokertest.Context(t), "log", numbers, Place{5, readCommitted}); err == nil {
			t.Errorf("%s: %v", wrong, got)
		}
	}
	wrong = "an error for one"
	if _, err := cluster.tryOffsets(brokertest.Context(t), "log", numbers, Place{5, readCommitted}); !errors.Is(err, kafkago.NotLeaderForPartition) {
		t.Errorf("%s: %v", wrong, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	// kafka-go may say so, or that the broker failed: the request to it was cut off.
	if _, err := cluster.Offsets(ended, "log", numbers, End); err == nil {
		t.Error("with its context ended, it has an answer")
	}
	if _, err := TimeOf(ended, cluster, "log", 2, 5); err == nil {
		t.Error("with its context ended, it knows the time of a record")
	}
}

func TestALeaderThatDoesNotKnowYetIsAskedAgain(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	var at time.Time
	cluster := listed(t, func(_ *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		mu.Lock()
		defer mu.Unlock()
		if pause := time.Since(at); pause < 10*time.Millisecond { // half of the shortest
			t.Errorf("it is asked again after %s", pause)
		}
		at = time.Now()
		if asked++; asked <= 3 {
			response.Topics[0].Partitions[0].ErrorCode = kerr.LeaderNotAvailable.Code
		}
	})
	if got, err := cluster.Offsets(brokertest.Context(t), "log", []int{2}, End); err != nil || got[0] != 20 || asked != 4 {
		t.Errorf("after %d times: %v, %v", asked, got, err)
	}
}

// Each leader is asked once, for all that it leads.
func TestALeaderIsAskedOnceForItsPartitions(t *testing.T) {
	cluster := protocol.Cluster{Topics: map[string]protocol.Topic{"log": {Partitions: map[int32]protocol.Partition{
		0: {ID: 0, Leader: 1}, 1: {ID: 1, Leader: 2}, 2: {ID: 2, Leader: 1}, 4: {ID: 4, Leader: 2},
	}}}}
	request := &offsetsRequest{listoffsets.Request{
		ReplicaID: -1, IsolationLevel: readCommitted, Topics: []listoffsets.RequestTopic{{Topic: "log"}},
	}}
	for partition := range int32(5) {
		request.Topics[0].Partitions = append(request.Topics[0].Partitions, listoffsets.RequestPartition{
			Partition: partition, CurrentLeaderEpoch: -1, Timestamp: 7,
		})
	}
	messages, _, err := request.Split(cluster)
	if err != nil {
		t.Fatal(err)
	}
	var asked [][]int32
	for _, message := range messages {
		request := message.(*listoffsets.Request)
		var partitions []int32
		for _, p := range request.Topics[0].Partitions {
			partitions = append(partitions, p.Partition)
			if p.Timestamp != 7 || p.CurrentLeaderEpoch != -1 {
				t.Errorf("asked %+v", p)
			}
		}
		if request.IsolationLevel != readCommitted || request.ReplicaID != -1 || request.Topics[0].Topic != "log" {
			t.Errorf("asked %+v", request)
		}
		asked = append(asked, partitions)
	}
	if want := [][]int32{{0, 2}, {1, 4}, {3}}; !slices.EqualFunc(asked, want, slices.Equal) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

func TestTheFirstRecordOfAStretchGivesItsTime(t *testing.T) {
	at := time.UnixMilli(5)
	ends := 0
	f := &firstRecord{end: 10, found: func() { ends++ }}
	f.BatchEnd(0, 9)
	if ends != 0 || f.seen {
		t.Error("it ends before the log does")
	}
	f.Record(&recordbatch.StoredRecord{Time: at})
	f.Record(&recordbatch.StoredRecord{Time: at.Add(time.Second)})
	f.LeftOut(recordbatch.LeftOut{Time: at.Add(time.Minute)})
	f.BatchEnd(0, 9)
	if ends != 1 || !f.at.Equal(at) {
		t.Errorf("the first record is of %s, ended %d times", f.at, ends)
	}
	f = &firstRecord{end: 10, found: func() { ends++ }}
	f.LeftOut(recordbatch.LeftOut{Time: at})
	f.Record(&recordbatch.StoredRecord{Time: at.Add(time.Second)})
	if !f.seen || !f.at.Equal(at) {
		t.Errorf("what was left out is of %s", f.at)
	}
	f = &firstRecord{end: 10, found: func() { ends++ }}
	before := time.Now()
	if f.BatchEnd(0, 10); ends != 2 || f.at.Before(before) {
		t.Errorf("a log that ends with marks is of %s, ended %d times", f.at, ends)
	}
	f = &firstRecord{end: 10, found: func() { ends++ }}
	if f.Hole(0, 5, 7); ends != 3 || !f.at.IsZero() {
		t.Errorf("a hole is of %s, ended %d times", f.at, ends)
	}
}

// The partitioner must be that of the Java client and all who copy it; franz-go's is another implementation of it.
func TestKeysGoWhereOtherClientsSendThem(t *testing.T) {
	numbers := PartitionNumbers(16)
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	for user := range 2000 {
		key := fmt.Appendf(nil, "%d:%d", user, user*7+1)
		want := theirs.Partition(&kgo.Record{Key: key}, len(numbers))
		if got := PartitionOf(key, numbers); got != want {
			t.Fatalf("%s goes to partition %d, not %d", key, got, want)
		}
	}
}
