package kafka

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

func TestAnOpenTransactionHoldsUpItsPartitionAndNobodyWaitsForItsEnd(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		topic := testTopics(t, cluster, 2).Conversations
		appender := testAppender(t, cluster, topic, 2)
		defer appender.Close(brokertest.Context(t))
		producer := brokertest.NewTransactional(t, logtest.Brokers(cluster), topic)
		before, err := logclient.Ends(brokertest.Context(t), cluster, topic, 2)
		if err != nil {
			t.Fatal(err)
		}
		producer.Begin()
		producer.Write(0, "committed")
		logtest.Append(t, appender, 0, "behind")
		logtest.Append(t, appender, 1, "elsewhere")

		tail, log := logtest.Tail(t, cluster, topic, 2)
		log.WaitFor(t, 1, 1)
		ctx := brokertest.Context(t)
		if ends, err := logclient.Ends(ctx, cluster, topic, 2); err != nil || ends[0] != before[0] || ends[1] != before[1]+1 {
			t.Errorf("before it, the log ended at %v, and now at %v (%v)", before, ends, err)
		}
		if ends, err := cluster.Offsets(ctx, topic, []int{0, 1}, logclient.End); err != nil || ends[0] != before[0]+2 {
			t.Errorf("with what cannot be read yet, it ends at %v (%v)", ends, err)
		}
		barrier := NewReadBarrier(cluster, topic, 2, tail)
		defer barrier.Close()
		if err := barrier.Wait(ctx); err != nil {
			t.Error(err)
		}
		brokertest.WaitUntil(t, func() bool { return tail.CaughtUp(time.Minute) })
		_, ends, err := Lookback(ctx, cluster, topic, 2, time.Now(), time.Hour)
		if err == nil {
			err = tail.WaitFor(ctx, ends)
		}
		if err != nil {
			t.Error(err)
		}
		var read []string
		take := func(r *recordbatch.StoredRecord) error { read = append(read, string(r.Value)); return nil }
		if err := logclient.ReadTopic(ctx, cluster, logclient.TopicReading{Topic: topic, Logger: brokertest.Logger(t)}, take); err != nil {
			t.Error(err)
		}
		if !slices.Equal(read, []string{"elsewhere"}) || len(log.Of(0)) > 0 {
			t.Errorf("read %q from outside, and %q", read, log.Of(0))
		}
		// When the first record that cannot be read was stamped is known nevertheless.
		if at, err := logclient.TimeOf(ctx, cluster, topic, 0, before[0]); err != nil || at.IsZero() || at.After(time.Now()) {
			t.Errorf("it is of %s (%v)", at, err)
		}

		producer.End(kgo.TryCommit)
		if got := log.WaitFor(t, 0, 2); !slices.Equal(got, []string{"committed", "behind"}) {
			t.Errorf("read %q", got)
		}
		producer.Begin()
		producer.Write(0, "aborted")
		producer.End(kgo.TryAbort)
		logtest.Append(t, appender, 0, "after")
		if got := log.WaitFor(t, 0, 3); !slices.Equal(got, []string{"committed", "behind", "after"}) {
			t.Errorf("read %q", got)
		}
		if holes, leftOut := log.Lost(); holes != 0 || len(leftOut) != 0 {
			t.Errorf("%d holes, and left out %v", holes, leftOut)
		}
		// The log may end with the mark of a transaction, where no record is.
		ended, err := cluster.Offsets(ctx, topic, []int{0}, logclient.End)
		if err != nil {
			t.Fatal(err)
		}
		producer.Begin()
		producer.Write(0, "last")
		producer.End(kgo.TryCommit)
		if at, err := logclient.TimeOf(ctx, cluster, topic, 0, ended[0]+1); err != nil || at.IsZero() {
			t.Errorf("at the mark it is %s (%v)", at, err)
		}
	})
}
