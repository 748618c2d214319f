package logclient

import (
	"bytes"
	"sync"
	"testing"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// readLog reads a topic until stopped.
type readLog struct {
	mu      sync.Mutex
	records map[int][]string // values, a partition
	holes   int
	leftOut []recordbatch.LeftOut
}

func (r *readLog) Record(record *recordbatch.StoredRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records[record.Partition] = append(r.records[record.Partition], string(record.Value))
}

func (r *readLog) LeftOut(left recordbatch.LeftOut) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left.Key = bytes.Clone(left.Key)
	r.leftOut = append(r.leftOut, left)
}
func (r *readLog) BatchEnd(int, int64)    {}
func (r *readLog) Hole(int, int64, int64) { r.mu.Lock(); r.holes++; r.mu.Unlock() }
func (r *readLog) of(partition int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.records[partition]...)
}

// startTail tails a topic from its start until the test ends.
func startTail(t *testing.T, cluster *Cluster, topic string, partitions int) (*Tail, *readLog) {
	t.Helper()
	log := &readLog{records: make(map[int][]string)}
	from := make(map[int]int64)
	for p := range partitions {
		from[p] = 0
	}
	tail := NewTail(cluster, TailOptions{Topic: topic, From: from, Handler: log, Logger: brokertest.Logger(t)})
	brokertest.Run(t, tail.Run)
	return tail, log
}
