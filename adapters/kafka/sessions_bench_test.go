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

	"chatting/adapters/kafka/logclient"
	"chatting/application/notice"
	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// BenchmarkReadSessions is what a node does with session records before it is ready, a record an operation, on real Kafka.
func BenchmarkReadSessions(b *testing.B) {
	const partitions = 16
	brokers := os.Getenv("CHATTING_TEST_KAFKA")
	if brokers == "" {
		b.Skip("CHATTING_TEST_KAFKA names no real Kafka")
	}
	cluster := logtest.Cluster(b, strings.Split(brokers, ","))
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
	from, to, err := Lookback(b.Context(), cluster, names.Sessions, partitions, time.Now(), time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	presence := presence.NewSetPresence(NewSessions(testAppender(b, cluster, names.Sessions, partitions)), time.Now,
		func() domain.EventID { return domain.DerivedID("test", "node") }, presence.DefaultTimes, notice.NewLog(brokertest.Logger(b), time.Now))
	tail := logclient.NewTail(cluster, logclient.TailOptions{
		Topic: names.Sessions, From: from, Logger: brokertest.Logger(b),
		Handler: &SessionTail{Presence: presence, Notices: notice.NewLog(brokertest.Logger(b), time.Now), Lost: func() { b.Error("records were lost") }},
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
