package appending

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

func TestWhatIsAppendedIsInTheLogInOrderAndOnce(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *logclient.Cluster) {
		const partitions, each = 4, 2000
		topic := testTopic(t, cluster, partitions)
		appender := testAppender(t, cluster, topic, partitions)
		var done sync.WaitGroup
		for i := range each {
			for p := range partitions {
				done.Add(1)
				appender.Append(p, recordbatch.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "%d", i), Time: time.Now()}, func(err error) {
					if err != nil {
						t.Error(err)
					}
					done.Done()
				})
			}
		}
		done.Wait()
		appender.Close(brokertest.Context(t))
		log := logOf(t, cluster, topic, partitions)
		for p := range partitions {
			got := log[p]
			if len(got) != each {
				t.Fatalf("partition %d: %d records, not %d", p, len(got), each)
			}
			for i, value := range got {
				if value != fmt.Sprint(i) {
					t.Fatalf("partition %d: record %d is %s", p, i, value)
				}
			}
		}
	})
}
