package brokertest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Transactional is a producer of transactions.
type Transactional struct {
	t      testing.TB
	client *kgo.Client
}

// NewTransactional returns one. Where the embedded broker has no transactions, the test is skipped.
func NewTransactional(t testing.TB, brokers []string, topic string) *Transactional {
	t.Helper()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w := &Transactional{t: t, client: client}
	if strings.HasSuffix(t.Name(), "embedded") {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, _, err := client.ProducerID(ctx); err != nil {
			t.Skipf("the embedded broker has no transactions: %v", err)
		}
		w.Begin()
		if err := client.ProduceSync(ctx, &kgo.Record{Value: []byte("aborted")}).FirstErr(); err != nil {
			t.Skipf("the embedded broker has no transactions: %v", err)
		}
		w.End(kgo.TryAbort)
	}
	return w
}

// Begin begins a transaction.
func (w *Transactional) Begin() {
	w.t.Helper()
	if err := w.client.BeginTransaction(); err != nil {
		w.t.Fatal(err)
	}
}

// Write appends values to a partition.
func (w *Transactional) Write(partition int32, values ...string) {
	w.t.Helper()
	for _, value := range values {
		r := &kgo.Record{Partition: partition, Value: []byte(value)}
		if err := w.client.ProduceSync(Context(w.t), r).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// End commits or aborts the transaction.
func (w *Transactional) End(how kgo.TransactionEndTry) {
	w.t.Helper()
	if err := w.client.EndTransaction(Context(w.t), how); err != nil {
		w.t.Fatal(err)
	}
}
