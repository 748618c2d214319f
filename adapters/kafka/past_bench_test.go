package kafka

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/adapters/kafka/logclient"
	"chatting/application/past"
	"chatting/domain"
	"chatting/test/logtest"
)

// BenchmarkReadThePast is the one scan that 5,000 users share who log in at once, over 200,000 records.
func BenchmarkReadThePast(b *testing.B) {
	const partitions, users, records = 16, 5000, 200_000
	logtest.Each(b, func(b *testing.B, cluster *logclient.Cluster) {
		names := testTopics(b, cluster, partitions)
		writer, err := kgo.NewClient(kgo.SeedBrokers(logtest.Brokers(cluster)...), kgo.MaxBufferedRecords(records))
		if err != nil {
			b.Fatal(err)
		}
		defer writer.Close()
		_, value := saidBy9(b, "a message of about seventy characters, as people write them in a chat")
		batch := make([]*kgo.Record, 0, 10_000)
		for n := range records {
			// One record in twenty is of somebody who logs in.
			low := domain.UserID(1_000_000 + n)
			if n%20 == 0 {
				low = domain.UserID(1 + n/20%users)
			}
			batch = append(batch, &kgo.Record{Topic: names.Conversations, Key: domain.Between(low, 9_000_000).AppendKey(nil), Value: value})
			if len(batch) == cap(batch) {
				if err := writer.ProduceSync(b.Context(), batch...).FirstErr(); err != nil {
					b.Fatal(err)
				}
				batch = batch[:0]
			}
		}
		ends, err := cluster.Offsets(b.Context(), names.Conversations, logclient.PartitionNumbers(partitions), logclient.End)
		if err != nil {
			b.Fatal(err)
		}
		log := NewPast(cluster, PastOptions{
			Topic: names.Conversations, Records: records, Bytes: 1 << 20, Ledger: unbounded(),
		})
		defer log.Close()
		b.ReportAllocs()
		for b.Loop() {
			readers := make([]*pastReader, 0, users)
			for user := domain.UserID(1); user <= users; user++ {
				wanted := past.Stretch{User: user, From: make([]int64, partitions), To: slices.Clone(ends)}
				readers = append(readers, newPastReader(log.options, wanted, func() {}))
			}
			began := time.Now()
			if err := log.read(readers, log.options.Records); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/scan")
			found := 0
			for _, reader := range readers {
				found += len(reader.records())
				reader.held.Close()
			}
			if found != records/20 {
				b.Fatal(fmt.Sprint(found, " records were found"))
			}
		}
	})
}
