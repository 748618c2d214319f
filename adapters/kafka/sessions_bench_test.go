package kafka

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/application"
	"chatting/domain"
)

// BenchmarkReadSessions is what a node does with session records before it is ready, a record an operation, on real Kafka.
func BenchmarkReadSessions(b *testing.B) {
	const partitions = 16
	brokers := os.Getenv("CHATTING_TEST_KAFKA")
	if brokers == "" {
		b.Skip("CHATTING_TEST_KAFKA names no real Kafka")
	}
	cluster := testCluster(b, strings.Split(brokers, ","))
	names := testTopics(b, cluster, partitions)
	writer, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		b.Fatal(err)
	}
	defer writer.Close()
	incarnation := domain.Incarnation{0xa}
	records := make([]*kgo.Record, b.N)
	for i := range records {
		user := i%max(b.N/10, 1) + 1
		kind := [2]string{"up", "down"}[i/max(b.N/10, 1)%2]
		records[i] = &kgo.Record{
			Topic: names.Sessions, Key: []byte(strconv.Itoa(user)),
			Value: fmt.Appendf(nil, `{"type":%q,"incarnation":%q,"user":%d,"count":%d}`, kind, incarnation, user, i+1),
		}
	}
	if err := writer.ProduceSync(b.Context(), records...).FirstErr(); err != nil {
		b.Fatal(err)
	}
	from, to, err := Lookback(b.Context(), cluster, names.Sessions, partitions, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	presence := application.NewSetPresence(NewSessions(testAppender(b, cluster, names.Sessions, partitions)), time.Now,
		func() domain.EventID { return domain.DerivedID("test", "node") }, application.DefaultPresenceTimes, application.NewNotices(testLogger(b), now))
	tail := NewTail(cluster, TailOptions{
		Topic: names.Sessions, From: from, Logger: testLogger(b),
		Handler: &SessionTail{Presence: presence, Notices: application.NewNotices(testLogger(b), now), Lost: func() { b.Error("records were lost") }},
	})
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { ended <- tail.Run(ctx) }()
	if err := tail.WaitFor(ctx, to); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
