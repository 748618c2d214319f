package logclient

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// Whoever forges such a batch must not close everybody's connection.
func TestAForgedBatchOfConversationsIsLeftOutAndIsNoHole(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		topic := testTopic(t, cluster, 2)
		appendAll(t, cluster, topic, 0, "before")
		bomb := brokertest.StampedNow(brokertest.PackedZeros(t, 30<<20))
		const bombs = 12
		for range bombs {
			if err := brokertest.Produce(t, cluster, topic, 0, bomb); err != nil {
				t.Fatal(err)
			}
		}
		appendAll(t, cluster, topic, 0, "after")
		var tail *Tail
		var log *readLog
		took := brokertest.Allocated(func() {
			tail, log = startTail(t, cluster, topic, 2)
			waitForValues(t, tail, log, 0, 2)
		})
		if got := log.of(0); !slices.Equal(got, []string{"before", "after"}) {
			t.Errorf("read %d records", len(got))
		}
		log.mu.Lock()
		defer log.mu.Unlock()
		if log.holes != 0 || len(log.leftOut) != bombs || !log.leftOut[bombs-1].TooLarge ||
			log.leftOut[bombs-1].From != bombs || log.leftOut[bombs-1].To != bombs+1 {
			t.Errorf("%d holes, %d left out", log.holes, len(log.leftOut))
		}
		if took > bombs*27<<20 { // all of it is 30 MiB each, unpacked once; each costs three times the bound at most
			t.Errorf("%d bytes were allocated", took)
		}
	})
}

// logged takes log lines.
type logged struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

func TestALookFromOutsideSaysWhatItLeftOutAndGoesOn(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		topic := testTopic(t, cluster, 1)
		appendAll(t, cluster, topic, 0, "before")
		if err := brokertest.Produce(t, cluster, topic, 0, brokertest.StampedNow(brokertest.PackedZeros(t, MaxForeignBatch+1))); err != nil {
			if cluster.options.Embedded {
				t.Skipf("the embedded broker takes no such batch: %v", err)
			}
			t.Fatal(err)
		}
		appendAll(t, cluster, topic, 0, "after")

		said := &logged{}
		var read []string
		err := ReadTopic(brokertest.Context(t), cluster, TopicReading{
			Topic: topic, Logger: slog.New(slog.NewTextHandler(said, nil)),
		}, func(r *recordbatch.StoredRecord) error { read = append(read, string(r.Value)); return nil })
		if err != nil || !slices.Equal(read, []string{"before", "after"}) || strings.Count(said.String(), "left out") != 1 {
			t.Errorf("read %q, error %v, said %s", read, err, said)
		}

		ctx, stop := context.WithCancel(brokertest.Context(t))
		defer stop()
		said, read = &logged{}, nil
		err = ReadTopic(ctx, cluster, TopicReading{
			Topic: topic, Follow: true, Logger: slog.New(slog.NewTextHandler(said, nil)),
		}, func(r *recordbatch.StoredRecord) error {
			if read = append(read, string(r.Value)); len(read) == 2 {
				stop()
			}
			return nil
		})
		if err != nil || !slices.Equal(read, []string{"before", "after"}) || strings.Count(said.String(), "left out") != 1 {
			t.Errorf("following: read %q, error %v, said %s", read, err, said)
		}
	})
}
