package embedded

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/kafkawire"
)

func TestAddressInUseIsNamed(t *testing.T) {
	b := start(t, t.TempDir())
	_, err := Start(t.Context(), Options{Addr: b.Addr(), Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if want := "the address " + b.Addr() + " of the embedded Kafka broker is in use"; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	for _, addr := range []string{"", "9092", ":0", "0.0.0.0:0", "[::]:0"} {
		if _, err := Start(t.Context(), Options{Addr: addr, Dir: t.TempDir(), AllowRemote: true}); err == nil ||
			!strings.Contains(err.Error(), fmt.Sprintf("%q", addr)) {
			t.Errorf("address %q: %v", addr, err)
		}
	}
}

func TestClientsAreToldTheAddressOfTheListener(t *testing.T) {
	b := start(t, t.TempDir())
	brokers := kafkawire.Answered(t, b.Addr(), kafkawire.Versioned(kmsg.NewPtrMetadataRequest())).(*kmsg.MetadataResponse).Brokers
	if len(brokers) != 1 || net.JoinHostPort(brokers[0].Host, fmt.Sprint(brokers[0].Port)) != b.Addr() {
		t.Errorf("%v, listening on %s", brokers, b.Addr())
	}
}

func TestCloseEndsWaitingClientsAndCanBeCalledAgain(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "wait", 1)
	ended := make(chan error)
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		request := kafkawire.FetchRequest("wait", 0, time.Minute)
		ended <- kafkawire.Ask(context.WithoutCancel(t.Context()), b.Addr(), request, request.ResponseKind())
	}()
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; err == nil {
		t.Error("the fetch was answered")
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection got something")
	}
}

func TestWaitingFetchIsWokenByAProduce(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "wake", 1)
	fetched := make(chan int64)
	go func() {
		request := kafkawire.FetchRequest("wake", 0, 20*time.Second)
		response := kmsg.NewPtrFetchResponse()
		response.SetVersion(request.Version)
		if err := kafkawire.Ask(t.Context(), b.Addr(), request, response); err != nil {
			fetched <- -1
			return
		}
		fetched <- response.Topics[0].Partitions[0].HighWatermark
	}()
	begin := time.Now()
	kafkawire.MustProduce(t, b.Addr(), "wake", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "!"))
	if end := <-fetched; end != 1 {
		t.Errorf("the fetch was answered with end %d", end)
	}
	if waited := time.Since(begin); waited > 10*time.Second {
		t.Errorf("woken after %s", waited)
	}
}

func TestOffsetsAreFoundByTime(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "time", 1)
	begin := time.Now().Add(-10 * time.Minute)
	for i := range 5 {
		kafkawire.MustProduce(t, b.Addr(), "time", kafkawire.BatchOf(kafkawire.NoStamp, begin.Add(time.Duration(i)*time.Minute), "x", "y"))
	}
	for minutes, want := range map[time.Duration]int64{-1: 0, 0: 0, 2: 4, 4: 8, 5: -1} {
		if offset := kafkawire.ListOffset(t, b.Addr(), "time", begin.Add(minutes*time.Minute).UnixMilli()); offset != want {
			t.Errorf("after %d minutes: offset %d, want %d", minutes, offset, want)
		}
	}
}

func TestTooLargeMessageIsRefusedByTheTopicsLimit(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "small", 1)
	kafkawire.CreateTopic(t, b.Addr(), "large", 1, "max.message.bytes", fmt.Sprint(5<<20))
	const tooLarge = 10
	big := kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), strings.Repeat("x", 2<<20))
	if _, code, err := kafkawire.Produce(t, b.Addr(), "small", big); code != tooLarge || err != nil {
		t.Errorf("error %d, %v", code, err)
	}
	kafkawire.MustProduce(t, b.Addr(), "large", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), strings.Repeat("x", 5<<20-100)))
}

func TestRetentionRemovesWhatIsTooOldAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	now := time.Now()
	minutes := func(n int) time.Time { return now.Add(time.Duration(n) * time.Minute) }
	kafkawire.CreateTopic(t, b.Addr(), "hour", 1, "retention.ms", "3600000")
	kafkawire.CreateTopic(t, b.Addr(), "ever", 1, "retention.ms", "-1")
	for _, name := range []string{"hour", "ever"} {
		for i, age := range []int{20, 20, 0, 25, 0} {
			kafkawire.MustProduce(t, b.Addr(), name, kafkawire.BatchOf(kafkawire.NoStamp, minutes(-age), fmt.Sprint(i)))
		}
	}
	r := &retention{cluster: b.cluster, guard: b.guard, logger: slog.New(slog.DiscardHandler)}
	left := func(name string) (values []string) {
		for _, record := range kafkawire.ReadAll(t, b.Addr(), name) {
			values = append(values, record.Value)
		}
		return values
	}
	for _, c := range []struct {
		after int
		left  []string
	}{
		{30, []string{"0", "1", "2", "3", "4"}},
		{45, []string{"2", "3", "4"}}, // 3 is too old as well, but 2 before it is not
		{90, []string{"4"}},           // the last one stays, so that the end of the partition is known
	} {
		if err := r.apply(t.Context(), minutes(c.after)); err != nil {
			t.Fatal(err)
		}
		if got := left("hour"); !slices.Equal(got, c.left) {
			t.Errorf("after %d minutes %v are left, want %v", c.after, got, c.left)
		}
	}
	if got := left("ever"); len(got) != 5 {
		t.Errorf("of the topic without retention %v are left", got)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = start(t, dir)
	if offset := kafkawire.MustProduce(t, b.Addr(), "hour", kafkawire.BatchOf(kafkawire.NoStamp, now, "next")); offset != 5 {
		t.Errorf("after a restart the partition goes on at %d", offset)
	}
}

func TestClientLibrariesProduceAndConsumeWithGroups(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "libraries", 4)
	const each = 50
	writer := &kafka.Writer{Addr: kafka.TCP(b.Addr()), Topic: "libraries", RequiredAcks: kafka.RequireAll,
		BatchTimeout: time.Millisecond, Transport: &kafka.Transport{}}
	for i := range each {
		codec := []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd}[i%5]
		writer.Compression = codec
		if err := writer.WriteMessages(t.Context(), kafka.Message{Key: []byte{byte(i)}, Value: fmt.Append(nil, "kafka-go ", i)}); err != nil {
			t.Fatalf("kafka-go with %v: %v", codec, err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	writer.Transport.(*kafka.Transport).CloseIdleConnections()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.DefaultProduceTopic("libraries")) // idempotent by default
	if err != nil {
		t.Fatal(err)
	}
	for i := range each {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint("franz-go ", i))).FirstErr(); err != nil {
			t.Fatalf("franz-go: %v", err)
		}
	}
	client.Close()

	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{b.Addr()}, GroupID: "kafka-go", Topic: "libraries",
		MaxWait: 100 * time.Millisecond, StartOffset: kafka.FirstOffset})
	for range 2 * each {
		message, err := reader.FetchMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(message.Value, []byte("-go ")) {
			t.Errorf("%q", message.Value)
		}
		if err := reader.CommitMessages(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.ConsumerGroup("franz-go"), kgo.ConsumeTopics("libraries"),
		kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for got := 0; got < 2*each; {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		got += fetches.NumRecords()
	}
}

func BenchmarkProduce(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d records", size), func(b *testing.B) {
			broker := start(b, b.TempDir())
			kafkawire.CreateTopic(b, broker.Addr(), "bench", 1)
			raw := kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), slices.Repeat([]string{strings.Repeat("x", 400)}, size)...)
			request := kafkawire.FrameOf(kafkawire.ProduceRequest("bench", 0, raw))
			conn, err := net.Dial("tcp", broker.Addr())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			for b.Loop() {
				if err := kafkawire.Exchange(conn, request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
