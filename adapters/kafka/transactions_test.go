package kafka

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// transactional is a producer of transactions.
type transactional struct {
	t      *testing.T
	client *kgo.Client
}

// newTransactional returns one. Where the embedded broker has no transactions, the test is skipped.
func newTransactional(t *testing.T, cluster *Cluster, topic string) *transactional {
	t.Helper()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cluster.options.Brokers...), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w := &transactional{t: t, client: client}
	if strings.HasSuffix(t.Name(), "embedded") {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, _, err := client.ProducerID(ctx); err != nil {
			t.Skipf("the embedded broker has no transactions: %v", err)
		}
		w.begin()
		if err := client.ProduceSync(ctx, &kgo.Record{Value: []byte("aborted")}).FirstErr(); err != nil {
			t.Skipf("the embedded broker has no transactions: %v", err)
		}
		w.end(kgo.TryAbort)
	}
	return w
}

func (w *transactional) begin() {
	w.t.Helper()
	if err := w.client.BeginTransaction(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *transactional) write(partition int32, values ...string) {
	w.t.Helper()
	for _, value := range values {
		r := &kgo.Record{Partition: partition, Value: []byte(value)}
		if err := w.client.ProduceSync(testContext(w.t), r).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *transactional) end(how kgo.TransactionEndTry) {
	w.t.Helper()
	if err := w.client.EndTransaction(testContext(w.t), how); err != nil {
		w.t.Fatal(err)
	}
}

func TestAnOpenTransactionHoldsUpItsPartitionAndNobodyWaitsForItsEnd(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 2)
		appender := testAppender(t, cluster, names.Conversations, 2)
		defer appender.Close(testContext(t))
		producer := newTransactional(t, cluster, names.Conversations)
		before, err := EndsOf(testContext(t), cluster, names.Conversations, 2)
		if err != nil {
			t.Fatal(err)
		}
		producer.begin()
		producer.write(0, "committed")
		appendAll(t, appender, 0, "behind")
		appendAll(t, appender, 1, "elsewhere")

		tail, log := startTail(t, cluster, names.Conversations, 2)
		waitForValues(t, tail, log, 1, 1)
		ctx := testContext(t)
		if ends, err := EndsOf(ctx, cluster, names.Conversations, 2); err != nil || ends[0] != before[0] || ends[1] != before[1]+1 {
			t.Errorf("before it, the log ended at %v, and now at %v (%v)", before, ends, err)
		}
		if ends, err := cluster.logEnds(ctx, names.Conversations, []int{0, 1}); err != nil || ends[0] != before[0]+2 {
			t.Errorf("with what cannot be read yet, it ends at %v (%v)", ends, err)
		}
		barrier := NewReadBarrier(cluster, names.Conversations, 2, tail)
		defer barrier.Close()
		if err := barrier.Wait(ctx); err != nil {
			t.Error(err)
		}
		waitUntil(t, func() bool { return tail.CaughtUp(time.Minute) })
		_, ends, err := Lookback(ctx, cluster, names.Conversations, 2, time.Hour)
		if err == nil {
			err = tail.WaitFor(ctx, ends)
		}
		if err != nil {
			t.Error(err)
		}
		var read []string
		take := func(r *TailRecord) error { read = append(read, string(r.Value)); return nil }
		if err := cluster.ReadTopic(ctx, TopicReading{Topic: names.Conversations, Logger: testLogger(t)}, take); err != nil {
			t.Error(err)
		}
		if !slices.Equal(read, []string{"elsewhere"}) || len(log.of(0)) > 0 {
			t.Errorf("read %q from outside, and %q", read, log.of(0))
		}
		// When the first record that cannot be read was stamped is known nevertheless.
		if at, err := cluster.timeOf(ctx, names.Conversations, 0, before[0]); err != nil || at.IsZero() || at.After(now()) {
			t.Errorf("it is of %s (%v)", at, err)
		}

		producer.end(kgo.TryCommit)
		if got := waitForValues(t, tail, log, 0, 2); !slices.Equal(got, []string{"committed", "behind"}) {
			t.Errorf("read %q", got)
		}
		producer.begin()
		producer.write(0, "aborted")
		producer.end(kgo.TryAbort)
		appendAll(t, appender, 0, "after")
		if got := waitForValues(t, tail, log, 0, 3); !slices.Equal(got, []string{"committed", "behind", "after"}) {
			t.Errorf("read %q", got)
		}
		if log.holes != 0 || len(log.leftOut) != 0 {
			t.Errorf("%d holes, and left out %v", log.holes, log.leftOut)
		}
		// The log may end with the mark of a transaction, where no record is.
		ended, err := cluster.logEnds(ctx, names.Conversations, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		producer.begin()
		producer.write(0, "last")
		producer.end(kgo.TryCommit)
		if at, err := cluster.timeOf(ctx, names.Conversations, 0, ended[0]+1); err != nil || at.IsZero() {
			t.Errorf("at the mark it is %s (%v)", at, err)
		}
	})
}

func TestASystemMessageBehindAnOpenTransactionIsDeliveredOnceItEnds(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		w := newIngestWorld(t, cluster)
		producer := newTransactional(t, cluster, w.names.SystemMessages)
		w.write(say(7, "first"))
		stop := w.ingest()
		waitUntil(t, func() bool { return len(w.sent.texts(7)) == 1 })
		waitUntil(t, func() bool { return w.committed() > 0 })
		stop()
		producer.begin()
		producer.write(0, `{"target_id":7,"message":"committed"}`)
		stop = w.ingest()
		defer stop()
		w.write(say(7, "behind"))
		producer.end(kgo.TryCommit)
		waitUntil(t, func() bool { return len(w.sent.texts(7)) == 3 })
		if got := w.sent.texts(7); !slices.Equal(got, []string{"first", "committed", "behind"}) {
			t.Errorf("delivered %q", got)
		}
		if letters := w.letters.all(); len(letters) > 0 {
			t.Errorf("%d dead letters", len(letters))
		}
	})
}
