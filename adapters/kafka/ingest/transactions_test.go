package ingest

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/adapters/kafka/logclient"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

func TestASystemMessageBehindAnOpenTransactionIsDeliveredOnceItEnds(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		w := newIngestWorld(t, cluster)
		producer := brokertest.NewTransactional(t, logtest.Brokers(cluster), w.names.SystemMessages)
		w.write(say(7, "first"))
		stop := w.ingest()
		brokertest.WaitUntil(t, func() bool { return len(w.sent.texts(7)) == 1 })
		brokertest.WaitUntil(t, func() bool { return w.committed() > 0 })
		stop()
		producer.Begin()
		producer.Write(0, `{"target_id":7,"message":"committed"}`)
		stop = w.ingest()
		defer stop()
		w.write(say(7, "behind"))
		producer.End(kgo.TryCommit)
		brokertest.WaitUntil(t, func() bool { return len(w.sent.texts(7)) == 3 })
		if got := w.sent.texts(7); !slices.Equal(got, []string{"first", "committed", "behind"}) {
			t.Errorf("delivered %q", got)
		}
		if letters := w.letters.all(); len(letters) > 0 {
			t.Errorf("%d dead letters", len(letters))
		}
	})
}
