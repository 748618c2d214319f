package cluster

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"chatting/test/harness"
)

// roundTrip is a message's way into the log and out of it again.
type roundTrip struct{ sent, back time.Time }

// roundTrips are those of one writer, in order.
type roundTrips struct {
	mu   sync.Mutex
	made []roundTrip
}

func (r *roundTrips) note(sent, back time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made = append(r.made, roundTrip{sent, back})
}

// after returns when the first round trip that began after cut was made.
func (r *roundTrips) after(cut time.Time) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first time.Time
	for _, trip := range r.made {
		if trip.sent.After(cut) && (first.IsZero() || trip.back.Before(first)) {
			first = trip.back
		}
	}
	return first, !first.IsZero()
}

// awaitAll waits until everybody has made a round trip that began after cut, and returns when the last had.
func awaitAll(ctx context.Context, t *testing.T, what string, cut time.Time, all []*roundTrips) time.Time {
	t.Helper()
	var last time.Time
	for _, trips := range all {
		harness.Until(ctx, t, what+": round trips go on", func() bool {
			at, made := trips.after(cut)
			if at.After(last) {
				last = at
			}
			return made
		})
	}
	return last
}

// probe is the bare library doing what the server does, for comparison: a loop of producing and fetching for each
// partition of a topic that is made like the server's.
type probe struct {
	topic string
	trips []*roundTrips
	stop  func()
}

// startProbe starts a probe, which runs until stop is called.
func startProbe(ctx context.Context, t *testing.T, c *cluster, partitions, replicas int) *probe {
	t.Helper()
	brokers := strings.Split(c.parts.Brokers, ",")
	p := &probe{topic: c.prefix + ".probe"}
	config := []kafka.ConfigEntry{}
	if replicas == 3 {
		config = append(config, kafka.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: "2"})
	}
	createTopic(ctx, t, c.parts.Brokers, kafka.TopicConfig{
		Topic: p.topic, NumPartitions: partitions, ReplicationFactor: replicas, ConfigEntries: config,
	})
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for partition := range partitions {
		trips := &roundTrips{}
		p.trips = append(p.trips, trips)
		running.Go(func() { runProbe(ctx, brokers, p.topic, partition, trips) })
	}
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(p.stop)
	return p
}

// runProbe writes to one partition, and reads what it wrote before it goes on.
func runProbe(ctx context.Context, brokers []string, topic string, partition int, trips *roundTrips) {
	// As fresh and as patient as the server is.
	transport := &kafka.Transport{MetadataTTL: time.Second}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(brokers...), Transport: transport, Timeout: 3 * time.Second}
	for ; ctx.Err() == nil; harness.Pause(ctx, 50*time.Millisecond) {
		sent := time.Now()
		produced, err := client.Produce(ctx, &kafka.ProduceRequest{
			Topic: topic, Partition: partition, RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte("probe"))}),
		})
		if err != nil || produced.Error != nil {
			continue
		}
		for ; ctx.Err() == nil; harness.Pause(ctx, 50*time.Millisecond) {
			fetched, err := client.Fetch(ctx, &kafka.FetchRequest{
				Topic: topic, Partition: partition, Offset: produced.BaseOffset, MinBytes: 1, MaxBytes: 1 << 20,
				MaxWait: 500 * time.Millisecond,
			})
			if err == nil && fetched.Error == nil && fetched.HighWatermark > produced.BaseOffset {
				trips.note(sent, time.Now())
				break
			}
		}
	}
}
